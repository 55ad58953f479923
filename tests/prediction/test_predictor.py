"""The Python interface: what a Predictor takes, what it refuses, and what it gives."""

import io
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

import damff_jax
from damff_jax import Predictor, weights
from damff_jax.audio import AudioError, AudioWarning
from tests.prediction.test_weights import META, small_state

ROOT = Path(__file__).parents[2]
RATE = 16_000


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    """A small model that was never trained."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    meta = {**META, "step": 0, "score": None, "lag_s": 0.4}
    weights.save(path, small_state().eval_variables(), meta)
    return Predictor(path)


def noise(seconds=3.0, channels=1, seed=0):
    """Noise that 8 bits hold exactly, between -0.5 and 0.5."""
    rng = np.random.default_rng(seed)
    return rng.integers(-64, 65, (round(seconds * RATE), channels)) / 128


@pytest.fixture
def song(tmp_path):
    path = tmp_path / "song.wav"
    soundfile.write(path, noise(), RATE, subtype="FLOAT")
    return path


def assert_same(ours, theirs):
    np.testing.assert_array_equal(ours.values, theirs.values, strict=True)


def test_importing_the_package_imports_no_library_until_its_predictor_is_used():
    code = (
        "import sys, damff_jax; assert not {'jax', 'numpy', 'soundfile'} & set(sys.modules); "
        "assert 'Predictor' in dir(damff_jax); from damff_jax import Predictor, Curve; "
        "print(Predictor.__name__, Curve.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "Predictor Curve\n"
    with pytest.raises(AttributeError, match="no attribute 'Predicter'"):
        _ = damff_jax.Predicter


def test_a_song_gives_a_curve(predictor, song):
    curve = predictor(song)
    assert curve.ok and isinstance(curve, damff_jax.Curve)
    assert (len(curve), curve.duration, curve.sample_rate) == (6, 3.0, RATE)
    np.testing.assert_array_equal(curve.times, [0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
    assert curve.valence.shape == curve.arousal.shape == (6,)
    assert np.abs(curve.values).max() <= 1
    assert (curve.source, curve.title, curve.model) == (str(song), "song.wav", predictor.origin)
    assert (curve.lag_s, curve.unlikeness, curve.remarks) == (0.4, None, ())
    assert repr(curve).startswith(f"<Curve of '{song}': 3.0 s, mean valence ")
    assert repr(predictor) == "<Predictor small: trained on vgmidi>"
    np.testing.assert_array_equal(predictor.from_file(song), curve.values)


def test_file_objects_are_read_from_where_they_are(predictor, song, tmp_path, monkeypatch):
    copies = tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    with open(song, "rb") as file:
        of_file = predictor(file)
    assert_same(of_file, predictor(song))
    assert of_file.source == str(song)
    of_bytes = predictor(io.BytesIO(song.read_bytes()))
    assert_same(of_bytes, of_file)
    assert (of_bytes.source, of_bytes.sample_rate) == ("<file object>", RATE)
    with pytest.raises(AudioError, match=r"^<file object>: the file is empty$"):
        predictor(io.BytesIO())
    assert not list(copies.iterdir())


def test_file_objects_that_give_no_bytes_are_refused(predictor, song):
    message = f"^{song}: opened as text; open it in binary mode"
    with open(song, encoding="latin-1") as text, pytest.raises(AudioError, match=message):
        predictor(text)
    closed = io.BytesIO(b"x")
    closed.close()
    with pytest.raises(AudioError, match=r"^<file object>: I/O operation on closed file"):
        predictor(closed)


STEREO = noise(channels=2)


@pytest.mark.parametrize(
    "samples",
    [
        STEREO.mean(axis=1),
        STEREO,
        STEREO.T,
        np.asfortranarray(STEREO.astype(np.float32)),
        STEREO.astype(np.float16),
        (STEREO * 2**7).astype(np.int8),
        (STEREO * 2**7 + 128).astype(np.uint8),
        (STEREO * 2**15).astype(np.int16),
        (STEREO.T * 2**15).astype(">i2"),
        (STEREO * 2**31).astype(np.int32),
        np.repeat(STEREO, 3, axis=1),
    ],
    ids=lambda x: f"{x.dtype}-{x.ndim}-{x.shape[-1]}",
)
def test_samples_of_every_layout_and_type_give_the_same_curve(predictor, samples):
    curve = predictor(samples, sample_rate=RATE)
    assert_same(curve, predictor(STEREO.mean(axis=1).astype(np.float32), RATE))
    assert (curve.source, curve.sample_rate) == ("<samples>", RATE)
    np.testing.assert_array_equal(predictor.from_waveform(samples, RATE), curve.values)


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (noise(), None, "without a sample rate; give sample_rate="),
        (noise(), 0, "sample rate of 0 Hz is outside 8-192 kHz"),
        (noise(), np.nan, "sample rate of nan Hz is outside"),
        (np.zeros(0), RATE, "empty samples"),
        (np.zeros((0, 2)), RATE, "empty samples"),
        (np.zeros(()), RATE, r"samples of shape \(\) are neither mono"),
        (np.zeros((2, 2)), RATE, r"samples of shape \(2, 2\) are neither mono"),
        (np.zeros((3, RATE, 2)), RATE, r"samples of shape \(3, 16000, 2\) are neither mono"),
        (
            np.zeros((64, RATE)),
            RATE,
            r"samples of shape \(64, 16000\) are neither mono .* 32 channels",
        ),
        (noise() * 32768, RATE, r"samples reach 16384, but full scale is 1; .*32768, if they"),
        (noise() * 6, RATE, "samples reach 3, but full scale is 1; divide them by theirs$"),
        (np.where(noise() > 0.4, np.nan, 0), RATE, "samples must be finite"),
        (np.where(noise() > 0.4, np.inf, 0), RATE, "samples must be finite"),
        ((noise() * 2**15).astype(np.int64), RATE, "samples of type int64; convert them"),
        (noise() > 0, RATE, "samples of type bool"),
        (noise() + 0j, RATE, "samples of type complex128"),
        (np.array(["a"]), RATE, "samples of type <U1"),
        (noise(0.4), RATE, "shorter than one segment of 0.5 s"),
    ],
)
def test_samples_that_cannot_be_right_are_refused(predictor, samples, rate, message):
    with pytest.raises(AudioError, match=f"^<samples>: {message}"):
        predictor(samples, rate)


def test_a_list_gives_results_in_order_and_failures_among_them(predictor, song, tmp_path):
    with open(song, "rb") as file:
        songs = [song, tmp_path / "none.wav", noise(), file, io.BytesIO(b"no sound"), str(song)]
        results = predictor(songs, RATE)
    assert [result.ok for result in results] == [True, False, True, True, False, True]
    assert [len(result) for result in results if result.ok] == [6] * 4
    assert repr(results[1]) == (
        f"<Failure of '{tmp_path}/none.wav': {tmp_path}/none.wav: No such file or directory>"
    )
    assert str(results[4].error).startswith("<file object>: not readable as audio")
    assert predictor([]) == []
    assert [result.ok for result in predictor(path for path in [song, tmp_path])] == [True, False]
    # Without a sample rate, only the samples fail.
    assert [result.ok for result in predictor([noise(), song])] == [False, True]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3.0, "float is not a path, a binary file object or an array of samples$"),
        (None, "NoneType is not a path"),
        ([0.1, 0.2], "float is not a path"),
        (b"RIFF", "bytes is not a path.*; wrap a file's content in io.BytesIO$"),
    ],
)
def test_what_is_no_song_is_a_type_error(predictor, value, message):
    with pytest.raises(TypeError, match=message):
        predictor(value, RATE)


def test_warnings_about_a_song_are_its_remarks_too(predictor, song):
    content = song.read_bytes()[: -2 * RATE]
    short = song.with_name("short.wav")
    short.write_bytes(content)
    with pytest.warns(AudioWarning, match=rf"^{short}: 3.0 s declared, 2\.5 s decoded"):
        good, bad = predictor([song, short])
    assert not good.remarks
    (remark,) = bad.remarks
    assert remark.startswith("3.0 s declared, 2.5 s decoded")
    with pytest.warns(AudioWarning, match="^<file object>: 3.0 s declared"):
        assert predictor(io.BytesIO(content)).remarks == (remark,)
    with pytest.raises(AudioError, match=r"^<file object>: 3\.0 s declared"):
        predictor(io.BytesIO(content), strict=True)
    with pytest.warns(AudioWarning, match="^<samples>: low energy"):
        assert "low energy" in predictor(np.zeros(RATE), RATE).remarks[0]


def test_threads_may_share_a_predictor(predictor, song):
    expected, before = predictor(song), (warnings.showwarning, list(warnings.filters))
    results = []
    threads = [
        threading.Thread(target=lambda: results.extend(predictor([song] * 3))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 12
    for result in results:
        assert_same(result, expected)
    assert (warnings.showwarning, list(warnings.filters)) == before
