"""Features computed in parts and by Beam: the shards, digests and report of a local build."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from damff_jax.features import FeatureConfig
from input_pipeline import beam_job, feature_cache
from input_pipeline.beam_job import Excerpt
from input_pipeline.corpus import AudioFile
from input_pipeline.feature_cache import FeatureCache
from input_pipeline.parts import Part
from input_pipeline.prepare import main
from tests.input_pipeline.test_feature_cache import song_of

ROOT = Path(__file__).parents[2]
DUMMY = ROOT / "input_pipeline" / "folder" / "dummy_data"
FEATURES = {"sample_rate": 16_000, "n_fft": 512, "win_length": 512, "hop_length": 320, "n_mels": 16}


def command(data_dir, *arguments):
    flags = [f"--features.{name}={value}" for name, value in FEATURES.items()]
    flags += ["--dataset=folder", f"--manual_dir={DUMMY}", f"--data_dir={data_dir}"]
    return [*flags, *arguments]


def built(data_dir):
    """The shards' bytes, and the manifest without its times."""
    (folder,) = data_dir.glob("folder/*/*")
    manifest = json.loads((folder / "metadata.json").read_text())
    del manifest["sha256"], manifest["report"]["build_seconds"]
    return {path.name: path.read_bytes() for path in folder.glob("*array_record*")}, manifest


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("local")
    assert main(command(data_dir, "--workers=1")) == 0
    return built(data_dir)


def test_a_build_from_parts_is_a_local_build_and_decodes_nothing(
    local, tmp_path, monkeypatch, capsys
):
    for i, n_songs in enumerate((2, 1, 1)):
        assert main(command(tmp_path, f"--shard={i}/3", "--workers=1")) == 0
        last = capsys.readouterr().out.splitlines()[-1]
        assert last == f"{n_songs} songs of part {i}/3 done, 0 failed, 0 left out"
    assert not (tmp_path / "folder").exists()
    monkeypatch.setattr(feature_cache, "extract", None)
    assert main(command(tmp_path, "--workers=1")) == 0
    assert built(tmp_path) == local


@pytest.mark.parametrize("text", ["2/2", "-1/2", "0/0", "1", "a/b", "0/2/3"])
def test_what_is_no_part_is_refused(text):
    with pytest.raises(ValueError, match="is not I/N"):
        Part.parse(text)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--shard=2/2"], "argument --shard: '2/2' is not I/N"),
        (["--shard=0/2", "--dry_run"], "--shard and --dry_run exclude each other"),
        (["--shard=0/2", "--runner=DirectRunner"], "--shard and --runner exclude each other"),
        (["--beam_options=--parallelism=2"], "--beam_options needs --runner"),
        (["--runner=OtherRunner"], "argument --runner: invalid choice: 'OtherRunner'"),
    ],
)
def test_flags_that_do_not_fit_are_refused(arguments, reason, tmp_path, capsys):
    with pytest.raises(SystemExit) as error:
        main(command(tmp_path, *arguments))
    assert error.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith(f"prepare: error: {reason}") and err.count("\n") == 1


def test_a_worker_that_does_not_see_the_shared_folder_says_so(tmp_path):
    sound = next(DUMMY.glob("songs/*"))
    excerpt, cache = Excerpt.of(song_of(sound)), FeatureCache(tmp_path)
    config, mark = FeatureConfig(**FEATURES), tmp_path / "mark"
    with pytest.raises(OSError, match=f"does not see {mark}; workers need a file system"):
        beam_job.fill(excerpt, cache=cache, config=config, mark=mark)
    mark.touch()
    missing = excerpt._replace(source=AudioFile(str(tmp_path / "none.wav")))
    with pytest.raises(OSError, match=r"does not see .*none\.wav"):
        beam_job.fill(missing, cache=cache, config=config, mark=mark)
    beam_job.fill(excerpt, cache=cache, config=config, mark=mark)
    assert len(list(tmp_path.glob("*/*"))) == 1


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is None, reason="needs apache-beam")
@pytest.mark.parametrize("workers", [1, 2])
def test_beam_gives_a_local_build(local, tmp_path, workers):
    """In a process of its own, because Beam changes the logging of all."""
    arguments = command(tmp_path, "--runner=DirectRunner", f"--workers={workers}")
    result = subprocess.run(
        [sys.executable, "-m", "input_pipeline.prepare", *arguments],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert built(tmp_path) == local
    assert not list(tmp_path.glob("feature_cache/.beam*"))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is None, reason="needs apache-beam")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_on_a_worker_ends_the_job_with_its_line(tmp_path, workers):
    arguments = command(tmp_path, "--runner=DirectRunner", f"--workers={workers}")
    limited = 'ulimit -f 2; exec "$@"'
    result = subprocess.run(
        ["bash", "-c", limited, "bash", sys.executable, "-m", "input_pipeline.prepare", *arguments],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.startswith("prepare: error: DirectRunner: ") and "File too large" in last
    assert not list(tmp_path.rglob("*.tmp")) and not list(tmp_path.glob("folder/*/*"))
