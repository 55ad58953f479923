"""The page of a song in a browser: play, follow, seek, zoom, theme, downloads, table."""

import pytest

from damff_jax.report.pages import song_page
from tests.browser.conftest import SECONDS, full_curve
from tests.report.pages import make_curve
from tests.report.test_song_page import FORMATS, HOSTILE

# The position that the page tells, and that at which the cursor stands.
STATE = """() => {
  const box = document.getElementById("chart").getBoundingClientRect();
  const cursor = document.getElementById("cursor").getBoundingClientRect();
  return {
    told: Number(document.getElementById("chart").getAttribute("aria-valuenow")),
    drawn: toTime(cursor.left + 1 - box.left, plotArea(box.width, box.height), view),
    heard: document.getElementById("audio").currentTime,
    from: view.from, to: view.to,
  };
}"""


def until(page, condition):
    """Waits for a condition; Playwright's own wait would need a page that lets scripts be added."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"never: {condition}")


def state(page):
    return page.evaluate(STATE)


def position(page):
    """Where the page is, after its sound has been found there too."""
    until(page, "!document.getElementById('audio').seeking")
    now = state(page)
    assert now["heard"] == pytest.approx(now["told"], abs=0.06)
    if now["from"] <= now["told"] <= now["to"]:
        assert now["drawn"] == pytest.approx(now["told"], abs=0.06)
    return now["told"]


def sound_is_ready(page):
    until(page, "document.getElementById('audio').readyState >= 1")


@pytest.fixture
def page(open_page, song):
    opened = open_page(song)
    sound_is_ready(opened)
    return opened


def x_of(page, seconds):
    """Where a time is in the chart, as a position for the mouse."""
    script = "t => toX(t, plotArea($('chart').clientWidth, $('chart').clientHeight), view)"
    return {"x": page.evaluate(script, seconds), "y": 80}


def test_playing_moves_the_cursor_with_the_sound(page):
    page.click("#play")
    until(page, "document.getElementById('audio').currentTime > 0.6")
    now = state(page)
    assert now["drawn"] == pytest.approx(now["heard"], abs=0.1)
    assert now["told"] == pytest.approx(now["heard"], abs=0.1)
    assert "Pause" in page.inner_text("#play")
    page.click("#play")
    stopped = position(page)
    page.wait_for_timeout(150)
    assert position(page) == stopped and "Play" in page.inner_text("#play")


@pytest.mark.parametrize("follows", [True, False])
def test_zoomed_chart_follows_the_sound_if_asked(page, follows):
    page.set_checked("#follow", follows)
    for _ in range(2):
        page.click("#zoom-in")
    before = state(page)
    assert before["to"] - before["from"] == pytest.approx(SECONDS / 4)
    page.evaluate("document.getElementById('audio').playbackRate = 8")
    page.click("#play")
    until(page, "document.getElementById('audio').currentTime > 5")
    page.click("#play")
    now = state(page)
    assert (now["from"] <= now["told"] <= now["to"]) == follows
    assert (now["from"] == before["from"]) != follows


def test_mouse_seeks_by_click_and_by_drag(page):
    page.click("#chart", position=x_of(page, 6))
    assert position(page) == pytest.approx(6, abs=0.06)
    box = page.locator("#chart").bounding_box()
    page.mouse.move(box["x"] + x_of(page, 2)["x"], box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + x_of(page, 9)["x"], box["y"] + 50, steps=4)
    page.mouse.up()
    page.mouse.move(0, 0)
    assert position(page) == pytest.approx(9, abs=0.06)


def test_pointer_shows_the_values_under_it(page):
    page.hover("#chart", position=x_of(page, 6))
    assert page.inner_text("#at") == "0:06.0"
    # At 6 s, in the middle of the song, valence crosses zero.
    assert "valence +0.00" in page.inner_text("#value-valence").replace("−", "+")
    assert page.inner_text("#value-valence").count("0.15") == 2  # The band.
    assert position(page) == 0


@pytest.mark.parametrize(
    ("keys", "seconds"),
    [
        (["End"], SECONDS),
        (["End", "Home"], 0),
        (["ArrowRight", "ArrowRight"], 2),
        (["Shift+ArrowRight", "ArrowLeft"], 9),
        (["ArrowUp"], 0.5),
        (["ArrowLeft"], 0),
        (["PageUp"], SECONDS),
    ],
)
def test_keys_seek(page, keys, seconds):
    page.focus("#chart")
    for key in keys:
        page.keyboard.press(key)
    assert position(page) == pytest.approx(seconds, abs=0.06)


def test_space_plays_from_anywhere_but_acts_on_the_control_with_the_focus(page):
    page.keyboard.press("Space")
    until(page, "document.getElementById('audio').currentTime > 0.1")
    page.keyboard.press("Space")
    assert page.evaluate("document.getElementById('audio').paused")
    page.focus("#show-valence")
    page.keyboard.press("Space")
    assert page.evaluate("document.getElementById('audio').paused")
    assert not page.is_checked("#show-valence")


def test_zoom_by_buttons_keys_and_wheel(page):
    def span():
        page.wait_for_timeout(50)
        now = state(page)
        return now["to"] - now["from"]

    assert page.is_disabled("#zoom-out") and not page.is_visible("#window")
    page.click("#zoom-in")
    assert span() == pytest.approx(SECONDS / 2) and page.is_visible("#window")
    page.focus("#chart")
    page.keyboard.press("+")
    assert span() == pytest.approx(SECONDS / 4)
    page.keyboard.press("-")
    page.click("#zoom-all")
    assert span() == SECONDS and not page.is_visible("#window")
    under = x_of(page, 9)
    page.hover("#chart", position=under)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    assert span() < 0.6 * SECONDS
    # What was under the pointer still is.
    assert x_of(page, 9)["x"] == pytest.approx(under["x"], abs=1)
    for _ in range(9):
        page.keyboard.press("+")
    assert span() == pytest.approx(2) and page.is_disabled("#zoom-in")


def test_overview_moves_the_visible_part(page):
    for _ in range(2):
        page.click("#zoom-in")
    width = page.locator("#overview").bounding_box()["width"]
    page.click("#overview", position={"x": 0.75 * width, "y": 20})
    page.wait_for_timeout(50)
    now = state(page)
    assert now["from"] < 9 < now["to"] and now["told"] == 0


@pytest.mark.expected_fault("willReadFrequently")  # Advice to those who read pixels.
def test_drawing_shows_curves_band_and_picture(page):
    """Each pixel of the chart is looked at, with a curve switched on and off."""
    count = """name => {
      const canvas = document.getElementById("curves");
      const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      const [r, g, b] = colour(name).match(/\\d+/g).map(Number);
      let n = 0;
      for (let i = 0; i < pixels.length; i += 4) {
        n += Math.hypot(pixels[i] - r, pixels[i + 1] - g, pixels[i + 2] - b) < 12;
      }
      return n;
    }"""
    with_both = page.evaluate(count, "arousal")
    assert with_both > 500 and page.evaluate(count, "valence") > 500
    page.uncheck("#show-arousal")
    page.wait_for_timeout(60)
    assert page.evaluate(count, "arousal") < 20 and page.evaluate(count, "valence") > 500


def test_lag_can_be_taken_out(page):
    page.click("#chart", position=x_of(page, 6))
    page.mouse.move(0, 0)
    with_lag = page.inner_text("#value-valence")
    page.check("#lag")
    page.wait_for_timeout(60)
    without = page.inner_text("#value-valence")
    # Valence rises by 1.6 in 23 segments.
    value = [float(text.split()[1].replace("−", "-")) for text in (with_lag, without)]
    assert value[1] - value[0] == pytest.approx(1.6 / 23, abs=0.011)


def test_fitted_scale_is_narrower(page):
    assert page.evaluate("scale()") == {"low": -1, "high": 1}
    page.check("#fit")
    fitted = page.evaluate("scale()")
    assert -1 <= fitted["low"] < fitted["high"] <= 1


def test_moments_and_the_plane_lead_to_their_time(page):
    moments = page.locator("a[data-moment]")
    assert moments.count() == 4
    moments.nth(1).click()  # The highest valence: the last segment, at its middle.
    assert position(page) == pytest.approx(SECONDS - 0.25, abs=0.06)
    # The path's start, at valence -0.8 and arousal 0.
    where = page.evaluate("planePoint(-0.8, 0, planeArea($('plane').clientWidth))")
    page.click("#plane", position={"x": where[0], "y": where[1]})
    assert position(page) == pytest.approx(0.25, abs=0.06)
    assert page.inner_text("#plane-now").startswith("0:00.")


def test_address_may_name_a_time(open_page, song):
    page = open_page(song)
    page.evaluate("location.hash = '#t=3.5'")
    until(page, "document.getElementById('clock').textContent.startsWith('0:0')")
    page.wait_for_timeout(60)
    assert state(page)["told"] == 3.5


def test_theme_follows_the_system_and_the_button(open_page, song):
    page = open_page(song, color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    page.click("#theme")
    light = page.evaluate(background)
    assert page.inner_text("#theme") == "Theme: light" and light != dark
    page.reload()
    assert page.evaluate(background) == light  # Remembered.
    page.click("#theme")
    assert page.inner_text("#theme") == "Theme: dark" and page.evaluate(background) == dark
    page.click("#theme")
    assert page.inner_text("#theme") == "Theme: auto" and page.evaluate(background) == dark


def test_downloads_are_what_the_curve_writes(page, sound, tmp_path):
    curve = full_curve(sound)
    buttons = page.locator("[data-download]")
    assert buttons.count() == len(FORMATS)
    for i, method in enumerate(FORMATS):
        with page.expect_download() as waiting:
            buttons.nth(i).click()
        waiting.value.save_as(tmp_path / "file")
        assert waiting.value.suggested_filename.startswith("song.")
        text = curve.to_csv(band=True) if method == "to_csv" else getattr(curve, method)()
        assert (tmp_path / "file").read_text() == text


def test_table_has_a_heading_for_every_row_and_column(page):
    page.click("#values summary")
    table = page.locator("#values table")
    assert table.locator("tbody tr").count() == 2 * SECONDS
    assert table.locator("tbody th[scope=row]").count() == 2 * SECONDS
    assert table.locator("thead th[scope=col]").count() == 7
    assert table.locator("tbody tr").nth(0).locator("td").count() == 6


@pytest.mark.expected_fault("ERR_FILE_NOT_FOUND")
def test_song_that_is_gone_can_be_chosen(open_page, sound, tmp_path):
    copy = tmp_path / "copy.wav"
    copy.write_bytes(sound.read_bytes())
    song_page.write(tmp_path / "page.html", make_curve(copy))
    copy.unlink()
    page = open_page(tmp_path / "page.html")
    page.wait_for_selector("#no-sound", state="visible")
    assert "copy.wav" in page.inner_text("#no-sound") and page.is_disabled("#play")
    page.focus("#chart")
    page.keyboard.press("ArrowRight")  # The cursor moves without sound, too.
    assert state(page)["told"] == 1
    page.set_input_files("#choose", sound)
    page.wait_for_selector("#no-sound", state="hidden")
    page.click("#play")
    until(page, "document.getElementById('audio').currentTime > 1.2")


def test_embedded_song_plays(open_page, sound, tmp_path):
    song_page.write(tmp_path / "page.html", make_curve(sound), embed_audio=True)
    page = open_page(tmp_path / "page.html")
    sound_is_ready(page)
    page.click("#play")
    until(page, "document.getElementById('audio').currentTime > 0.2")


def test_curve_of_samples_has_a_page_without_sound(open_page, tmp_path):
    song_page.write(tmp_path / "page.html", make_curve("<samples>", picture=None))
    page = open_page(tmp_path / "page.html")
    assert page.is_disabled("#play") and page.is_visible("#no-sound")
    page.click("#chart", position=x_of(page, 3))
    assert state(page)["told"] == pytest.approx(3, abs=0.06)


def test_hostile_names_are_shown_and_do_nothing(open_page, tmp_path):
    path = tmp_path / "page.html"
    song_page.write(path, make_curve("song.mp3"))
    page = open_page(path)
    for name in HOSTILE:
        all_of_it = {"name": name, "artist": name, "remarks": (name,), "weights": {name: name}}
        song_page.write(path, make_curve("song.mp3", **all_of_it))
        page.reload()
        shown = song_page.printable(name)
        assert page.locator("h1").text_content() == shown
        assert page.title() == " ".join(f"{shown}: valence and arousal".split())
        assert page.locator("script").count() == 2
        assert page.locator("svg, img[src=x]").count() == 0


def test_name_of_right_to_left_keeps_its_punctuation(open_page, tmp_path):
    song_page.write(tmp_path / "page.html", make_curve(name="שלום עולם"))
    page = open_page(tmp_path / "page.html")
    direction = "getComputedStyle(document.querySelector('h1 bdi')).unicodeBidi"
    assert page.evaluate(direction) == "isolate"
