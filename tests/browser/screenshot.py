"""Takes the picture of a page that the documentation shows.

    python -m tests.browser.screenshot docs/result_page.png

The song is one of the synthetic data set. Needs the extras [train] and [browser], and Chromium.
"""

import io
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image
from playwright.sync_api import sync_playwright

from damff_jax.predict import Predictor
from input_pipeline.synthetic.composer import compose_song

SEED, SECONDS, RATE = 11, 60, 44_100
# A song that turns from calm and sad to excited, and becomes calm again.
VALENCE = (-0.7, -0.5, 0.8, 0.8, 0.5, 0.4)
AROUSAL = (-0.8, -0.6, 0.8, 0.9, -0.6, -0.8)
WIDTH, HEIGHT = 960, 770


def take(path: Path) -> None:
    times_T = np.linspace(0, 1, 2 * SECONDS)
    curves = [np.interp(times_T, np.linspace(0, 1, len(x)), x) for x in (VALENCE, AROUSAL)]
    valence_T, arousal_T = np.float32(curves)
    song = compose_song(
        SEED, duration_s=SECONDS, sample_rate=RATE, valence=valence_T, arousal=arousal_T
    )
    with tempfile.TemporaryDirectory() as folder:
        audio, page = Path(folder, "A synthetic song.wav"), Path(folder, "page.html")
        soundfile.write(audio, song.samples, RATE)
        Predictor()(audio).to_html(page)
        png = _screenshot(page)
    with Image.open(io.BytesIO(png)) as image:
        few = image.convert("RGB").quantize(
            255, method=Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE
        )
        few.save(path, optimize=True)
    print(f"wrote {path}: {path.stat().st_size:,} bytes")


def _screenshot(page: Path) -> bytes:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        window = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        window.goto(page.as_uri())
        window.wait_for_timeout(300)
        window.evaluate("seek(24)")
        window.wait_for_timeout(300)
        return window.screenshot()


if __name__ == "__main__":
    take(Path(sys.argv[1]))
