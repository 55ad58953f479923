"""The progress of long work and the time left, on standard error if that is a terminal."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, Self

from damff_jax.system.terminal import is_interactive

# Shorter work needs no bar.
DELAY_SECONDS = 2
_FORMAT = "{desc} {percentage:3.0f} % |{bar}| {elapsed}, {remaining} left"
_shown: list["Progress"] = []


class Progress:
    """A bar that appears after two seconds, and goes when the work is done; a context manager.

    Args:
      what: is done, for the bar's beginning.
      total: amount of work, in any unit that takes about the same time everywhere.
    """

    def __init__(self, what: str, total: float):
        self._what, self._total = what, total
        self._bar: Any = None

    def __enter__(self) -> Self:
        if is_interactive() and self._total > 0:
            from tqdm import tqdm

            self._bar = tqdm(
                desc=self._what,
                total=self._total,
                delay=DELAY_SECONDS,
                bar_format=_FORMAT,
                mininterval=0.5,
                miniters=0,
                leave=False,
                dynamic_ncols=True,
                file=sys.stderr,
            )
            _shown.append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            _shown.remove(self)
            self._bar.close()

    @property
    def is_shown(self) -> bool:
        """Whether there is a terminal to show it."""
        return self._bar is not None

    def reach(self, amount: float) -> None:
        """Says how much is done in all."""
        if self._bar is not None and amount > self._bar.n:
            self._bar.update(min(amount, self._total) - self._bar.n)

    def clear(self) -> None:
        """Takes the bar off the terminal until its next update or `refresh`."""
        self._bar.clear()

    def refresh(self) -> None:
        """Shows the bar, if two seconds have passed."""
        if self._bar.format_dict["elapsed"] >= DELAY_SECONDS:
            self._bar.refresh()


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """A context in which lines can be printed, above the bar if there is one."""
    for progress in _shown:
        progress.clear()
    try:
        yield
    finally:
        # The bar must not come before lines that are still in a buffer.
        if _shown:
            sys.stdout.flush()
        for progress in _shown:
            progress.refresh()
