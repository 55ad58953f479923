"""Hooks of MkDocs.

Links of docs/ to other files of the repository lead to them on its website, and a page that would
load something from the network is a warning, which `--strict` makes an error.
"""

import logging
import posixpath
import re
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_REPOSITORY = "https://github.com/damff-jax/damff_jax"
_LOG = logging.getLogger("mkdocs.site_hooks")
_LOADED = re.compile(r"""<(?:script|img|iframe|link[^>]*stylesheet)\b[^>]*(?:src|href)=.https?:""")
_LINK = re.compile(r"(\]\(<?)([^)>\s#:]+)(?=[)>#])")


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Replaces what a page links but the site does not hold, such as `../configs/default.py`."""
    folder = posixpath.dirname(page.file.src_uri)

    def replaced(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join("docs", folder, link[2]))
        on_site = files.get_file_from_path(target.removeprefix("docs/"))
        if (on_site and on_site.inclusion.is_included()) or not (_ROOT / target).exists():
            return link[0]  # MkDocs reports what does not exist.
        kind = "tree" if (_ROOT / target).is_dir() else "blob"
        return f"{link[1]}{_REPOSITORY}/{kind}/main/{target}"

    return _LINK.sub(replaced, markdown)


def on_post_page(output: str, *, page: Any, config: Any) -> str:
    """Warns of what a page would load from the network."""
    for loaded in _LOADED.finditer(output):
        _LOG.warning(
            "%s loads from the network: %s", page.file.src_uri, output[loaded.start() :][:99]
        )
    return output
