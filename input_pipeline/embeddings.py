"""Outputs of a frozen encoder, computed elsewhere, for a data set's songs.

A file is an .npz archive of plain arrays:

    song_id        (N,), integers or text
    embedding      (N, P, E), the encoder's output for patches of every song's audio; NaN: none
    patch_start_s  (P,), seconds from the start of the audio
    patch_s        (), length of a patch in seconds; 3 if absent

They are the input of a model instead of the log-Mel spectrogram, or a second target of training.
Letters: N songs, P patches, E dimensions, R segments.
"""

import dataclasses
import hashlib
import os
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

from damff_jax.features import SEGMENT_SECONDS
from damff_jax.songs import LabelledSongs
from input_pipeline.annotations import canonical_id
from input_pipeline.corpus import CorpusError, shorten

_PATCH_SECONDS = 3.0
# What NumPy raises if a file is not one of its archives.
_NO_ARCHIVE = (
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """The content of a file.

    Attributes:
      path: of the file, for messages.
      digest: SHA-256 of the file.
      row: by song id.
      centre_P: of the patches, in seconds from the start of the audio, ascending.
      reach: seconds that a patch covers on each side of its centre.
    """

    path: str
    digest: str
    row: Mapping[str, int]
    embedding_NxPxE: np.ndarray
    centre_P: np.ndarray
    reach: float

    @property
    def size(self) -> int:
        """E."""
        return self.embedding_NxPxE.shape[2]

    def of_segments(
        self, songs: LabelledSongs, audio_start: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """The embeddings at the middles of all segments, (R, E) float32, and a mask (R,).

        They are interpolated between the centres of two patches. A segment outside of all patches
        has no embedding: it gets zeros, and the mask is false.

        Args:
          audio_start: the second of the song at which the audio begins.

        Raises:
          CorpusError: songs are missing from the file.
        """
        if missing := [song_id for song_id in songs.song_ids if song_id not in self.row]:
            raise CorpusError(f"{self.path}: no embeddings of songs {shorten(missing)}")
        middle_R = songs.times_R + SEGMENT_SECONDS / 2 - audio_start
        present_R = np.abs(middle_R[:, None] - self.centre_P).min(axis=1) <= self.reach
        place_R = np.interp(middle_R, self.centre_P, np.arange(len(self.centre_P)))
        left_R = place_R.astype(int)
        right_R = np.minimum(left_R + 1, len(self.centre_P) - 1)
        song_R = np.repeat([self.row[song_id] for song_id in songs.song_ids], songs.length)
        share_Rx1 = (place_R - left_R)[:, None].astype(np.float32)
        left_RxE, right_RxE = (
            self.embedding_NxPxE[song_R, patch_R].astype(np.float32)
            for patch_R in (left_R, right_R)
        )
        # A patch with weight 0 may be missing (NaN).
        right_RxE = np.where(share_Rx1 > 0, right_RxE, left_RxE)
        embedding_RxE = left_RxE + share_Rx1 * (right_RxE - left_RxE)
        present_R &= np.isfinite(embedding_RxE).all(axis=1)
        return np.where(present_R[:, None], embedding_RxE, 0), present_R


def teacher_targets(embedding_RxE: np.ndarray, present_R: np.ndarray) -> dict[str, np.ndarray]:
    """The teacher's arrays of a batch: `teacher` (R, E), standardised per dimension, and its mask.

    Args:
      present_R: where there is an embedding.

    Raises:
      CorpusError: there is none at all.
    """
    if not present_R.any():
        raise CorpusError("the teacher's embeddings cover no segment of the training songs")
    there_PxE = embedding_RxE[present_R]
    std_E = there_PxE.std(axis=0)
    standardised_RxE = (embedding_RxE - there_PxE.mean(axis=0)) / np.where(std_E > 1e-6, std_E, 1)
    teacher_RxE = np.where(present_R[:, None], standardised_RxE, 0).astype(np.float32)
    return {"teacher": teacher_RxE, "teacher_mask": present_R}


def read_embeddings(path: str | os.PathLike) -> Embeddings:
    """Reads a file.

    Raises:
      CorpusError: the file is missing, or does not have this form.
    """
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            arrays = np.load(file)
            song_id_N, embedding_NxPxE = arrays["song_id"], arrays["embedding"]
            start_P = np.asarray(arrays["patch_start_s"], np.float64)
            length = float(arrays["patch_s"]) if "patch_s" in arrays else _PATCH_SECONDS
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror or error}") from error
    except _NO_ARCHIVE as error:
        reason = " ".join(str(error).split())
        raise CorpusError(f"{path}: not an .npz file of embeddings ({reason})") from error
    if (
        embedding_NxPxE.ndim != 3
        or embedding_NxPxE.dtype.kind != "f"
        or (*song_id_N.shape, *start_P.shape) != embedding_NxPxE.shape[:2]
        or not embedding_NxPxE.size
    ):
        raise CorpusError(
            f"{path}: song_id {song_id_N.shape}, patch_start_s {start_P.shape} and embedding "
            f"{embedding_NxPxE.shape} are not (N,), (P,) and (N, P, E) of numbers"
        )
    if not (np.all(np.diff(start_P) > 0) and np.all(np.isfinite(start_P)) and length > 0):
        raise CorpusError(f"{path}: patch_start_s is not ascending, or patch_s is not positive")
    row = {canonical_id(str(song_id)): n for n, song_id in enumerate(song_id_N)}
    if len(row) != len(song_id_N):
        raise CorpusError(f"{path}: a song occurs twice")
    reach = length / 2
    return Embeddings(os.fspath(path), digest, row, embedding_NxPxE, start_P + reach, reach)
