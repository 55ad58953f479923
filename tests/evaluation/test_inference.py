import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damff_jax.configs import models
from damff_jax.evaluation.inference import Windowing, _mirrored, delayed_average, predict_curves
from damff_jax.models import create_model


def song(n, offset=0.0):
    """Segments (n, 1, 1) that hold their own index."""
    return (np.arange(n, dtype=np.float32) / 1000 + offset).reshape(n, 1, 1)


def read_back(log_mel, mask):
    """A model without context: returns the segment's value, and garbage at padding."""
    x = np.where(mask, log_mel[..., 0, 0], np.nan)
    return np.stack([x, -x], axis=-1)


def predict(songs, windowing, batch_size=3, apply=read_back, **kwargs):
    return list(predict_curves(apply, songs, windowing=windowing, batch_size=batch_size, **kwargs))


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    window=st.integers(1, 12),
    data=st.data(),
    batch_size=st.integers(1, 5),
    block=st.integers(1, 15),
)
def test_every_segment_comes_back_once_in_its_place(lengths, window, data, batch_size, block):
    windowing = Windowing(window, data.draw(st.integers(0, window - 1)))
    songs = [song(n, k / 10) for k, n in enumerate(lengths)]
    streams = [[x[i : i + block] for i in range(0, len(x), block)] for x in songs]
    curves = predict(streams, windowing, batch_size)
    for x, curve in zip(songs, curves, strict=True):
        np.testing.assert_allclose(curve, np.stack([x[:, 0, 0], -x[:, 0, 0]], -1), atol=1e-7)


def test_windows_overlap_and_the_last_one_ends_with_the_song():
    seen = []

    def apply(log_mel, mask):
        seen.extend(w[m][:, 0, 0] for w, m in zip(log_mel, mask, strict=True) if m.any())
        return read_back(log_mel, mask)

    predict([[song(25)]], Windowing(10, 4), apply=apply)
    starts = [round(float(w[0]) * 1000) for w in seen]
    assert starts == [0, 6, 12, 15]
    assert all(len(w) == 10 for w in seen)


def test_where_windows_overlap_the_nearer_centre_weighs_more():
    calls = itertools.count()

    def apply(log_mel, mask):
        value = float(next(calls))
        return np.full((*mask.shape, 2), value / 2)

    (curve,) = predict([[song(6)]], Windowing(4, 2), batch_size=1, apply=apply)
    np.testing.assert_allclose(curve[:, 0], [0, 0, 1 / 6, 1 / 3, 0.5, 0.5], atol=1e-6)


def test_the_model_always_sees_full_batches():
    shapes = set()

    def apply(log_mel, mask):
        shapes.add((log_mel.shape, mask.shape))
        return read_back(log_mel, mask)

    predict([[song(3)], [song(30)], [song(7)]], Windowing(8, 2), batch_size=4, apply=apply)
    assert shapes == {((4, 8, 1, 1), (4, 8))}


def test_a_song_whose_stream_fails_does_not_disturb_the_others():
    def broken():
        yield song(20)
        raise KeyError("broken")

    curves = predict([[song(9)], broken(), [song(11)]], Windowing(4, 1), errors=(KeyError,))
    assert isinstance(curves[1], KeyError)
    assert [len(curves[0]), len(curves[2])] == [9, 11]
    with pytest.raises(KeyError):
        predict([broken()], Windowing(4, 1))


def test_curves_come_as_soon_as_their_windows_are_done():
    pulled = []

    def streams():
        for k in range(10):
            pulled.append(k)
            yield [song(8)]

    curves = predict_curves(read_back, streams(), windowing=Windowing(4, 0), batch_size=2)
    next(curves)
    assert len(pulled) <= 2


def test_predictions_are_limited_to_the_scale():
    (curve,) = predict([[song(3)]], Windowing(4, 0), apply=lambda x, m: np.full((*m.shape, 2), 7.0))
    assert np.all(curve == 1)


@pytest.mark.parametrize("overlap", [-1, 5, 6])
def test_an_overlap_beyond_the_window_is_refused(overlap):
    with pytest.raises(ValueError, match="overlap"):
        Windowing(5, overlap)


@settings(deadline=None, max_examples=50)
@given(data=st.data(), n=st.integers(1, 12), half=st.integers(0, 4))
def test_a_segment_has_the_mean_of_those_around_its_past(data, n, half):
    delay = data.draw(st.integers(0, half))
    x_TxV = np.random.default_rng(n).normal(size=(n, 2))
    smooth_TxV = delayed_average(x_TxV, width=2 * half + 1, delay=delay)
    for t in range(n):
        near = [x_TxV[s] for s in range(t - delay - half, t - delay + half + 1) if 0 <= s < n]
        np.testing.assert_allclose(smooth_TxV[t], np.mean(near, axis=0), atol=1e-12)


def test_the_joined_curve_is_averaged_wherever_it_was_cut():
    x = np.random.default_rng(0).uniform(-1, 1, 40).astype(np.float32).reshape(40, 1, 1)
    curves = [
        predict([[x]], Windowing(window, overlap, smoothing=(7, 2)))[0]
        for window, overlap in ((40, 0), (9, 3), (4, 0))
    ]
    expected = delayed_average(np.stack([x[:, 0, 0], -x[:, 0, 0]], -1), width=7, delay=2)
    for curve in curves:
        np.testing.assert_allclose(curve, expected, atol=1e-6)


def test_the_windowing_of_a_config():
    data = {"crop_segments": 60, "overlap": 15}
    assert Windowing.of({"data": data, "model": {}}) == Windowing(60, 15, (1, 0))
    data["window_segments"] = 240
    model = models.damff_plus().to_dict()
    assert Windowing.of({"data": data, "model": model}) == Windowing(240, 15, (21, 6))
    # As in JSON.
    assert Windowing.of({"data": data, "model": {"smoothing": [5, 1]}}).smoothing == (5, 1)


@pytest.mark.parametrize("smoothing", [(0, 0), (4, 1), (5, 3), (5, -1), (5,), 5, (5.0, 1)])
def test_an_average_that_is_none_is_refused(smoothing):
    fields = models.damff().to_dict() | {"smoothing": smoothing}
    with pytest.raises(ValueError, match=r"model\.smoothing: .* is not \(odd width, delay"):
        create_model(fields, dtype="float32", axis_name=None)


# Margins -----------------------------------------------------------------------------------------


def levels(log_mel_NxWxFxM, mask_NxW):
    """A model whose output is each segment's level."""
    level_NxW = log_mel_NxWxFxM.mean(axis=(2, 3))
    return np.stack([level_NxW, -level_NxW], axis=-1) * mask_NxW[..., None]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 9, 10, 11, 40])
@pytest.mark.parametrize("cuts", [[], [1], [2, 3]])
def test_a_margin_leaves_every_segment_its_own_prediction(n, cuts):
    song = np.linspace(-0.9, 0.9, n)[:, None, None] * np.ones((1, 2, 3))
    windowing = Windowing(window=6, overlap=3, margin=4)
    blocks = np.split(song, [c for c in cuts if c < n])
    (curve,) = predict_curves(levels, [blocks], windowing=windowing, batch_size=2)
    assert curve.shape == (n, 2)
    np.testing.assert_allclose(curve[:, 0], song[:, 0, 0], atol=1e-6)


def test_a_margin_mirrors_frames_and_segments():
    song = np.arange(12.0).reshape(4, 3, 1)
    heard = np.concatenate(list(_mirrored([song[:1], song[1:]], 2))).ravel()
    np.testing.assert_array_equal(heard, [5, 4, 3, 2, 1, 0, *range(12), 11, 10, 9, 8, 7, 6])
    assert list(_mirrored([], 2)) == []
