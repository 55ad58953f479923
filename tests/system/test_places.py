"""Paths: which are refused, and which every library takes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from damff_jax.system import places
from damff_jax.system.places import PlaceError

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "damff_jax.predict": [
        ["{}"],
        ["a.wav", "--output_dir={}"],
        ["a.wav", "--checkpoint={}"],
    ],
    "damff_jax.train": [
        ["--workdir={}"],
        ["--config={}"],
        ["--config.init_from={}"],
        *([f"--config.data.{name}={{}}"] for name in ("data_dir", "manual_dir", "heard")),
    ],
    "input_pipeline.prepare": [
        ["--dataset=deam", "--manual_dir={}"],
        ["--dataset=deam", "--data_dir={}"],
    ],
    "damff_jax.study.__main__": [
        ["--config=deam", f"--{name}={{}}"]
        for name in ("manual_dir", "data_dir", "study_dir", "output")
    ],
    "damff_jax.weights": [["{}", "a.safetensors"], [".", "{}"]],
    "damff_jax.lag": [["{}"], ["a.wav", "--checkpoint={}"]],
    "damff_jax.benchmark.__main__": [["--json={}"], ["--plot={}"], ["--against={}"]],
}
MAIN = """
import importlib, json, sys
for module, command_lines in json.loads(sys.argv[1]).items():
    main = importlib.import_module(module).main
    for arguments in command_lines:
        arguments = ["train.py"] * (module == "damff_jax.train") + arguments
        try:
            status = main(arguments)
        except SystemExit as stop:
            status = stop.code
        print(status, sorted({"jax", "tensorflow"} & set(sys.modules)))
"""


def outcomes(command_lines, cwd):
    """Status, frameworks that were imported until then, and what was printed, of each."""
    import json

    process = subprocess.run(
        [sys.executable, "-c", MAIN, json.dumps(command_lines)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return process.stdout.splitlines(), process.stderr.splitlines()


def test_urls_are_refused_by_every_option_before_a_framework_is_imported(tmp_path):
    urls = ("gs://bucket/a", "s3://bucket/a", "https://host/a.wav")
    command_lines = {
        module: [[argument.format(url) for argument in line] for url in urls for line in lines]
        for module, lines in COMMANDS.items()
    }
    statuses, errors = outcomes(command_lines, tmp_path)
    assert set(statuses) == {"2 []"}
    assert len(errors) == len(statuses) == 3 * sum(map(len, COMMANDS.values()))
    for error in errors:
        assert "error: " in error and ":// is not supported, only local paths; mount" in error
    assert not list(tmp_path.iterdir())


def test_what_does_not_exist_has_one_text_and_one_status_in_every_command(tmp_path):
    (tmp_path / "a.wav").touch()
    command_lines = {
        "damff_jax.predict": [["none"], ["none", "none"], ["a.wav", "--checkpoint=none"]],
        "damff_jax.train": [
            ["--config=none"],
            ["--config=deam", "--config.data.manual_dir=none"],
            ["--config.init_from=none"],
            ["--mode=evaluate", "--workdir=none"],
        ],
        "input_pipeline.prepare": [["--dataset=deam", "--manual_dir=none"]],
        "damff_jax.study.__main__": [["--config=none"], ["--config=deam", "--manual_dir=none"]],
        "damff_jax.weights": [["none", "a.safetensors"]],
        "damff_jax.lag": [["none"], ["a.wav", "none"], ["a.wav", "--checkpoint=none"]],
        "damff_jax.benchmark.__main__": [["--against=none"], ["--json=none/a.json"]],
    }
    statuses, errors = outcomes(command_lines, tmp_path)
    assert set(statuses) == {"2 []"}
    assert len(errors) == len(statuses)
    for error in errors:
        assert error.endswith(" error: none: No such file or directory")


@pytest.mark.parametrize("path", ["gs:/a", "a://", "1://x", "dir/gs://a", "C:/x", ""])
def test_other_paths_are_local(path):
    assert places.local(path) == path
    places.check_local(workdir=path, other=None)


def test_a_setting_that_is_not_utf8_is_named():
    places.check_unicode(data_dir="é日", other=None)
    with pytest.raises(PlaceError, match=r"^--data_dir=/a/\\xff: not UTF-8; use another folder"):
        places.check_unicode(data_dir=os.fsdecode(b"/a/\xff"))


def test_a_refused_setting_is_named():
    with pytest.raises(PlaceError, match=r"^--config\.data\.data_dir=gs://a: gs:// is not"):
        places.check_local(**{"config.data.data_dir": "gs://a"})


@pytest.mark.parametrize("name", ["[a]", "a\\b", "a*", "{a}", "é", os.fsdecode(b"\xff"), "a\nb"])
def test_a_folder_of_any_name_has_a_plain_path_for_a_while(tmp_path, name):
    folder = tmp_path / name / "b"
    folder.mkdir(parents=True)
    with places.plain_path(folder) as plain:
        assert plain.name.isascii() and not set(str(plain)) & set("[]\\*{}\n")
        (plain / "file").touch()
    assert (folder / "file").exists()
    assert not plain.exists() and not plain.is_symlink()


def test_a_plain_path_is_used_as_it_is(tmp_path):
    with places.plain_path(tmp_path) as plain:
        assert plain is tmp_path


def test_a_path_with_room_for_names_is_accepted(tmp_path):
    places.check_room("/" + "a" * 3000)
    with pytest.raises(PlaceError, match="a path of 3801 bytes leaves no room"):
        places.check_room("/" + "a" * 3800)
