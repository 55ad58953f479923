"""Features on disk, a file per song, so that no song is decoded twice.

A build that was broken off has most of its work behind it, and one of other labels or of more songs
shares the audio: both find here what was computed before. The files are named by what decides their
content, so they never go stale, and each may be deleted at any time.
"""

import collections
import concurrent.futures
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from damff_jax.features import FeatureConfig
from damff_jax.system.files import atomic_write
from input_pipeline.corpus import Recording
from input_pipeline.extraction import Extracted, extract

# Below the folder of all data sets, which share it.
CACHE_FOLDER = "feature_cache"
# Of the checks of a decoded file; another version may have remarks that this one has not.
_VERSION = 3
# Stands for the song's path in the decoder's remarks, since files may move.
_PATH = "\0path\0"
_DIGEST_SIZE = hashlib.sha256().digest_size
# Songs that are worked on ahead of the consumer.
_AHEAD = 2 * (os.cpu_count() or 1)


@dataclasses.dataclass(frozen=True)
class FeatureCache:
    """Extracts songs through a folder; worker processes may share it.

    A file is the SHA-256 of its name and the rest, a line of JSON (shape, missing segments,
    warnings), and the log-Mel as little-endian float16. It is written aside and put in place whole;
    one that is damaged all the same is computed again.
    """

    folder: Path

    def extract(self, song: Recording, config: FeatureConfig) -> Extracted:
        """What `extraction.extract` gives, bit for bit.

        Raises:
          AudioError: the source cannot be read.
          OSError: the folder cannot be written to.
        """
        path = self._path(song, config)
        return _read(path, song) or _extract_to(path, song, config)

    def extract_all(
        self,
        songs: Iterable[Recording],
        config: FeatureConfig,
        executor: concurrent.futures.Executor | None = None,
    ) -> Iterator[tuple[Recording, Extracted]]:
        """Extracts songs in their order; with an executor, ahead of the consumer.

        An exception of a worker is raised here, at its song.

        Raises:
          AudioError: a source cannot be read.
          OSError: the folder cannot be written to.
        """
        if executor is None:
            for song in songs:
                yield song, self.extract(song, config)
            return
        pending: collections.deque[tuple[Recording, concurrent.futures.Future[Path]]]
        pending = collections.deque()
        try:
            for song in songs:
                pending.append((song, executor.submit(self._fill, song, config)))
                if len(pending) > _AHEAD:
                    yield self._filled(pending.popleft(), config)
            while pending:
                yield self._filled(pending.popleft(), config)
        finally:
            for _, future in pending:
                future.cancel()

    def _fill(self, song: Recording, config: FeatureConfig) -> Path:
        """Sees to it that a song has its file, and gives no more than its name.

        Features are too large for the pipe between two processes: a worker that is killed in the
        midst of a message leaves the reader waiting for the rest of it for ever.
        """
        path = self._path(song, config)
        if not path.exists():
            _extract_to(path, song, config)
        return path

    def _filled(
        self, pending: tuple[Recording, concurrent.futures.Future[Path]], config: FeatureConfig
    ) -> tuple[Recording, Extracted]:
        song, path = pending[0], pending[1].result()
        return song, _read(path, song) or _extract_to(path, song, config)

    def _path(self, song: Recording, config: FeatureConfig) -> Path:
        return self.folder / config.hash / _key(song)


def _extract_to(path: Path, song: Recording, config: FeatureConfig) -> Extracted:
    extracted = extract(song, config)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, song, extracted)
    return extracted


def _key(song: Recording) -> str:
    """Names a song's sound and the span of its labels, which is all that is extracted."""
    span = song.labels.first_segment, len(song.labels), song.audio_start
    values = [_VERSION, song.source.identity(), *span]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _read(path: Path, song: Recording) -> Extracted | None:
    """The content of a file; None if it is absent or not as it was written."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    digest, body = content[:_DIGEST_SIZE], content[_DIGEST_SIZE:]
    if digest != _digest(path, body):
        return None
    line, _, samples = body.partition(b"\n")
    header = json.loads(line)
    return Extracted(
        log_mel_TxFxM=np.frombuffer(samples, "<f2").reshape(header["shape"]),
        n_missing=header["n_missing"],
        warnings=[text.replace(_PATH, song.source.path) for text in header["warnings"]],
    )


def _write(path: Path, song: Recording, extracted: Extracted) -> None:
    header = {
        "shape": extracted.log_mel_TxFxM.shape,
        "n_missing": extracted.n_missing,
        "warnings": [text.replace(song.source.path, _PATH) for text in extracted.warnings],
    }
    body = json.dumps(header).encode() + b"\n" + extracted.log_mel_TxFxM.astype("<f2").tobytes()
    with atomic_write(path, "wb") as file:
        file.write(_digest(path, body) + body)


def _digest(path: Path, body: bytes) -> bytes:
    return hashlib.sha256(path.name.encode() + body).digest()
