"""Samples become an audio file, encoded by FFmpeg, for data sets and benchmarks that are made."""

import os
from fractions import Fraction

import av
import numpy as np
from av.audio.stream import AudioStream

_LAYOUTS = {1: "mono", 2: "stereo"}


def encode(
    path: str | os.PathLike[str], samples: np.ndarray, rate: int, container: str, codec: str
) -> None:
    """Writes samples (n,) or (n, channels): int16, or of any float type with full scale at 1.

    Args:
      path: the file.
      rate: of the samples, in Hz.
      container, codec: by FFmpeg's names.
    """
    is_int16 = samples.dtype == np.int16
    # Frames of interleaved samples have one row.
    row = samples.reshape(1, -1)
    channels = samples.size // len(samples)
    layout = _LAYOUTS.get(channels, f"{channels} channels")
    # The index before the sound.
    options = {"movflags": "faststart"} if container in ("ipod", "mp4", "mov") else {}
    with av.open(os.fspath(path), "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, AudioStream)
        context = stream.codec_context
        context.bit_rate = 64_000 * channels
        context.open()
        frame = av.AudioFrame.from_ndarray(
            row.astype(np.int16) if is_int16 else row.astype(np.float32),
            "s16" if is_int16 else "flt",
            layout,
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        to_codec = av.AudioResampler(
            context.format, layout, rate, frame_size=context.frame_size or 1024
        )
        for part in (*to_codec.resample(frame), *to_codec.resample(None), None):
            file.mux(stream.encode(part))
