"""Features on disk, a file per song, so that no song is decoded twice.

After an interruption, or when labels or songs change, a build finds here what was computed before.
A file's name is a hash of everything that determines its content, so files never become outdated,
and may be deleted at any time.
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

from damff_jax.audio import AudioError
from damff_jax.features import FeatureConfig
from damff_jax.system.files import atomic_write
from input_pipeline.corpus import Recording
from input_pipeline.extraction import Extracted, extract

# In the folder of all data sets, which share it.
CACHE_FOLDER = "feature_cache"
# Version of the decoder's checks; another version may give other warnings.
_VERSION = 3
# Replaces the song's path in the decoder's warnings, because files may be moved.
_PATH = "\0path\0"
_DIGEST_SIZE = hashlib.sha256().digest_size
# Songs that are processed ahead of the consumer.
_AHEAD = 2 * (os.cpu_count() or 1)


@dataclasses.dataclass(frozen=True)
class FeatureCache:
    """Extracts songs, caching results in a folder, which worker processes may share.

    A file consists of a SHA-256 digest of its name and the rest; a line of JSON (shape, missing
    segments, warnings); and the log-Mel as little-endian float16. It is written atomically; a
    damaged one is computed again.
    """

    folder: Path

    def extract(self, song: Recording, config: FeatureConfig) -> Extracted:
        """The result of `extraction.extract`, bit for bit.

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
    ) -> Iterator[tuple[Recording, Extracted | AudioError]]:
        """Extracts songs in their order; with an executor, ahead of the consumer.

        A song whose source cannot be read comes with the error.

        Raises:
          OSError: the folder cannot be written to.
        """
        if executor is None:
            for song in songs:
                result: Extracted | AudioError
                try:
                    result = self.extract(song, config)
                except AudioError as error:
                    result = error
                yield song, result
            return
        pending: collections.deque[tuple[Recording, concurrent.futures.Future[Path]]]
        pending = collections.deque()
        try:
            for song in songs:
                pending.append((song, executor.submit(self.fill, song, config)))
                if len(pending) > _AHEAD:
                    yield self._filled(pending.popleft(), config)
            while pending:
                yield self._filled(pending.popleft(), config)
        finally:
            for _, future in pending:
                future.cancel()

    def fill(self, song: Recording, config: FeatureConfig) -> Path:
        """Makes sure that a song has its file, and returns only its path.

        Features are too large for the pipe between two processes: if a worker is killed in the
        middle of a message, the reader waits for the rest for ever.

        Raises:
          AudioError, OSError: see `extract`.
        """
        path = self._path(song, config)
        if not path.exists():
            _extract_to(path, song, config)
        return path

    def _filled(
        self, pending: tuple[Recording, concurrent.futures.Future[Path]], config: FeatureConfig
    ) -> tuple[Recording, Extracted | AudioError]:
        song, future = pending
        try:
            path = future.result()
            return song, _read(path, song) or _extract_to(path, song, config)
        except AudioError as error:
            return song, error

    def _path(self, song: Recording, config: FeatureConfig) -> Path:
        return self.folder / config.hash / _key(song)


def _extract_to(path: Path, song: Recording, config: FeatureConfig) -> Extracted:
    extracted = extract(song, config)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, song, extracted)
    return extracted


def _key(song: Recording) -> str:
    """A hash of a song's sound and of its labels' span, which determine what is extracted."""
    span = song.labels.first_segment, len(song.labels), song.audio_start
    values = [_VERSION, song.source.identity(), *span]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def _read(path: Path, song: Recording) -> Extracted | None:
    """The content of a file; None if it is missing or damaged."""
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
