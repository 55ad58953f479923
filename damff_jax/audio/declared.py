"""The length that a file declares, if it does: FFmpeg also gives estimates."""

import os
from fractions import Fraction

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from damff_jax.audio import wav

_TAIL = 2**17
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf11")


def declared_seconds(
    container: InputContainer,
    stream: AudioStream,
    header: wav.Header,
    *,
    descriptor: int,
    is_estimated: bool,
) -> float | None:
    """The length of a stream in seconds, as its file states it; None if it states none.

    Args:
      header: that of a WAV file; empty for others.
      descriptor: of the file, whose position is kept.
      is_estimated: whether the length that FFmpeg gives is its estimate.
    """
    if header != wav.Header():
        return header.seconds
    if container.format.name == "ogg":
        # FFmpeg gives the position of the last page that it finds.
        end = _end_of_ogg(descriptor)
        return float(end * stream.time_base) if end and stream.time_base else end
    if is_estimated:
        return None
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    # With several streams, another one may be the longest.
    if container.duration and len(container.streams) == 1:
        return container.duration / av.time_base
    return None


def is_off(seconds: float, declared: float | None, stream: AudioStream) -> bool:
    """Whether the length decoded differs from the one declared; both in seconds."""
    if declared is None:
        return False
    codec, rate = stream.codec_context, stream.codec_context.sample_rate or 1
    missing = declared - seconds
    if codec.name.startswith(("pcm_", "flac")) and stream.time_base == Fraction(1, rate):
        return abs(missing) > 0.5 / rate
    # Lossy formats state their length to within a few coded frames only.
    slack = 0.1 if stream.container.format.name in ("mp3", "ogg") else 0.1 + 4096 / rate
    return missing > slack


def missing_bytes(container: str, descriptor: int) -> int:
    """Bytes that an ASF file (WMA) lacks; FFmpeg gives no length for such a file."""
    head = os.pread(descriptor, _TAIL, 0) if container == "asf" else b""
    place = head.find(_ASF_FILE_PROPERTIES) + 40
    declared = int.from_bytes(head[place : place + 8], "little") if place >= 40 else 0
    return max(0, declared - os.fstat(descriptor).st_size)


def _end_of_ogg(descriptor: int) -> int | None:
    """The position at the end of an Ogg stream, in samples; None if its last page is missing."""
    tail = os.pread(descriptor, _TAIL, max(0, os.fstat(descriptor).st_size - _TAIL))
    page = tail[max(0, tail.rfind(b"OggS")) :]
    is_whole = len(page) > 27 and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
    return int.from_bytes(page[6:14], "little") if is_whole and page[5] & 4 else None
