"""Checks that every page of a report must pass."""

import re
from html.parser import HTMLParser

_VOID = {"meta", "link", "br"}


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.tags, self.texts = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append((tag, values))
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values[name] for name in ("href", "src") if name in values]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def check(page):
    """Returns the page's text; it is well-formed, self-contained, and has text alternatives."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert not reader.open and len(set(reader.ids)) == len(reader.ids)
    for link in reader.links:
        assert link == "data:," or link[1:] in reader.ids, link
    assert "url(" not in page and "@import" not in page
    # The one script is that of the colours.
    assert page.count("<script") == 1 and "default-src 'none'; script-src 'sha256-" in page
    tags = [tag for tag, _ in reader.tags]
    assert {"header", "main", "footer", "nav", "h1"} <= set(tags) and tags.count("h1") == 1
    for tag, values in reader.tags:
        if tag == "svg":
            assert values["role"] == "img" and values["aria-label"]
        if tag == "th":
            assert values["scope"] in ("row", "col")
    assert "color-scheme: light dark" in page and 'name="viewport"' in page
    assert "nan" not in re.findall(r"[\w.]+", "".join(v.get("d", "") for _, v in reader.tags))
    return " ".join(" ".join(reader.texts).split())


def section(page, name):
    """The HTML of a section."""
    return re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL)[0]
