"""Names of output files: short, distinct, and independent of other files."""

import os
import random
import re
import time
from pathlib import PurePath

import pytest

from damff_jax.prediction.inputs import Input
from damff_jax.prediction.names import SUFFIXES, output_names


def names_of(*paths, folder=""):
    return output_names([Input(path, folder) for path in paths])


def test_a_given_file_gets_its_stem():
    assert names_of("a/song 1.tar.mp3", "/b/x.wav", "c") == ["song 1.tar", "x", "c"]
    assert names_of(".hidden", "d/..wav") == [".hidden", "..wav"]


@pytest.mark.parametrize("folder", ["/m", "/m/", "/", ".", "m"])
def test_the_tree_of_a_folder_is_mirrored(folder):
    paths = [os.path.join(folder, path) for path in ("a/x.wav", "b/x.wav", "b/c/x.mp3", "y.wav")]
    assert names_of(*paths, folder=folder) == ["a/x", "b/x", "b/c/x", "y"]


def test_files_with_one_stem_in_a_folder_keep_their_extensions():
    assert names_of("m/x.wav", "m/x.mp3", "m/y.mp3", folder="m") == ["x.wav", "x.mp3", "y"]
    # Even if a third one has the name that the first gets.
    first, second, third = names_of("m/x.wav", "m/x.mp3", "m/x.wav.mp3", folder="m")
    assert re.fullmatch(r"x~[0-9a-f]{12}", first)
    assert (second, third) == ("x.mp3", "x.wav.mp3")


def test_given_files_with_one_name_are_told_apart_by_their_paths():
    first, second = names_of("/a/x.wav", "/b/x.wav")
    assert re.fullmatch(r"x~[0-9a-f]{12}", first) and re.fullmatch(r"x~[0-9a-f]{12}", second)
    assert first != second
    assert names_of("/c/x.wav", "/b/x.wav", "/a/x.wav")[1:] == [second, first]


def test_names_that_some_file_systems_take_for_one_are_distinct():
    names = names_of("m/A.wav", "m/a.wav", "m/\xe9.wav", "m/e\u0301.wav", folder="m")
    assert len({name.casefold() for name in names}) == 4
    assert all("~" in name for name in names)


def test_a_file_and_a_folder_do_not_get_one_name():
    assert names_of("m/a.wav", "m/a.csv/x.wav", "m/b.wav", folder="m") == ["a.wav", "a.csv/x", "b"]


@pytest.mark.parametrize("name", ["index", "Summary"])
def test_names_of_files_about_the_folder_are_given_to_no_song(name):
    assert names_of(f"m/{name}.wav", f"m/sub/{name}.wav", folder="m") == [
        f"{name}.wav", f"sub/{name}",
    ]  # fmt: skip


@pytest.mark.parametrize("letter", ["x", "é", "日", "\udcff"])
@pytest.mark.parametrize("n_bytes", range(240, 256))
def test_long_names_fit_with_every_suffix(letter, n_bytes):
    letters = (letter * 255).encode(errors="surrogateescape")[: n_bytes - 4]
    stem = os.fsdecode(letters.decode(errors="ignore").encode() if letter in "é日" else letters)
    paths = [f"{stem}a.wav"[-255:], f"{stem}.mp3"]
    names = names_of(*paths, folder="")
    assert len(set(names)) == 2
    longest = max(map(len, SUFFIXES))
    for name in names:
        assert len(os.fsencode(name)) + longest <= 255
        if len(os.fsencode(stem)) < 254 - longest:
            assert "~" not in name


def random_tree(rng, n_files):
    folders, stems = ["", "a", "a/b", "A", "x.csv", "deep/" * 9 + "c"], ["x", "X", "y", "x.wav"]
    paths = {
        os.path.join("m", rng.choice(folders), f"{rng.choice(stems)}{rng.randrange(99)}")
        + rng.choice([".wav", ".mp3", ".flac"])
        for _ in range(n_files)
    }
    return sorted(paths)


@pytest.mark.parametrize("seed", range(8))
def test_names_are_distinct_and_change_only_when_they_clash(seed):
    rng = random.Random(seed)
    paths = random_tree(rng, 300)
    names = dict(zip(paths, names_of(*paths, folder="m"), strict=True))
    assert len({name.casefold() for name in names.values()}) == len(paths)
    parents = {str(parent) for name in names.values() for parent in PurePath(name).parents}
    assert not parents & {name + suffix for name in names.values() for suffix in SUFFIXES}
    fewer = rng.sample(paths, 100)
    for path, name in zip(fewer, names_of(*fewer, folder="m"), strict=True):
        short = os.path.splitext(os.path.relpath(path, "m"))[0]
        if names[path] == short:
            assert name == short


def test_ten_thousand_files_with_one_name_take_no_time():
    started = time.process_time()
    names = names_of(*(f"/m/{i}/x.wav" for i in range(10_000)))
    assert len(set(names)) == 10_000
    assert time.process_time() - started < 5
