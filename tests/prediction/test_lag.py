"""How late a curve follows a step in the sound, measured on models whose lag is known."""

import numpy as np
import pytest

from damff_jax import lag
from damff_jax.lag import step_response

SHIFTS = [0, 1, 3]


class Follower:
    """A model whose arousal is the level, averaged over `width` segments and delayed by `delay`."""

    def __init__(self, delay=0, width=1):
        self._delay, self._width = delay, width

    def from_log_mel(self, log_mel_TxFxM):
        level_T = np.pad(log_mel_TxFxM.mean(axis=(1, 2)), (30, 0), mode="edge")
        kernel = np.zeros(30)
        kernel[self._delay : self._delay + self._width] = 1 / self._width
        late_T = np.convolve(level_T, kernel)[30 : 30 + len(log_mel_TxFxM)]
        return np.stack([np.zeros_like(late_T), late_T / 100], axis=1)


def songs(n=12, n_segments=20):
    rng = np.random.default_rng(0)
    return [rng.normal(-50 + 3 * i, 0.5, (n_segments, 2, 4)) for i in range(n)]


@pytest.mark.parametrize("delay", SHIFTS)
def test_a_delay_is_found(delay):
    response = step_response(Follower(delay), songs(), n_pairs=4)
    # The step is between two segments, whose middles are 0.5 s apart.
    assert response.lag_s == pytest.approx(0.5 * delay, abs=0.05)
    assert response.rise_s == pytest.approx(0.4, abs=0.05)
    assert response.mean_T[:50].mean() == pytest.approx(0, abs=0.05)
    assert response.mean_T[-50:].mean() == pytest.approx(1, abs=0.05)


def test_an_average_is_late_by_half_its_width_and_slow():
    response = step_response(Follower(0, 21), songs(), n_pairs=4)
    assert response.lag_s == pytest.approx(5.0, abs=0.1)
    assert response.rise_s == pytest.approx(0.8 * 10.5, abs=0.3)


def test_too_few_songs_are_refused():
    with pytest.raises(ValueError, match="4 pairs need 8 songs of 5 s or more"):
        step_response(Follower(), songs(7), n_pairs=4)
    with pytest.raises(ValueError, match="4 pairs"):
        step_response(Follower(), songs(12, n_segments=9), n_pairs=4)


def test_the_command_reports_its_errors(tmp_path, capsys):
    (tmp_path / "text.wav").write_text("no sound")
    assert lag.main([str(tmp_path / "text.wav")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lag: error: ") and "text.wav" in line
    with pytest.raises(SystemExit) as stop:
        lag.main([])
    assert stop.value.code == 2
