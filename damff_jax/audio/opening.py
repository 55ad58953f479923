"""A file is opened by its content, and the stream to decode is chosen."""

import io
import math

import av
from av.audio.stream import AudioStream
from av.container import Flags, InputContainer
from av.stream import Discard

# Those that contain sound themselves; FFmpeg would open other files for playlists and the like.
_CONTAINERS = (
    "wav,w64,flac,ogg,mp3,mov,matroska,asf,aiff,caf,au,aac,ac3,eac3,dts,dtshd,amr,amrnb,amrwb,avi,"
    "flv,mpegts,mpeg,ape,wv,tta,tak,mpc,mpc8,dsf,iff,voc,oma,loas,truehd,mlp,nut,rm,sox,ircam,"
    "nistsphere,paf,pvf,avr,shn,osq,qcp,xwma,mmf,gxf,mxf,adx,aea,ast,bfstm,bonk,brstm,dss,dv,hca,"
    "hcom,iamf,ilbc,lc3,live_flv,nsv,nuv,pva,qoa,rka,rso,smjpeg,vqf,wavarc,wsd,wtv"
)
_OPTIONS = {
    "format_whitelist": _CONTAINERS,
    "protocol_whitelist": "",
    # Otherwise the samples of every WAV file are searched for other formats, which takes longer
    # than decoding them.
    "max_probe_packets": "1",
}
# Has FFmpeg look ahead, perhaps through half of the file, for times that are not needed.
_GEN_PTS: int = Flags.gen_pts.value  # type: ignore[assignment]  # Their stub is wrong.
_BUFFER_SIZE = 2**17


def open_container(file: "Nameless") -> InputContainer:
    """Opens a file of any of the formats that hold sound themselves.

    Raises:
      FFmpegError, OSError, ValueError, MemoryError: it cannot be read.
    """
    return av.open(
        file,
        "r",
        metadata_errors="replace",
        buffer_size=_BUFFER_SIZE,
        container_options=_OPTIONS,
    )


def choose_stream(container: InputContainer) -> AudioStream | None:
    """The default stream of sound, ready to be decoded; None if there is none."""
    stream = container.streams.best("audio")
    if not isinstance(stream, AudioStream) or stream.codec_context is None:
        return None
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    container.flags &= ~_GEN_PTS
    codec = stream.codec_context
    codec.thread_count = 1  # Notes are captured by thread.
    if not codec.name.startswith("mp3"):  # Some encoders get its checksums wrong.
        codec.options = {"err_detect": "crccheck"}
    return stream


class Nameless:
    """A file without its name, so that FFmpeg judges it by content alone.

    Attributes:
      n_read: bytes that were read; may be reset.
      limit: of these, beyond which nothing is read.
      is_cut: whether the limit was reached.
    """

    def __init__(self, raw: io.FileIO):
        self._raw, self.seek, self.tell = raw, raw.seek, raw.tell
        self.n_read, self.limit, self.is_cut = 0, math.inf, False

    def read(self, size: int) -> bytes:
        self.is_cut = self.is_cut or self.n_read > self.limit
        if self.is_cut:
            return b""
        self.n_read += size
        return self._raw.read(size)
