"""Shards: the same bytes from any build, and never other songs than were written."""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from array_record.python import array_record_module

from damff_jax.features import FeatureConfig
from damff_jax.system.files import temporary_name
from input_pipeline import datasets, shards
from input_pipeline.corpus import CorpusError
from input_pipeline.deam.deam_dataset_builder import Builder as Deam
from input_pipeline.fingerprint import fingerprint
from input_pipeline.folder.settings import FolderOptions, FolderSplit
from input_pipeline.prepare import main
from input_pipeline.shards import _in_order

ROOT = Path(__file__).parents[2]
DUMMY = ROOT / "input_pipeline" / "folder" / "dummy_data"
FEATURES = {"sample_rate": 16_000, "n_fft": 512, "win_length": 512, "hop_length": 320, "n_mels": 16}


def prepare(data_dir, *arguments):
    flags = [f"--features.{name}={value}" for name, value in FEATURES.items()]
    flags += ["--dataset=folder", f"--manual_dir={DUMMY}", f"--data_dir={data_dir}", "--workers=1"]
    return main([*flags, *arguments])


def load(data_dir):
    """All songs of a prepared data set, by split."""
    builder = datasets.open_builder(
        "folder",
        data_dir=data_dir,
        features=FeatureConfig(**FEATURES),
        options=FolderOptions(),
    )
    assert datasets.is_built(builder)
    dataset = datasets.Dataset.of(builder, FolderSplit())
    assert list(dataset.song_ids) == ["train", "validation", "test"]
    return {split: dataset.load(split) for split in dataset.song_ids}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    assert prepare(data_dir) == 0
    return data_dir


@pytest.fixture
def data_dir(built, tmp_path):
    """A copy of a prepared data set, to damage."""
    return Path(shutil.copytree(built, tmp_path / "data"))


def version_of(data_dir):
    (path,) = data_dir.glob("folder/*/3.1.0")
    return path


def shard_of(data_dir):
    (path,) = version_of(data_dir).glob("folder-songs.array_record-*")
    return path


def records_of(path):
    """The records of a shard, each as bytes."""
    reader = array_record_module.ArrayRecordReader(str(path))
    records = reader.read_all()
    reader.close()
    return records


def write_records(path, records):
    path.unlink()
    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    for record in records:
        writer.write(record)
    writer.close()


# The same bytes ----------------------------------------------------------------------------------


def example_of(names):
    """A serialized example with its features in this order."""
    entries = b""
    for name in names:
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[name.encode() * 3]))
        entry = bytes([10, len(name)]) + name.encode()
        entry += bytes([18, feature.ByteSize()]) + feature.SerializeToString()
        entries += bytes([10, len(entry)]) + entry
    return bytes([10, len(entries)]) + entries


def test_records_do_not_depend_on_the_order_of_their_features():
    ways = list(itertools.permutations(["a", "b", "ab", "c"]))
    assert len({example_of(way) for way in ways}) == len(ways)
    assert len({_in_order(example_of(way)) for way in ways}) == 1


def test_features_stand_in_one_order_in_all_records(built):
    names = (b"labels", b"log_mel", b"mask", b"song_id", b"times")
    records = records_of(shard_of(built))
    assert len(records) == 4
    assert len({tuple(sorted(names, key=record.index)) for record in records}) == 1


# Damage ------------------------------------------------------------------------------------------


def flipped(path, place):
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 4
    path.write_bytes(content)


def without_last_record(path):
    write_records(path, records_of(path)[:-1])


def with_a_record_twice(path):
    first, _, *others = records_of(path)
    write_records(path, [first, first, *others])


def of_another_data_set(path):
    """A valid shard of the same songs with other features."""
    data_dir = path.parents[3] / "other"
    assert prepare(data_dir, "--features.fmin=100") == 0
    shutil.copy(shard_of(data_dir), path)


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


DAMAGE = {
    **{f"flipped at {p}": lambda path, p=p: flipped(path, p) for p in (0, 0.2, 0.5, 0.9, 1)},
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": truncated,
    "cut at a record boundary": without_last_record,
    "a record twice": with_a_record_twice,
    "records in another order": lambda path: write_records(path, records_of(path)[::-1]),
    "another data set's": of_another_data_set,
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
}


@pytest.mark.parametrize("spoil", DAMAGE.values(), ids=DAMAGE)
def test_damaged_shard_is_an_error_that_names_it(data_dir, spoil):
    path = shard_of(data_dir)
    spoil(path)
    with pytest.raises(CorpusError) as caught:
        load(data_dir)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and message.endswith(
        "delete the folder and prepare again"
    )
    assert "\n" not in message


def test_a_damaged_description_of_the_shards_is_an_error_of_one_line(data_dir):
    (path,) = data_dir.rglob("dataset_info.json")
    path.write_text(path.read_text().replace("{DATASET}", "{DATASETASET}"))
    with pytest.raises(CorpusError, match=r"dataset_info\.json is damaged") as caught:
        load(data_dir)
    assert str(caught.value).startswith(f"{path.parent}: ") and "\n" not in str(caught.value)


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for split, songs in ours.items():
        assert songs.song_ids == theirs[split].song_ids
        for name in ("log_mel_RxFxM", "labels_RxV", "mask_RxV", "times_R", "first", "length"):
            a, b = getattr(songs, name), getattr(theirs[split], name)
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


@pytest.mark.parametrize(
    ("old", "new"), [('"song 1": 8', '"song 1": 7'), ('"song 1": 8', '"song 4": 8')]
)
def test_changed_manifest_is_an_error(data_dir, old, new):
    path = version_of(data_dir) / "metadata.json"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(CorpusError, match=r"metadata\.json: damaged, does not match its digest; d"):
        load(data_dir)


@pytest.mark.parametrize("name", ["metadata.json", "dataset_info.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"[]", b"null"])
def test_unreadable_manifest_is_an_error_that_names_it(data_dir, name, content):
    path = version_of(data_dir) / name
    path.write_bytes(content)
    with pytest.raises(CorpusError) as caught:
        load(data_dir)
    message = str(caught.value)
    assert message.startswith(str(path.parents[1])) and "prepare again" in message
    assert "\n" not in message


def test_manifest_with_any_part_damaged_never_gives_other_songs(data_dir):
    whole = load(data_dir)
    for name in ("metadata.json", "dataset_info.json", "features.json"):
        path = version_of(data_dir) / name
        content = path.read_bytes()
        for place in range(0, len(content), max(len(content) // 3, 1)):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            with contextlib.suppress(CorpusError):
                assert_same(load(data_dir), whole)
        path.write_bytes(content)
    assert_same(load(data_dir), whole)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda manifest: manifest["songs"].update({"song 1": 10**15}),
        lambda manifest: manifest["songs"].update({"song 1": -1}),
        lambda manifest: manifest["songs"].update({"song 1": 0}),
        lambda manifest: manifest["songs"].update({"song 1": True}),
        lambda manifest: manifest["songs"].update({"song 1": "many"}),
        lambda manifest: manifest["songs"].update({"song 1": 7}),
        lambda manifest: manifest["songs"].update({"song 4": 1}),
        lambda manifest: manifest.update(songs=[1]),
        lambda manifest: manifest.update(songs={}),
        lambda manifest: manifest.update(labelled=[1]),
        lambda manifest: manifest.update(labelled=None),
        lambda manifest: manifest.update(labelled="song 1"),
        lambda manifest: manifest.pop("songs"),
        lambda manifest: manifest.pop("labelled"),
        lambda manifest: manifest.pop("shards"),
        lambda manifest: manifest["report"].pop("seconds_of_songs"),
        lambda manifest: manifest["report"].pop("failed"),
        lambda manifest: manifest.update(sounds="/dev/zero"),
        lambda manifest: manifest.update(report=None),
        lambda manifest: manifest.update(shards=[1]),
        lambda manifest: manifest.update(shards={"folder-train.x": 1}),
    ],
)
def test_malicious_manifest_is_an_error_at_worst(data_dir, spoil):
    path = version_of(data_dir) / "metadata.json"
    manifest = json.loads(path.read_text())
    del manifest["sha256"]
    spoil(manifest)
    manifest["sha256"] = shards._digest_of(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(CorpusError) as caught:
        load(data_dir)
    assert "prepare again" in str(caught.value) and "\n" not in str(caught.value)


# Leftovers of killed builds -----------------------------------------------------------------------


def pid_of_the_dead():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_leftovers_of_killed_builds_are_removed_but_not_files_of_others(data_dir):
    dead, folder = pid_of_the_dead(), data_dir / "folder"
    version = version_of(data_dir)
    (cache,) = (data_dir / "feature_cache").iterdir()
    left = [
        version.parent / "incomplete.ABC123_3.1.0" / "shard",
        folder / temporary_name("songs-0", dead) / "MEMD_audio" / "1.flac",
        cache / temporary_name(".01234567", dead),
    ]
    kept = [
        cache / temporary_name(".01234567"),
        folder / temporary_name("songs-0", os.getppid()) / "1.flac",
        folder / "mine.tmp" / "notes",
        cache / f".01234567.0badcafe.{dead}.tmp",  # Of another machine.
    ]
    for path in (*left, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    assert prepare(data_dir, "--audio_start=0.5") == 0
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in kept)
    assert not (version.parent / "incomplete.ABC123_3.1.0").exists()


# A full disk -------------------------------------------------------------------------------------


# A song's features are 6.5 kB, those of all songs 26 kB.
@pytest.mark.parametrize("n_bytes", [100, 5_000, 10_000])
def test_full_disk_is_an_error_of_one_line_and_leaves_nothing_half_written(
    built, tmp_path, capsys, files_up_to, n_bytes
):
    data_dir = tmp_path / "data"
    with files_up_to(n_bytes):
        assert prepare(data_dir) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert err.startswith("prepare: error: ") and "File too large" in err
    assert str(data_dir) in err
    files = [path for path in data_dir.rglob("*") if path.is_file() and path.name != ".lock"]
    assert all(path.parent.parent.name == "feature_cache" for path in files)
    assert not any(path.name.endswith(".tmp") for path in files)
    assert prepare(data_dir) == 0
    assert shard_of(data_dir).read_bytes() == shard_of(built).read_bytes()


# Whether shards are outdated ---------------------------------------------------------------------


def fingerprint_of(folder, cls=datasets.SongBuilder, sounds=()):
    return fingerprint(cls, folder, sounds)


def test_fingerprint_follows_the_content_of_files_that_decide(tmp_path):
    for name in ("valence.csv", "a.wav", "b.wav", "sub.JSON"):
        (tmp_path / name).write_text("one")
    for name in ("a.wav", "valence.csv", "sub.JSON"):
        before = fingerprint_of(tmp_path, sounds=["a.wav"])
        assert fingerprint_of(tmp_path, sounds=["a.wav"]) == before
        (tmp_path / name).write_text("two")
        assert fingerprint_of(tmp_path, sounds=["a.wav"]) != before
    # Neither other files nor sound that no song uses.
    before = fingerprint_of(tmp_path, sounds=["a.wav"])
    (tmp_path / "notes.md").write_text("one")
    (tmp_path / "b.wav").write_text("longer")
    assert fingerprint_of(tmp_path, sounds=["a.wav"]) == before
    # But that there is more of it.
    (tmp_path / "c.wav").touch()
    assert fingerprint_of(tmp_path, sounds=["a.wav"]) != before


def test_fingerprint_of_sound_that_is_missing_or_unreadable_differs(tmp_path):
    (tmp_path / "a.wav").write_text("one")
    there = fingerprint_of(tmp_path, sounds=["a.wav"])
    (tmp_path / "a.wav").unlink()
    (tmp_path / "a.wav").symlink_to("nowhere")
    assert fingerprint_of(tmp_path, sounds=["a.wav"]) != there


def test_files_that_deam_does_not_use_are_not_read(tmp_path):
    folder = shutil.copytree(ROOT / "input_pipeline" / "deam" / "dummy_data", tmp_path / "deam")
    (labels,) = folder.rglob("valence.csv")
    other = folder / "features" / "2.csv"
    other.parent.mkdir()
    other.write_text("one")
    first = fingerprint_of(folder, Deam)
    other.write_text("two")
    assert fingerprint_of(folder, Deam) == first
    labels.write_bytes(labels.read_bytes().replace(b"0.1", b"0.2"))
    assert fingerprint_of(folder, Deam) != first


def test_files_in_a_linked_folder_count_and_links_may_form_a_cycle(tmp_path):
    there, folder = tmp_path / "there", tmp_path / "here"
    (there / "sub").mkdir(parents=True)
    folder.mkdir()
    (there / "sub" / "valence.csv").write_text("one")
    (folder / "linked").symlink_to(there)
    first = fingerprint_of(folder)
    (there / "sub" / "back").symlink_to(there)
    (folder / "self").symlink_to(folder)
    assert fingerprint_of(folder) == first
    (there / "sub" / "valence.csv").write_text("two")
    assert fingerprint_of(folder) != first


def test_special_files_do_not_stop_the_fingerprint(tmp_path):
    (tmp_path / "nowhere.csv").symlink_to("nothing")
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    assert fingerprint_of(tmp_path) == fingerprint_of(tmp_path)
