"""The index of a folder and its summary.csv, without a browser."""

import csv

import numpy as np
import pytest

from damff_jax.report.curve import Curve
from damff_jax.report.folder import Entry, Folder
from damff_jax.report.pages import folder_page
from tests.report.test_song_page import HOSTILE, Reader

FAILURES = {"in/bad.mp3": "in/bad.mp3: the file is empty", "in/x.wav": "in/x.wav: not readable"}


def entry(source="in/a.wav", page="a.html", **more):
    return Entry.of(curve(source, **more), page)


def curve(source="in/a.wav", **more):
    valence_T, arousal_T = np.array([[0.5, 0.3, 0.1, -0.1], [0.5, -0.5, -0.6, 0.2]])
    return Curve(source, "trained", 0.5 * np.arange(4), valence_T, arousal_T, **more)


def page_of(entries, failures=()):
    return folder_page.text("folder", entries, dict(failures), model="trained")


def test_summary_has_a_row_per_song_and_per_failure(tmp_path):
    folder = Folder(tmp_path)
    remarks = ("cut off", "low energy")
    folder.add(curve(unlikeness=1.25, remarks=remarks, name="夜, 1"), "a")
    folder.add(curve(), "b")
    for source, why in FAILURES.items():
        folder.fail(source, why)
    folder.write("trained")
    with open(tmp_path / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["done", "done", "failed", "failed"]
    first, last = rows[0], rows[-1]
    assert (first["file"], first["name"], first["page"]) == ("in/a.wav", "夜, 1", "a.html")
    assert float(first["valence_mean"]) == pytest.approx(0.2)
    assert float(first["arousal_low"]) == -0.6 and float(first["seconds"]) == 2.0
    assert [float(first[name]) for name in ("excited", "tense", "sad", "calm")] == [
        0.25, 0.25, 0.0, 0.5,
    ]  # fmt: skip
    assert first["remarks"] == "cut off; low energy" and float(first["unlikeness"]) == 1.25
    assert (last["file"], last["remarks"]) == ("in/x.wav", "in/x.wav: not readable")
    assert last["valence_mean"] == "" and rows[1]["unlikeness"] == ""


def test_index_links_every_song_and_names_every_failure():
    entries = [entry(f"in/{i}.wav", f"song #{i}.html") for i in range(3)]
    page = page_of(entries, FAILURES)
    links = [attributes["href"] for attributes in Reader(page).all("a")]
    for i in range(3):
        assert links.count(f"./song%20%23{i}.html") == 2  # in the table and on the plane
    assert "in/bad.mp3" in page and "the file is empty" in page
    assert page.count("in/bad.mp3") == 1  # not repeated in the reason


def test_index_without_failures_does_not_mention_them():
    page = page_of([entry()])
    assert "Failed" not in page and "failed-title" not in page


def test_index_without_songs_has_the_failures():
    page = page_of([], FAILURES)
    assert "<b>0</b> songs" in page and "in/bad.mp3" in page


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_shown_as_they_are_and_do_nothing(name):
    harmless = Reader(page_of([entry(artist="b")], {"y": "z"}))
    entries = [entry(name, "x.html", artist=name)]
    found = Reader(folder_page.text(name, entries, {name: name}, model=name))
    assert [tag for tag, _ in found.elements] == [tag for tag, _ in harmless.elements]
    assert not any(key.startswith("on") for _, attrs in found.elements for key in attrs)


def test_index_of_a_thousand_songs_is_small():
    rng = np.random.default_rng(0)
    curve_TxV = rng.uniform(-1, 1, (7200, 2))
    one = Curve("in/a.wav", "trained", 0.5 * np.arange(7200), *curve_TxV.T)
    assert len(page_of(1000 * [Entry.of(one, "a.html")])) < 3e6
