"""How well a band of 80 % fits: `python -m damff_jax.band PREDICTIONS.csv...`.

The files are a run's `predictions_<split>.csv`, of songs that it was not trained on; those of
several folds are taken together. Each tenth of the songs is compared with a band that was
calibrated by the others; with --check, the songs of another file with a band calibrated by all.

Exit status: 0 done, 1 a file cannot be read, or there are too few songs, 2 wrong usage.
"""

import sys
from collections.abc import Sequence

from damff_jax.evaluation.band import LEVEL, coverage
from damff_jax.evaluation.predictions import PredictionsError, read_disjoint
from damff_jax.system.command_line import Parser, program
from damff_jax.system.places import local
from damff_jax.system.terminal import robust

_PROGRAM = program("band")


@robust(_PROGRAM, result_is_printed=True)
def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser("band", description=__doc__.split("\n\n")[0])
    parser.add_argument("files", nargs="+", type=local, metavar="PREDICTIONS.csv")
    parser.add_argument(
        "--check",
        type=local,
        metavar="PREDICTIONS.csv",
        help="other songs, to compare with a band calibrated by all songs of the files",
    )
    arguments = parser.parse_args(argv)
    try:
        curves = read_disjoint(arguments.files)
        others = read_disjoint([arguments.check]) if arguments.check else None
        checked = coverage(curves, others)
        if checked is None:
            raise PredictionsError(f"{len(curves)} songs are too few to calibrate a band")
    except PredictionsError as error:
        print(f"{_PROGRAM}: error: {error}", file=sys.stderr)
        return 1
    told = f"{len(others):,} others" if others else "songs left out"
    print(f"{len(curves):,} songs, a band of {LEVEL:.0%}: ratings inside, of {told}")
    print("           all   by fifth of the prediction   mean width")
    for name, x in checked.items():
        fifths = "  ".join(f"{share:.1%}" for share in x.share_by_part)
        print(f"{name:8} {x.share:.1%}   {fifths}   {x.width:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
