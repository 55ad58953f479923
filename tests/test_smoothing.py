"""The delayed moving average, against its definition segment by segment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import models
from damff_jax.models import create_model
from damff_jax.models.smoothing import delayed_average


@settings(deadline=None, max_examples=50)
@given(data=st.data(), n=st.integers(1, 12), half=st.integers(0, 4))
def test_a_segment_has_the_mean_of_the_present_ones_around_its_past(data, n, half):
    delay = data.draw(st.integers(0, half))
    length = data.draw(st.integers(0, n))
    x_TxV = np.random.default_rng(n).normal(size=(n, 2)).astype(np.float32)
    mask_T = np.arange(n) < length
    # What stands in the padding must not matter.
    x_TxV[~mask_T] = np.nan
    smoothed_BxTxV = delayed_average(
        jnp.asarray(x_TxV[None]), jnp.asarray(mask_T[None]), width=2 * half + 1, delay=delay
    )
    for t in range(length):
        near = [x_TxV[s] for s in range(t - delay - half, t - delay + half + 1) if 0 <= s < length]
        np.testing.assert_allclose(smoothed_BxTxV[0, t], np.mean(near, axis=0), atol=1e-6)
    assert np.isfinite(smoothed_BxTxV).all()


def test_damff_averages_its_output():
    fields = models.damff().to_dict()
    plain, smooth = (
        create_model(fields | {"smoothing": s}, dtype="float32", axis_name=None)
        for s in ((1, 0), (5, 2))
    )
    log_mel = jax.random.normal(jax.random.key(0), (2, 9, 10, 16))
    mask = jnp.arange(9) < jnp.array([[9], [6]])
    variables = plain.init(jax.random.key(1), log_mel, mask, train=False)
    expected = delayed_average(
        plain.apply(variables, log_mel, mask, train=False), mask, width=5, delay=2
    )
    actual = smooth.apply(variables, log_mel, mask, train=False)
    np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize("smoothing", [(0, 0), (4, 1), (5, 3), (5, -1), (5,), 5, (5.0, 1)])
def test_an_average_that_is_none_is_refused(smoothing):
    fields = models.damff().to_dict() | {"smoothing": smoothing}
    with pytest.raises(ValueError, match=r"model\.smoothing: .* is no \(odd width, delay"):
        create_model(fields, dtype="float32", axis_name=None)
