"""Files that are written completely or not at all, and errors that name them."""

import errno
import os

import pytest

from damff_jax.system.files import atomic_write, naming

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        OSError(errno.ENOSPC, "No space left on device", "temporary"),
        OSError(errno.EXDEV, "Invalid cross-device link", "temporary", None, "other"),
        OSError("No space left on device"),
    ],
    ids=["no name", "one name", "two names", "text only"],
)
def test_an_error_names_the_file_and_nothing_else(error):
    with pytest.raises(OSError) as raised, naming("songs/a.csv", "temporary"):
        raise error
    message = str(raised.value)
    assert "songs/a.csv" in message and os.fspath(error.strerror or error.args[0]) in message
    assert not any(word in message for word in ("None", "temporary", "other"))
    assert raised.value.errno == error.errno


def test_an_error_about_another_file_stays_as_it_is():
    with pytest.raises(OSError) as raised, naming("a.csv", "temporary"):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "b.csv")
    assert raised.value.filename == "b.csv"


def test_a_full_disk_leaves_the_old_file(tmp_path, files_up_to):
    path = tmp_path / "a.csv"
    path.write_text("old")
    with pytest.raises(OSError) as raised, files_up_to(100), atomic_write(path) as file:
        file.write("new" * 9999)
    assert str(raised.value) == f"[Errno {errno.EFBIG}] File too large: '{path}'"
    assert os.listdir(tmp_path) == ["a.csv"] and path.read_text() == "old"
