"""How late a model's curve follows the sound: `python -m damff_jax.lag AUDIO_OR_FOLDER...`.

Of songs, the calmest are joined with the most energetic, so that the sound changes at a known time,
and the other way round. The mean arousal of all these steps, 0 before and 1 long after, says when
the curve has gone half of its way, and how long it takes from a tenth to nine tenths of it.

Exit status: 0 done, 1 there are too few songs, 2 usage.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from damff_jax import pretrained
from damff_jax.features import SEGMENT_SECONDS
from damff_jax.system.command_line import Parser, program

if TYPE_CHECKING:
    from damff_jax.prediction.predictor import Predictor

_PROGRAM = program("lag")

# Of each side of the step, long enough for slow curves to settle; shorter songs are repeated.
_SECONDS = 30.0
_SHORTEST_SECONDS = 5.0
_AROUSAL = 1


class StepResponse(NamedTuple):
    """How a curve follows a step in the sound; s.

    Attributes:
      lag_s: from the step until the curve is half-way; negative: before it.
      rise_s: from a tenth of the way to nine tenths.
      mean_T: the mean step, (T,), a value per segment, 0 before and 1 after.
    """

    lag_s: float
    rise_s: float
    mean_T: np.ndarray


def step_response(
    predictor: "Predictor", songs: Sequence[np.ndarray], n_pairs: int
) -> StepResponse:
    """Measures a model by steps between songs.

    Args:
      songs: log-Mel (T, F, M) in dB of 5 s or more each; the first 30 s are taken.
      n_pairs: of the calmest with the most energetic.

    Raises:
      ValueError: there are fewer songs than that takes.
    """
    n = int(_SECONDS / SEGMENT_SECONDS)
    shortest = int(_SHORTEST_SECONDS / SEGMENT_SECONDS)
    songs = [song[np.arange(n) % len(song)] for song in songs if len(song) >= shortest]
    if n_pairs < 1 or len(songs) < 2 * n_pairs:
        raise ValueError(
            f"{n_pairs} pairs take {2 * n_pairs} songs of {_SHORTEST_SECONDS:g} s or more"
        )
    arousal = [predictor.from_log_mel(song)[:, _AROUSAL].mean() for song in songs]
    order = np.argsort(arousal)
    steps = []
    for low, high in zip(order[:n_pairs], order[::-1][:n_pairs], strict=True):
        for before, after, sign in ((low, high, 1), (high, low, -1)):
            joined = np.concatenate([songs[before], songs[after]])
            steps.append(sign * predictor.from_log_mel(joined)[:, _AROUSAL])
    # Rises and falls together, and free of each pair's own level.
    mean_T = np.mean(steps, axis=0)
    third = n // 3
    start, end = mean_T[third : n - third].mean(), mean_T[n + third : 2 * n - third].mean()
    mean_T = (mean_T - start) / (end - start)
    # A segment's value is that of its middle.
    middle_T = SEGMENT_SECONDS * (np.arange(2 * n) + 0.5) - _SECONDS
    tenth, half, nine_tenths = (_crossing(middle_T, mean_T, x) for x in (0.1, 0.5, 0.9))
    return StepResponse(half, nine_tenths - tenth, mean_T)


def _crossing(time_T: np.ndarray, x_T: np.ndarray, level: float) -> float:
    """When a rising curve passes a level for good, between two points of it."""
    after = int(np.flatnonzero(x_T < level)[-1]) + 1
    if after == len(x_T):
        return float(time_T[-1])
    share = (level - x_T[after - 1]) / (x_T[after] - x_T[after - 1])
    return float(time_T[after - 1] + share * (time_T[after] - time_T[after - 1]))


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser("lag", description=__doc__.split("\n\n")[0])
    parser.add_argument("inputs", nargs="+", metavar="AUDIO_OR_FOLDER")
    parser.add_argument("--checkpoint", default=pretrained.DEFAULT, metavar="WORKDIR|FILE|NAME")
    parser.add_argument("--pairs", type=int, default=20, metavar="N")
    arguments = parser.parse_args(argv)
    if arguments.pairs < 1:
        parser.error("--pairs must be positive")
    # JAX takes seconds to import, which a wrong command line need not wait for.
    from damff_jax.prediction import readers
    from damff_jax.prediction.inputs import find_inputs
    from damff_jax.prediction.predictor import Predictor

    try:
        predictor = Predictor(arguments.checkpoint)
        songs = [
            np.concatenate(list(readers.read(path, predictor.features)))
            for path in find_inputs(arguments.inputs)
        ]
        response = step_response(predictor, songs, arguments.pairs)
    except (ValueError, OSError) as error:
        print(f"{_PROGRAM}: error: {error}", file=sys.stderr)
        return 1
    print(f"half-way {response.lag_s:+.2f} s from the step, 10 to 90 % in {response.rise_s:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
