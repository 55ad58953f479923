"""The predictions of another run, averaged over time, as a system of a study.

    python -m damff_jax.study.averaged --of=RUN --workdir=WORKDIR --width=21 --delay=6

`damff_plus` averages its curve; this does the same for other models. Exit status: 0 done, 1 the run
has no predictions that can be averaged, 2 wrong usage.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from damff_jax.evaluation import predictions
from damff_jax.evaluation.inference import delayed_average
from damff_jax.evaluation.predictions import PredictionsError
from damff_jax.features import SEGMENT_SECONDS
from damff_jax.study.runs import PREDICTIONS
from damff_jax.system.command_line import Parser


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser("averaged", description=__doc__.split("\n\n")[0])
    parser.add_argument("--of", type=Path, required=True, metavar="RUN")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--width", type=int, required=True, help="odd number of segments")
    parser.add_argument("--delay", type=int, required=True, help="segments, at most half the width")
    arguments = parser.parse_args(argv)
    if arguments.width < 1 or arguments.width % 2 == 0:
        parser.error(f"--width={arguments.width}: not an odd number of segments")
    if not 0 <= arguments.delay <= arguments.width // 2:
        parser.error(f"--delay={arguments.delay}: must be from 0 to half the width")
    try:
        curves, times = predictions.read(arguments.of / PREDICTIONS)
        for song, curve in curves.items():
            if not np.allclose(np.diff(times[song]), SEGMENT_SECONDS):
                raise PredictionsError(f"{arguments.of / PREDICTIONS}: {song} has gaps")
            averaged_TxV = delayed_average(
                curve.prediction_TxV, width=arguments.width, delay=arguments.delay
            )
            curves[song] = curve._replace(prediction_TxV=averaged_TxV)
        arguments.workdir.mkdir(parents=True, exist_ok=True)
        predictions.write(arguments.workdir / PREDICTIONS, curves, times)
    except (PredictionsError, OSError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
