"""Computes features by Apache Beam, on this machine or a cluster.

The job fills the cache of features, by the function that a local build uses, and the build then
finds all features there. So shards, digests and report are those of a local build, whatever the
runner. The workers must see the folder of the cache and the songs under the same paths.

Workers of Beam import this file, so it imports neither TensorFlow nor JAX.
"""

import contextlib
import dataclasses
import io
import logging
import os
import platform
import threading
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from damff_jax.audio import AudioError
from damff_jax.features import FeatureConfig
from damff_jax.system.subprocesses import SINGLE_THREADED, environment, temporary_environment
from input_pipeline.annotations import Labels
from input_pipeline.corpus import CorpusError, Recording, Source
from input_pipeline.feature_cache import FeatureCache

# Beam may give songs to several threads of a process, but `warnings`, by which the decoder speaks,
# knows no threads: songs would get each other's.
_ONE_AT_A_TIME = threading.Lock()
# Beam tells much that nobody needs.
_LOG_LEVEL = "ERROR"


class BeamError(CorpusError):
    """An option is wrong, or the job has failed; the message is one line."""


class Excerpt(NamedTuple):
    """What decides a song's features, without its id and labels: jobs are limited in size."""

    source: Source
    audio_start: float
    first_segment: int
    n_segments: int

    @classmethod
    def of(cls, song: Recording) -> "Excerpt":
        labels = song.labels
        return cls(song.source, song.audio_start, labels.first_segment, len(labels))

    def recording(self) -> Recording:
        """A song that has these features."""
        values_TxV = np.zeros((self.n_segments, 2), np.float32)
        labels = Labels(self.first_segment, values_TxV, np.ones_like(values_TxV, bool))
        return Recording("", self.source, labels, self.audio_start)


@dataclasses.dataclass(frozen=True)
class BeamJob:
    """A runner of Beam and its options; called with songs, it computes their features.

    Attributes:
      runner: its name, such as `DirectRunner`.
      options: as on a command line, such as `--parallelism=4`.
    """

    runner: str
    options: tuple[str, ...]

    @classmethod
    def of(cls, runner: str, options: Sequence[str], workers: int) -> "BeamJob":
        """A job; the number of workers counts for `DirectRunner` alone.

        Raises:
          BeamError: see `check`.
        """
        logging.getLogger().setLevel(_LOG_LEVEL)
        import apache_beam as beam

        if runner == "DirectRunner":
            mode = "in_memory" if workers == 1 else "multi_processing"
            own = [f"--direct_num_workers={workers}", f"--direct_running_mode={mode}"]
            # Of a pipeline with this option, Beam's Python runs every step. It would otherwise
            # download another program for that, Prism.
            own.append(f"--update_compatibility_version={beam.__version__}")
            options = (*own, *options)
        job = cls(runner, (f"--default_sdk_harness_log_level={_LOG_LEVEL}", *options))
        job.check()
        return job

    def check(self) -> None:
        """Checks the options, because Beam ignores those that it does not know.

        Raises:
          BeamError: Beam does not know one, or its value is wrong.
        """
        from apache_beam.options.pipeline_options import PipelineOptions

        printed = io.StringIO()
        try:
            with contextlib.redirect_stderr(printed):
                options = PipelineOptions(list(self.options))
                known = options.get_all_options().keys()
                unknown = options.get_all_options(retain_unknown_options=True).keys() - known
        except SystemExit as error:  # Of argparse, which has printed the reason after its usage.
            reason = printed.getvalue().strip().rpartition("error: ")[2]
            raise BeamError(f"--beam_options: {reason}") from error
        if unknown:
            raise BeamError(f"--beam_options: --{min(unknown)} is not an option of Beam")

    def __call__(
        self, cache: FeatureCache, songs: Sequence[Recording], config: FeatureConfig
    ) -> None:
        """Computes songs' features into the cache; songs that cannot be read are left out.

        Raises:
          BeamError: the job has failed.
          OSError: the cache cannot be written to.
        """
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions

        # Missing ones are left to the build, which reports them.
        excerpts = [Excerpt.of(song) for song in songs if os.path.exists(song.source.path)]
        # Workers on this machine inherit the environment.
        inherited = SINGLE_THREADED | {"PYTHONPATH": environment()["PYTHONPATH"]}
        with _mark(cache.folder) as mark, temporary_environment(inherited):
            try:
                pipeline = beam.Pipeline(self.runner, PipelineOptions(list(self.options)))
                _ = (
                    pipeline
                    | "songs" >> beam.Create(excerpts)
                    # Otherwise one worker would get all of them.
                    | "spread" >> beam.Reshuffle()
                    | "features" >> beam.Map(try_to_fill, cache=cache, config=config, mark=mark)
                )
                result = pipeline.run()
                result.wait_until_finish()
                found = result.metrics().query()["string_sets"]
            except Exception as error:  # Runners raise errors of many kinds.
                raise BeamError(f"{self.runner}: the job failed: {_line(error)}") from error
        errors = sorted(text for metric in found for text in metric.result)
        if errors:
            raise BeamError(f"{self.runner}: {errors[0]}")


def try_to_fill(
    excerpt: Excerpt, *, cache: FeatureCache, config: FeatureConfig, mark: Path
) -> None:
    """Does what `fill` does, and puts errors of the file system into a metric of the job.

    An error that is raised on a worker costs the whole job: engines try such a song again, and
    Beam's own, with several workers, waits for ever.
    """
    from apache_beam.metrics import Metrics

    try:
        fill(excerpt, cache=cache, config=config, mark=mark)
    except OSError as error:
        Metrics.string_set("features", "errors").add(str(error))


def fill(excerpt: Excerpt, *, cache: FeatureCache, config: FeatureConfig, mark: Path) -> None:
    """Makes sure that a song has its features in the cache; runs on a worker.

    A song that cannot be read is left to the build, which reports it.

    Raises:
      OSError: the worker does not see the cache or the song, or cannot write to the cache.
    """
    for path in (os.fspath(mark), excerpt.source.path):
        if not os.path.exists(path):
            raise FileNotFoundError(
                f"worker {platform.node()} does not see {path}; workers need a file system that "
                "this machine shares, under the same paths"
            )
    with _ONE_AT_A_TIME, contextlib.suppress(AudioError):
        cache.fill(excerpt.recording(), config)


@contextlib.contextmanager
def _mark(folder: Path) -> Iterator[Path]:
    """A file by which workers recognise a folder: another machine may have one of that name."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".beam-{uuid.uuid4().hex}"
    path.touch()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _line(error: Exception) -> str:
    """The line of an error that says what happened: workers' errors come with their traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:500] if lines else type(error).__name__
