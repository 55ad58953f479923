"""The files of a song's curve: CSV, JSON, PNG, HTML, and the formats of other programs."""

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


def exists(stem: str | os.PathLike[str], kinds: Collection[str] = ()) -> bool:
    """Whether all files exist that `write` would write. It writes no incomplete ones."""
    suffixes = [".csv", *(_WRITERS[kind][0] for kind in kinds)]
    return all(os.path.isfile(f"{os.fspath(stem)}{suffix}") for suffix in suffixes)


def write(
    stem: str | os.PathLike[str],
    curve: Curve,
    *,
    kinds: Collection[str] = (),
    band: bool = False,
    embed_audio: bool = False,
) -> None:
    """Writes `<stem>.csv`, and other files on request; makes their folder.

    Args:
      kinds: some of `KINDS`.
      band: adds the band to the CSV.
      embed_audio: the page holds the song itself.

    Raises:
      OSError: a file cannot be written.
    """
    os.makedirs(os.path.dirname(os.fspath(stem)) or ".", exist_ok=True)
    curve.to_csv(f"{os.fspath(stem)}.csv", band=band)
    for kind, (extension, to_file) in _WRITERS.items():
        if kind in kinds:
            more = {"embed_audio": embed_audio} if kind == "html" else {}
            to_file(curve, f"{os.fspath(stem)}{extension}", **more)
