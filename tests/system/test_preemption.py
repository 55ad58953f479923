"""A run that is interrupted, in any way and at any time, ends like an uninterrupted one.

The tests at the end start many processes, so they are marked slow.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import train
from damff_jax.configs import synthetic
from damff_jax.run import checkpoint, checkpoint_files
from damff_jax.run.train_log import TrainLog
from damff_jax.system import preemption
from damff_jax.system.preemption import Preempted
from damff_jax.training import mapping

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "batch_size": 4,
    "num_train_steps": 12,
    "log_every_steps": 1,
    "eval_every_steps": 3,
    "checkpoint_every_steps": 4,
    "optim.ema_decay": 0.9,
    "features.sample_rate": 8000,
    "features.n_fft": 512,
    "features.win_length": 480,
    "features.hop_length": 400,
    "features.n_mels": 16,
    "model.dense_size": 4,
    "model.hidden_size": 4,
    "data.eval_batch_size": 1,
    "data.crop_segments": 8,
    "data.overlap": 2,
    "data.workers": 1,
}
# Three training songs of two crops each: epochs end within steps and between them.
OPTIONS = {"n_clips": 4, "n_test": 2, "duration_s": 6.0, "sample_rate": 16_000}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def tiny_config(data_dir, **changes):
    config = synthetic.get_config("frame_bilstm")
    config.data.data_dir = str(data_dir)
    with config.data.options.unlocked():
        config.data.options.update(OPTIONS)
    config.update_from_flattened_dict({**SETTINGS, **changes})
    return config


def arguments(data_dir, workdir, more=()):
    """The same settings as a command line, and more."""
    settings = {**SETTINGS, "data.data_dir": data_dir, **dict(more)}
    settings |= {f"data.options.{name}": value for name, value in OPTIONS.items()}
    yield f"--config={ROOT}/configs/synthetic.py:frame_bilstm"
    yield f"--workdir={workdir}"
    yield from (f"--config.{name}={value}" for name, value in settings.items())


def assert_same_run(workdir, other):
    """Checks that metrics, predictions, scores and the last state are equal, bit for bit."""
    for name in ("metrics.jsonl", "evaluation.json", "predictions_test.csv"):
        assert (workdir / name).read_bytes() == (other / name).read_bytes(), name
    assert (
        checkpoint.load_variables(workdir)[1]["step"] == checkpoint.load_variables(other)[1]["step"]
    )
    ours, theirs = (
        checkpoint_files.restore_state(path / "checkpoints/latest/12") for path in (workdir, other)
    )
    ours, theirs = map(jax.tree.leaves_with_path, (ours, theirs))
    assert len(ours) > 20
    for (path, a), (_, b) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=str(path))


@pytest.fixture(scope="module")
def uninterrupted(data_dir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("uninterrupted")
    train.run(tiny_config(data_dir), workdir)
    return workdir


def send_at(monkeypatch, step, *numbers):
    """Sends this process signals when a step's metrics are available."""
    add = TrainLog.add

    def add_and_send(log, at_step, metrics):
        add(log, at_step, metrics)
        if at_step == step:
            for number in numbers:
                os.kill(os.getpid(), number)

    monkeypatch.setattr(TrainLog, "add", add_and_send)


def test_a_signal_ends_training_after_its_step_and_nothing_is_lost(
    uninterrupted, data_dir, tmp_path, monkeypatch, capsys
):
    """Before, at and after a validation and a save; a second signal changes nothing."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    for step, numbers in (
        (2, [signal.SIGTERM]),
        (3, [signal.SIGINT, signal.SIGINT]),
        (4, [signal.SIGTERM, signal.SIGINT]),
        (11, [signal.SIGTERM]),
    ):
        with monkeypatch.context() as patch, pytest.raises(Preempted) as stop:
            send_at(patch, step, *numbers)
            train.run(tiny_config(data_dir), tmp_path)
        assert stop.value.exit_status == {signal.SIGTERM: 143, signal.SIGINT: 130}[numbers[0]]
        assert checkpoint.load_meta(tmp_path)["step"] == step
        assert f"step {step} is saved" in capsys.readouterr().out
        assert not (tmp_path / "evaluation.json").exists()
    assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT))
    train.run(tiny_config(data_dir), tmp_path)
    assert_same_run(tmp_path, uninterrupted)


def test_a_damaged_last_state_costs_its_steps_and_nothing_else(
    uninterrupted, data_dir, tmp_path, monkeypatch
):
    for step in (6, 10):
        with monkeypatch.context() as patch, pytest.raises(Preempted):
            send_at(patch, step, signal.SIGTERM)
            train.run(tiny_config(data_dir), tmp_path)
    state = tmp_path / "checkpoints/latest/10/state/_METADATA"
    state.write_bytes(state.read_bytes()[:-1])
    with pytest.warns(
        checkpoint.CheckpointWarning, match="10 is damaged .* falling back to step 8"
    ):
        train.run(tiny_config(data_dir), tmp_path)
    assert_same_run(tmp_path, uninterrupted)


def test_a_signal_is_raised_immediately_unless_deferred():
    with pytest.raises(Preempted, match="SIGTERM") as stop, preemption.raised():
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("still here")
    assert stop.value.exit_status == 143
    assert not isinstance(stop.value, Exception)


def test_a_third_signal_does_not_wait():
    with pytest.raises(Preempted, match="SIGTERM"), preemption.deferred():
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        with pytest.raises(Preempted, match="SIGTERM"):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_that_waited_is_raised_at_the_end():
    reached = []
    with pytest.raises(Preempted, match="SIGINT"), preemption.deferred() as preempted:
        assert not preempted()
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert preempted() == signal.SIGINT
        reached.append(True)
    assert reached


def run_interrupted(
    data_dir,
    workdir,
    moments,
    *,
    to_the_end=True,
    n_processes=1,
    n_devices=4,
    more=(),
    flags=(),
    **how,
):
    """Starts training once per moment, then to its end; returns the exit statuses."""
    specification = {
        "processes": n_processes,
        "moments": [*moments, None] if to_the_end else moments,
        "arguments": [*arguments(data_dir, workdir, more), *flags],
        **how,
    }
    flag = f"--xla_force_host_platform_device_count={n_devices // n_processes}"
    command = [sys.executable, "-m", "tests.interrupted", json.dumps(specification)]
    log = workdir.with_suffix(".log")
    with open(log, "w") as file:
        result = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "XLA_FLAGS": flag},
            stdout=subprocess.PIPE,
            stderr=file,
            check=False,
            timeout=1200,
        )
    assert result.returncode == 0, log.read_text()[-3000:]
    return json.loads(result.stdout)


def moment(number, at, step=None, **how):
    return {"signal": int(number), "at": at, "step": step, **how}


def assert_nearly_same_log(workdir, other):
    """Checks that every step is logged once, with equal numbers up to rounding of sums."""
    ours, theirs = (
        [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        for path in (workdir, other)
    )
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=1e-5)


@pytest.mark.slow
def test_signals_at_every_step_change_nothing(uninterrupted, data_dir, tmp_path):
    moments = [moment(15 if n % 2 else 2, "step", n, times=1 + n % 2) for n in range(1, 13)]
    moments.append(moment(15, "evaluation"))
    statuses = run_interrupted(data_dir, tmp_path / "run", moments)
    assert statuses == [[143 if m["signal"] == 15 else 130] for m in moments] + [[0]]
    assert_same_run(tmp_path / "run", uninterrupted)


@pytest.mark.slow
def test_kills_at_any_moment_change_nothing(uninterrupted, data_dir, tmp_path):
    """Between saves, while a state is being written, and right after it was renamed."""
    moments = [
        moment(9, *where)
        for where in (
            ("step", 1),
            ("best", 3),
            ("best done", 3),
            ("step", 3),
            ("latest", 4),
            ("latest done", 4),
            ("step", 5),
            ("step", 6),
            ("step", 7),
            ("latest", 8),
            ("latest done", 8),
            ("step", 9),
            ("latest", 12),
            ("latest done", 12),
            ("evaluation", None),
        )
    ]
    statuses = run_interrupted(data_dir, tmp_path / "run", moments)
    assert statuses == [[-9]] * len(moments) + [[0]]
    assert_same_run(tmp_path / "run", uninterrupted)


@pytest.mark.slow
def test_a_run_resumes_with_other_devices(uninterrupted, data_dir, tmp_path):
    """Four, then one, then two; the result is that of four throughout."""
    workdir = tmp_path / "run"
    for step, n_devices in ((2, 4), (5, 1)):
        moments = [moment(15, "step", step)]
        statuses = run_interrupted(
            data_dir, workdir, moments, n_devices=n_devices, to_the_end=False
        )
        assert statuses == [[143]]
    assert run_interrupted(data_dir, workdir, [], n_devices=2) == [[0]]
    assert_nearly_same_log(workdir, uninterrupted)


@pytest.mark.slow
def test_two_processes_train_as_one_and_resume_as_one(uninterrupted, data_dir, tmp_path):
    """Whichever process gets the signal, and whichever is killed."""
    assert run_interrupted(data_dir, tmp_path / "two", [], n_processes=2) == [[0, 0]]
    assert_nearly_same_log(tmp_path / "two", uninterrupted)

    # All stop at the step after the one during which the signal came.
    moments = [
        moment(9, "best", 3),
        moment(9, "best done", 3),
        moment(15, "step", 1),
        moment(15, "step", 3, process=1),
        moment(2, "step", 5, process=1, times=2),
        moment(9, "step", 7, process=1),
        moment(9, "latest", 8),
        moment(9, "latest done", 8),
        moment(15, "step", 9, process=1),
        moment(9, "step", 11, process=1),
        moment(9, "latest", 12),
        moment(9, "latest done", 12),
        moment(15, "evaluation"),
    ]
    statuses = run_interrupted(data_dir, tmp_path / "run", moments, n_processes=2)
    for number, (first, second) in enumerate(statuses[:-1]):
        if moments[number]["signal"] == 9:
            assert -9 in (first, second)
        elif moments[number]["at"] == "evaluation":
            assert [first, second] == [143, 0]
        else:
            # The process that got no signal ends as after SIGTERM.
            asked = 128 + moments[number]["signal"]
            both = [asked, 143] if moments[number].get("process", 0) == 0 else [143, asked]
            assert [first, second] == both
    assert statuses[-1] == [0, 0]
    assert_same_run(tmp_path / "run", tmp_path / "two")


@pytest.mark.slow
def test_one_of_two_processes_that_fails_ends_both(uninterrupted, data_dir, tmp_path):
    """By a signal or an error, wherever the other process waits."""
    moments = [
        moment(15, "preparing"),
        moment(2, "preparing", to_all=True),
        {"error": "damaged", "at": "preparing"},
        {"error": "damaged", "at": "preparing", "process": 1},
        {"error": "disk full", "at": "best", "step": 3},
        {"error": "disk full", "at": "latest", "step": 4},
        {"error": "disk full", "at": "latest", "step": 8},
    ]
    statuses = run_interrupted(data_dir, tmp_path / "run", moments, n_processes=2, within=90)
    assert statuses[0] == [143, 143]
    # If it came before the other process waited, that one has lost the connection.
    assert sorted(statuses[1]) in ([130, 130], [1, 130])
    assert statuses[2] == statuses[3] == [1, 1]
    # The other one reports the lost connection.
    assert statuses[4][0] == statuses[5][0] == 1
    # A slow disk may fail so late that the other process has already finished; it never hangs.
    assert None not in (statuses[4][1], statuses[5][1])
    # Noticed at the next save, which is the last: the other waits to evaluate.
    assert statuses[6] == [1, 1]
    assert statuses[-1] == [0, 0]
    assert run_interrupted(data_dir, tmp_path / "two", [], n_processes=2) == [[0, 0]]
    assert_same_run(tmp_path / "run", tmp_path / "two")


@pytest.mark.slow
def test_two_processes_get_the_same_bits_by_pmap_and_by_shard_map(data_dir, tmp_path):
    for way in mapping.WAYS:
        statuses = run_interrupted(
            data_dir, tmp_path / way, [], n_processes=2, more={"parallel": way}
        )
        assert statuses == [[0, 0]]
    assert_same_run(tmp_path / "shard_map", tmp_path / "pmap")


@pytest.mark.slow
def test_any_number_of_processes_evaluates_to_the_same_bytes(uninterrupted, data_dir, tmp_path):
    """Also more processes than songs of a split, and any number of devices of each."""
    names = ("evaluation.json", "predictions_validation.csv", "predictions_test.csv")
    for n_processes, n_devices in ((1, 1), (2, 4), (3, 3)):
        workdir = shutil.copytree(uninterrupted, tmp_path / str(n_processes))
        for name in names:
            (workdir / name).unlink()
        statuses = run_interrupted(
            data_dir,
            workdir,
            [],
            n_processes=n_processes,
            n_devices=n_devices,
            flags=["--mode=evaluate"],
            more={"batch_size": 12},
        )
        assert statuses == [[0] * n_processes]
        for name in names:
            assert (workdir / name).read_bytes() == (uninterrupted / name).read_bytes(), name


def start_processes(data_dir, workdir, n_processes, own=lambda number: (), **more):
    """Programs that train together; `own` gives further arguments of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    common = [*arguments(data_dir, workdir, more), "--multihost"]
    common += [f"--coordinator_address={address}", f"--num_processes={n_processes}"]
    return [
        subprocess.Popen(
            [sys.executable, "train.py", *common, f"--process_id={number}", *own(number)],
            cwd=ROOT,
            env={**os.environ, "XLA_FLAGS": ""},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(n_processes)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("killed", "n_processes"), [(0, 2), (1, 3)])
def test_a_process_that_is_killed_is_named_in_one_line_by_all_others(
    uninterrupted, data_dir, tmp_path, killed, n_processes
):
    """Within 30 seconds, with a status of its own, and with the step that is saved."""
    settings = {
        "batch_size": 6,
        "num_train_steps": 100_000,
        "eval_every_steps": 100_000,
        "log_every_steps": 10,
        "checkpoint_every_steps": 10,
    }
    processes = start_processes(data_dir, tmp_path / "run", n_processes, **settings)
    try:
        deadline = time.monotonic() + 120
        while not checkpoint_files.steps(tmp_path / "run", "latest"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        processes[killed].kill()
        outputs = [process.communicate(timeout=30)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    saved = re.escape(str(tmp_path / "run"))
    for number, (process, error) in enumerate(zip(processes, outputs, strict=True)):
        assert process.returncode == (-signal.SIGKILL if number == killed else 1)
        if number != killed:
            line = (
                rf"train.py: error: process {killed} is gone; step \d+0 is saved in {saved}; .*\n"
            )
            assert re.fullmatch(line, error), error


@pytest.mark.slow
def test_a_folder_that_one_process_lacks_is_named_by_all_before_anything_is_compiled(
    uninterrupted, data_dir, tmp_path
):
    def own(number):
        return [f"--config.data.manual_dir={tmp_path / 'no such'}"] if number else []

    processes = start_processes(data_dir, tmp_path / "run", 2, own)
    reason = f"data.manual_dir: {tmp_path / 'no such'} is not a directory"
    errors = [process.communicate(timeout=60)[1] for process in processes]
    assert errors[1] == f"train.py: error: {reason}\n"
    assert errors[0] == f"train.py: error: in process 1: {reason}\n"
    assert [process.returncode for process in processes] == [1, 1]
    assert not (tmp_path / "run" / "config.json").exists()
