"""Songs that are read from the shards when they are needed: the same as in memory."""

import dataclasses
import gc
import itertools
import os
import shutil
import threading
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from damff_jax.features import FeatureConfig
from damff_jax.songs import Songs
from damff_jax.training import crops
from damff_jax.training.crops import Crops
from input_pipeline import datasets, records, shards
from input_pipeline.annotations import Labels
from input_pipeline.corpus import AudioFile, Corpus, CorpusError, Recording
from input_pipeline.datasets import Dataset
from input_pipeline.extraction import Extracted
from input_pipeline.pipeline import load_songs, train_batches
from input_pipeline.random_songs import RandomOptions, RandomSongs, open_random
from input_pipeline.records import StreamedSongs
from input_pipeline.splits import DrawnSplit

FEATURES = FeatureConfig(sample_rate=8000, n_fft=512, win_length=480, hop_length=400, n_mels=8)
# Shorter than a crop, than a record, as long as one, and longer; the second number is the first
# segment.
SONGS = {"1": (5, 0), "2": (20, 30), "10": (41, 3), "11": (90, 30), "12": (63, 1)}
CROP = 30


class VariedSongs(RandomSongs):
    """Songs of different lengths, in which no two segments are the same."""

    def corpus(self, manual_dir):
        rng = np.random.default_rng(1)
        songs = []
        # The shards need not have the order of the split.
        for song_id, (n, first) in reversed(SONGS.items()):
            values, mask = rng.uniform(-1, 1, (n, 2)), rng.random((n, 2)) > 0.2
            labels = Labels(first, np.where(mask, values, 0).astype(np.float32), mask)
            songs.append(Recording(song_id, AudioFile(""), labels))
        return Corpus(songs, list(SONGS))

    def _extracted(self, corpus):
        rng = np.random.default_rng(2)
        for song in corpus.songs:
            log_mel_TxFxM = rng.normal(-30, 15, (len(song.labels), 10, 8)).astype(np.float16)
            yield song, Extracted(log_mel_TxFxM, 0, [])


def open_varied(data_dir):
    builder = VariedSongs(data_dir=str(data_dir), config=VariedSongs.config(FEATURES))
    datasets.prepare(builder)
    return Dataset.of(builder, DrawnSplit(validation_fraction=0.0, test_fraction=0.0))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    open_varied(data_dir)
    return data_dir


@pytest.fixture
def dataset(data_dir, tmp_path):
    """Of a copy, which may be damaged."""
    return open_varied(shutil.copytree(data_dir, tmp_path / "data"))


def streamed(dataset):
    return dataclasses.replace(dataset, reading="stream").load("train")


def both(dataset):
    """The songs in memory, and streamed."""
    in_memory, from_shards = dataset.load("train"), streamed(dataset)
    assert isinstance(in_memory, Songs) and isinstance(from_shards, StreamedSongs)
    return in_memory, from_shards


def batches_of(songs, **values):
    return train_batches(
        Crops(songs, **{"batch_size": 8, "crop_segments": CROP, "seed": 0} | values)
    )


def assert_equal(ours, theirs):
    """Batches, bit for bit."""
    assert ours.keys() == theirs.keys()
    for name, x in ours.items():
        assert (x.dtype, x.shape) == (theirs[name].dtype, theirs[name].shape)
        assert x.tobytes() == theirs[name].tobytes(), name


# The same as in memory ---------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{}, {"steps_per_call": 3, "n_devices": 2}, {"first_step": 7}])
def test_streamed_batches_are_those_from_memory(dataset, changes, monkeypatch):
    monkeypatch.setattr(crops, "_STEPS_PER_STRETCH", 4)
    for ours, theirs in zip(
        *(itertools.islice(batches_of(songs, **changes), 20) for songs in both(dataset)),
        strict=True,
    ):
        assert_equal(ours, theirs)


def test_streamed_songs_are_those_in_memory(dataset):
    in_memory, from_shards = both(dataset)
    assert from_shards.song_ids == in_memory.song_ids == list(SONGS)
    for ours, theirs in zip(from_shards, in_memory, strict=True):
        for field in dataclasses.fields(ours):
            a, b = (np.asarray(getattr(song, field.name)) for song in (ours, theirs))
            assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    assert from_shards.seconds() == in_memory.seconds() == (0.0, 60.0)
    assert from_shards.segment_shape == in_memory.segment_shape == (10, 8)
    assert from_shards.layout() == in_memory.layout()
    for song_id, times_T in in_memory.times().items():
        n, first = SONGS[song_id]
        np.testing.assert_array_equal(times_T, 0.5 * (first + np.arange(n)))
        np.testing.assert_array_equal(from_shards.times()[song_id], times_T)


def test_statistics_are_the_same_bit_for_bit_and_kept(dataset, monkeypatch):
    in_memory, from_shards = both(dataset)
    want = {name: x.tobytes() for name, x in in_memory.mel_statistics().items()}
    n_read = count_reads(monkeypatch)
    for _ in range(2):
        got = streamed(dataset).mel_statistics()
        assert {name: x.tobytes() for name, x in got.items()} == want
        assert len(n_read) == sum(-(-n // 20) for n, _ in SONGS.values())
    # Damage is noticed.
    path = from_shards.statistics_path
    path.write_text(path.read_text().replace("1", "2", 1))
    assert {n: x.tobytes() for n, x in from_shards.mel_statistics().items()} == want
    # They belong to the songs.
    others = StreamedSongs.of(dataset.builder, ["1", "2"])
    assert others.mel_statistics()["mean"].tobytes() != want["mean"]


def count_reads(monkeypatch):
    """A list to which (song id, record) is appended whenever a record is read."""
    reads, read = [], records.Records.read

    def counted(self, song_id, record):
        reads.append((song_id, record))
        return read(self, song_id, record)

    monkeypatch.setattr(records.Records, "read", counted)
    return reads


def test_targets_are_cut_too(dataset):
    in_memory, from_shards = both(dataset)
    targets = {"teacher": np.random.default_rng(0).normal(size=(219, 3)).astype(np.float32)}
    pair = (dataclasses.replace(songs, targets=targets) for songs in (in_memory, from_shards))
    for ours, theirs in zip(*(itertools.islice(batches_of(s), 3) for s in pair), strict=True):
        assert ours["teacher"].shape == (1, 1, 8, CROP, 3)
        assert_equal(ours, theirs)


# Position = step ---------------------------------------------------------------------------------


def test_training_resumes_at_ten_points(dataset, monkeypatch):
    monkeypatch.setattr(crops, "_STEPS_PER_STRETCH", 4)
    songs = streamed(dataset)
    whole = list(itertools.islice(batches_of(songs), 24))
    for first_step in (1, 2, 3, 4, 5, 8, 11, 12, 17, 22):
        for want, got in zip(whole[first_step:], batches_of(songs, first_step=first_step)):  # noqa: B905
            assert_equal(got, want)


@pytest.mark.parametrize("n_processes", [1, 2, 4])
def test_processes_make_one_batch_and_read_their_own_part_only(dataset, n_processes, monkeypatch):
    in_memory, from_shards = both(dataset)
    (whole,) = itertools.islice(batches_of(in_memory), 1)
    layout = {"process_count": n_processes, "n_devices": 4 // n_processes}
    monkeypatch.setattr("input_pipeline.pipeline._CALLS_AHEAD", 0)
    parts, reads = [], count_reads(monkeypatch)
    for i in range(n_processes):
        reads.clear()
        parts.append(next(batches_of(from_shards, process_index=i, **layout)))
        n_crops = 8 // n_processes
        assert len(reads) <= n_crops * (CROP // 20 + 2)
    for name, x in whole.items():
        joined = np.concatenate([part[name].reshape(-1, *x.shape[3:]) for part in parts])
        assert joined.tobytes() == x.tobytes()


# Memory ------------------------------------------------------------------------------------------


def peak_of_training(data_dir, n_songs):
    """The most memory that Python and NumPy have in use while batches are made."""
    dataset = open_random(data_dir, RandomOptions(n_songs), FEATURES, "stream")
    songs = dataset.load("train")
    songs.mel_statistics()
    tracemalloc.start()
    try:
        batches = train_batches(Crops(songs, batch_size=16, crop_segments=60, seed=0))
        for _ in range(8):
            next(batches)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_songs(tmp_path):
    few, many = (peak_of_training(tmp_path, n) for n in (20, 200))
    assert many < 1.1 * few
    # All songs would take that much more.
    assert few < 180 * 90 * 160


@pytest.mark.parametrize(("n_bytes", "is_streamed"), [(4 * 219 * 160 - 4, True), (10**9, False)])
def test_auto_streams_what_takes_more_than_a_quarter_of_the_memory(
    dataset, n_bytes, is_streamed, monkeypatch
):
    monkeypatch.setattr(datasets, "total_memory", lambda: n_bytes)
    dataset = dataclasses.replace(dataset, reading="auto")
    assert dataset.is_streamed("train") == is_streamed
    assert isinstance(dataset.load("train"), StreamedSongs if is_streamed else Songs)


def reading_threads():
    return {thread for thread in threading.enumerate() if thread.name.startswith("crops")}


def test_threads_end_with_the_iterator(dataset):
    before = reading_threads()
    batches = batches_of(streamed(dataset))
    next(batches)
    assert reading_threads() - before
    del batches
    gc.collect()
    deadline = time.monotonic() + 10
    while reading_threads() - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not reading_threads() - before


# Damage ------------------------------------------------------------------------------------------


def shard_of(dataset):
    (path,) = Path(dataset.builder.data_dir).glob("*.array_record-*")
    return path


def flip(path, place):
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 4]))


def test_a_record_that_is_damaged_during_training_is_named_with_its_shard(dataset):
    songs, path = streamed(dataset), shard_of(dataset)
    content = path.read_bytes()
    # In the middle of a song's second record.
    record = next(itertools.islice(songs, 3, None)).log_mel_TxFxM[20:40].tobytes()
    flip(path, content.index(record) + len(record) // 2)
    with pytest.raises(CorpusError) as caught:
        list(itertools.islice(batches_of(songs), 50))
    message = str(caught.value)
    assert message.startswith(f"{path}: record 1 of song 11 is damaged (")
    assert message.endswith("; delete the folder and prepare again") and "\n" not in message
    # The next start looks at whole shards.
    with pytest.raises(CorpusError, match="does not match its digest"):
        streamed(dataset)


def test_no_flipped_byte_gives_other_songs(dataset):
    path, n_refused = shard_of(dataset), 0
    want = [song.log_mel_TxFxM.tobytes() for song in dataset.load("train")]
    # ArrayRecord pads its files with zeros.
    used = np.flatnonzero(np.frombuffer(path.read_bytes(), np.uint8))
    for place in [*used[:: len(used) // 30], *range(60, 70)]:
        flip(path, place)
        try:
            got = [x.log_mel_TxFxM.tobytes() for x in StreamedSongs.of(dataset.builder, SONGS)]
            assert got == want
        except CorpusError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            n_refused += 1
        flip(path, place)
    assert n_refused > 30


def test_records_of_other_songs_or_segments_are_refused(dataset):
    for changes in ({"songs": {"11": 89}}, {"first_segments": {"2": 31}}):
        builder = open_varied(Path(dataset.builder.data_dir).parents[2]).builder
        for name, values in changes.items():
            builder.info.metadata[name].update(values)
        with pytest.raises(CorpusError, match="holds other segments"):
            load_songs(builder, list(SONGS))
    builder.info.metadata["songs"] = dict(reversed(builder.info.metadata["songs"].items()))
    with pytest.raises(CorpusError, match="holds another song"):
        load_songs(builder, list(SONGS))


def test_whole_shards_are_compared_once_unless_they_change(dataset, monkeypatch):
    compared, digest = [], shards._digest_of_file
    monkeypatch.setattr(
        shards, "_digest_of_file", lambda path: compared.append(path) or digest(path)
    )
    # A file that has just been written could change again without a later time.
    shards.check_shards(dataset.builder)
    shards.check_shards(dataset.builder)
    assert len(compared) == 2
    monkeypatch.setattr(shards, "_SETTLED_NS", 0)
    for _ in range(3):
        shards.check_shards(dataset.builder)
    assert len(compared) == 3
    path = shard_of(dataset)
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    flip(path, path.stat().st_size // 2)
    os.utime(path, ns=times)
    with pytest.raises(CorpusError, match="does not match its digest"):
        shards.check_shards(dataset.builder)
    flip(path, path.stat().st_size // 2)
    # What is remembered can be lost.
    for text in ("", "[]", '{"a": 1}'):
        (path.parent / ".intact.json").write_text(text)
        shards.check_shards(dataset.builder)


def test_what_cannot_be_kept_is_computed_every_time(dataset, monkeypatch):
    def full(*arguments):
        raise OSError("read-only")

    monkeypatch.setattr(shards, "atomic_write", full)
    monkeypatch.setattr(records, "atomic_write", full)
    monkeypatch.setattr(shards, "_SETTLED_NS", 0)
    want = dataset.load("train").mel_statistics()
    for _ in range(2):
        got = streamed(dataset).mel_statistics()
        assert got["std"].tobytes() == want["std"].tobytes()
    assert not list(Path(dataset.builder.data_dir).glob(".*"))
