"""The page of a song, without a browser; `tests/browser` opens it in one."""

import base64
import dataclasses
import hashlib
import html
import json
import os
import re
import urllib.parse
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest

from damff_jax.report.pages import song_page
from damff_jax.report.quadrants import QUADRANTS
from damff_jax.report.summary import Summary
from damff_jax.report.text import clock
from damff_jax.system.command_line import printable
from tests.report.pages import make_curve

FORMATS = ("to_csv", "to_json", "to_jams", "to_audacity", "to_sonic_visualiser")
HOSTILE = [
    "</script><script>alert('&\"')</script>.mp3",
    '"><img src=x onerror=alert(1)>.mp3',
    "]]><!--<svg/onload=alert(1)>.mp3",
    "$policy ${style} $$.mp3",
    "שלום \u202e3pm.wav",
    "夜に駆ける 🎵.flac",
    "a\nb\x1b[2J\udcff.ogg",
]


class Reader(HTMLParser):
    """The elements of a page, as (name, attributes), and the text of its headline."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.headline, self._open = [], "", []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag):
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data):
        if "h1" in self._open:
            self.headline += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(tmp_path, curve, **more):
    path = tmp_path / "page.html"
    song_page.write(path, curve, **more)
    return path.read_text()


def told(page):
    """What a page says, without its styles and scripts."""
    return html.unescape(re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.DOTALL))


def test_page_refers_to_nothing_but_the_song(tmp_path):
    (tmp_path / "song.wav").touch()
    page = page_of(tmp_path, make_curve(tmp_path / "song.wav", band=True))
    addresses = [
        value
        for _, attributes in Reader(page).elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "poster", "data")
    ]
    outside = [a for a in addresses if not a.startswith(("data:", "#"))]
    assert outside == ["./song.wav"]
    assert "url(" not in page and "@import" not in page and "://" not in page


def test_page_runs_only_its_own_script(tmp_path):
    page = page_of(tmp_path, make_curve())
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="(.*?)"', page)
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("where", ["source", "tags", "remark"])
def test_hostile_names_are_shown_as_they_are_and_do_nothing(tmp_path, name, where):
    source = name if where == "source" else "song.mp3"
    tags = {"name": name, "artist": name} if where == "tags" else {}
    remarks = (name,) if where == "remark" else ()
    page = page_of(tmp_path, make_curve(source, remarks=remarks, weights={name: name}, **tags))
    harmless = page_of(tmp_path, make_curve("song.mp3", weights={"a": "b"}))
    found, wanted = Reader(page), Reader(harmless)
    new = [tag for tag, _ in found.elements]
    for tag, _ in wanted.elements:
        new.remove(tag)
    assert set(new) <= {"bdi", "p"}
    assert not any(key.startswith("on") for _, attrs in found.elements for key in attrs)
    if where != "remark":
        shown = name if where == "tags" else os.path.basename(name)
        assert found.headline == printable(shown)


@pytest.mark.parametrize("name", ["a b#c?d%20.mp3", "ä:ö.wav", "\udcff.ogg", "夜.flac"])
def test_link_leads_to_the_song_from_the_page_s_folder(tmp_path, name):
    (tmp_path / "music").mkdir()
    (tmp_path / "music" / name).touch()
    page = page_of(tmp_path, make_curve(tmp_path / "music" / name))
    (audio,) = Reader(page).all("audio")
    address = urllib.parse.unquote_to_bytes(audio["src"])
    assert address == os.fsencode(f"./music/{name}")
    assert not set(audio["src"]) & set(" #?:")


def test_embedded_song_is_in_the_page(tmp_path):
    (tmp_path / "song.mp3").write_bytes(b"sound")
    page = page_of(tmp_path, make_curve(tmp_path / "song.mp3"), embed_audio=True)
    (audio,) = Reader(page).all("audio")
    assert audio["src"] == f"data:audio/mpeg;base64,{base64.b64encode(b'sound').decode()}"


@pytest.mark.parametrize(("seconds", "limit"), [(45, 1e6), (3600, 5e6)])
def test_page_is_small(tmp_path, seconds, limit):
    n, rng = 2 * seconds, np.random.default_rng(0)
    # Noise cannot be compressed; a song's picture has at most 6000 columns.
    picture = rng.integers(0, 256, (64, min(10 * n, 6000)), np.uint8)
    curve = make_curve(n=n, band=True, picture=picture)
    noise_TxV = rng.uniform(-1, 1, (n, 2))
    curve = dataclasses.replace(curve, valence=noise_TxV[:, 0], arousal=noise_TxV[:, 1])
    assert len(page_of(tmp_path, curve).encode()) < limit


def test_table_has_every_value_and_a_scope_in_every_heading(tmp_path):
    curve = make_curve(n=5, band=True)
    page = page_of(tmp_path, curve)
    table = page[page.index('<div class="scroll tall"') :]
    rows = re.findall(r'<tr><th scope="row">([\d.]+)(.*)', table)
    assert [float(time) for time, _ in rows] == [0.0, 0.5, 1.0, 1.5, 2.0]
    shown = np.array([re.findall(r"<td>([-\d.]+)", cells) for _, cells in rows], float)
    v, a, band = curve.valence, curve.arousal, curve.band
    wanted = [v, a, *(x[:, i] for i in (0, 1) for x in (band.low_TxV, band.high_TxV))]
    np.testing.assert_allclose(shown, np.transpose(wanted), atol=5.1e-4)
    assert all("scope" in attributes for attributes in Reader(page).all("th"))


def test_script_gets_the_curve_the_band_and_the_lag(tmp_path):
    curve = make_curve(n=4, band=True, lag_s=0.5)
    page = page_of(tmp_path, curve)
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    data = json.loads(text)
    assert (data["hop"], data["n"], data["duration"], data["lag"]) == (0.5, 4, 2.0, 0.5)
    np.testing.assert_allclose(data["valence"], curve.valence, atol=1e-4)
    np.testing.assert_allclose(data["band"]["arousal_high"], curve.band.high_TxV[:, 1], atol=1e-4)
    names = [f"page.{end}" for end in ("csv", "json", "jams", "labels.txt", "svl")]
    assert list(data["downloads"]) == names
    for name, method in zip(names[1:], FORMATS[1:], strict=True):
        told = zlib.decompress(base64.b64decode(data["downloads"][name]["deflated"])).decode()
        assert told == getattr(curve, method)()
    told = zlib.decompress(base64.b64decode(data["downloads"]["page.csv"]["deflated"])).decode()
    assert told == curve.to_csv(band=True)


def test_page_says_what_is_known_and_what_is_not(tmp_path):
    text = told(page_of(tmp_path, make_curve(lag_s=0.5, remarks=("cut off",), context_s=(1, 1.5))))
    assert "lags 0.5 s behind the sound" in text and "Take out the lag of 0.5 s" in text
    assert "Cut off." in text
    assert "in the first 1 s and the last 1.5 s the model has less context" in text
    text = told(page_of(tmp_path, make_curve()))
    assert "has not been measured" in text and "Take out" not in text
    assert "less context" not in text and "This page came without a sound file." in text


def test_one_segment_is_enough(tmp_path):
    page = page_of(tmp_path, make_curve(n=1))
    assert '<tr><th scope="row">0.0' in page


def test_summary_names_extremes_and_shares():
    values_TxV = np.array([[0.5, 0.5], [-0.5, 0.1], [-0.6, -0.7], [0.2, -0.2]])
    summary = Summary.of(0.5 * np.arange(4), values_TxV)
    valence, arousal = summary.ranges["valence"], summary.ranges["arousal"]
    assert (valence.low, valence.low_s, valence.high, valence.high_s) == (-0.6, 1.0, 0.5, 0.0)
    assert (arousal.low_s, arousal.high_s) == (1.0, 0.0)
    assert valence.mean == pytest.approx(-0.1)
    assert summary.shares == dict.fromkeys(QUADRANTS, 0.25)


@pytest.mark.parametrize(
    ("seconds", "decimals", "text"),
    [(0, 0, "0:00"), (59.96, 1, "1:00.0"), (3599.5, 1, "59:59.5"), (3600, 0, "1:00:00")],
)
def test_clock(seconds, decimals, text):
    assert clock(seconds, decimals=decimals) == text
