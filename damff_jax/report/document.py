"""Self-contained HTML documents: a template, with styles, scripts and data in the same file.

Every document forbids its browser to load anything but pictures and sound, and to run any script
but its own, so that a name from a file's tags could not, even if it were escaped wrongly.
"""

import base64
import hashlib
import html
import json
import string
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import damff_jax


def render(
    template: str, *, title: str, scripts: Sequence[str], data: Any = None, **fields: str
) -> str:
    """Fills a template of this package's assets.

    Args:
      template: its file name; `$name` stands for a field.
      title: of the window, as plain text.
      scripts: file names; they become one script, and share their names.
      data: what the script finds as JSON in the element with the id `data`.
      fields: HTML by name.
    """
    script = '"use strict";\n' + "\n".join(map(_asset, scripts))
    policy = {
        "default-src": "'none'",
        "script-src": f"'sha256-{base64.b64encode(_sha256(script)).decode()}'",
        "style-src": "'unsafe-inline'",
        "img-src": "data:",
        "media-src": "'self' file: data: blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return string.Template(_asset(template)).substitute(
        fields,
        title=html.escape(title),
        policy="; ".join(f"{name} {value}" for name, value in policy.items()),
        style=_asset("page.css"),
        script=script,
        data=_script_json(data),
        version=f"damff_jax {damff_jax.__version__}",
    )


def data_uri(content: bytes, media_type: str) -> str:
    """The content as an address."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def attributes(values: Mapping[str, str]) -> str:
    """Attributes of an element, escaped."""
    return "".join(f' {name}="{html.escape(value)}"' for name, value in values.items())


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath("assets", name).read_text("utf-8")


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _script_json(data: Any) -> str:
    """JSON in which nothing can end the script element around it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
