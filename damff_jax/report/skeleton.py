"""The skeleton of a report: a self-contained HTML page of sections, and what stands in them."""

import dataclasses
import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import damff_jax

_STYLE = Path(__file__).with_name("report.css")


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
      name: its place in the page's address, after #.
      body: HTML.
    """

    name: str
    title: str
    body: str


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """A page that loads nothing: neither scripts, nor fonts, nor images."""
    links = "".join(f'<a href="#{s.name}">{escape(s.title)}</a>' for s in sections)
    parts = "".join(
        f'<section id="{s.name}" aria-labelledby="{s.name}-title">'
        f'<h2 id="{s.name}-title">{escape(s.title)}</h2>{s.body}</section>'
        for s in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title>'
        f"<style>{_STYLE.read_text(encoding='utf-8')}</style></head><body>"
        '<a class="skip" href="#main">Skip to content</a>'
        f"<header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p>"
        f'<nav aria-label="Sections">{links}</nav></header>'
        f'<main id="main">{parts}</main>'
        f"<footer>Written by damff_jax {damff_jax.__version__}.</footer></body></html>\n"
    )


def escape(text: object) -> str:
    """Text as HTML; lone surrogates, as in names that are not valid Unicode, are escaped too."""
    clean = str(text).encode(errors="backslashreplace").decode()
    return html.escape(clean, quote=True)


def paragraph(text: str, css: str = "") -> str:
    """A paragraph of plain text."""
    return f"<p{_class(css)}>{escape(text)}</p>"


def prose(text: str) -> str:
    """A paragraph of Markdown, of which only **strong** and `code` are known."""
    body = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(text), flags=re.DOTALL)
    body = re.sub(r"`([^`]+)`", r"<code>\1</code>", body)
    return f"<p>{body}</p>"


def heading(text: str) -> str:
    return f"<h3>{escape(text)}</h3>"


def figure(svg: str, caption: str) -> str:
    """A chart with its caption, plain text."""
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def grid(figures: Iterable[str], css: str = "") -> str:
    """Figures beside each other, as many as fit."""
    return f'<div class="figures {css}">{"".join(figures)}</div>'


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    caption: str = "",
    numbers: bool = True,
) -> str:
    """A table of plain text, whose first column names the rows; wide ones scroll.

    Args:
      numbers: whether the other columns hold numbers, which are aligned to the right.
    """
    columns = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, *cells in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    # A region that scrolls must be reachable by keyboard.
    label = escape(caption or " ".join(head))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}">'
        f'<table class="{"numbers" if numbers else "texts"}">{title}'
        f"<thead><tr>{columns}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def details(summary: str, body: str) -> str:
    """A part that is closed at first; `body` is HTML."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def code(text: str) -> str:
    """Text to copy, in the form it has."""
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'


def _class(css: str) -> str:
    return f' class="{css}"' if css else ""
