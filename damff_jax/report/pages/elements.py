"""Elements of pages: paragraphs, figures and tables of plain text, as HTML."""

import re
from collections.abc import Iterable, Sequence

from damff_jax.report.text import escape


def paragraph(text: str, css: str = "") -> str:
    """A paragraph of plain text."""
    name = f' class="{css}"' if css else ""
    return f"<p{name}>{escape(text)}</p>"


def notice(text: str) -> str:
    """A paragraph of plain text that stands out."""
    return f'<p class="notice" role="note">{escape(text)}</p>'


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
    label: str = "",
    numbers: bool = True,
) -> str:
    """A table of plain text, whose first column names the rows; large ones scroll.

    Args:
      label: names the table instead of a caption, if that would repeat a heading.
      numbers: whether the other columns hold numbers, which are aligned to the right.
    """
    columns = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    lines = "\n".join(
        f'<tr><th scope="row"><bdi>{escape(name)}</bdi></th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for name, *cells in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    start = "<table>" if numbers else '<table class="texts">'
    # A region that scrolls must be reachable by keyboard.
    return (
        f'<div class="scroll{" tall" * (not caption)}" tabindex="0" role="region" '
        f'aria-label="{escape(caption or label)}">'
        f"{start}{title}<thead><tr>{columns}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def details(summary: str, body: str) -> str:
    """A part that is closed at first; `body` is HTML."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def code(text: str) -> str:
    """Text to copy, in the form it has."""
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'
