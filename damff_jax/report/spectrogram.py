"""A song's log-Mel as a small picture: made while the song is read, and written as PNG.

The pictures are made without Matplotlib, which prediction does not require.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator

import numpy as np

# When this many columns are reached, neighbours are averaged; so there are at least half as many.
_MOST_COLUMNS = 6000
_MOST_ROWS = 64
# dB below the loudest cells that are shown; what is quieter is empty.
_RANGE_DB = 60.0
_LOUDEST_SHARE = 0.998


class Thumbnail:
    """Passes on a song's stream of segments, and keeps a picture of bounded size."""

    def __init__(self) -> None:
        self._frames_per_column = 1
        self._columns: list[np.ndarray] = []
        self._n_columns = 0
        self._rest: np.ndarray | None = None

    def watch(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yields the blocks (any number, F, M) in dB."""
        for block in blocks:
            self._add(block.reshape(-1, block.shape[-1]))
            yield block

    def image(self) -> np.ndarray | None:
        """The picture (rows, columns), uint8: low frequencies at the bottom; None if empty.

        0 is 60 dB below the loudest cells or less, and 255 is as loud as they are.
        """
        if not self._columns:
            return None
        columns = np.concatenate(self._columns)
        rows = _averaged(columns.T, -(-columns.shape[1] // _MOST_ROWS))[::-1]
        top = np.quantile(rows, _LOUDEST_SHARE)
        level = np.clip(1 + (rows - top) / _RANGE_DB, 0, 1)
        return np.round(255 * level).astype(np.uint8)

    def _add(self, frames_NxM: np.ndarray) -> None:
        if self._rest is not None:
            frames_NxM = np.concatenate([self._rest, frames_NxM])
        whole = len(frames_NxM) - len(frames_NxM) % self._frames_per_column
        self._rest = frames_NxM[whole:]
        if not whole:
            return
        self._columns.append(_averaged(frames_NxM[:whole], self._frames_per_column))
        self._n_columns += len(self._columns[-1])
        while self._n_columns >= _MOST_COLUMNS:
            joined = np.concatenate(self._columns)
            # An odd last column is given back to the rest, as the frames that it stands for.
            odd = joined[len(joined) - len(joined) % 2 :]
            self._rest = np.concatenate([odd.repeat(self._frames_per_column, axis=0), self._rest])
            halved = _averaged(joined[: len(joined) - len(odd)], 2)
            self._columns, self._n_columns = [halved], len(halved)
            self._frames_per_column *= 2


def _averaged(x_NxM: np.ndarray, n: int) -> np.ndarray:
    """Means of n neighbouring rows, float32; an incomplete last group is left out."""
    if n == 1:
        return np.asarray(x_NxM, np.float32)
    whole = len(x_NxM) - len(x_NxM) % n
    return x_NxM[:whole].reshape(-1, n, x_NxM.shape[1]).mean(axis=1, dtype=np.float32)


def png(levels: np.ndarray) -> bytes:
    """A PNG of levels (rows, columns), uint8, as the opacity of black.

    A page can so give it any colour.
    """
    height, width = levels.shape
    rows = np.pad(levels, ((0, 0), (1, 0)))  # Every row starts with the number of its filter: none.
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)  # 8 bits, a palette
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", bytes(3 * 256)),
            _chunk(b"tRNS", bytes(range(256))),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
