"""The ratings of VGMIDI's pieces, and labels made from them."""

import collections
import json
import unicodedata
from pathlib import Path

import numpy as np

from damff_jax.features import SEGMENT_SECONDS
from input_pipeline.annotations import Labels
from input_pipeline.corpus import CorpusError
from input_pipeline.csv_files import LabelError, foreign_form

OTHER_LENGTH = "annotations whose length differs from their piece"
_UNRATED = "pieces without ratings"


def read_pieces(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """Mean ratings (n, 2), valence and arousal, by the MIDI file's stem; and what was left out.

    Raises:
      CorpusError, LabelError: a file is missing or malformed.
    """
    ratings, left_out = read_ratings(folder)
    return {song_id: np.mean(x, axis=0) for song_id, x in ratings.items()}, left_out


def read_ratings(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """Ratings (raters, n, 2), valence and arousal, by the MIDI file's stem; what was left out.

    Raises:
      CorpusError, LabelError: a file is missing or malformed.
    """
    paths = sorted(folder.glob("vgmidi_raw_*.json"))
    if not paths:
        raise CorpusError(f"{folder}: no vgmidi_raw_*.json in it")
    pieces: dict[str, np.ndarray] = {}
    left_out: dict[str, list[str]] = collections.defaultdict(list)
    for path in paths:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            by_piece = collections.defaultdict(list)
            for name, annotation in content["annotations"].items():
                by_piece[name.rsplit("_", 1)[0]].append((name, annotation))
            for key, piece in content["pieces"].items():
                song_id = unicodedata.normalize("NFC", Path(piece["midi"]).stem)
                ratings = []
                for name, annotation in by_piece[key]:
                    values_VxN = [annotation["valence"], annotation["arousal"]]
                    if any(len(values) != piece["measures"] for values in values_VxN):
                        left_out[OTHER_LENGTH].append(f"{path.name}:{name}")
                        continue
                    ratings.append(np.array(values_VxN, np.float64).T)
                    if not np.all(np.abs(ratings[-1]) <= 1):
                        raise LabelError(f"{path}: {name}: a rating is outside [-1, 1]")
                if song_id in pieces:
                    raise LabelError(f"{path}: {song_id} occurs twice")
                if not ratings or not piece["measures"]:
                    left_out[_UNRATED].append(f"{path.name}:{key}")
                    continue
                pieces[song_id] = np.stack(ratings)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise LabelError(f"{path}: not a JSON file ({_form(path) or error})") from error
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, LabelError):
                raise
            raise LabelError(f"{path}: not in VGMIDI's form ({error!r})") from error
    return pieces, dict(left_out)


def _form(path: Path) -> str:
    """What a file is that is no JSON; '' if that is not known."""
    form = foreign_form(path)
    return "" if form.startswith("JSON") else form


def labels_of(values_NxV: np.ndarray, duration_s: float) -> Labels:
    """Labels of a piece's segments, from ratings of n equal parts of its playing time.

    A segment gets the rating of the part that contains its middle.
    """
    n_segments = max(int(duration_s / SEGMENT_SECONDS), 1)
    middles_T = SEGMENT_SECONDS * (np.arange(n_segments) + 0.5)
    parts_T = (middles_T / duration_s * len(values_NxV)).astype(int)
    values_TxV = values_NxV[np.minimum(parts_T, len(values_NxV) - 1)].astype(np.float32)
    return Labels(0, values_TxV, np.ones_like(values_TxV, bool))
