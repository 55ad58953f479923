"""The coded frames of a file, decoded by PyAV, and what FFmpeg reports of their damage."""

import io
import itertools
import os
from collections.abc import Iterator
from typing import NamedTuple

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet

from damff_jax.audio import flac, mp3, mp4, notes, wav
from damff_jax.audio.declared import declared_seconds, is_off, missing_bytes
from damff_jax.audio.errors import AudioError
from damff_jax.audio.notes import Note
from damff_jax.audio.opening import Nameless, choose_stream, open_container

MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 8_000, 192_000
_PACKETS_AT_A_TIME = 4
# A chain of frames and nothing else, with tags before, between and behind them.
_BARE = ("mp3", "aac", "ac3", "eac3", "dts", "amr")
# FFmpeg gathers all that is between two frames in memory. The largest tags hold 16 MB of pictures.
_MAX_JUNK = 2**26
_TAGS = (b"ID3", b"TAG", b"APE", b"LYR", b"3DI")
# Seconds by which a frame may be late, in a file that seems whole and in a damaged one: many
# containers round times, and some programs do not state them well.
_MAX_GAP, _MAX_GAP_IF_DAMAGED = 0.2, 0.02
# Other files contain what looks like a frame or two of sound.
_LEAST_SECONDS = 0.1
# Seconds of silence that may replace what is missing in a file, because times may be damaged too.
_MAX_SILENCE = 600.0


class Silence(NamedTuple):
    """Replaces frames that cannot be decoded, so that those behind them keep their time."""

    seconds: float


class _Decoded(NamedTuple):
    """A packet, its frames, why it cannot be decoded ('' if it can), and FFmpeg's notes."""

    packet: "Packet[AudioStream]"
    frames: list[AudioFrame]
    error: str
    notes: list[Note]


class Decoder:
    """Decodes the default audio stream of a file; a context manager.

    Attributes:
      sample_rate: of the stream, in Hz, as its file declares it.
      seconds: of sound that were decoded so far.

    Args:
      raw: the file, which must stay open.
      path: its name, for messages.

    Raises:
      AudioError: it cannot be decoded.
    """

    def __init__(self, raw: io.FileIO, path: str | os.PathLike[str]):
        self._raw, self._path, self._nameless = raw, path, Nameless(raw)
        self.seconds, self._silent, self._rate = 0.0, 0.0, 0
        self._origin: float | None = None
        self._failure = self._first_error = self._damage = ""
        # An error that is damage only if more sound follows.
        self._suspected = ""
        if mp4.counts_too_much(raw.fileno()):
            raise self._unreadable("its index counts samples that do not fit into the file")
        notes.enable()
        with av.logging.Capture() as opening:
            self._container = self._open(opening)
        self._format = self._container.format.name
        if self._format in _BARE:
            self._nameless.limit = _MAX_JUNK
        self._stream = self._choose_stream()
        self._time_base = float(self._stream.time_base or 0)
        codec = self._stream.codec_context
        self.sample_rate = codec.sample_rate
        self._flac = flac.Verifier(codec.extradata) if codec.name == "flac" else None
        self._mp3 = mp3.FrameCounter(raw.fileno()) if self._format == "mp3" else None
        self._wav = wav.read_header(raw.fileno()) if self._format == "wav" else wav.Header()
        self._declared = declared_seconds(
            self._container,
            self._stream,
            self._wav,
            descriptor=raw.fileno(),
            is_estimated=any("Estimating duration" in text for _, _, text in opening),
        )
        self._is_doubtful = any("detected only with low score" in text for _, _, text in opening)
        # Other notes, of frames, are repeated when these are decoded.
        self._note_damage([note for note in opening if note[1] == self._format])

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *exception: object) -> None:
        self._container.close()

    def frames(self) -> Iterator[AudioFrame | Silence]:
        """The content of the file, frame by frame.

        Raises:
          AudioError: there is no sound in it, or a sample rate is out of range.
        """
        for decoded in self._decoded():
            self._examine(decoded)
            if decoded.frames:
                self._nameless.n_read = 0
            for frame in decoded.frames:
                if frame.sample_rate != self._rate:
                    self._rate = self._good_rate(frame)
                self._damage = self._damage or self._suspected
                if missing := self._missing_before(frame):
                    yield from self._silence(missing)
                self.seconds += frame.samples / self._rate
                yield frame
        if self._nameless.is_cut:
            self._damage = self._at("a long stretch without sound; what follows is not read")
        if self._format not in _BARE:
            self._damage = self._damage or self._suspected
        if not self.seconds:
            if self._first_error:
                raise self._unreadable(self._first_error)
            raise AudioError(f"{self._path}: no audio in the file{self._failure}")

    @property
    def declared_seconds(self) -> float | None:
        """The length that the file declares, if it does."""
        return self._declared

    def problem(self) -> str:
        """Says what is wrong with a file whose frames were all taken; '' for nothing."""
        if self._failure or is_off(self.seconds, self._declared, self._stream):
            return f"{self._lengths()}{self._failure}"
        if self._mp3 and (damage := self._mp3.damage(self.seconds)):
            return damage
        if self._is_doubtful and self.seconds < _LEAST_SECONDS:
            return f"hardly recognised as {self._format}, perhaps something else"
        if self._wav.contradiction:
            return f"its header contradicts itself: {self._wav.contradiction}"
        if self._wav.unfinished:
            return f"no length declared, {self.seconds:.1f} s decoded"
        if self._damage:
            return self._damage
        if missing := missing_bytes(self._format, self._raw.fileno()):
            return f"the file is cut off: {missing} bytes are missing"
        if self._format == "ogg" and self._declared is None:
            return f"{self._lengths()} (the ogg stream has no end)"
        return self._flac.damage() if self._flac else ""

    def _open(self, opening: list[Note]) -> InputContainer:
        try:
            return open_container(self._nameless)
        except (av.FFmpegError, OSError, ValueError, MemoryError) as error:
            if os.fstat(self._raw.fileno()).st_size == 0:
                raise AudioError(f"{self._path}: the file is empty") from error
            raise self._unreadable(notes.reason(error, opening)) from error

    def _choose_stream(self) -> AudioStream:
        stream = choose_stream(self._container)
        if stream is None:
            self._container.close()
            raise AudioError(f"{self._path}: no audio in the file that can be decoded")
        return stream

    def _decoded(self) -> Iterator[_Decoded]:
        packets, at_end = self._container.demux(self._stream), False
        while not at_end:
            batch: list[_Decoded] = []
            with av.logging.Capture() as noted:
                try:
                    # Several at a time, because most are small.
                    for packet in itertools.islice(packets, _PACKETS_AT_A_TIME):
                        batch.append(_decode(packet, noted))
                        noted.clear()
                except (av.FFmpegError, OSError) as failure:
                    self._failure = f" ({notes.reason(failure, noted)})"
            yield from batch
            at_end = not batch

    def _examine(self, decoded: _Decoded) -> None:
        """Looks for damage in a packet and its frames."""
        packet, frames, error, noted = decoded
        if noted:
            self._note_damage(noted, only_cuts=bool(error))
        if error:
            self._first_error = self._first_error or error
            if self._format in _BARE and bytes(packet)[:3] in _TAGS:
                self._origin = None  # Its bytes were counted as time.
            elif self.seconds or self._format not in _BARE:
                self._suspected = self._suspected or self._at(error)
        elif self._mp3:
            self._mp3.add(packet)
        if self._flac:
            self._flac.add(packet, frames)

    def _missing_before(self, frame: AudioFrame) -> float:
        """Seconds of sound that are missing before a frame, by its time; 0 for none."""
        if frame.pts is None:
            return 0.0
        time = frame.pts * self._time_base
        if self._origin is None:
            self._origin = time - self.seconds
        missing = time - self._origin - self.seconds
        return missing if missing > (_MAX_GAP_IF_DAMAGED if self._damage else _MAX_GAP) else 0.0

    def _silence(self, seconds: float) -> Iterator[Silence]:
        """Replaces missing sound, if it can be that long."""
        self._damage = self._damage or self._at(f"{seconds:.2f} s of sound are missing")
        still = _MAX_SILENCE if self._declared is None else self._declared - self.seconds
        if seconds <= min(still, _MAX_SILENCE - self._silent):
            self._silent += seconds
            self.seconds += seconds
            yield Silence(seconds)

    def _good_rate(self, frame: AudioFrame) -> int:
        if not MIN_SAMPLE_RATE <= (rate := frame.sample_rate) <= MAX_SAMPLE_RATE:
            raise AudioError(f"{self._path}: sample rate of {rate} Hz is outside 8-192 kHz")
        return rate

    def _note_damage(self, noted: list[Note], *, only_cuts: bool = False) -> None:
        if self._damage or not noted:
            return
        # Of a WAV file, the declared length says more.
        if self._format != "wav" and any("Packet corrupt" in text for _, _, text in noted):
            self._damage = "the file is cut off"
        elif not only_cuts and (texts := notes.errors(noted)):
            self._damage = self._at(texts[0])

    def _lengths(self) -> str:
        if self._declared is None:
            return f"an unknown length declared, {self.seconds:.1f} s decoded"
        # As many digits as it takes to see the difference.
        digits = 1 if f"{self._declared:.1f}" != f"{self.seconds:.1f}" else 4
        return f"{self._declared:.{digits}f} s declared, {self.seconds:.{digits}f} s decoded"

    def _at(self, what: str) -> str:
        where = f", first at {self.seconds:.1f} s" if self.seconds else ""
        return f"damaged{where} ({what})"

    def _unreadable(self, reason: str) -> AudioError:
        return AudioError(f"{self._path}: not readable as audio ({reason})")


def _decode(packet: "Packet[AudioStream]", noted: list[Note]) -> _Decoded:
    try:
        return _Decoded(packet, packet.decode(), "", noted[:])
    except (av.FFmpegError, ValueError) as error:
        return _Decoded(packet, [], notes.reason(error, noted), noted[:])
