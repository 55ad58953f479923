"""The index of a folder in a browser."""

import pytest

from damff_jax.report.folder import Folder
from tests.report.pages import make_curve
from tests.report.test_song_page import HOSTILE


@pytest.fixture
def index(tmp_path):
    folder = Folder(tmp_path)
    for i, name in enumerate(["Song 10", "song 9", "夜", *HOSTILE]):
        curve = make_curve(n=10 + i, name=name, unlikeness=0.5 + i, remarks=("cut off",) * (i == 1))
        curve.to_html(tmp_path / f"{i}.html")
        folder.add(curve, str(i))
    folder.fail("in/bad.mp3", "in/bad.mp3: the file is empty")
    folder.write("trained on something")
    return tmp_path / "index.html"


def names(page):
    return page.locator("#songs tbody tr:visible th a").all_inner_texts()


def test_table_is_sorted_by_its_headings(open_page, index):
    page = open_page(index)
    assert len(names(page)) == 3 + len(HOSTILE)
    heading = page.locator("#songs thead th").nth(0)
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    found = names(page)
    assert found.index("song 9") + 1 == found.index("Song 10")
    length = page.locator("#songs thead th").nth(2)
    length.locator("button").click()
    length.locator("button").click()
    assert length.get_attribute("aria-sort") == "descending"
    assert heading.get_attribute("aria-sort") is None
    assert names(page)[-1] == "Song 10"  # The shortest.


def test_songs_are_found_by_a_part_of_their_name(open_page, index):
    page = open_page(index)
    page.fill("#find", "SONG")
    assert sorted(names(page)) == ["Song 10", "song 9"]
    assert page.inner_text("#found") == f"2 of {3 + len(HOSTILE)} songs"


def test_songs_lead_to_their_pages_and_failures_are_listed(open_page, index):
    page = open_page(index)
    assert "in/bad.mp3\tthe file is empty" in page.inner_text("main")
    assert page.locator("svg.map a").count() == 3 + len(HOSTILE)
    page.click("#songs tbody th a >> nth=2")
    assert page.inner_text("h1") == "夜"
