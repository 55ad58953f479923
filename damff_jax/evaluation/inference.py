"""From log-Mel segments to a song's curve: overlapping windows, batched, joined.

The sequence model was trained on crops, so a song is cut into windows of that length. Neighbouring
windows overlap, and there their predictions are averaged, with weights that fall off towards each
window's ends, where the model sees little context. The joined curve may be averaged over time.
Songs are streams, and windows of different songs share batches, so that neither long songs nor many
short ones are costly.

Letters: N windows, W segments per window, F frames per segment, M Mel bins, T segments, V = 2.
"""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike

# (log_mel_NxWxFxM, mask_NxW) → (N, W, V), or another number of values per segment; on any device
Apply = Callable[[np.ndarray, np.ndarray], ArrayLike]
# An exception raised by a song's stream, which affects this song only.
_Error = TypeVar("_Error", bound=Exception)


@dataclasses.dataclass(frozen=True)
class Windowing:
    """How a song's curve is computed from windows.

    Attributes:
      window: segments that the model sees at a time.
      overlap: segments that a window shares with the next one.
      smoothing: (width, delay) in segments, see `delayed_average`; (1, 0) is none.
      margin: segments by which a song is extended at both ends, as in a mirror, so that the curve's
        ends have context too; the curve does not include them.
    """

    window: int = 60
    overlap: int = 15
    smoothing: tuple[int, int] = (1, 0)
    margin: int = 0

    def __post_init__(self):
        object.__setattr__(self, "smoothing", tuple(self.smoothing))  # JSON has lists.
        if self.margin < 0:
            raise ValueError(f"margin {self.margin} is negative")
        if not 0 <= self.overlap < self.window:
            raise ValueError(f"overlap {self.overlap} is outside [0, window {self.window})")

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Windowing":
        """The windowing of a config."""
        data = config["data"]
        # Older checkpoints do not have these settings, nor do some models.
        window = data.get("window_segments", 0) or data["crop_segments"]
        smoothing = tuple(config["model"].get("smoothing", (1, 0)))
        return cls(window, data["overlap"], smoothing, data.get("margin", 0))

    @property
    def less_context(self) -> tuple[int, int]:
        """Segments at a song's start and end with less context than any between them."""
        width, delay = self.smoothing
        # Where two windows overlap, each segment has at least half of the overlap on either side.
        edge = self.overlap // 2
        return edge + max(width // 2 + delay, 0), edge + max(width // 2 - delay, 0)

    def within(self, n_segments: int) -> "Windowing":
        """The same for songs of at most `n_segments`: windows without needless padding."""
        window = min(self.window, n_segments + 2 * self.margin)
        overlap = min(self.overlap, window - 1)
        return dataclasses.replace(self, window=window, overlap=overlap)


class _Window(NamedTuple):
    song: int
    start: int
    log_mel_WxFxM: np.ndarray
    n_segments: int


class _End(NamedTuple, Generic[_Error]):
    """Follows a song's last window."""

    song: int
    error: _Error | None


def predict_curves(
    apply: Apply,
    songs: Iterable[Iterable[np.ndarray]],
    *,
    windowing: Windowing,
    batch_size: int,
    errors: tuple[type[_Error], ...] = (),
) -> Iterator[np.ndarray | _Error]:
    """Predicts songs in their order, see `join_windows`.

    Yields:
      The song's curve (T, V), smoothed and clipped to [-1, 1] (the head is linear), float32, where
      T is its number of segments; or the exception that its stream raised.
    """
    curves = join_windows(apply, songs, windowing=windowing, batch_size=batch_size, errors=errors)
    for joined in curves:
        if isinstance(joined, Exception):
            yield joined
        else:
            if windowing.smoothing != (1, 0):
                width, delay = windowing.smoothing
                joined = delayed_average(joined, width=width, delay=delay)
            yield np.clip(joined, -1, 1).astype(np.float32)


def delayed_average(x_TxV: np.ndarray, *, width: int, delay: int) -> np.ndarray:
    """The mean over `width` (odd) segments whose middle is `delay` segments earlier; (T, V).

    Ratings move slowly, and lag behind the music. Segments outside the song are left out; `delay`
    is at most half the width, so that there is always at least one.
    """
    middle_T = np.arange(len(x_TxV)) - delay
    first_T = np.maximum(middle_T - width // 2, 0)
    end_T = np.minimum(middle_T + width // 2 + 1, len(x_TxV))
    sums_TxV = np.pad(np.cumsum(x_TxV, axis=0, dtype=np.float64), ((1, 0), (0, 0)))
    return (sums_TxV[end_T] - sums_TxV[first_T]) / (end_T - first_T)[:, None]


def join_windows(
    apply: Apply,
    songs: Iterable[Iterable[np.ndarray]],
    *,
    windowing: Windowing,
    batch_size: int,
    errors: tuple[type[_Error], ...] = (),
) -> Iterator[np.ndarray | _Error]:
    """Applies a model to songs in their order.

    Args:
      apply: the model; always called with `batch_size` windows, so that it compiles once.
      songs: each a stream of segments in blocks (any number, F, M).
      windowing: how songs are cut.
      batch_size: N.
      errors: exceptions raised by a song's stream that affect this song only.

    Yields:
      The model's output for the song (T, V), float64, where T is its number of segments; or the
      exception that its stream raised.
    """
    curves: collections.deque[_JoinedWindows[_Error]] = collections.deque()
    first = 0
    batch: list[_Window] = []

    def run() -> None:
        predicted = _apply_padded(apply, batch, batch_size)
        for window, prediction_WxV in zip(batch, predicted, strict=True):
            curves[window.song - first].add(window, prediction_WxV[: window.n_segments])
        batch.clear()

    for item in _windows_of_songs(songs, windowing, errors):
        if item.song - first >= len(curves):
            curves.append(_JoinedWindows(windowing.margin))
        if isinstance(item, _End):
            curves[item.song - first].end(item.error)
        else:
            batch.append(item)
            if len(batch) == batch_size:
                run()
        waiting = batch[0].song if batch else None
        while curves and curves[0].ended and (waiting is None or first < waiting):
            yield curves.popleft().result()
            first += 1
    if batch:
        run()
    for curve in curves:
        yield curve.result()


class _JoinedWindows(Generic[_Error]):
    """Weighted sums of a song's windows."""

    def __init__(self, margin: int):
        self.ended = False
        self._error: _Error | None = None
        self._margin = margin
        self._sum_TxV = np.zeros((0, 2))
        self._weight_T = np.zeros(0)

    def add(self, window: _Window, prediction_TxV: np.ndarray) -> None:
        n, stop = window.n_segments, window.start + window.n_segments
        if not len(self._weight_T):
            self._sum_TxV = np.zeros((0, prediction_TxV.shape[-1]))
        if stop > len(self._weight_T):
            more = stop - len(self._weight_T)
            self._sum_TxV = np.pad(self._sum_TxV, ((0, more), (0, 0)))
            self._weight_T = np.pad(self._weight_T, (0, more))
        weight_T = np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1)).astype(np.float64)
        self._sum_TxV[window.start : stop] += weight_T[:, None] * prediction_TxV
        self._weight_T[window.start : stop] += weight_T

    def end(self, error: _Error | None) -> None:
        self.ended, self._error = True, error

    def result(self) -> np.ndarray | _Error:
        if self._error is not None:
            return self._error
        joined_TxV = self._sum_TxV / self._weight_T[:, None]
        # A song shorter than the margin is mirrored completely, which makes it three times as long.
        n = min(self._margin, len(joined_TxV) // 3)
        return joined_TxV[n : len(joined_TxV) - n]


def _windows_of_songs(
    songs: Iterable[Iterable[np.ndarray]], windowing: Windowing, errors: tuple[type[_Error], ...]
) -> Iterator[_Window | _End[_Error]]:
    for song, blocks in enumerate(songs):
        error: _Error | None = None
        try:
            if windowing.margin:
                blocks = _mirrored(blocks, windowing.margin)
            for start, log_mel_WxFxM, n in _windows(blocks, windowing):
                yield _Window(song, start, log_mel_WxFxM, n)
        except errors as e:
            error = e
        yield _End(song, error)


def _mirrored(blocks: Iterable[np.ndarray], margin: int) -> Iterator[np.ndarray]:
    """A song extended at both ends by up to `margin` of its own segments, mirrored."""
    head: np.ndarray | None = None
    blocks = iter(blocks)
    for block in blocks:
        head = block if head is None else np.concatenate([head, block])
        if len(head) >= margin:
            break
    if head is None:
        return
    yield head[:margin][::-1, ::-1]
    tail = head[:0]
    for block in itertools.chain([head], blocks):
        yield block
        tail = np.concatenate([tail, block])[-margin:]
    yield tail[::-1, ::-1]


def _windows(
    blocks: Iterable[np.ndarray], windowing: Windowing
) -> Iterator[tuple[int, np.ndarray, int]]:
    """Windows (start, (W, F, M), number of segments in it) of a stream of segments."""
    w, hop = windowing.window, windowing.window - windowing.overlap
    start, rest, last = 0, None, None
    for block in blocks:
        rest = block if rest is None else np.concatenate([rest, block])
        while len(rest) >= w:
            last = rest[:w]
            yield start, last, w
            start, rest = start + hop, rest[hop:]
    if rest is None or not len(rest):
        return
    if last is None:
        padding = np.zeros((w - len(rest), *rest.shape[1:]), rest.dtype)
        yield 0, np.concatenate([rest, padding]), len(rest)
    elif len(rest) > windowing.overlap:
        # The last window ends with the song, so that every prediction has context to its left.
        n_new = len(rest) - windowing.overlap
        final = np.concatenate([last[n_new:], rest[windowing.overlap :]])
        yield start + len(rest) - w, final, w


def _apply_padded(apply: Apply, batch: list[_Window], batch_size: int) -> np.ndarray:
    shape = batch[0].log_mel_WxFxM.shape
    log_mel_NxWxFxM = np.zeros((batch_size, *shape), batch[0].log_mel_WxFxM.dtype)
    mask_NxW = np.zeros((batch_size, shape[0]), bool)
    for i, window in enumerate(batch):
        log_mel_NxWxFxM[i] = window.log_mel_WxFxM
        mask_NxW[i, : window.n_segments] = True
    return np.asarray(apply(log_mel_NxWxFxM, mask_NxW))[: len(batch)]
