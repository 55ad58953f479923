"""The picture of a song's log-Mel."""

import io

import numpy as np
import pytest
from PIL import Image

from damff_jax.report.spectrogram import Thumbnail, png


def picture(log_mel_TxFxM, sizes=(7, 1, 30)):
    """The picture of segments that come in blocks of several sizes, and the segments passed on."""
    blocks, start = [], 0
    while start < len(log_mel_TxFxM):
        size = sizes[len(blocks) % len(sizes)]
        blocks.append(log_mel_TxFxM[start : start + size])
        start += size
    thumbnail = Thumbnail()
    passed = list(thumbnail.watch(blocks))
    np.testing.assert_array_equal(np.concatenate(passed), log_mel_TxFxM)
    return thumbnail.image()


def test_short_song_has_a_column_per_frame_and_low_sounds_at_the_bottom():
    log_mel_TxFxM = np.full((8, 10, 64), -80, np.float32)
    log_mel_TxFxM[3, 2, 5] = 0
    image = picture(log_mel_TxFxM)
    assert image.shape == (64, 80)
    assert np.argwhere(image == 255).tolist() == [[64 - 1 - 5, 32]] or image[58, 32] == image.max()


@pytest.mark.parametrize("n_segments", [598, 599, 600, 601, 1207, 7200])
def test_long_song_keeps_its_proportions(n_segments):
    """A song whose level rises in the last third has it in the picture's last third."""
    log_mel_TxFxM = np.full((n_segments, 10, 4), -40, np.float32)
    log_mel_TxFxM[2 * n_segments // 3 :] = 0
    image = picture(log_mel_TxFxM)
    n_columns = image.shape[1]
    assert 2990 <= n_columns < 6000
    step = int(np.argmax(image[0] > 200))
    assert step / n_columns == pytest.approx(2 / 3, abs=2 / n_columns + 1 / n_segments)


def test_128_bins_become_64_rows():
    assert picture(np.zeros((4, 50, 128), np.float32)).shape == (64, 200)


def test_silence_and_nothing():
    assert set(np.unique(picture(np.full((4, 10, 64), -100, np.float32)))) == {255}
    assert Thumbnail().image() is None


def test_png_is_read_as_the_opacity_of_black():
    levels = np.random.default_rng(0).integers(0, 256, (5, 7), np.uint8)
    with Image.open(io.BytesIO(png(levels))) as image:
        rgba = np.asarray(image.convert("RGBA"))
    np.testing.assert_array_equal(rgba[..., 3], levels)
    assert not rgba[..., :3].any()
