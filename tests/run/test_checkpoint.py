import dataclasses
import functools
import os
import re
import shutil
import subprocess
import threading
import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from damff_jax.features import FeatureConfig, FeatureMismatchError
from damff_jax.models import MODELS, create_model
from damff_jax.models.damff import DAMFF
from damff_jax.models.fields import Size
from damff_jax.run import checkpoint_files
from damff_jax.run.checkpoint import (
    CheckpointError,
    Checkpoints,
    CheckpointWarning,
    load_meta,
    load_variables,
)
from damff_jax.run.identity import check_compatible, check_same_run
from damff_jax.system import digests
from damff_jax.training import optim, parallel, train_state

MODEL = {"name": "damff", "channels": (2, 2, 2), "sequence": "none", "branches": "a"}
META = {
    "config": {"model": {**MODEL, "channels": [2, 2, 2]}},
    "features": FeatureConfig(n_mels=8).to_json(),
    "identity": {"dataset": "deam/release", "seed": 0},
}


@functools.cache
def first_state(with_ema=False):
    config = optim.OptimConfig()
    optimizer = optim.make_optimizer(config, optim.learning_rate_schedule(config, 10))
    return train_state.create(
        create_model(MODEL, dtype="float32", axis_name=None),
        optimizer,
        seed=0,
        segment_shape=(8, 8),
        input_stats={"mean": np.arange(8.0), "std": np.ones(8)},
        with_ema=with_ema,
    )


def state_at(step, **kwargs):
    state = first_state(**kwargs)
    params = jax.tree.map(lambda x: x + step, state.params)
    return parallel.replicate(state.replace(step=jnp.int32(step), params=params))


def assert_equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_the_latest_state_comes_back_bit_for_bit(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        for step in (1, 2):
            checkpoints.save(state_at(step), META)
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore_latest(state_at(0), META)
    assert_equal(restored, state_at(2))
    parallel.assert_replicated(restored)


def test_nothing_saved_gives_none(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore_latest(state_at(0), META) is None


def test_leaving_waits_for_the_save(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state_at(7), META)
    variables, meta = load_variables(tmp_path)
    assert meta["step"] == 7
    assert_equal(variables["params"], state_at(7).params)


def test_the_best_is_kept_over_later_worse_ones_and_over_restarts(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.save_if_best(state_at(1), META, 0.5)
        assert checkpoints.save_if_best(state_at(2), META, 0.7)
        assert not checkpoints.save_if_best(state_at(3), META, 0.6)
        checkpoints.save(state_at(3), META)
    with Checkpoints(tmp_path) as checkpoints:
        assert not checkpoints.save_if_best(state_at(4), META, 0.69)
    variables, meta = load_variables(tmp_path)
    assert (meta["step"], meta["score"]) == (2, 0.7)
    assert_equal(variables["params"], state_at(2).params)
    assert_equal(variables["input_stats"]["mean"], np.arange(8.0))


def test_prediction_uses_the_moving_average(tmp_path):
    state = state_at(5, with_ema=True)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, META)
    variables, _ = load_variables(tmp_path)
    for name in ("params", "batch_stats"):
        assert_equal(variables[name], state.averages[name])


def test_a_folder_without_checkpoints_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="contains no checkpoint of a training run"):
        load_variables(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "shown"),
    [
        ("fusion", "sum", r"another model \(fusion: daff in the checkpoint, sum here\)"),
        ("channels", (4, 4, 4), r"channels: \[2, 2, 2\] in the checkpoint, \[4, 4, 4\] here"),
    ],
)
def test_another_model_is_refused(tmp_path, field, value, shown):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state_at(1), META)
    other = {**META, "config": {"model": {**META["config"]["model"], field: value}}}
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(CheckpointError, match=shown):
        checkpoints.restore_latest(state_at(0), other)


def test_other_features_are_refused_and_both_are_shown(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state_at(1), META)
    other = {**META, "features": FeatureConfig(n_mels=9).to_json()}
    shown = r"(?s)n_mels=8.*n_mels=9"
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(FeatureMismatchError, match=shown):
        checkpoints.restore_latest(state_at(0), other)


@pytest.mark.parametrize(
    ("identity", "shown"),
    [
        ({"dataset": "deam/release", "seed": 1}, "another run (seed: 0 in the checkpoint, 1 here)"),
        ({"dataset": "deam/mediaeval2015", "seed": 0}, "deam/release in the checkpoint"),
    ],
)
def test_another_run_is_not_resumed(tmp_path, identity, shown):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state_at(1), META)
    other = {**META, "identity": identity}
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(CheckpointError, match=re.escape(shown)),
    ):
        checkpoints.restore_latest(state_at(0), other)


def test_a_score_that_is_not_finite_is_never_the_best(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        assert not checkpoints.save_if_best(state_at(1), META, float("nan"))
        assert checkpoints.save_if_best(state_at(2), META, 0.7)
        assert not checkpoints.save_if_best(state_at(3), META, float("nan"))
        assert not checkpoints.save_if_best(state_at(4), META, 0.1)


def test_another_smoothing_is_another_run_of_the_same_model():
    smoothed = {**META, "config": {"model": {**META["config"]["model"], "smoothing": [5, 1]}}}
    check_compatible(META, smoothed)
    with pytest.raises(CheckpointError, match=r"\(smoothing: \[1, 0\] in the checkpoint, \[5, 1\]"):
        check_same_run(META, smoothed)


class WithAnotherField(DAMFF):
    """As a later version of the program may have it: its default changes nothing."""

    strength: Size = 7


def test_a_field_added_to_a_model_later_keeps_earlier_checkpoints(tmp_path, monkeypatch):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state_at(1), META)
    later, other = (
        {**META, "config": {"model": {**MODEL, "channels": [2, 2, 2], "strength": strength}}}
        for strength in (7, 8)
    )
    monkeypatch.setitem(MODELS, "damff", WithAnotherField)
    for meta in (META, later):
        with Checkpoints(tmp_path) as checkpoints:
            assert_equal(checkpoints.restore_latest(state_at(0), meta), state_at(1))
    check_compatible(later, META)
    with pytest.raises(CheckpointError, match=r"\(strength: 7 in the checkpoint, 8 here\)"):
        check_compatible(META, other)


def test_a_setting_added_to_the_optimiser_later_keeps_earlier_checkpoints():
    now = dataclasses.asdict(optim.OptimConfig())
    before = {name: value for name, value in now.items() if name != "b2"}
    stored, wanted, other = (
        {**META, "identity": {**META["identity"], "optim": values}}
        for values in (before, now, {**now, "b2": 0.9})
    )
    check_same_run(stored, wanted)
    check_same_run(wanted, stored)
    with pytest.raises(CheckpointError, match=r"\(optim.b2: 0.999 in the checkpoint, 0.9 here\)"):
        check_same_run(stored, other)


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "flipped": flip_a_byte,
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "deleted": lambda path: path.unlink(),
    "replaced by a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A workdir with the latest states 1, 2 and 3, of which 2 is the best."""
    workdir = tmp_path_factory.mktemp("saved")
    with Checkpoints(workdir) as checkpoints:
        for step, score in ((1, 0.5), (2, 0.7), (3, 0.6)):
            checkpoints.save_if_best(state_at(step), META, score)
            checkpoints.save(state_at(step), META)
    return workdir


def files_of(folder):
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def test_two_latest_states_and_the_best_one_are_kept(saved):
    names = {path.name: {p.name for p in path.iterdir()} for path in saved.glob("checkpoints/*")}
    assert names == {"latest": {"2", "3"}, "best": {"2"}}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_latest_state_falls_back_to_the_previous_one(saved, tmp_path, damage):
    """For damage to any of its files."""
    files = files_of(saved / "checkpoints/latest/3")
    assert len(files) > 8
    for number, file in enumerate(files):
        workdir = shutil.copytree(saved, tmp_path / str(number))
        damage(workdir / file.relative_to(saved))
        with pytest.warns(
            CheckpointWarning, match=r"latest checkpoint of step 3 is damaged .*"
        ) as w:
            assert load_meta(workdir)["step"] == 2
        (warning,) = w
        message = str(warning.message)
        assert str(workdir) in message and "falling back to step 2" in message
        assert (workdir / "checkpoints/latest/3").exists()  # Reading changes nothing.

    with pytest.warns(CheckpointWarning), Checkpoints(workdir) as checkpoints:
        assert_equal(checkpoints.restore_latest(state_at(0), META), state_at(2))
        checkpoints.save(state_at(3), META)
    assert (workdir / "checkpoints/damaged/latest-3").is_dir()
    with Checkpoints(workdir) as checkpoints:
        assert_equal(checkpoints.restore_latest(state_at(0), META), state_at(3))


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_best_state_is_never_replaced_by_another(saved, tmp_path, damage):
    for number, file in enumerate(files_of(saved / "checkpoints/best/2")):
        workdir = shutil.copytree(saved, tmp_path / str(number))
        damage(workdir / file.relative_to(saved))
        shown = "best checkpoint, of step 2, is damaged or missing"
        with pytest.warns(CheckpointWarning), pytest.raises(CheckpointError, match=shown):
            load_variables(workdir)

    with pytest.warns(CheckpointWarning) as caught:
        checkpoints = Checkpoints(workdir)
    assert "the best is chosen anew from the steps after step 3" in str(caught[-1].message)
    with checkpoints:
        assert_equal(checkpoints.restore_latest(state_at(0), META), state_at(3))
        checkpoints.save(state_at(4), META)
        checkpoints.wait()
        with pytest.raises(CheckpointError, match=shown):
            load_variables(workdir)
        assert checkpoints.save_if_best(state_at(5), META, 0.1)
    assert load_variables(workdir)[1]["step"] == 5


def test_the_best_state_is_kept_if_the_run_resumed_before_an_older_best_one(tmp_path):
    """Scores need not repeat exactly on all devices."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state_at(200), META)
        checkpoints.save_if_best(state_at(250), META, 0.5)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.save_if_best(state_at(225), META, 0.6)
        checkpoints.save(state_at(225), META)
    assert [path.name for path in (tmp_path / "checkpoints/best").iterdir()] == ["225"]
    assert load_variables(tmp_path)[1]["score"] == 0.6


def test_a_state_that_training_replaces_during_reading_is_read_again(saved, tmp_path, monkeypatch):
    workdir = shutil.copytree(saved, tmp_path / "run")
    restore = checkpoint_files.restore_state

    def restore_late(path, *arguments):
        if path.name == "2":
            with Checkpoints(workdir) as checkpoints:
                checkpoints.save_if_best(state_at(4), META, 0.9)
                checkpoints.save(state_at(4), META)
        return restore(path, *arguments)

    monkeypatch.setattr(checkpoint_files, "restore_state", restore_late)
    assert load_variables(workdir)[1]["step"] == 4


def test_a_missing_best_state_is_noticed(saved, tmp_path):
    workdir = shutil.copytree(saved, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints/best")
    with pytest.raises(CheckpointError, match="best checkpoint, of step 2, is damaged or missing"):
        load_variables(workdir)


def test_a_damaged_first_best_state_is_noticed_too(tmp_path):
    """The latest state is older, and does not know of any best one."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state_at(1), META)
        checkpoints.save_if_best(state_at(2), META, 0.5)
    flip_a_byte(tmp_path / "checkpoints/best/2/meta/metadata")
    with (
        pytest.warns(CheckpointWarning),
        pytest.raises(CheckpointError, match="best checkpoint, of step 2"),
    ):
        load_variables(tmp_path)


def test_the_best_state_can_be_used_when_all_latest_are_damaged(saved, tmp_path):
    workdir = shutil.copytree(saved, tmp_path / "run")
    for step in (2, 3):
        flip_a_byte(workdir / f"checkpoints/latest/{step}/state/_METADATA")
    with pytest.warns(CheckpointWarning, match="the best one is not damaged"):
        assert load_variables(workdir)[1]["step"] == 2
    before = {path: path.read_bytes() for path in files_of(workdir)}
    with pytest.raises(CheckpointError) as error:
        Checkpoints(workdir)
    assert "step 3: state/_METADATA: does not match its digest; step 2: " in str(error.value)
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in files_of(workdir)} == before


def test_an_empty_folder_is_not_a_state(saved, tmp_path):
    workdir = shutil.copytree(saved, tmp_path / "run")
    (workdir / "checkpoints/latest/9").mkdir()
    shown = r"checkpoint of step 9 is damaged \(SHA256SUMS: missing\); falling back to step 3"
    with pytest.warns(CheckpointWarning, match=shown), Checkpoints(workdir) as checkpoints:
        assert_equal(checkpoints.restore_latest(state_at(0), META), state_at(3))
    with Checkpoints(workdir) as checkpoints:
        checkpoints.save(state_at(9), META)
    assert load_meta(workdir)["step"] == 9


def test_other_files_in_the_workdir_do_no_harm(saved, tmp_path):
    workdir = shutil.copytree(saved, tmp_path / "run")
    for name in ("latest", "best"):
        folder = workdir / "checkpoints" / name
        for empty in ("4.orbax-checkpoint-tmp", "latest", "007"):
            (folder / empty).mkdir()
        (folder / "8").write_text("a file")
        (folder / "notes.txt").write_text("mine")
        shutil.copytree(folder / "2", folder / ".saving")
        (folder / "2/.DS_Store").write_text("a file manager's")
        (folder / "2/state/.nfs0001").write_text("a file server's")
        (folder / "2.old").mkdir()
    (workdir / "checkpoints/notes.txt").write_text("mine")
    assert load_meta(workdir)["step"] == 3
    assert load_variables(workdir)[1]["step"] == 2
    with Checkpoints(workdir) as checkpoints:
        assert_equal(checkpoints.restore_latest(state_at(0), META), state_at(3))
        for step in (8, 9):
            checkpoints.save(state_at(step), META)
            assert checkpoints.save_if_best(state_at(step), META, step)
    assert load_meta(workdir)["step"] == load_variables(workdir)[1]["step"] == 9


def test_a_state_has_its_name_only_once_it_is_whole(saved, tmp_path, monkeypatch):
    """A save that is interrupted at any point leaves the previous states."""
    workdir = shutil.copytree(saved, tmp_path / "run")
    for name in ("save", "write", "rename"):
        owner = {
            "save": checkpoint_files.ocp.Checkpointer,
            "write": digests,
            "rename": type(workdir),
        }[name]

        def fail(*args, **kwargs):
            raise OSError("No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, fail)
            shown = r"latest/4: cannot be saved \(No space"
            with pytest.raises(CheckpointError, match=shown), Checkpoints(workdir) as checkpoints:
                checkpoints.save(state_at(4), META)
        with Checkpoints(workdir) as checkpoints:
            assert_equal(checkpoints.restore_latest(state_at(0), META), state_at(3))
        assert load_variables(workdir)[1]["step"] == 2


def test_saving_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    write, free = checkpoint_files.write_step, threading.Event()

    def write_later(*arguments):
        assert free.wait(60)
        write(*arguments)

    monkeypatch.setattr(checkpoint_files, "write_step", write_later)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.save_if_best(state_at(1), META, 0.5)
        checkpoints.save(state_at(1), META)
        assert not (tmp_path / "checkpoints").exists()
        free.set()
    assert load_meta(tmp_path)["step"] == load_variables(tmp_path)[1]["step"] == 1


def test_no_state_is_written_after_one_that_could_not_be(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "write", full_disk)
    with (
        pytest.raises(CheckpointError, match="No space"),
        Checkpoints(tmp_path) as checkpoints,
    ):
        checkpoints.save_if_best(state_at(1), META, 0.5)
        checkpoints.save(state_at(1), META)
    assert load_meta(tmp_path) is None
    assert not any((tmp_path / "checkpoints").rglob("*/*"))


def full_disk(*_):
    raise OSError("No space left on device")


# Orbax's callbacks find its event loop closed when the save has failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("n_bytes", [0, 1_000])
def test_a_full_disk_in_a_save_leaves_nothing(saved, tmp_path, files_up_to, n_bytes):
    workdir = shutil.copytree(saved, tmp_path / "run")
    before = {path: path.read_bytes() for path in files_of(workdir)}
    with (
        pytest.raises(CheckpointError) as error,
        Checkpoints(workdir) as checkpoints,
        files_up_to(n_bytes),
    ):
        checkpoints.save(state_at(4), META)
        checkpoints.wait()
    message = str(error.value)
    assert message.startswith(f"{workdir}/checkpoints/latest/4: cannot be saved (")
    assert "\n" not in message and "None" not in message
    assert {path: path.read_bytes() for path in files_of(workdir)} == before
    names = {path.name for path in (workdir / "checkpoints/latest").iterdir()}
    assert names == {"2", "3"}


def test_what_a_killed_save_has_left_is_removed(saved, tmp_path):
    workdir = shutil.copytree(saved, tmp_path / "run")
    for name in ("latest/.saving", "best/.saving.orbax-checkpoint-tmp"):
        shutil.copytree(workdir / "checkpoints/best/2", workdir / "checkpoints" / name)
    with Checkpoints(workdir):
        pass
    assert not list((workdir / "checkpoints").rglob(".saving*"))


@pytest.mark.parametrize("damage", [flip_a_byte, DAMAGES["deleted"]], ids=["flipped", "deleted"])
def test_a_step_that_is_not_read_as_it_was_written_is_not_vouched_for(
    tmp_path, monkeypatch, damage
):
    save = checkpoint_files.ocp.Checkpointer.save

    def save_and_damage(checkpointer, path, args):
        save(checkpointer, path, args=args)
        # All that holds arrays: what is left of it is not what was written.
        for file in files_of(path / "state"):
            damage(file)

    monkeypatch.setattr(checkpoint_files.ocp.Checkpointer, "save", save_and_damage)
    with (
        pytest.raises(CheckpointError, match="latest/1: cannot be saved"),
        Checkpoints(tmp_path) as checkpoints,
    ):
        checkpoints.save(state_at(1), META)
    assert not list((tmp_path / "checkpoints/latest").iterdir())


def test_other_numbers_than_were_written_are_noticed(tmp_path, monkeypatch):
    """As if a library had merged its files only in part."""
    restore = checkpoint_files._restore

    def restore_another(*arguments):
        state = restore(*arguments)
        state["params"] = jax.tree.map(lambda x: x + np.float32(1e-7), state["params"])
        return state

    monkeypatch.setattr(checkpoint_files, "_restore", restore_another)
    shown = r"latest/1: cannot be saved \(what is read is not what was written\)"
    with pytest.raises(CheckpointError, match=shown), Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state_at(1), META)
    assert load_meta(tmp_path) is None


ODD_NAMES = (
    "[1]",
    "back\\slash",
    os.fsdecode(bytes(byte for byte in range(1, 256) if byte != ord("/"))),
)


@pytest.mark.parametrize("name", ODD_NAMES, ids=["brackets", "backslash", "all bytes"])
def test_checkpoints_can_be_kept_in_folders_of_any_name(tmp_path, name):
    workdir = tmp_path / name / "run" / name
    with Checkpoints(workdir) as checkpoints:
        for step in (1, 2):
            assert checkpoints.save_if_best(state_at(step), META, step)
            checkpoints.save(state_at(step), META)
    with Checkpoints(workdir) as checkpoints:
        assert_equal(checkpoints.restore_latest(state_at(0), META), state_at(2))
    variables, meta = load_variables(workdir)
    assert_equal(variables, state_at(2).eval_variables())
    assert meta["step"] == 2


def test_malicious_checkpoints_cannot_exhaust_the_memory(saved, tmp_path, monkeypatch):
    workdir = shutil.copytree(saved, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_files, "_MAX_RATIO", 0.01)
        with pytest.raises(CheckpointError, match=r"claims to hold \d+ bytes, far more"):
            load_variables(workdir)
    (path,) = workdir.glob("checkpoints/best/2/state/_METADATA")
    path.unlink()
    path.symlink_to("/dev/zero")
    shown = "_METADATA: not a regular file"
    with pytest.warns(CheckpointWarning, match=shown), pytest.raises(CheckpointError):
        load_variables(workdir)


def test_the_best_state_is_on_the_disk_before_the_latest_that_refers_to_it(tmp_path, monkeypatch):
    order = []
    write = checkpoint_files.write_step

    def slow_for_the_best(workdir, name, state, meta):
        if name == "best":
            time.sleep(0.3)
        write(workdir, name, state, meta)
        order.append(name)

    monkeypatch.setattr(checkpoint_files, "write_step", slow_for_the_best)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save_if_best(state_at(1), META, 0.5)
        checkpoints.save(state_at(1), META)
    assert order == ["best", "latest"]


def test_a_state_with_other_fields_is_refused(tmp_path):
    fields = {name: x for name, x in vars(state_at(3)).items() if name != "batch_stats"}
    fields = jax.tree.map(np.array, fields)
    checkpoint_files.write_step(tmp_path, "latest", fields, {**META, "step": 4, "score": None})
    refused = pytest.raises(CheckpointError, match="instead of a state")
    with Checkpoints(tmp_path) as checkpoints, refused:
        checkpoints.restore_latest(state_at(0), META)


def test_a_best_state_of_another_run_is_refused_without_a_latest_one(tmp_path):
    """A run can be interrupted between saving its first best state and its first latest one."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save_if_best(state_at(1), META, 0.5)
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.restore_latest(state_at(0), META) is None
        other = {**META, "identity": {"dataset": "deam/release", "seed": 1}}
        with pytest.raises(CheckpointError, match="another run"):
            checkpoints.restore_latest(state_at(0), other)


def test_digests_are_in_the_form_of_sha256sum(saved):
    sha256sum = shutil.which("sha256sum")
    if not sha256sum:
        pytest.skip("no sha256sum")
    folder = saved / "checkpoints/best/2"
    command = [sha256sum, "--check", "--quiet", digests.NAME]
    assert subprocess.run(command, cwd=folder, check=False).returncode == 0


def test_without_damage_there_are_no_warnings(saved):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load_variables(saved)
        with Checkpoints(saved):
            pass
    assert not caught
