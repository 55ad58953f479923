"""The agreement of VGMIDI's raters, as predictions that are scored like a model's.

    python -m input_pipeline.vgmidi.raters --kind=half|one --manual_dir=DIR --workdir=DIR

`half` predicts the mean of one random half of a piece's raters by that of the other half, `one` the
mean of all raters but one by that one. `half` is not an upper bound for a model trained on means of
all raters, because these are less noisy than means of half of them. Pieces without a MIDI file or
with only one rater are left out.
"""

import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from damff_jax.evaluation import predictions
from damff_jax.evaluation.metrics import Curve
from damff_jax.features import SEGMENT_SECONDS
from damff_jax.system.command_line import Parser
from input_pipeline.annotations import LabelError
from input_pipeline.corpus import CorpusError
from input_pipeline.midi import midi_seconds
from input_pipeline.vgmidi.ratings import labels_of, read_ratings
from input_pipeline.vgmidi.settings import VgmidiSplit, split_pieces

KINDS = ("half", "one")


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser("raters", description=__doc__.split("\n\n")[0])
    parser.add_argument("--kind", choices=KINDS, required=True)
    parser.add_argument("--manual_dir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--workdir", type=Path, required=True, metavar="DIR")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    if arguments.seed < 0:
        parser.error("--seed must not be negative")
    try:
        curves = panel_curves(
            arguments.manual_dir, arguments.kind, fold=arguments.fold, seed=arguments.seed
        )
        arguments.workdir.mkdir(parents=True, exist_ok=True)
        times = {
            song_id: SEGMENT_SECONDS * np.arange(len(curve.truth_TxV))
            for song_id, curve in curves.items()
        }
        predictions.write(arguments.workdir / "predictions_test.csv", curves, times)
    except (CorpusError, LabelError, OSError) as error:
        print(f"raters: error: {error}", file=sys.stderr)
        return 1
    return 0


def panel_curves(manual_dir: Path, kind: str, *, fold: int, seed: int) -> dict[str, Curve]:
    """For each test piece, the curve of some raters, with that of the others as its truth.

    Raises:
      CorpusError, LabelError: the directory does not hold the data set, or there is no test piece.
    """
    ratings, _ = read_ratings(manual_dir / "labelled" / "annotations")
    folder = manual_dir / "labelled" / "midi"
    stems = {unicodedata.normalize("NFC", path.stem): path for path in folder.glob("*.mid")}
    paths = {song_id: stems[song_id] for song_id in ratings if song_id in stems}
    # The default folds do not depend on the lengths of the pieces.
    split_of = split_pieces(dict.fromkeys(paths, 1.0), VgmidiSplit(fold=fold))
    curves = {}
    for number, song_id in enumerate(sorted(ratings)):
        ratings_RxNxV = ratings[song_id]
        if split_of.get(song_id) != "test" or len(ratings_RxNxV) < 2:
            continue
        order = np.random.default_rng([seed, number]).permutation(len(ratings_RxNxV))
        n = 1 if kind == "one" else len(order) // 2
        parts = (ratings_RxNxV[part].mean(axis=0) for part in (order[:n], order[n:]))
        seconds = midi_seconds(paths[song_id])
        prediction, truth = (labels_of(part_NxV, seconds) for part_NxV in parts)
        curves[song_id] = Curve(prediction.values_TxV, truth.values_TxV, truth.mask_TxV)
    if not curves:
        raise CorpusError(f"{folder}: no piece of fold {fold} has two raters or more")
    return curves


if __name__ == "__main__":
    sys.exit(main())
