"""Augmentation of training crops that leaves their emotion unchanged: pure functions of a key.

Log-Mels are in dB and not yet standardised, so changes of level or timbre are additions.
Letters: B crops, T segments, F frames per segment, M Mel bins, K masks, W waves.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

# Half periods of the finest wave in an equaliser's curve.
_N_WAVES = 4


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Settings of the augmentation; all are off by default.

    Args:
      gain_db: each crop is made louder or softer by up to this many dB.
      equalizer_db: standard deviation of a smooth random curve over the Mel bins.
      n_bin_masks, bin_mask_share: number of bands that are set to the training split's mean, and
        the largest share of the bins that one covers (SpecAugment: D. Park et al., Interspeech
        2019).
      n_frame_masks, frame_mask_share: the same for spans of a crop's frames.
      mixup: α of the Beta distribution with which crops and their labels are mixed in pairs
        (H. Zhang et al., ICLR 2018); 0 for none.

    Raises:
      ValueError: a setting is out of range.
    """

    gain_db: float = 0.0
    equalizer_db: float = 0.0
    n_bin_masks: int = 0
    bin_mask_share: float = 0.125
    n_frame_masks: int = 0
    frame_mask_share: float = 0.1
    mixup: float = 0.0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            high = 1.0 if field.name.endswith("share") else 100.0
            if not 0 <= value <= high:
                raise ValueError(f"augment.{field.name}: {value} is outside [0, {high:g}]")

    @property
    def is_off(self) -> bool:
        amounts = self.gain_db, self.equalizer_db, self.n_bin_masks, self.n_frame_masks, self.mixup
        return not any(amounts)


def augment(
    key: jax.Array,
    batch: Mapping[str, jax.Array],
    mean_M: jax.Array,
    config: AugmentConfig,
) -> dict[str, jax.Array]:
    """Augments the crops of a batch for `steps.train_step`; changes nothing if `config` is off.

    Args:
      mean_M: mean of the training split's log-Mel, in dB.
    """
    if config.is_off:
        return dict(batch)
    keys = jax.random.split(key, 5)
    batch = {**batch, "log_mel": batch["log_mel"].astype(jnp.float32)}
    # Crops are mixed first; the other changes apply to the mixture.
    if config.mixup:
        batch = mix_up(keys[0], batch, config.mixup)
    x_BxTxFxM = batch["log_mel"]
    if config.equalizer_db:
        x_BxTxFxM = equalize(keys[1], x_BxTxFxM, config.equalizer_db)
    if config.gain_db:
        x_BxTxFxM = change_level(keys[2], x_BxTxFxM, config.gain_db)
    if config.n_bin_masks:
        x_BxTxFxM = mask_bins(keys[3], x_BxTxFxM, mean_M, config.n_bin_masks, config.bin_mask_share)
    if config.n_frame_masks:
        x_BxTxFxM = mask_frames(
            keys[4], x_BxTxFxM, mean_M, config.n_frame_masks, config.frame_mask_share
        )
    return {**batch, "log_mel": x_BxTxFxM}


def change_level(key: jax.Array, x_BxTxFxM: jax.Array, decibels: float) -> jax.Array:
    """Makes each crop louder or softer by up to this many dB."""
    shape = len(x_BxTxFxM), 1, 1, 1
    return x_BxTxFxM + jax.random.uniform(key, shape, minval=-decibels, maxval=decibels)


def equalize(key: jax.Array, x_BxTxFxM: jax.Array, decibels: float) -> jax.Array:
    """Adds a smooth random curve over the Mel bins, of standard deviation `decibels`.

    The curve is a sum of cosines of one to four half periods; it has no constant part, which would
    change the level.
    """
    b, m = x_BxTxFxM.shape[0], x_BxTxFxM.shape[-1]
    waves_WxM = np.cos(np.pi * np.arange(1, _N_WAVES + 1)[:, None] * (np.arange(m) + 0.5) / m)
    weights_BxW = jax.random.normal(key, (b, _N_WAVES)) * decibels * np.sqrt(2 / _N_WAVES)
    return x_BxTxFxM + (weights_BxW @ waves_WxM)[:, None, None, :]


def mask_bins(
    key: jax.Array, x_BxTxFxM: jax.Array, mean_M: jax.Array, n_masks: int, share: float
) -> jax.Array:
    """Sets bands of each crop to `mean_M`; each covers up to `share` of the bins."""
    b, m = x_BxTxFxM.shape[0], x_BxTxFxM.shape[-1]
    masked_BxM = _random_spans(key, b, m, n_masks, share)
    return jnp.where(masked_BxM[:, None, None, :], mean_M, x_BxTxFxM)


def mask_frames(
    key: jax.Array, x_BxTxFxM: jax.Array, mean_M: jax.Array, n_masks: int, share: float
) -> jax.Array:
    """Sets spans of each crop to `mean_M`; each covers up to `share` of its frames."""
    b, t, f, _ = x_BxTxFxM.shape
    masked_BxTxF = _random_spans(key, b, t * f, n_masks, share).reshape(b, t, f)
    return jnp.where(masked_BxTxF[..., None], mean_M, x_BxTxFxM)


def _random_spans(key: jax.Array, b: int, length: int, n_spans: int, share: float) -> jax.Array:
    """(B, length) bool: true within any of `n_spans` spans of random size and position."""
    size_key, start_key = jax.random.split(key)
    size_BxKx1 = jax.random.uniform(size_key, (b, n_spans, 1)) * share * length
    start_BxKx1 = jax.random.uniform(start_key, (b, n_spans, 1)) * (length - size_BxKx1)
    position = jnp.arange(length)
    return jnp.any((position >= start_BxKx1) & (position < start_BxKx1 + size_BxKx1), axis=1)


def mix_up(key: jax.Array, batch: Mapping[str, jax.Array], alpha: float) -> dict[str, jax.Array]:
    """Mixes each crop with the previous one: log-Mel in dB, labels, a teacher's embeddings.

    Values become λ · own + (1 − λ) · other, where λ is the larger of x and 1 − x for x drawn from
    Beta(α, α). A mixed label is masked out unless both crops have one.
    """
    b = len(batch["log_mel"])
    share_B = jax.random.beta(key, alpha, alpha, (b,))
    share_B = jnp.maximum(share_B, 1 - share_B)
    mixed = {}
    for name, own in batch.items():
        other = jnp.roll(own, 1, axis=0)
        if own.dtype == bool:
            mixed[name] = own & other
        else:
            share = share_B.reshape(b, *[1] * (own.ndim - 1)).astype(own.dtype)
            mixed[name] = share * own + (1 - share) * other
    return mixed
