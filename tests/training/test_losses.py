import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damff_jax.evaluation import metrics
from damff_jax.training import losses


def batch(seed, b=6, t=20, masked=0.3):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(-1, 1, (b, t, 2)).astype(np.float32)
    prediction = (0.5 * truth + rng.normal(0, 0.3, truth.shape) + 0.1).astype(np.float32)
    return prediction, truth, rng.random(truth.shape) > masked


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), offset=st.floats(-0.9, 0.9))
def test_pooled_ccc_equals_float64_numpy(seed, offset):
    prediction, truth, mask = batch(seed)
    prediction = (prediction + offset).astype(np.float32)
    got = losses.ccc_pooled(prediction, truth, mask)
    want = [
        metrics.ccc(prediction[..., v][mask[..., v]], truth[..., v][mask[..., v]]) for v in (0, 1)
    ]
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_per_crop_ccc_is_the_mean_over_crops_with_labels():
    prediction, truth, mask = batch(1)
    mask[2] = False
    got = losses.ccc_per_crop(prediction, truth, mask)
    for v in (0, 1):
        crops = [
            metrics.ccc(prediction[b, mask[b, :, v], v], truth[b, mask[b, :, v], v])
            for b in range(6)
            if b != 2
        ]
        np.testing.assert_allclose(got[v], np.mean(crops), atol=1e-6)


def test_ccc_within_is_that_of_the_movement_about_each_crops_mean():
    prediction, truth, mask = batch(8)
    mask[2] = False
    got = losses.ccc_within(prediction, truth, mask)
    for v in (0, 1):
        moves = [
            [x[b, mask[b, :, v], v] - x[b, mask[b, :, v], v].mean() for b in range(6) if b != 2]
            for x in (prediction.astype(np.float64), truth.astype(np.float64))
        ]
        np.testing.assert_allclose(got[v], metrics.ccc(*map(np.concatenate, moves)), atol=1e-6)
    # Levels of whole crops do not matter.
    level = np.linspace(-0.5, 0.5, 6).reshape(6, 1, 1)
    np.testing.assert_allclose(
        losses.ccc_within((prediction + level).astype(np.float32), truth, mask), got, atol=1e-6
    )


def test_mean_squared_error_counts_labels_only():
    prediction, truth, mask = batch(2)
    want = np.mean((prediction[mask].astype(np.float64) - truth[mask]) ** 2)
    np.testing.assert_allclose(losses.mean_squared_error(prediction, truth, mask), want, rtol=1e-6)


@pytest.mark.parametrize("term", losses.TERMS)
def test_masked_values_change_nothing(term):
    prediction, truth, mask = batch(3)
    loss = jax.value_and_grad(lambda p, t: losses.mixture(p, t, mask, {term: 1.0}))
    value, grad = loss(prediction, truth)
    value_99, grad_99 = loss(np.where(mask, prediction, 99), np.where(mask, truth, np.nan))
    assert value == value_99
    np.testing.assert_array_equal(grad, grad_99)
    assert not np.any(grad[~mask])


@pytest.mark.parametrize("term", losses.TERMS)
@pytest.mark.parametrize("case", ["constant truth", "constant both", "no labels"])
def test_degenerate_batches_have_finite_losses_and_gradients(term, case):
    prediction, truth, mask = batch(4)
    truth[:] = 0.25
    if case == "constant both":
        prediction[:] = 0.25
    if case == "no labels":
        mask[:] = False
    value, grad = jax.value_and_grad(
        lambda p: losses.mixture(p, jnp.asarray(truth), jnp.asarray(mask), {term: 1.0})
    )(prediction)
    assert np.isfinite(value)
    assert np.all(np.isfinite(grad))
    if term != "mse":
        assert value == 1.0


@pytest.mark.parametrize("term", losses.TERMS)
def test_the_loss_over_devices_is_that_of_the_global_batch(term):
    prediction, truth, mask = batch(5, b=8)
    mask[0] = False  # Devices with unequal numbers of labels.

    def per_device(p, t, m):
        def loss(q):
            return losses.mixture(q, t, m, {term: 1.0}, axis_name="batch")

        return jax.value_and_grad(loss)(p)

    split = (x.reshape(4, 2, *x.shape[1:]) for x in (prediction, truth, mask))
    values, grads = jax.vmap(per_device, axis_name="batch")(*split)
    want, want_grad = jax.value_and_grad(losses.mixture)(prediction, truth, mask, {term: 1.0})
    np.testing.assert_allclose(values, np.full(4, want), rtol=1e-6)
    # Each device's gradient is of the sum of the four equal losses: averaging gives that of one.
    np.testing.assert_allclose(grads.reshape(prediction.shape) / 4, want_grad, atol=1e-7)


@pytest.mark.parametrize("term", losses.TERMS)
def test_a_prediction_that_is_not_finite_is_seen_in_the_loss(term):
    prediction, truth, mask = batch(7)
    prediction[np.nonzero(mask[..., 0])[0][0], np.nonzero(mask[..., 0])[1][0], 0] = np.nan
    assert np.isnan(losses.mixture(prediction, truth, mask, {term: 1.0}))


def test_a_mixture_is_the_weighted_sum():
    args = batch(6)
    weights = {"mse": 0.5, "ccc_pooled": 2.0, "ccc_per_crop": 0.0}
    parts = [losses.mixture(*args, {name: 1.0}) for name in ("mse", "ccc_pooled")]
    want = 0.5 * parts[0] + 2 * parts[1]
    np.testing.assert_allclose(losses.mixture(*args, weights), want, rtol=1e-6)


@pytest.mark.parametrize("weights", [{"mse": 0.0}, {"mse": -1.0, "ccc_pooled": 1.0}, {"mae": 1.0}])
def test_invalid_weights_are_refused(weights):
    with pytest.raises(ValueError, match="loss weights"):
        losses.mixture(*batch(0), weights)
