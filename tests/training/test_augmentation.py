"""Augmentation: what is altered and by how much, and that nothing else changes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damff_jax.training import augmentation
from damff_jax.training.augmentation import AugmentConfig, augment

B, T, F, M = 6, 5, 4, 16
MEAN_M = jnp.linspace(-60.0, -20.0, M)
ALL_ON = AugmentConfig(gain_db=3.0, equalizer_db=3.0, n_bin_masks=2, n_frame_masks=2, mixup=0.4)


def batch_of(seed=0, present=None):
    rng = np.random.default_rng(seed)
    mask_BxT = np.ones((B, T), bool)
    if present is not None:
        mask_BxT[1, present:] = False
    return {
        "log_mel": jnp.asarray(rng.normal(-40, 10, (B, T, F, M)), jnp.float16),
        "labels": jnp.asarray(rng.uniform(-1, 1, (B, T, 2)), jnp.float32),
        "label_mask": jnp.asarray(np.repeat(mask_BxT[..., None], 2, axis=2)),
        "mask": jnp.asarray(mask_BxT),
    }


def altered(config, seed=0, batch=None):
    return augment(jax.random.key(seed), batch or batch_of(), MEAN_M, config)


def test_augmentation_that_is_off_alters_nothing():
    batch = batch_of()
    assert AugmentConfig().is_off
    for name, array in altered(AugmentConfig(), batch=batch).items():
        assert array is batch[name]


def test_each_setting_by_itself_alters_the_sound_and_not_its_shape():
    for field in ("gain_db", "equalizer_db", "n_bin_masks", "n_frame_masks", "mixup"):
        out = altered(dataclasses.replace(AugmentConfig(), **{field: 1}))
        assert out["log_mel"].shape == (B, T, F, M) and out["log_mel"].dtype == jnp.float32
        assert np.abs(out["log_mel"] - batch_of()["log_mel"]).max() > 0.01, field
        if field != "mixup":
            np.testing.assert_array_equal(out["labels"], batch_of()["labels"])


def test_a_key_decides_everything():
    one, same, other = altered(ALL_ON, 1), altered(ALL_ON, 1), altered(ALL_ON, 2)
    np.testing.assert_array_equal(one["log_mel"], same["log_mel"])
    assert not np.array_equal(one["log_mel"], other["log_mel"])


@settings(deadline=None, max_examples=10)
@given(decibels=st.floats(0.1, 20), seed=st.integers(0, 99))
def test_a_gain_is_one_number_per_crop_within_its_bound(decibels, seed):
    x = jnp.zeros((B, T, F, M))
    gain_B = augmentation.change_level(jax.random.key(seed), x, decibels).reshape(B, -1)
    assert np.ptp(gain_B, axis=1).max() == 0 and np.abs(gain_B).max() <= decibels
    assert len(np.unique(gain_B[:, 0])) == B


def test_an_equaliser_is_smooth_without_a_constant_part_and_has_the_requested_spread():
    x = jnp.zeros((4000, 1, 1, 64))
    curves_NxM = np.asarray(augmentation.equalize(jax.random.key(0), x, 3.0))[:, 0, 0]
    np.testing.assert_allclose(curves_NxM.mean(axis=1), 0, atol=1e-5)
    assert np.sqrt(np.mean(curves_NxM**2)) == pytest.approx(3.0, rel=0.05)
    assert np.abs(np.diff(curves_NxM, axis=1)).max() < 3.0


@pytest.mark.parametrize("name", ["mask_bins", "mask_frames"])
def test_masks_are_spans_of_the_mean_no_larger_than_requested(name):
    x = jnp.full((200, T, F, M), 7.0)
    mask = getattr(augmentation, name)
    out = np.asarray(mask(jax.random.key(0), x, MEAN_M, 1, 0.25))
    hit = out != 7.0
    np.testing.assert_array_equal(out[hit], np.broadcast_to(MEAN_M, out.shape)[hit])
    if name == "mask_bins":
        hit_NxL = hit.all(axis=(1, 2))
        np.testing.assert_array_equal(hit, np.broadcast_to(hit_NxL[:, None, None], hit.shape))
    else:
        hit_NxL = hit.all(axis=3).reshape(200, T * F)
        assert np.array_equal(hit.any(axis=3).reshape(200, T * F), hit_NxL)
    n, length = hit_NxL.sum(axis=1), hit_NxL.shape[1]
    assert n.max() <= 0.25 * length + 1 and n.max() > 1 and len(set(n)) > 2
    # One span each: it begins once at most.
    assert (np.diff(np.pad(hit_NxL, ((0, 0), (1, 0))).astype(int), axis=1) > 0).sum(1).max() == 1


def test_mixed_crops_are_weighted_means_of_neighbours_and_so_are_their_labels():
    batch = batch_of()
    batch["log_mel"] = batch["log_mel"].astype(jnp.float32)
    mixed = augmentation.mix_up(jax.random.key(0), batch, 0.4)
    shares = []
    for name in ("log_mel", "labels"):
        own, other, out = (
            np.asarray(x, np.float64).reshape(B, -1)
            for x in (batch[name], np.roll(batch[name], 1, axis=0), mixed[name])
        )
        gap = own - other
        share_Bx1 = (((out - other) * gap).sum(1) / (gap * gap).sum(1))[:, None]
        np.testing.assert_allclose(out, share_Bx1 * own + (1 - share_Bx1) * other, atol=1e-4)
        assert share_Bx1.min() >= 0.5 - 1e-5 and share_Bx1.max() <= 1 + 1e-5
        shares.append(share_Bx1)
    np.testing.assert_allclose(*shares, atol=1e-5)
    assert np.ptp(shares[0]) > 0.01


def test_a_segment_missing_from_either_crop_is_missing_from_the_mixture():
    mixed = augmentation.mix_up(jax.random.key(0), batch_of(present=3), 0.4)
    expected_BxT = np.ones((B, T), bool)
    expected_BxT[1:3, 3:] = False  # Crop 1 lacks them, and crop 2 is mixed with it.
    np.testing.assert_array_equal(mixed["mask"], expected_BxT)
    np.testing.assert_array_equal(mixed["label_mask"][..., 0], expected_BxT)


@pytest.mark.parametrize(
    "settings", [{"mixup": -1.0}, {"bin_mask_share": 1.5}, {"gain_db": float("nan")}]
)
def test_invalid_settings_are_refused_by_name(settings):
    with pytest.raises(ValueError, match=rf"augment\.{next(iter(settings))}: "):
        AugmentConfig(**settings)
