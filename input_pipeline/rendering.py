"""Sound of a MIDI file, rendered by fluidsynth and read while it is written.

Nothing is written to the disk, and the program is ended once the piece is over: if a note never
ends, it would render for ever.
"""

import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator

import numpy as np
import soxr

# No MIDI input, no shell, quiet; gain; sample rate in Hz.
RENDERING = ("-ni", "-q", "-g", "0.5", "-r", "44100")
_RATE = 44_100
_BYTES_PER_FRAME = 4  # Two channels of 16 bits.
_BLOCK_FRAMES = 10 * _RATE
# Rendered beyond the end, for the resampler's filter.
_MARGIN_S = 1.0


class RenderingError(ValueError):
    """A piece that cannot be rendered; the message is one line."""


def rendered(
    score: str, soundfont: str, duration_s: float, sample_rate: int
) -> Iterator[np.ndarray]:
    """The sound of a MIDI file up to its end, mono float32, block by block.

    Always rendered at the same rate, so that the sound is independent of the features.

    Args:
      score: the MIDI file.
      soundfont: the instruments.
      duration_s: the end, after which only reverberation follows.
      sample_rate: of the result, in Hz.

    Raises:
      RenderingError: fluidsynth cannot read one of the files, gives no sound, or does not end.
    """
    remaining = round(duration_s * sample_rate)
    blocks = _mono_blocks(score, soundfont, duration_s)
    for block in blocks if sample_rate == _RATE else _resampled(blocks, sample_rate):
        yield block[:remaining]
        remaining -= min(len(block), remaining)


def _resampled(blocks: Iterator[np.ndarray], sample_rate: int) -> Iterator[np.ndarray]:
    resampler = soxr.ResampleStream(_RATE, sample_rate, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _mono_blocks(score: str, soundfont: str, duration_s: float) -> Iterator[np.ndarray]:
    remaining = round((duration_s + _MARGIN_S) * _RATE)
    # Many times what it takes, even on a busy machine.
    limit_s = 120 + 2 * duration_s
    ours, theirs = os.pipe()
    with open(ours, "rb") as sound, tempfile.TemporaryFile() as messages:
        try:
            process = subprocess.Popen(
                [
                    "fluidsynth",
                    *RENDERING,
                    "-T",
                    "raw",
                    "-F",
                    f"/dev/fd/{theirs}",
                    soundfont,
                    score,
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=messages,
                pass_fds=(theirs,),
            )
        except OSError as error:
            raise RenderingError(f"fluidsynth cannot be started ({error.strerror})") from error
        finally:
            os.close(theirs)
        timer = threading.Timer(limit_s, process.kill)
        timer.start()
        try:
            n_read = 0
            while data := sound.read(_BYTES_PER_FRAME * min(_BLOCK_FRAMES, remaining - n_read)):
                stereo_NxC = np.frombuffer(data[: len(data) // 4 * 4], np.int16).reshape(-1, 2)
                n_read += len(stereo_NxC)
                left, right = (stereo_NxC.astype(np.float32) / np.float32(2**15)).T
                yield (left + right) / np.float32(2)
            # Sound that ends earlier has ended by itself.
            status = process.wait() if n_read < remaining else 0
        finally:
            timer.cancel()
            process.kill()
            process.wait()
        messages.seek(0)
        said = " ".join(messages.read(2**16).decode(errors="replace").split())
    # If fluidsynth cannot load the soundfont, it continues with its default one.
    if status or not n_read or "fluidsynth: error" in said:
        late = f"no end after {limit_s:.0f} s" if status == -9 else ""
        raise RenderingError(f"fluidsynth failed ({late or said[-200:] or 'no output'})")
