"""How well the shipped weights distinguish EMOPIA's quadrants, on which they were not trained.

Command: python -m tests.quadrants --manual_dir=DIR

Renders all clips, predicts them, and prints the areas under the ROC curves of the clips' mean
arousal (quadrants 1 and 2 against 3 and 4) and mean valence (1 and 4 against 2 and 3), with 95 %
intervals by a bootstrap over songs. Prepared shards are reused.
"""

import argparse
import dataclasses

import numpy as np
from scipy import stats

from damff_jax.configs import emopia
from damff_jax.evaluation.metrics import DIMENSIONS
from damff_jax.predict import Predictor
from input_pipeline import datasets
from input_pipeline.emopia.settings import song_of

N_RESAMPLES = 2000


def area(scores: np.ndarray, is_high: np.ndarray) -> float:
    """The probability that a high clip scores above a low one; nan if there is only one kind."""
    if is_high.all() or not is_high.any():
        return float("nan")
    above = stats.mannwhitneyu(scores[is_high], scores[~is_high]).statistic
    return float(above / (is_high.sum() * (~is_high).sum()))


def main() -> None:
    parser = argparse.ArgumentParser("quadrants", description=__doc__.split("\n\n")[0])
    parser.add_argument("--manual_dir", required=True, metavar="DIR")
    parser.add_argument("--data_dir", default="data", metavar="DIR")
    parser.add_argument("--checkpoint", metavar="RUN", help="default: the shipped weights")
    arguments = parser.parse_args()
    config = emopia.get_config()
    config.data.update(manual_dir=arguments.manual_dir, data_dir=arguments.data_dir)
    predictor = Predictor(arguments.checkpoint) if arguments.checkpoint else Predictor()
    config.features.update(dataclasses.asdict(predictor.features))
    data = datasets.open_configured(config)
    songs, means, is_high = [], [], []
    for split in data.song_ids:
        for clip in data.load(split):
            songs.append(song_of(clip.song_id))
            means.append(predictor.from_log_mel(np.float32(clip.log_mel_TxFxM)).mean(axis=0))
            is_high.append(clip.labels_TxV[0] > 0)
    means_NxV, is_high_NxV = np.array(means), np.array(is_high)
    names, song_N = np.unique(songs, return_inverse=True)
    print(f"{len(songs)} clips of {len(names)} songs; area under the ROC curve")
    rng = np.random.default_rng(0)
    for v, name in enumerate(DIMENSIONS):
        areas = []
        for _ in range(N_RESAMPLES):
            times = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
            rows = np.repeat(np.arange(len(songs)), times[song_N])
            areas.append(area(means_NxV[rows, v], is_high_NxV[rows, v]))
        low, high = np.nanpercentile(areas, [2.5, 97.5])
        print(f"{name}: {area(means_NxV[:, v], is_high_NxV[:, v]):.3f} [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    main()
