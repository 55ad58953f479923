"""The files of a song's curve: CSV, JSON, plot, page, and the formats of other programs."""

import os
from collections.abc import Callable, Collection

from damff_jax.report.curve import Curve

# Kinds of files besides the CSV, by their flag: the file's extension, and what writes it.
_WRITERS: dict[str, tuple[str, Callable[..., object]]] = {
    "plot": (".png", Curve.plot),
    "html": (".html", Curve.to_html),
    "json": (".json", Curve.to_json),
    "jams": (".jams", Curve.to_jams),
    "audacity": (".labels.txt", Curve.to_audacity),
    "sv": (".svl", Curve.to_sonic_visualiser),
}
KINDS = tuple(_WRITERS)


def exists(
    stem: str | os.PathLike[str], kinds: Collection[str] = (), *, plot_format: str = "png"
) -> bool:
    """Whether all files exist that `write` would write. It writes no incomplete ones."""
    suffixes = [".csv", *(_suffix(kind, plot_format) for kind in kinds)]
    return all(os.path.isfile(f"{os.fspath(stem)}{suffix}") for suffix in suffixes)


def write(
    stem: str | os.PathLike[str],
    curve: Curve,
    *,
    kinds: Collection[str] = (),
    band: bool = False,
    embed_audio: bool = False,
    plot_format: str = "png",
    plot_plane: bool = False,
) -> None:
    """Writes `<stem>.csv`, and other files on request; makes their folder.

    Args:
      kinds: some of `KINDS`.
      band: adds the band to the CSV.
      embed_audio: the page holds the song itself.
      plot_format: of the plot, its file's extension: png, svg or pdf.
      plot_plane: whether the plot has the path on the plane beside the curves.

    Raises:
      OSError: a file cannot be written.
    """
    os.makedirs(os.path.dirname(os.fspath(stem)) or ".", exist_ok=True)
    curve.to_csv(f"{os.fspath(stem)}.csv", band=band)
    options = {"html": {"embed_audio": embed_audio}, "plot": {"plane": plot_plane}}
    for kind, (_, to_file) in _WRITERS.items():
        if kind in kinds:
            path = f"{os.fspath(stem)}{_suffix(kind, plot_format)}"
            to_file(curve, path, **options.get(kind, {}))


def _suffix(kind: str, plot_format: str) -> str:
    return f".{plot_format}" if kind == "plot" else _WRITERS[kind][0]
