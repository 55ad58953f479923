"""Random inputs: the speed does not depend on the values."""

import numpy as np

from damff_jax.songs import Songs


def sound(seconds: float, sample_rate: int, *, seed: int = 0) -> np.ndarray:
    """Decaying chords over quiet noise: float32 (n_samples,) within full scale."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * sample_rate), dtype=np.float32) / sample_rate
    samples = 0.01 * rng.standard_normal(len(time), np.float32)
    beat = (2 * time).astype(int)
    for _ in range(4):
        pitch = rng.choice([131, 165, 196, 220, 262, 330, 392, 523], beat[-1] + 1)
        phase = np.cumsum(pitch[beat] / sample_rate)
        samples += 0.15 * np.exp(-4 * (time % 0.5)) * np.sin(2 * np.pi * phase).astype(np.float32)
    return samples


def log_mel(shape: tuple[int, ...], *, seed: int = 0) -> np.ndarray:
    """Features in dB, float16 as in the pipeline."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape, np.float32)
    return (15 * values - 30).astype(np.float16)


def labels(shape: tuple[int, ...], *, seed: int = 0) -> np.ndarray:
    """Labels in [-1, 1], float32."""
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def batch(
    batch_size: int, segments: int, frames: int, n_mels: int, *, n_devices: int = 1
) -> dict[str, np.ndarray]:
    """A training batch without padding, laid out for devices and one step, as by the pipeline."""
    shape = n_devices, 1, batch_size // n_devices, segments
    return {
        "log_mel": log_mel((*shape, frames, n_mels)),
        "labels": labels((*shape, 2)),
        "label_mask": np.ones((*shape, 2), bool),
        "mask": np.ones(shape, bool),
    }


def songs(n_songs: int, length: int, frames: int, n_mels: int) -> Songs:
    """Songs as training holds them in memory."""
    n = n_songs * length
    return Songs(
        song_ids=[str(i) for i in range(n_songs)],
        first=length * np.arange(n_songs),
        length=np.full(n_songs, length),
        log_mel_RxFxM=log_mel((n, frames, n_mels)),
        labels_RxV=labels((n, 2)),
        mask_RxV=np.ones((n, 2), bool),
        times_R=np.tile(0.5 * np.arange(length, dtype=np.float32), n_songs),
    )
