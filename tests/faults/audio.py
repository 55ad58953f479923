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
from damff_jax.evaluation.inference import Windowing
from damff_jax.features import FeatureConfig
from damff_jax.predict import Predictor
from tests.faults.mutations import mutate

RATE = 16_000
FEATURES = FeatureConfig(sample_rate=RATE, n_fft=512, win_length=512, hop_length=800, n_mels=8)
# Of lossy formats the number of samples is known to within a few coded frames, and the silence that
# an mp3's encoder put around the sound is known from the first frame only.
_SLACK = {"mp3": 4 * 576, "ogg": RATE // 10}
_WAYS = {
    "wav": ({"subtype": "PCM_16"}, {"subtype": "FLOAT"}, {"subtype": "PCM_U8"}),
    "flac": ({"subtype": "PCM_16"}, {"subtype": "PCM_24"}),
    "ogg": ({"subtype": "VORBIS"}, {"subtype": "OPUS"}),
    "mp3": ({}, {"bitrate_mode": "VARIABLE"}),
}


def make_inputs(folder: Path, seed: int) -> None:
    """Short files in every format that is read, mono and stereo."""
    rng = np.random.default_rng(seed)
    for name, ways in _WAYS.items():
        for i, way in enumerate(ways):
            for channels in (1, 2):
                n = round(RATE * rng.uniform(0.8, 2.5))
                tone = 0.4 * np.sin(2 * np.pi * rng.uniform(100, 2000) * np.arange(n) / RATE)
                samples = tone[:, None] + rng.normal(0, 0.05, (n, channels))
                soundfile.write(folder / f"{i}{channels}.{name}", samples, RATE, **way)


class Trials:
    def __init__(self, folder: Path, seed: int):
        self._seed = seed
        self._files = []
        self._predictor = Predictor.__new__(Predictor)  # Without the weights, for speed.
        self._predictor._profile = None
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
        if in_sound and abs(n - n_whole) <= _SLACK.get(name, 0):
            return "handled", "other sound of the same length"
        where = "sound" if in_sound else "header"
        return "silent", f"{self.what} ({where}): {n} samples of {n_whole}"

    def _header_had_no_effect(self, content: bytes, header: bytes, samples: np.ndarray) -> bool:
        """Whether the sound is what it would be behind the undamaged header."""
        self._path.write_bytes(header + content[len(header) :])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return audio.load(self._path, RATE).tobytes() == samples.tobytes()
            except audio.AudioError:
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
    # An mp3 is a chain of frames with a header each; the first one counts the others, and what else
    # it states moves the sound by less than four frames, or changes its length.
    return content.index(b"\xff") + 1
