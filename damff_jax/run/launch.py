"""A run as a program: connecting processes, signals, and one-line errors."""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from absl import logging

from damff_jax.run import processes
from damff_jax.run.checkpoint_errors import CheckpointWarning
from damff_jax.run.peers import Peers
from damff_jax.run.train_log import format_seconds
from damff_jax.system import preemption
from damff_jax.system.command_line import AlreadyReportedError, program, show_warnings
from damff_jax.system.workdir_lock import WorkdirWarning
from damff_jax.training import compilation

PROGRAM = program("train.py")


class ReportWarning(UserWarning):
    """The run's report could not be written; the message is one line."""


def launch(run: Callable[[], Any], workdir: Path, multihost: Mapping[str, Any] | None) -> int:
    """Calls a run as a program; returns the exit status, see `train.py`.

    Args:
      workdir: of the run.
      multihost: how the processes find each other, see `processes.initialize`; None for a single
        process.
    """
    show_warnings(PROGRAM, CheckpointWarning, WorkdirWarning, ReportWarning)
    logging.set_verbosity(logging.ERROR)  # TFDS would log every folder that it reads.
    compilation.use_cache()
    started = time.monotonic()
    peers = Peers(PROGRAM)
    try:
        if multihost is not None:
            # Before our signal handlers are set, because JAX sets its own for SIGTERM.
            processes.initialize(**multihost, peers=peers)
            peers.saving_to(workdir)
        with preemption.raised(), contextlib.ExitStack() as stack:
            if not processes.is_first():
                silence = stack.enter_context(open(os.devnull, "w"))
                stack.enter_context(contextlib.redirect_stdout(silence))
            run()
    except BaseException as error:
        if jax.distributed.is_initialized():
            peers.explain(error)
        status = _report(error)
        if jax.distributed.is_initialized() and not processes.is_agreed(error):
            if status is None:
                traceback.print_exc()
            processes.leave(status or 1, peers)
        if status is None:
            raise
        return status
    print(f"done in {format_seconds(time.monotonic() - started)}")
    return 0


def _report(error: BaseException) -> int | None:
    """Prints in one line why a run has ended; returns the exit status, or None for a bug."""
    if isinstance(error, preemption.Preempted):
        print(f"{PROGRAM}: stopped by {error}", file=sys.stderr)
        return error.exit_status
    if isinstance(error, AlreadyReportedError):
        return 1
    if isinstance(error, (ValueError, OSError)):
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return 1
    return None
