"""Walking through folders: every file once, through links, and nothing left out in silence."""

import os

import pytest

from damff_jax.system import folders


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def walked(folder):
    """Paths of files relative to the folder, and what could not be listed."""
    unreadable = []
    found = [
        os.path.relpath(os.path.join(root, name), folder)
        for root, names in folders.walk(folder, lambda *what: unreadable.append(what))
        for name in names
    ]
    return found, unreadable


def test_files_come_sorted_each_folders_own_first(tmp_path):
    touch(tmp_path, "b/x", "b/a/y", "c", "a b/z", ".hidden/w", "B/v")
    assert walked(tmp_path) == (["c", ".hidden/w", "B/v", "a b/z", "b/x", "b/a/y"], [])


@pytest.mark.parametrize("target", ["{0}/there", "../there"])
def test_linked_folders_are_followed(tmp_path, target):
    touch(tmp_path / "there", "sub/x")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(target.format(tmp_path))
    assert walked(tmp_path / "here") == (["link/sub/x"], [])
    # The directory may be a link itself.
    assert walked(tmp_path / "here" / "link") == (["sub/x"], [])


def test_a_cycle_of_links_ends_and_a_folder_of_two_names_is_listed_once(tmp_path):
    touch(tmp_path, "a/x", "b/y")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "a" / "self").symlink_to(".")
    (tmp_path / "b" / "other").symlink_to("../a")
    (tmp_path / "again").symlink_to("b")
    assert walked(tmp_path) == (["a/x", "again/y"], [])


def test_broken_links_and_pipes_are_files(tmp_path):
    (tmp_path / "nowhere").symlink_to("nothing")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    assert walked(tmp_path) == (["loop", "nowhere", "pipe"], [])


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path, monkeypatch):
    touch(tmp_path, "closed/x", "open/y", "z")
    closed, scandir = os.fspath(tmp_path / "closed"), os.scandir

    def refuse(path):
        if path == closed:
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    # The superuser may list any folder.
    monkeypatch.setattr(os, "scandir", refuse)
    assert walked(tmp_path) == (["z", "open/y"], [(closed, "Permission denied")])


def test_a_directory_that_does_not_exist_is_reported(tmp_path):
    assert walked(tmp_path / "none") == ([], [(f"{tmp_path}/none", "No such file or directory")])


def test_names_that_are_not_unicode_are_walked(tmp_path):
    name = os.fsdecode(b"\xff")
    touch(tmp_path, f"{name}/{name}.wav")
    assert walked(tmp_path) == ([f"{name}/{name}.wav"], [])
