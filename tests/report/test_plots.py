"""Plots of songs: any name, any length, every format, and no warning (they are errors here)."""

import logging

import numpy as np
import pytest
from matplotlib import font_manager, image

from damff_jax.report import fonts, plots

NAMES = {
    "cjk": "東京の夜 – 夜想曲 한국어.flac",
    "arabic": "موسيقى هادئة.mp3",
    "emoji": "🎵 dance 🕺🏽👩‍👩‍👧",
    "mathematics": "$x_1$ 50% \\frac{a}{b} a_b^c $.wav",
    "unknown": "\U000f1234 \U0010fffd",
    "lines": "a\nb\tc\x00",
    "long": "very long " * 40 + "end.flac",
}


def curve_of(n):
    x = np.linspace(0, 20, n)
    return 0.5 * np.arange(n), np.stack([0.8 * np.sin(x), 0.5 * np.cos(x)], axis=1)


def plotted(path, title="a", n=90, **kwargs):
    plots.plot_curve(path, title, *curve_of(n), **kwargs)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_any_script_is_drawn_without_a_warning(name, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    pixels = image.imread(plotted(tmp_path / "a.png", NAMES[name], n=3))
    assert not caplog.records
    # The title is within the picture: its margins are empty.
    title = pixels[:60, :, :3].min(axis=(0, 2)) < 0.9
    assert not title[:5].any() and not title[-5:].any() and title.any()


def test_every_character_has_a_font_and_those_without_become_question_marks():
    for name in NAMES.values():
        text, families = fonts.for_text(name)
        loaded = [
            font_manager.get_font(font_manager.findfont(font_manager.FontProperties(family=[f])))
            for f in families
        ]
        for character in text:
            assert any(font.get_char_index(ord(character)) for font in loaded), character
    assert fonts.for_text("Für a_b")[0] == "Für a_b"
    assert fonts.for_text(NAMES["unknown"])[0] == "? ?"
    assert fonts.for_text(NAMES["lines"])[0] == "a b c "
    assert fonts.for_text("a\u200db\ufe0f")[0] in ("ab", "a\u200db\ufe0f")


def test_fonts_installed_since_matplotlib_made_its_list_are_used(monkeypatch):
    name = "\u4eac"
    lists = [e for e in font_manager.fontManager.ttflist if "mpl-data" in e.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", lists)
    for cached in (fonts._installed_since, fonts._font, fonts._characters):
        cached.cache_clear()
    font_manager.fontManager._findfont_cached.cache_clear()
    paths = font_manager.findSystemFonts()
    has_it = any("CJK" in path for path in paths)
    if not has_it:
        pytest.skip("no such font is installed")
    assert fonts.for_text(name)[0] == name


def test_a_long_name_keeps_its_start_and_its_end(tmp_path):
    plotted(tmp_path / "a.svg", "first " + "middle " * 100 + "last")
    # Text is drawn as paths, each preceded by a comment with its characters.
    svg = (tmp_path / "a.svg").read_text()
    assert "<!-- first middle" in svg and "middle last -->" in svg and " … " in svg


@pytest.mark.parametrize("n", [1, 2, 90, 21_600])
def test_songs_of_half_a_second_and_of_three_hours(n, tmp_path):
    assert plotted(tmp_path / "a.png", n=n, plane=True, notes=["one", "two"]).stat().st_size > 9000


def test_the_axis_shows_minutes_and_the_notes_are_below(tmp_path):
    svg = plotted(tmp_path / "a.svg", "a", n=360, notes=["A note."]).read_text()
    texts = ["<!-- 2:00 -->", "<!-- time (min:s) -->", "<!-- A note. -->"]
    assert all(text in svg for text in texts)
    assert "<!-- tense -->" not in svg
    with_plane = plotted(tmp_path / "b.svg", "", n=3, plane=True).read_text()
    assert "<!-- tense -->" in with_plane and "<!-- start -->" in with_plane


@pytest.mark.parametrize(
    ("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_the_extension_is_the_format_and_the_bytes_are_a_function_of_the_curve(
    kind, start, tmp_path
):
    first, second = (plotted(tmp_path / f"{i}.{kind}", NAMES["cjk"], n=3) for i in "ab")
    assert first.read_bytes().startswith(start) and first.read_bytes() == second.read_bytes()
