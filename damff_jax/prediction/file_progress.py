"""The progress of reading files one after another, also within a long one."""

import os
from collections.abc import Iterable

from damff_jax import audio
from damff_jax.system.progress import Progress


class FileProgress(Progress):
    """A `Progress` over files, in bytes, because all sizes are known without opening a file.

    Args:
      paths: the files in their order.
    """

    def __init__(self, paths: Iterable[str]):
        self._start, self._size = dict[str, int](), dict[str, int]()
        total = 0
        for path in paths:
            self._start[path], self._size[path] = total, _size(path)
            total += self._size[path]
        super().__init__("predicting", total)
        self._seconds: dict[str, float | None] = {}

    def hear(self, path: str, seconds: float) -> None:
        """Says how many seconds of a file have been read; files before it are done."""
        if not self.is_shown:
            return
        if path not in self._seconds:
            self._seconds = {path: audio.declared_seconds(path)}
        in_all = self._seconds[path]
        share = min(seconds / in_all, 1) if in_all else 0
        self.reach(self._start[path] + share * self._size[path])


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:  # It is an error of its own when it is its turn.
        return 0
