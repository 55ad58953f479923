"""Fonts for text in any script: which installed ones have its characters."""

import contextlib
import functools
import logging
import unicodedata
from collections.abc import Sequence

from matplotlib import font_manager
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font

DEFAULT = "DejaVu Sans"  # Comes with Matplotlib.
_REPLACEMENT = "?"
# Their characters are not what their numbers say (Computer Modern), or are only boxes.
_NOT_FOR_TEXT = ("cm", "Last Resort", "STIXSize", "STIXNonUnicode")
# Changes how its neighbours look, and is invisible itself.
_INVISIBLE = {"\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", *map(chr, range(0xFE00, 0xFE10))}

# It logs every family that has no regular weight, whether it is used or not.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)


def for_text(text: str) -> tuple[str, list[str]]:
    """The text, and families of fonts, each of which is for what those before it lack.

    A character that no font has becomes a question mark, so that it is neither drawn as a box nor
    warned about. Control characters and line breaks become spaces.
    """
    text = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)
    families = [DEFAULT]
    missing = {c for c in text if not _has(DEFAULT, c)}
    for candidates in (_known, _installed_since):
        # Invisible ones are not worth a font of their own.
        while missing - _INVISIBLE:
            best, found = _best(candidates(), missing)
            if not found:
                break
            families.append(best)
            missing -= found
    kept = (c if c not in missing else _REPLACEMENT for c in text if c not in missing & _INVISIBLE)
    return "".join(kept), families


def _best(families: Sequence[str], missing: set[str]) -> tuple[str, set[str]]:
    """The family that has the most of the characters, the first one of several, and which."""
    by_family = [(family, {c for c in missing if _has(family, c)}) for family in families]
    return max(by_family, key=lambda item: len(item[1]), default=(DEFAULT, set()))


def _known() -> list[str]:
    """Families for text: sans serif first, as the titles are."""
    names = {entry.name for entry in font_manager.fontManager.ttflist} - {DEFAULT}
    return sorted(
        (name for name in names if not name.startswith(_NOT_FOR_TEXT)),
        key=lambda name: ("Mono" in name, "Sans" not in name, name),
    )


@functools.cache
def _installed_since() -> list[str]:
    """Families that Matplotlib's list lacks: it keeps the list that it made at its first use."""
    before = set(_known())
    listed = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - listed):
        with contextlib.suppress(Exception):  # Of a damaged font; FreeType raises many kinds.
            font_manager.fontManager.addfont(path)
    return [family for family in _known() if family not in before]


def _has(family: str, character: str) -> bool:
    """Whether a family has a character that it can draw."""
    font = _font(family)
    if font is None or ord(character) not in _characters(family):
        return False
    if character.isspace():
        return True
    try:
        # Fonts of coloured pictures have characters that Matplotlib draws as nothing.
        font.load_char(ord(character))
        return font.get_glyph_name(font.get_char_index(ord(character))) != ".notdef"
    except RuntimeError:
        return False


@functools.cache
def _font(family: str) -> FT2Font | None:
    try:
        font = font_manager.get_font(font_manager.findfont(FontProperties(family=[family])))
        font.set_size(12, 100)
    except Exception:  # Of a damaged font, and of one of bitmaps; FreeType raises many kinds.
        return None
    return font if font.scalable else None


@functools.cache
def _characters(family: str) -> frozenset[int]:
    font = _font(family)
    return frozenset(() if font is None else font.get_charmap())
