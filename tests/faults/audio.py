"""Damaged audio files, read as `predict` reads them.

refused  an AudioError of one line that names the file
handled  a warning; or the samples of the whole file; or, if only coded sound was changed and the
         header was not, finite samples in the number of the whole file
silent   other samples without a word: fewer, more, at another rate, of other channels
"""

import warnings
import zlib
from pathlib import Path

import numpy as np
import soundfile

from damff_jax import audio
from damff_jax.audio.encoding import encode
from damff_jax.evaluation.inference import Windowing
from damff_jax.features import FeatureConfig
from damff_jax.predict import Predictor
from tests.faults.mutations import mutate

RATE = 16_000
FEATURES = FeatureConfig(sample_rate=RATE, n_fft=512, win_length=512, hop_length=800, n_mels=8)
# Of lossy formats, the number of samples is known to within a few coded frames. How many of them at
# the start and the end are the encoder's padding is stated in one place only (the first frame of an
# mp3, the edit list of an m4a), which nothing else in the file contradicts.
_SLACK = {"mp3": 4 * 576, "ogg": RATE // 10, "m4a": 4 * 1024, "wma": 4 * 2048, "webm": RATE // 10}
# Behind these marks, the sound of wma and webm files begins.
_ASF_DATA, _CLUSTER = bytes.fromhex("3626b2758e66cf11"), bytes.fromhex("1f43b675")
_WAYS = {
    "wav": ({"subtype": "PCM_16"}, {"subtype": "FLOAT"}, {"subtype": "PCM_U8"}),
    "flac": ({"subtype": "PCM_16"}, {"subtype": "PCM_24"}),
    "ogg": ({"subtype": "VORBIS"}, {"subtype": "OPUS"}),
    "mp3": ({}, {"bitrate_mode": "VARIABLE"}),
    "aiff": ({"subtype": "PCM_16"},),
}
# Bytes of an mp3's first frame, which alone says how many follow and where the sound begins; and
# the samples whose frames may have a part of their bits in frames before them.
_FIRST_FRAME, _RESERVOIR = 600, 8 * 576
# What soundfile does not write: the container, the codec, and its sample rate.
_WAYS_OF_FFMPEG = {
    "m4a": ("ipod", "aac", RATE),
    "opus": ("ogg", "libopus", 48_000),
    "wma": ("asf", "wmav2", RATE),
    "webm": ("webm", "libopus", 48_000),
}


def make_inputs(folder: Path, seed: int) -> None:
    """Short files in every format that people have, mono and stereo."""
    rng = np.random.default_rng(seed)
    for name, ways in _WAYS.items():
        for i, way in enumerate(ways):
            for channels in (1, 2):
                path = folder / f"{i}{channels}.{name}"
                soundfile.write(path, _sound(RATE, channels, rng), RATE, **way)
    for name, (container, codec, rate) in _WAYS_OF_FFMPEG.items():
        for channels in (1, 2):
            path = folder / f"0{channels}.{name}"
            encode(path, _sound(rate, channels, rng), rate, container, codec)


def _sound(rate: int, channels: int, rng: np.random.Generator) -> np.ndarray:
    n = round(rate * rng.uniform(0.8, 2.5))
    tone = 0.4 * np.sin(2 * np.pi * rng.uniform(100, 2000) * np.arange(n) / rate)
    return tone[:, None] + rng.normal(0, 0.05, (n, channels))


class Trials:
    def __init__(self, folder: Path, seed: int):
        self._seed = seed
        self._files = []
        self._predictor = Predictor.__new__(Predictor)  # Without the weights, for speed.
        self._predictor.name = self._predictor.origin = "none"
        self._predictor.lag_s = self._predictor._profile = self._predictor._errors = None
        self._predictor._facts = {}
        self._predictor.features = FEATURES
        self._predictor._windowing, self._predictor._batch_size = Windowing(4, 1), 2
        self._predictor._apply = lambda x, mask: np.tanh(x.mean(axis=(2, 3))[..., None] + [0, 1])
        for path in sorted(folder.iterdir()):
            content = path.read_bytes()
            samples = audio.load(path, RATE, strict=True)
            self._files.append((path.suffix[1:], content, _payload_start(content), samples))
        self._path = folder.parent / f"audio_{id(self)}_{zlib.crc32(str(folder).encode())}"

    def run(self, number: int) -> tuple[str, str]:
        rng = np.random.default_rng([self._seed, 1, number])
        name, content, payload, whole = self._files[rng.integers(len(self._files))]
        mutated = mutate(content, rng)
        self.what = f"{name}, {mutated.what} of {len(content)} bytes"
        self._path.write_bytes(mutated.content)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                curve = self._predictor.from_file(self._path)
            except audio.AudioError as error:
                one_line = str(error).startswith(f"{self._path}: ") and "\n" not in str(error)
                return "refused" if one_line else "crashed", f"{self.what}: {error}"
        foreign = [w for w in caught if not issubclass(w.category, audio.AudioWarning)]
        if foreign:
            return "crashed", f"{self.what}: warning of another type: {foreign[0].message}"
        if not (len(curve) and np.isfinite(curve).all()):
            return "silent", f"{self.what}: a curve of {len(curve)} rows, finite or not"
        if caught:
            return "handled", str(caught[0].message)
        samples = audio.load(self._path, RATE)
        n, n_whole = len(samples), len(whole)
        if samples.tobytes() == whole.tobytes():
            return "handled", "the same samples"
        in_sound = mutated.first >= payload or self._header_had_no_effect(
            mutated.content, content[:payload], samples
        )
        slack = _SLACK.get(name, 0)
        if slack and _is_same_but_for_ends(samples, whole, slack, slack):
            return "handled", "the same sound, but for the encoder's padding around it"
        # An mp3 without its first frame is a chain of frames that may have begun anywhere: radio
        # recordings and cut files do, and are whole. Its end must still be there.
        is_headless = name == "mp3" and mutated.first < _FIRST_FRAME
        if is_headless and _is_same_but_for_ends(samples[_RESERVOIR:], whole, len(whole), slack):
            return "handled", "the same sound from where it begins"
        # An AIFF file states its rate once; in a WAV file, the bytes per second contradict it.
        if name == "aiff" and self._is_the_rate(mutated.content, content, payload, n_whole):
            return "handled", "another sample rate, which nothing contradicts"
        # Without checksums, changed sound is only sound, as long as none is lost.
        if in_sound and abs(n - n_whole) <= slack:
            return "handled", "other sound of the same length"
        where = "sound" if in_sound else "header"
        return "silent", f"{self.what} ({where}): {n} samples of {n_whole}"

    def _is_the_rate(self, content: bytes, whole: bytes, payload: int, n_whole: int) -> bool:
        """Whether only the rate in the header was changed, an 80-bit number at byte 28."""
        restored = content[:28] + whole[28:38] + content[38:]
        self._path.write_bytes(restored)
        try:
            n = len(audio.load(self._path, RATE, strict=True))
        except audio.AudioError:
            return False
        return n == n_whole and restored[:payload] == whole[:payload]

    def _header_had_no_effect(self, content: bytes, header: bytes, samples: np.ndarray) -> bool:
        """Whether the sound is what it would be behind the undamaged header."""
        self._path.write_bytes(header + content[len(header) :])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return audio.load(self._path, RATE).tobytes() == samples.tobytes()
            except audio.AudioError:
                return False


def _is_same_but_for_ends(
    samples: np.ndarray, whole: np.ndarray, at_start: int, at_end: int
) -> bool:
    """Whether samples agree wherever both exist, and at most so many are missing at the ends."""
    n = len(samples)
    for i in (n // 2, 3 * n // 4, 7 * n // 8):
        for shift in np.flatnonzero(whole == samples[i]) - i if n else ():
            ours, theirs = samples[max(0, -shift) :], whole[max(0, shift) :]
            m = min(len(ours), len(theirs))
            ends_match = abs(shift) <= at_start and abs(n + shift - len(whole)) <= at_end
            if (
                ends_match
                and m > RATE // 10
                and np.allclose(ours[:m], theirs[:m], rtol=0, atol=1e-4)
            ):
                return True
    return False


def _payload_start(content: bytes) -> int:
    """Where the coded sound begins, behind the headers."""
    if content.startswith(b"RIFF"):
        return content.index(b"data") + 8
    if content.startswith(b"fLaC"):
        place, last = 4, False
        while not last:
            last = bool(content[place] & 0x80)
            place += 4 + int.from_bytes(content[place + 1 : place + 4], "big")
        return place
    if content.startswith(b"OggS"):
        # The first page that says how many samples have gone before its end.
        place = 0
        while int.from_bytes(content[place + 6 : place + 14], "little") == 0:
            place = content.index(b"OggS", place + 4)
        return place
    if b"ftyp" in content[:16]:
        return content.index(b"mdat") + 4
    for mark, n in ((b"SSND", 16), (_ASF_DATA, 50), (_CLUSTER, 4)):
        if mark in content:
            return content.index(mark) + n
    # An mp3 is a chain of frames with a header each, and has none of its own.
    return content.index(b"\xff")
