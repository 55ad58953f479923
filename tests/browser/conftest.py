"""Pages in a browser: Playwright drives Debian's Chromium, or one of its own if it has one."""

import shutil

import numpy as np
import pytest
import soundfile

from damff_jax.report.pages import song_page
from tests.report.pages import make_curve

SECONDS = 12
_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def chromium():
    """A running browser."""
    reason = "needs a browser: pip install 'damff_jax[browser]' and apt-get install chromium"
    sync_api = pytest.importorskip("playwright.sync_api", reason=reason)
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    with sync_api.sync_playwright() as playwright:
        try:
            # Without its sandbox, because root has none; it opens nothing but our own pages.
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        except sync_api.Error:
            pytest.skip(reason)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, request):
    """Opens a file in a window of its own, by default 1280 pixels wide and light.

    A test fails if a page reports an error or asks for anything that is not a file or part of it.
    """
    contexts, faults = [], []

    def noted(message):
        if message.type in ("error", "warning"):
            faults.append(message.text)

    def requested(message):
        if not message.url.startswith(("file:", "data:", "blob:")):
            faults.append(f"requested {message.url}")

    def opened(path, *, width=1280, height=900, **more):
        context = chromium.new_context(viewport={"width": width, "height": height}, **more)
        contexts.append(context)
        page = context.new_page()
        page.on("console", noted)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", requested)
        page.on("dialog", lambda dialog: faults.append(f"dialog {dialog.message}"))
        page.goto(path.as_uri())
        page.wait_for_load_state()
        return page

    yield opened
    for context in contexts:
        context.close()
    expected = request.node.get_closest_marker("expected_fault")
    assert [x for x in faults if not (expected and expected.args[0] in x)] == []


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """A song of 12 s."""
    path = tmp_path_factory.mktemp("music") / "a song.wav"
    t = np.arange(SECONDS * 16_000) / 16_000
    soundfile.write(path, 0.1 * np.sin(2 * np.pi * 220 * t), 16_000)
    return path


@pytest.fixture
def song(sound, tmp_path):
    """The path of the page of a song, with everything that a page can have."""
    path = tmp_path / "song.html"
    song_page.write(path, full_curve(sound))
    return path


def full_curve(source, **more):
    values = {
        "band": True,
        "lag_s": 0.5,
        "remarks": ("unlike the training songs (unlikeness 1.7, where 1 is the limit)",),
        "context_s": (1.0, 1.0),
        "name": "A Name",
        "artist": "Somebody",
    }
    return make_curve(source, n=2 * SECONDS, **{**values, **more})
