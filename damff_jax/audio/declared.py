"""How long a file says that it is, where it says so itself: FFmpeg gives estimates too."""

import os

import av

from damff_jax.audio import wav

_TAIL = 2**17
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf11")


def declared_seconds(
    container: av.container.InputContainer,
    stream: av.AudioStream,
    header: wav.Header,
    *,
    descriptor: int,
    is_estimated: bool,
) -> float | None:
    """The length of a stream by its file; None if it states none.

    Args:
      header: of a wav file.
      descriptor: of the file, whose position stays.
      is_estimated: whether FFmpeg estimated the length that it gives.
    """
    if header != wav.Header():
        return header.seconds
    if container.format.name == "ogg":
        # What FFmpeg gives is where the last page is that it finds.
        end = _end_of_ogg(descriptor)
        return end and float(end * stream.time_base)
    if is_estimated:
        return None
    if stream.duration:
        return float(stream.duration * stream.time_base)
    # Of several streams, another one may be the longest.
    if container.duration and len(container.streams) == 1:
        return container.duration / av.time_base
    return None


def is_off(seconds: float, declared: float | None, stream: av.AudioStream) -> bool:
    """Whether another length was decoded than is declared."""
    if declared is None:
        return False
    context, rate = stream.codec_context, stream.codec_context.sample_rate or 1
    missing = declared - seconds
    if context.name.startswith(("pcm_", "flac")) and stream.time_base * rate == 1:
        return abs(missing) > 0.5 / rate
    # Of lossy formats the length is stated to within a few coded frames only.
    slack = 0.1 if stream.container.format.name in ("mp3", "ogg") else 0.1 + 4096 / rate
    return missing > slack


def missing_bytes(container: av.container.InputContainer, descriptor: int) -> int:
    """Bytes that a wma file has less than it says; FFmpeg gives no length for such a file."""
    head = os.pread(descriptor, _TAIL, 0) if container.format.name == "asf" else b""
    place = head.find(_ASF_FILE_PROPERTIES) + 40
    declared = int.from_bytes(head[place : place + 8], "little") if place >= 40 else 0
    return max(0, declared - os.fstat(descriptor).st_size)


def _end_of_ogg(descriptor: int) -> int | None:
    """The position at the end of the last page of an ogg stream, if it is whole and the last."""
    tail = os.pread(descriptor, _TAIL, max(0, os.fstat(descriptor).st_size - _TAIL))
    page = tail[max(0, tail.rfind(b"OggS")) :]
    is_whole = len(page) > 27 and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
    return int.from_bytes(page[6:14], "little") if is_whole and page[5] & 4 else None
