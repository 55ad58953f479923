"""The frame of every page: header, main part and footer, with styles, scripts and data in it.

Every document forbids its browser to load anything but pictures and sound, and to run any script
but its own, so that a name from a file's tags could not, even if it were escaped wrongly.
"""

import base64
import hashlib
import json
import string
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

import damff_jax
from damff_jax.report import colours
from damff_jax.report.text import escape


class Section(NamedTuple):
    """A part of a page.

    Attributes:
      name: its place in the page's address, after #.
      body: HTML.
    """

    name: str
    title: str
    body: str


def render(
    heading: str,
    main: str,
    *,
    title: str,
    subtitle: str = "",
    nav: str = "",
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    data: Any = None,
) -> str:
    """A page.

    Args:
      heading: the name of what the page is about, as plain text.
      main: its main part, HTML.
      title: of the window, as plain text.
      subtitle, nav: what stands below the heading, HTML.
      styles: file names of the package's assets, besides that of all pages.
      scripts: file names likewise; they become one script, and share their names.
      data: what the script finds as JSON in the element with the id `data`.
    """
    script = '"use strict";\n' + "\n".join(map(_asset, ("theme.js", *scripts)))
    policy = {
        "default-src": "'none'",
        "script-src": f"'sha256-{base64.b64encode(_sha256(script)).decode()}'",
        "style-src": "'unsafe-inline'",
        "img-src": "data:",
        "media-src": "'self' file: data: blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return filled(
        "page.html",
        heading=escape(heading),
        main=main,
        title=escape(title),
        subtitle=subtitle,
        nav=nav,
        policy="; ".join(f"{name} {value}" for name, value in policy.items()),
        style=colours.css() + "".join(map(_asset, ("page.css", *styles))),
        script=script,
        data="" if data is None else _data(data),
        version=f"damff_jax {damff_jax.__version__}",
    )


def report(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """A page of sections with charts, which are listed in its header; all but HTML is escaped."""
    links = "".join(f'<a href="#{s.name}">{escape(s.title)}</a>' for s in sections)
    parts = (
        f'<section id="{s.name}" aria-labelledby="{s.name}-title">'
        f'<h2 id="{s.name}-title">{escape(s.title)}</h2>{s.body}</section>'
        for s in sections
    )
    return render(
        title,
        "\n".join(parts),
        title=title,
        subtitle=f'<p class="meta">{escape(subtitle)}</p>',
        nav=f'<nav aria-label="Sections">{links}</nav>',
        styles=("charts.css",),
    )


def filled(template: str, **fields: str) -> str:
    """A template of the package's assets; `$name` stands for a field, HTML."""
    return string.Template(_asset(template)).substitute(fields)


def data_uri(content: bytes, media_type: str) -> str:
    """The content as an address."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def attributes(values: Mapping[str, str]) -> str:
    """Attributes of an element, escaped."""
    return "".join(f' {name}="{escape(value)}"' for name, value in values.items())


def _asset(name: str) -> str:
    return resources.files("damff_jax.report").joinpath("assets", name).read_text("utf-8")


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _data(data: Any) -> str:
    """JSON in which nothing can end the script element around it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="data">{text}</script>\n'
