"""The coded frames of a file, decoded by PyAV, and what FFmpeg tells of their damage."""

import itertools
import os
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import av
from av.container import Flags
from av.stream import Discard

from damff_jax.audio import flac, mp3, mp4, wav
from damff_jax.audio.declared import declared_seconds, is_off, missing_bytes
from damff_jax.audio.errors import AudioError

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 8_000, 192_000
# What holds sound itself; playlists and the like would have FFmpeg open other files.
_CONTAINERS = (
    "wav,w64,flac,ogg,mp3,mov,matroska,asf,aiff,caf,au,aac,ac3,eac3,dts,dtshd,amr,amrnb,amrwb,avi,"
    "flv,mpegts,mpeg,ape,wv,tta,tak,mpc,mpc8,dsf,iff,voc,oma,loas,truehd,mlp,nut,rm,sox,ircam,"
    "nistsphere,paf,pvf,avr,shn,osq,qcp,xwma,mmf,gxf,mxf"
)
_OPTIONS = {
    "format_whitelist": _CONTAINERS,
    "protocol_whitelist": "",
    # Else the samples of every wav file are searched for other formats, longer than it takes to
    # decode them.
    "max_probe_packets": "1",
}
_BUFFER_SIZE = 2**17
_PACKETS_AT_A_TIME = 4
# Those that are a chain of frames and nothing else; tags stand before, behind and between them.
_BARE = ("mp3", "aac", "ac3", "eac3", "dts", "amr")
_TAGS = (b"ID3", b"TAG", b"APE", b"LYR", b"3DI")
# Seconds by which a frame may come later than it should, in a file that seems whole and in one that
# is damaged: in many containers times are rounded, and some programs do not state them well.
_MAX_GAPS = 0.2, 0.02
# Seconds of silence that may stand for what is missing in a file, whose times may be damaged too.
_MAX_SILENCE = 600.0


class Silence(NamedTuple):
    """What stands for frames that cannot be decoded, so that those behind them keep their time."""

    seconds: float


class _Decoded(NamedTuple):
    """A packet, what it holds, why it cannot be decoded, if so, and what FFmpeg notes of it."""

    packet: av.Packet
    frames: list[av.AudioFrame]
    error: str
    notes: list[tuple[int, str, str]]


class Decoder:
    """Decodes the best audio stream of a file; a context manager.

    Attributes:
      seconds: of sound that were decoded so far.

    Args:
      raw: the file, which must stay open.

    Raises:
      AudioError: it cannot be decoded.
    """

    def __init__(self, raw: BinaryIO, path: str | os.PathLike[str]):
        self._raw, self._path = raw, path
        self.seconds, self._silent = 0.0, 0.0
        self._failure = self._first_error = self._damage = ""
        if mp4.counts_too_much(raw.fileno()):
            raise self._unreadable("its index counts samples that do not fit into the file")
        _turn_on_notes()
        with av.logging.Capture() as notes:
            try:
                self._container = av.open(
                    _Nameless(raw),
                    metadata_errors="replace",
                    buffer_size=_BUFFER_SIZE,
                    container_options=_OPTIONS,
                )
            except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
                if os.fstat(raw.fileno()).st_size == 0:
                    raise AudioError(f"{path}: the file is empty") from error
                raise self._unreadable(_reason(error, notes)) from error
        self._format = self._container.format.name
        self._stream = self._container.streams.best("audio")
        if self._stream is None or self._stream.codec_context is None:
            self._container.close()
            raise AudioError(f"{path}: no audio in the file that can be decoded")
        for stream in self._container.streams:
            if stream is not self._stream:
                stream.discard = Discard.all
        # What it would look ahead for is not needed here, and may be half of the file.
        self._container.flags &= ~Flags.gen_pts.value
        context = self._stream.codec_context
        context.thread_count = 1  # Notes are captured by thread.
        if not context.name.startswith("mp3"):  # Whose checksums some encoders get wrong.
            context.options = {"err_detect": "crccheck"}
        self._verifier = flac.Verifier(context.extradata) if context.name == "flac" else None
        self._wav = wav.read_header(raw.fileno()) if self._format == "wav" else wav.Header()
        self._declared = declared_seconds(
            self._container,
            self._stream,
            self._wav,
            descriptor=raw.fileno(),
            is_estimated=any("Estimating duration" in text for _, _, text in notes),
        )
        # What else is noted of frames here is noted again when they are decoded.
        self._note_damage([note for note in notes if note[1] == self._format])

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *exception) -> None:
        self._container.close()

    def frames(self) -> Iterator[av.AudioFrame | Silence]:
        """What the file holds, frame by frame.

        Raises:
          AudioError: there is no sound in it, or a sample rate is out of range.
        """
        origin, rate, unsure = None, 0, ""
        time_base = float(self._stream.time_base or 0)
        self._counter = mp3.FrameCounter(self._raw.fileno()) if self._format == "mp3" else None
        for packet, frames, error, notes in self._decoded():
            if notes:
                self._note_damage(notes, only_cuts=bool(error))
            if error:
                self._first_error = self._first_error or error
                if self._is_tag(packet):
                    origin = None  # It was counted as sound.
                elif self.seconds or self._format not in _BARE:
                    # Of a bare chain, it was sound only if more of it follows.
                    unsure = unsure or self._at(error)
            elif self._counter:
                self._counter.add(packet)
            if self._verifier:
                self._verifier.add(packet, frames)
            for frame in frames:
                if frame.sample_rate != rate:
                    rate = self._good_rate(frame)
                self._damage = self._damage or unsure
                if frame.pts is not None:
                    time = frame.pts * time_base
                    origin = time - self.seconds if origin is None else origin
                    is_damaged = bool(self._damage)
                    if (missing := time - origin - self.seconds) > _MAX_GAPS[is_damaged]:
                        yield from self._silence(missing)
                self.seconds += frame.samples / rate
                yield frame
        if unsure and self._format not in _BARE:
            self._damage = self._damage or unsure
        if not self.seconds:
            if self._first_error:
                raise self._unreadable(self._first_error)
            raise AudioError(f"{self._path}: no audio in the file{self._failure}")

    def problem(self) -> str:
        """Says what is wrong with a file whose frames were all taken; '' for nothing."""
        if self._failure or is_off(self.seconds, self._declared, self._stream):
            return f"{self._lengths()}{self._failure}"
        if self._counter and (damage := self._counter.damage(self.seconds)):
            return damage
        if self._wav.contradiction:
            return f"its header contradicts itself: {self._wav.contradiction}"
        if self._wav.unfinished:
            return f"no length declared, {self.seconds:.1f} s decoded"
        if self._damage:
            return self._damage
        if missing := missing_bytes(self._container, self._raw.fileno()):
            return f"the file is cut off: {missing} bytes are missing"
        if self._format == "ogg" and self._declared is None:
            return f"{self._lengths()} (the ogg stream has no end)"
        return self._verifier.damage() if self._verifier else ""

    def _decoded(self) -> Iterator[_Decoded]:
        packets, batch = self._container.demux(self._stream), [None]
        while batch:
            batch = []
            with av.logging.Capture() as notes:
                try:
                    # Many at a time, for most are small.
                    for packet in itertools.islice(packets, _PACKETS_AT_A_TIME):
                        batch.append(_decode(packet, notes))
                        notes.clear()
                except (av.FFmpegError, OSError) as failure:
                    self._failure = f" ({_reason(failure, notes)})"
            yield from batch

    def _silence(self, seconds: float) -> Iterator[Silence]:
        """What stands for sound that is missing, as long as it may be that long."""
        self._damage = self._damage or self._at(f"{seconds:.2f} s of sound are missing")
        still = _MAX_SILENCE if self._declared is None else self._declared - self.seconds
        if seconds <= min(still, _MAX_SILENCE - self._silent):
            self._silent += seconds
            self.seconds += seconds
            yield Silence(seconds)

    def _good_rate(self, frame: av.AudioFrame) -> int:
        if not MIN_SAMPLE_RATE <= (rate := frame.sample_rate) <= MAX_SAMPLE_RATE:
            raise AudioError(f"{self._path}: sample rate of {rate} Hz is outside 8-192 kHz")
        return rate

    def _note_damage(self, notes: list[tuple[int, str, str]], *, only_cuts: bool = False) -> None:
        if self._damage or not notes:
            return
        # Of a wav file the declared length tells more.
        if self._format != "wav" and any("Packet corrupt" in text for _, _, text in notes):
            self._damage = "the file is cut off"
        elif not only_cuts and (errors := _errors(notes)):
            self._damage = self._at(errors[0])

    def _is_tag(self, packet: av.Packet) -> bool:
        return self._format in _BARE and bytes(packet)[:3] in _TAGS

    def _lengths(self) -> str:
        declared = "an unknown length" if self._declared is None else f"{self._declared:.1f} s"
        if declared == f"{self.seconds:.1f} s":
            return f"{self._declared:.4f} s declared, {self.seconds:.4f} s decoded"
        return f"{declared} declared, {self.seconds:.1f} s decoded"

    def _at(self, what: str) -> str:
        where = f", first at {self.seconds:.1f} s" if self.seconds else ""
        return f"damaged{where} ({what})"

    def _unreadable(self, reason: str) -> AudioError:
        return AudioError(f"{self._path}: not readable as audio ({reason})")


class _Nameless:
    """A file without its name, so that FFmpeg judges it by content alone."""

    def __init__(self, raw: BinaryIO):
        self.read, self.seek, self.tell = raw.read, raw.seek, raw.tell


def _turn_on_notes() -> None:
    """FFmpeg's notes are the only place where it tells of most damage, and PyAV drops them all.

    Nor does it keep, by default, one that repeats the last, be it of another file.
    """
    level = av.logging.get_level()
    if level is None or level < av.logging.WARNING:
        av.logging.set_level(av.logging.WARNING)
    av.logging.set_skip_repeated(False)


def _decode(packet: av.Packet, notes: list[tuple[int, str, str]]) -> _Decoded:
    try:
        return _Decoded(packet, packet.decode(), "", notes[:])
    except (av.FFmpegError, ValueError) as error:
        return _Decoded(packet, [], _reason(error, notes), notes[:])


def _errors(notes: list[tuple[int, str, str]]) -> list[str]:
    return [" ".join(text.split()) for level, _, text in notes if level <= av.logging.ERROR]


def _reason(error: Exception, notes: list[tuple[int, str, str]]) -> str:
    """In one line why something failed, by FFmpeg's notes where there are any."""
    errors = _errors(notes)
    return errors[0] if errors else getattr(error, "strerror", None) or str(error)
