"""One device, its vmap twin and pmap on several devices give the same results."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from model_cases import optimizer_and_state

from damff_jax.models import create_model
from damff_jax.run import loop
from damff_jax.training import compilation, mapping, parallel, steps
from damff_jax.training.augmentation import AugmentConfig

F, M, T, B = 8, 16, 4, 8
# What compiles quickly is enough for testing steps; one test has the whole of the paper's model.
SMALL = {"branches": "a", "kernels_a": ((1, 1), (1, 3), (3, 1)), "sequence": "none"}
WHOLE = {"branches": "ab", "kernels_a": ((1, 5), (5, 5), (3, 3)), "sequence": "bilstm"}
MODEL = {"name": "damff", "channels": (2, 3, 4), "hidden_size": 3} | SMALL


def fresh(tree):
    """A copy, because steps on devices donate their state."""
    return jax.tree.map(jnp.copy, tree)


# Another that compiles in a quarter of it.
SMALL = {"name": "frame_bilstm", "dense_size": 4, "hidden_size": 3}


@functools.cache
def setup(**model):
    model = create_model(
        model if "name" in model else MODEL | model, dtype="float32", axis_name=steps.AXIS_NAME
    )
    optimizer, state = optimizer_and_state(model, (F, M), ema_decay=0.9)
    step = functools.partial(
        steps.train_step,
        model=model,
        optimizer=optimizer,
        loss_weights={"ccc_pooled": 1.0, "mse": 0.5, "ccc_per_crop": 0.5},
        ema_decay=0.9,
    )
    return model, state, step


@functools.cache
def twin(**settings):
    """The step on one device, compiled once for all tests."""
    dropout = {"dropout_rate": 0.5} if settings.pop("dropout", False) else {}
    _, _, step = setup(**dropout)
    return parallel.one_device_twin(functools.partial(step, **settings))


def batches(n_devices):
    rng = np.random.default_rng(0)
    while True:
        mask = np.ones((B, T), bool)
        mask[0] = False  # A device with fewer labels than the others.
        mask[1, 2:] = False
        batch = {
            "log_mel": rng.normal(-30, 20, (B, T, F, M)).astype(np.float16),
            "labels": rng.uniform(-1, 1, (B, T, 2)).astype(np.float32),
            "label_mask": mask[..., None] & (rng.random((B, T, 2)) > 0.1),
            "mask": mask,
        }
        yield {k: v.reshape(n_devices, B // n_devices, *v.shape[1:]) for k, v in batch.items()}


def three_steps(step, state, n_devices):
    history = []
    for batch in itertools.islice(batches(n_devices), 3):
        state, metrics = step(state, batch)
        history.append({name: float(x) for name, x in metrics.items()})
    return state, history


@pytest.fixture(params=["with the platform's options", "plain"])
def either_pmap(request, monkeypatch):
    """pmap with this platform's compiler options, and without any."""
    if request.param == "plain":
        monkeypatch.setattr(compilation, "options", lambda platform_name: {})


@pytest.mark.parametrize(("n_devices", "form"), [(1, SMALL), (2, SMALL), (4, WHOLE)])
def test_pmap_on_any_number_of_devices_equals_the_twin_on_one(n_devices, form):
    _, state, step = setup(**form)
    twin_state, twin_history = three_steps(parallel.one_device_twin(step), state, 1)
    devices = jax.devices()[:n_devices]
    mapped = parallel.map_train_step(step, devices=devices)
    state = parallel.replicate(fresh(state), devices=devices)
    state, history = three_steps(mapped, state, n_devices)
    parallel.assert_replicated(state)
    for got, want in zip(history, twin_history, strict=True):
        assert got == pytest.approx(want, rel=2e-4, abs=1e-5)
    for got, want in zip(jax.tree.leaves(state), jax.tree.leaves(twin_state), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("n_devices", [1, 2, 4])
def test_shard_map_gives_the_bits_of_pmap(n_devices):
    """State and metrics of several calls of several steps, with dropout."""
    _, state, step = setup(**(MODEL if n_devices == 2 else SMALL), dropout_rate=0.5)
    devices = jax.devices()[:n_devices]
    results = {}
    for way in mapping.WAYS:
        scanned = functools.partial(steps.train_steps, step=step)
        mapped = parallel.map_train_step(scanned, devices=devices, way=way)
        now = parallel.replicate(fresh(state), devices=devices)
        for batch in parallel.prefetch(stacked(n_devices, 2, 2), devices=devices):
            now, metrics = mapped(now, batch)
        parallel.assert_replicated(now)
        results[way] = jax.tree.leaves((now, metrics))
    assert len(results["pmap"]) > 40
    for a, b in zip(*results.values(), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_an_unknown_way_onto_devices_is_refused():
    with pytest.raises(ValueError, match="parallel: 'pjit'; available: pmap, shard_map"):
        parallel.map_train_step(lambda state, batch: state, way="pjit")


def test_gradients_do_not_depend_on_the_number_of_devices():
    model, state, _ = setup()
    sgd = optax.sgd(1.0)
    step = functools.partial(
        steps.train_step, model=model, optimizer=sgd, loss_weights={"ccc_pooled": 1.0}
    )
    state = state.replace(opt_state=sgd.init(state.params))
    grads = []
    for n in (1, 4):
        new_state, _ = parallel.one_device_twin(step)(state, next(batches(n)))
        grads.append(jax.tree.map(lambda a, b: a - b, state.params, new_state.params))
    for one, four in zip(*map(jax.tree.leaves, grads), strict=True):
        np.testing.assert_allclose(one, four, rtol=1e-4, atol=1e-6)


def test_a_left_out_pmean_is_caught(monkeypatch):
    _, state, step = setup()
    monkeypatch.setattr(jax.lax, "pmean", lambda x, axis_name: x)
    # A new function, because the one traced with pmean is cached.
    mapped = parallel.map_train_step(lambda state, batch: step(state, batch))
    state, _ = mapped(parallel.replicate(fresh(state)), next(batches(4)))
    with pytest.raises(AssertionError, match="values differ between devices"):
        parallel.assert_replicated(state)


def test_a_batch_for_fewer_devices_is_refused():
    _, state, step = setup()
    mapped = parallel.map_train_step(step)
    with pytest.raises(ValueError, match="the batch is laid out for 2 devices instead of 4"):
        mapped(parallel.replicate(fresh(state)), next(batches(2)))


def test_the_step_is_traced_once():
    _, state, step = setup()
    traces = []

    def counted(state, batch):
        traces.append(1)
        return step(state, batch)

    three_steps(parallel.map_train_step(counted), parallel.replicate(fresh(state)), 4)
    assert len(traces) == 1


def stacked(n_devices, n_steps, n_calls):
    """Calls of several steps: (D, S, B, ...)."""
    source = batches(n_devices)
    for _ in range(n_calls):
        group = list(itertools.islice(source, n_steps))
        yield {name: np.stack([b[name] for b in group], axis=1) for name in group[0]}


def test_several_steps_in_one_call_equal_as_many_calls(either_pmap):
    _, state, step = setup()
    n_devices, devices = 2, jax.devices()[:2]
    single = parallel.map_train_step(step, devices=devices)
    expected = parallel.replicate(fresh(state), devices=devices)
    for batch in itertools.islice(batches(n_devices), 6):
        expected, expected_metrics = single(expected, batch)

    scanned = functools.partial(steps.train_steps, step=step)
    mapped = parallel.map_train_step(scanned, devices=devices)
    state = parallel.replicate(fresh(state), devices=devices)
    for batch in parallel.prefetch(stacked(n_devices, 3, 2), devices=devices):
        state, metrics = mapped(state, batch)
    parallel.assert_replicated(state)
    assert int(state.step) == 6
    for name, value in metrics.items():
        assert float(value) == pytest.approx(float(expected_metrics[name]), rel=1e-4, abs=1e-5)
    for got, want in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=2e-5)


def test_prefetching_gives_every_batch_once_and_in_order():
    given = list(itertools.islice(batches(4), 4))
    drawn = []
    source = (drawn.append(batch) or batch for batch in given)
    ahead = parallel.prefetch(source)
    taken = [next(ahead)]
    assert len(drawn) == 2  # The next one is being transferred.
    taken += ahead
    assert len(taken) == 4
    for a, b in zip(given, taken, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
            assert len(b[name].sharding.device_set) == 4


def test_the_state_is_updated_in_place():
    """It is donated: there is never a second copy of it on a device."""
    _, state, step = setup()
    mapped = parallel.map_train_step(step)
    state = parallel.replicate(fresh(state))
    batch = next(batches(4))
    size = sum(x.nbytes for x in jax.tree.leaves(state))
    assert mapped.lower(state, batch).compile().memory_analysis().alias_size_in_bytes >= size
    mapped(state, batch)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))


def test_the_step_is_compiled_once_for_a_shape(either_pmap):
    _, state, step = setup()
    compiled = []

    def count(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    mapped = parallel.map_train_step(functools.partial(steps.train_steps, step=step))
    state = parallel.replicate(fresh(state))
    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        for batch in parallel.prefetch(stacked(4, 1, 3)):
            state, _ = mapped(state, batch)
        assert len(compiled) == 1
        for batch in parallel.prefetch(stacked(4, 2, 2)):
            state, _ = mapped(state, batch)
        assert len(compiled) == 2
    finally:
        jax.monitoring.unregister_event_duration_listener(count)


def test_dropout_is_a_function_of_seed_step_and_device():
    _, state, _ = setup(dropout_rate=0.5)
    step, batch = twin(dropout=True), next(batches(1))
    loss = float(step(state, batch)[1]["loss"])
    assert loss == float(step(state, batch)[1]["loss"])
    assert loss != float(step(state.replace(step=state.step + 1), batch)[1]["loss"])
    assert loss != float(twin(dropout=True, seed=1)(state, batch)[1]["loss"])


def test_a_batch_without_any_segment_gives_finite_numbers_and_keeps_the_statistics():
    _, state, _ = setup()
    batch = next(batches(1))
    batch["mask"][:] = False
    batch["label_mask"][:] = False
    batch["log_mel"][:] = np.nan
    new_state, metrics = twin()(state, batch)
    assert all(np.isfinite(float(x)) for x in metrics.values())
    assert int(metrics["skipped"]) == 0
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(new_state.params))
    for new, old in zip(
        *map(jax.tree.leaves, (new_state.batch_stats, state.batch_stats)), strict=True
    ):
        np.testing.assert_array_equal(new, old)


def spoiled(batch, device=0):
    """The batch with a label without a value on one device."""
    batch = {name: x.copy() for name, x in batch.items()}
    batch["labels"][device, -1, 0] = np.nan
    batch["label_mask"][device, -1, 0] = True
    return batch


def equal(a, b):
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


def unchanged(new, old):
    names = ("params", "batch_stats", "opt_state", "averages", "input_stats")
    return [equal(getattr(new, name), getattr(old, name)) for name in names]


@pytest.mark.parametrize("n_devices", [1, 4])
def test_a_step_without_a_finite_gradient_is_skipped_on_all_devices(n_devices):
    """The label is only on the last device."""
    _, state, step = setup()
    good, bad = itertools.islice(batches(n_devices), 2)
    old = fresh(state)
    if n_devices == 1:
        run = twin()
    else:
        run, state = parallel.map_train_step(step), parallel.replicate(fresh(state))
    state, metrics = run(state, spoiled(bad, device=n_devices - 1))
    parallel.assert_replicated(state)
    assert not np.isfinite(metrics["loss"])
    assert unchanged(state, old) == [True] * 5
    counted = {"in_all": 1, "in_a_row": 1}
    assert (int(state.step), jax.tree.map(int, state.skipped)) == (1, counted)
    assert (int(metrics["skipped"]), int(metrics["skipped_in_a_row"])) == (1, 1)

    state, metrics = run(state, good)
    assert np.isfinite(metrics["loss"])
    assert unchanged(state, old) == [False] * 4 + [True]
    assert (int(state.step), int(metrics["skipped"])) == (2, 1)
    assert int(metrics["skipped_in_a_row"]) == 0


@pytest.mark.parametrize("name", ["grads", "batch_stats"])
def test_gradients_or_statistics_that_are_not_finite_are_a_reason_to_skip_too(name, monkeypatch):
    _, state, step = setup()
    batch, run = next(batches(1)), twin()
    if name == "grads":
        norm, grads = optax.tree.norm, jax.tree.structure(state.params)
        spoiled = lambda tree: norm(tree) * (np.inf if jax.tree.structure(tree) == grads else 1)  # noqa: E731
        monkeypatch.setattr(optax.tree, "norm", spoiled)
        run = parallel.one_device_twin(lambda *arguments: step(*arguments))
    else:
        flat, tree = jax.tree.flatten(state.batch_stats)
        state = state.replace(
            batch_stats=jax.tree.unflatten(tree, [flat[0].at[0].set(np.inf), *flat[1:]])
        )
    new_state, metrics = run(state, batch)
    assert np.isfinite(metrics["loss"])
    assert unchanged(new_state, state) == [True] * 5


def test_after_too_many_skipped_steps_the_state_no_longer_changes_even_within_a_call():
    """The host may notice late: it then finds the state before the first of them."""
    _, state, step = setup()
    step = functools.partial(step, max_skipped_steps=1)
    run = parallel.one_device_twin(functools.partial(steps.train_steps, step=step))

    def call(state, *three):
        return run(state, {name: np.stack([b[name] for b in three], 1) for name in three[0]})

    one, two, three = itertools.islice(batches(1), 3)
    before, _ = call(state, one, two, three)
    after, metrics = call(before, spoiled(one), spoiled(two), three)
    assert unchanged(after, before) == [True] * 5
    assert int(metrics["skipped_in_a_row"]) == 3
    assert equal(loop.before_skipped(after), before)
    again, metrics = call(after, one, two, three)
    assert unchanged(again, before) == [True] * 5
    assert int(metrics["skipped_in_a_row"]) == 6

    # One fewer is tolerated.
    after, metrics = call(before, spoiled(one), two, three)
    assert not equal(after.params, before.params)
    assert (int(metrics["skipped_in_a_row"]), int(metrics["skipped"])) == (0, 1)


@pytest.mark.parametrize("name", ["params", "batch_stats"])
def test_the_moving_average_follows_parameters_and_statistics(name):
    _, state, _ = setup()
    new_state, _ = twin()(state, next(batches(1)))
    trees = new_state.averages[name], getattr(new_state, name), getattr(state, name)
    for average, new, old in zip(*map(jax.tree.leaves, trees), strict=True):
        np.testing.assert_allclose(average, 0.1 * old + 0.9 * new, rtol=1e-5, atol=1e-7)
    assert new_state.eval_variables()[name] is new_state.averages[name]


@pytest.mark.parametrize("way", mapping.WAYS)
def test_the_eval_step_on_devices_equals_the_plain_one(way):
    model, state, _ = setup()
    step = functools.partial(steps.eval_step, model=model)
    batch = {k: v[0] for k, v in next(batches(1)).items()}
    variables = state.eval_variables()
    got = parallel.map_eval_step(step, way=way)(
        parallel.replicate(variables), batch["log_mel"], batch["mask"]
    )
    want = step(variables, batch["log_mel"], batch["mask"])
    assert got.shape == (B, T, 2)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


# A teacher, and augmentation ---------------------------------------------------------------------

E = 5


def with_teacher(batch):
    rng = np.random.default_rng(1)
    present = batch["mask"] & (rng.random(batch["mask"].shape) > 0.3)
    return {
        **batch,
        "teacher": rng.normal(size=(*present.shape, E)).astype(np.float32),
        "teacher_mask": present,
    }


def test_a_teachers_loss_is_the_mean_squared_error_over_its_segments_on_all_devices():
    """Compared with NumPy, by the difference that its weight makes."""
    model, state, step = setup(teacher_size=E)
    n_devices = 2
    batch = with_teacher(next(batches(n_devices)))
    losses_of = {}
    for weight in (0.0, 2.0):
        weights = {"ccc_pooled": 1.0, "teacher": weight}
        taught = parallel.map_train_step(
            functools.partial(step, loss_weights=weights), devices=jax.devices()[:n_devices]
        )
        _, metrics = taught(fresh(state), batch)
        losses_of[weight] = float(metrics["loss"])
    flat = {name: x.reshape(-1, *x.shape[2:]) for name, x in batch.items()}
    variables = {**state.eval_variables()}
    axis = {"mutable": ["batch_stats", "teacher"], "train": True}
    (_, updates) = jax.vmap(
        lambda x, mask: model.apply(variables, x, mask, **axis), axis_name=steps.AXIS_NAME
    )(flat["log_mel"][None], flat["mask"][None])
    (taught_1xBxTxE,) = jax.tree.leaves(updates["teacher"])
    error = (np.asarray(taught_1xBxTxE[0]) - flat["teacher"])[flat["teacher_mask"]]
    assert losses_of[2.0] - losses_of[0.0] == pytest.approx(2 * np.mean(error**2), rel=1e-4)


def test_a_teachers_head_changes_no_curve():
    model, state, _ = setup(teacher_size=E)
    plain, _, _ = setup()
    variables = state.eval_variables()
    assert "teacher" in variables["params"]
    batch = {name: x[0] for name, x in next(batches(1)).items()}
    args = batch["log_mel"], batch["mask"]
    ours = model.apply(variables, *args, train=False)
    params = {name: x for name, x in variables["params"].items() if name != "teacher"}
    theirs = plain.apply({**variables, "params": params}, *args, train=False)
    np.testing.assert_array_equal(ours, theirs)


def test_an_augmented_step_depends_only_on_seed_and_step_and_off_is_off():
    _, state, _ = setup()
    batch = next(batches(1))
    on, other = AugmentConfig(mixup=0.4, gain_db=3.0), AugmentConfig(bin_mask_share=0.5)
    runs = {}
    for name, augment in (("none", None), ("off", other), ("on", on), ("again", on)):
        runs[name] = jax.tree.leaves(twin(augment=augment)(fresh(state), batch)[0].params)
    for a, b in zip(runs["none"], runs["off"], strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(runs["on"], runs["again"], strict=True):
        np.testing.assert_array_equal(a, b)
    pairs = zip(runs["on"], runs["none"], strict=True)
    assert any(not np.array_equal(a, b) for a, b in pairs)
