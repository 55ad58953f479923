"""How late a model's curve follows the sound: `python -m damff_jax.lag AUDIO_OR_FOLDER...`.

The calmest songs are joined with the most energetic ones, in both orders, so that the sound changes
at a known time. The mean arousal of all these steps, scaled from 0 before to 1 long after, shows
when the curve is half-way, and how long it takes from 10 % to 90 %.

Exit status: 0 done, 1 too few songs or an unreadable input, 2 wrong usage or a missing file.
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from damff_jax.features import SEGMENT_SECONDS
from damff_jax.system.command_line import Parser, printable, program
from damff_jax.system.places import PlaceError, check_exists, local
from damff_jax.system.terminal import robust

if TYPE_CHECKING:
    from damff_jax.prediction.predictor import Predictor

_PROGRAM = program("lag")

# Each side of the step: long enough for slow curves to settle. Shorter songs are repeated.
_SECONDS = 30.0
_SHORTEST_SECONDS = 5.0
_AROUSAL = 1


class StepResponse(NamedTuple):
    """How a curve follows a step in the sound.

    Attributes:
      lag_s: seconds from the step until the curve is half-way; negative if it is half-way earlier.
      rise_s: seconds from 10 % to 90 % of the way.
      mean_T: the mean step, (T,), a value per segment, 0 before and 1 after.
    """

    lag_s: float
    rise_s: float
    mean_T: np.ndarray


def step_response(
    predictor: "Predictor", songs: Sequence[np.ndarray], n_pairs: int
) -> StepResponse:
    """Measures a model's response to steps between songs.

    Args:
      songs: log-Mel (T, F, M) in dB, 5 s or more each; the first 30 s are used.
      n_pairs: pairs of one of the calmest and one of the most energetic songs.

    Raises:
      ValueError: too few songs for so many pairs.
    """
    n = int(_SECONDS / SEGMENT_SECONDS)
    shortest = int(_SHORTEST_SECONDS / SEGMENT_SECONDS)
    songs = [song[np.arange(n) % len(song)] for song in songs if len(song) >= shortest]
    if n_pairs < 1 or len(songs) < 2 * n_pairs:
        raise ValueError(
            f"{n_pairs} pairs need {2 * n_pairs} songs of {_SHORTEST_SECONDS:g} s or more"
        )
    arousal = [predictor.from_log_mel(song)[:, _AROUSAL].mean() for song in songs]
    order = np.argsort(arousal)
    steps = []
    for low, high in zip(order[:n_pairs], order[::-1][:n_pairs], strict=True):
        for before, after, sign in ((low, high, 1), (high, low, -1)):
            joined = np.concatenate([songs[before], songs[after]])
            steps.append(sign * predictor.from_log_mel(joined)[:, _AROUSAL])
    # Over rises and falls, which removes each pair's own level.
    mean_T = np.mean(steps, axis=0)
    third = n // 3
    start, end = mean_T[third : n - third].mean(), mean_T[n + third : 2 * n - third].mean()
    mean_T = (mean_T - start) / (end - start)
    # A segment's value counts at its middle.
    middle_T = SEGMENT_SECONDS * (np.arange(2 * n) + 0.5) - _SECONDS
    tenth, half, nine_tenths = (_crossing(middle_T, mean_T, x) for x in (0.1, 0.5, 0.9))
    return StepResponse(half, nine_tenths - tenth, mean_T)


def _crossing(time_T: np.ndarray, x_T: np.ndarray, level: float) -> float:
    """When a rising curve passes a level for the last time, interpolated between its points."""
    after = int(np.flatnonzero(x_T < level)[-1]) + 1
    if after == len(x_T):
        return float(time_T[-1])
    share = (level - x_T[after - 1]) / (x_T[after] - x_T[after - 1])
    return float(time_T[after - 1] + share * (time_T[after] - time_T[after - 1]))


@robust(_PROGRAM, result_is_printed=True)
def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser("lag", description=__doc__.split("\n\n")[0])
    parser.add_argument("inputs", nargs="+", type=local, metavar="AUDIO_OR_FOLDER")
    parser.add_checkpoint()
    parser.add_argument("--pairs", type=int, default=20, metavar="N")
    arguments = parser.parse_args(argv)
    if arguments.pairs < 1:
        parser.error("--pairs must be positive")
    # Imported late, because JAX takes seconds: a usage error should not wait for it.
    from damff_jax import weights
    from damff_jax.prediction.inputs import find_inputs

    try:
        weights.check_exists(arguments.checkpoint)
        found = find_inputs(arguments.inputs)
        for path in found.paths:
            check_exists(path)
    except PlaceError as error:
        parser.error(str(error))
    for remark in found.left_out:
        print(f"{_PROGRAM}: left out: {printable(remark)}", file=sys.stderr)
    from damff_jax.prediction import readers
    from damff_jax.prediction.predictor import Predictor

    try:
        predictor = Predictor(arguments.checkpoint)
        songs = [
            np.concatenate(list(readers.read(path, predictor.features))) for path in found.paths
        ]
        response = step_response(predictor, songs, arguments.pairs)
    except (ValueError, OSError) as error:
        print(f"{_PROGRAM}: error: {error}", file=sys.stderr)
        return 1
    print(f"half-way {response.lag_s:+.2f} s after the step, 10 to 90 % in {response.rise_s:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
