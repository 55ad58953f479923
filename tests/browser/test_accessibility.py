"""Pages are usable by all, as far as axe-core finds out, and fit their window."""

import pytest

from damff_jax.evaluation.metrics import DIMENSIONS
from damff_jax.report.pages import data_page, study_page
from tests.browser.test_folder_in_browser import index
from tests.report.test_training_page import TEST, TRAIN, facts_of, report_of, workdir_of

__all__ = ["index"]  # A fixture.

NEEDED = "needs axe-core: pip install 'damff_jax[browser]'"


def serious_faults(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason=NEEDED)
    found = axe.Axe().run(page).response["violations"]
    return [
        (fault["id"], [node["html"] for node in fault["nodes"]])
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


@pytest.fixture
def training(tmp_path):
    """A training report, with a song whose name is long."""
    report_of(workdir_of(tmp_path, {**TEST, "song_" * 20: TEST["song 0"]}))
    return tmp_path / "report.html"


@pytest.fixture
def data(tmp_path):
    """A data report."""
    data_page.write(tmp_path / "data.html", facts_of(TRAIN, {"train": list(TRAIN)}))
    return tmp_path / "data.html"


@pytest.fixture
def study(tmp_path):
    """The page of a study of three systems."""

    def system(score):
        names = ("ccc", "pearson", "rmse", "per_song/ccc", "per_song/rmse")
        names += ("within_song/ccc", "within_song/pearson")
        against = {"difference": score - 0.5, "low": score - 0.6, "high": score - 0.45}
        return {
            "scores": {f"{v}/{name}": [score, 0.01] for v in DIMENSIONS for name in names},
            "against": dict.fromkeys(DIMENSIONS, against) if score != 0.5 else {},
            **{"seeds": [0, 1], "seconds": 90.0, "parameters": 12345},
            **{"n_songs": 100, "n_points": 6000},
        }

    systems = {"ours": system(0.5), "worse": system(0.3), "a name that is long": system(0.55)}
    part = {"folds": [0, 1], "seconds": [15.0, 45.0], "systems": systems}
    results = {"reference": "ours", "protocols": {"in folds": part, "once": part}}
    study_page.write(tmp_path / "study.html", "tiny", results)
    return tmp_path / "study.html"


PAGES = ("song", "index", "training", "data", "study")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
@pytest.mark.parametrize("which", PAGES)
def test_page_has_no_serious_fault_and_fits(open_page, request, which, width, scheme):
    page = open_page(request.getfixturevalue(which), width=width, color_scheme=scheme)
    for summary in page.locator("summary").all():
        summary.click()
    assert serious_faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # No heading of a row is squeezed into a column of single letters.
    widths = page.evaluate("[...document.querySelectorAll('tbody th')].map((th) => th.offsetWidth)")
    assert min(widths) > 40


def test_print_is_light(open_page, song):
    page = open_page(song, color_scheme="dark")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert not page.is_visible("#play") and page.is_visible("#curves")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") is None
