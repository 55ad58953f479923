"""The colours of all pages and plots.

Each text has a contrast of 4.5 or more on the surfaces that it is used on.
"""

from typing import NamedTuple


class Colour(NamedTuple):
    """A colour on a light page, or on paper, and on a dark page."""

    light: str
    dark: str


COLOURS = {
    "paper": Colour("#f6f6f4", "#14161a"),
    "surface": Colour("#ffffff", "#1d2026"),
    "sunken": Colour("#f0f0ed", "#15171c"),
    "ink": Colour("#1b1d21", "#e9eaec"),
    "faint-ink": Colour("#5b6068", "#a4aab4"),
    "line": Colour("#dcdcd6", "#343943"),
    "accent": Colour("#3b4a9e", "#a9b8ff"),
    "valence": Colour("#0b68b4", "#5cb3ff"),
    "arousal": Colour("#c1391b", "#ff8a65"),
    "sound": Colour("#23304f", "#b9c8e6"),
    "early": Colour("#12877a", "#5fe0cf"),
    "late": Colour("#b3128a", "#ff6ec7"),
    "warning": Colour("#fff4d6", "#3a2f12"),
    "warning-line": Colour("#d9a300", "#b58a17"),
    "error": Colour("#a31515", "#ff9a8f"),
}


def css() -> str:
    """The colours as properties of a style sheet, such as `--ink`."""
    lines = [f"  --{name}: light-dark({c.light}, {c.dark});\n" for name, c in COLOURS.items()]
    return f":root {{\n{''.join(lines)}}}\n"
