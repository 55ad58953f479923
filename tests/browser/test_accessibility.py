"""Pages are usable by all, as far as axe-core finds out, and fit their window."""

import pytest

from tests.browser.test_folder_in_browser import index

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


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
@pytest.mark.parametrize("which", ["song", "index"])
def test_page_has_no_serious_fault_and_fits(open_page, request, which, width, scheme):
    page = open_page(request.getfixturevalue(which), width=width, color_scheme=scheme)
    if which == "song":
        page.click("#values summary")
    assert serious_faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_print_is_light(open_page, song):
    page = open_page(song, color_scheme="dark")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert not page.is_visible("#play") and page.is_visible("#curves")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") is None
