"""Sonic Visualiser's layer file (.svl): two layers of time values, for valence and for arousal.

The file is XML. A model says how a data set is to be read, the data set has a point per segment at
its start, and a layer shows the model. Points are counted in samples of the song.
"""

from typing import TYPE_CHECKING
from xml.etree import ElementTree

from damff_jax.evaluation.metrics import DIMENSIONS
from damff_jax.report.colours import COLOURS

if TYPE_CHECKING:
    from damff_jax.report.curve import Curve

# If the song's is not known. Points are then right for a song at that rate.
_SAMPLE_RATE = 44_100
_CONNECTED_POINTS = "2"
_PLUS_MINUS_ONE = "3"


def text(curve: "Curve") -> str:
    """The content of a layer file."""
    rate = curve.sample_rate or _SAMPLE_RATE
    root = ElementTree.Element("sv")
    data, display = (ElementTree.SubElement(root, name) for name in ("data", "display"))
    frames = [round(time * rate) for time in curve.times.tolist()]
    for v, name in enumerate(DIMENSIONS):
        # Models and data sets share one sequence of numbers.
        model, dataset = str(2 * v), str(2 * v + 1)
        attributes = {
            "id": model,
            "name": name,
            "sampleRate": str(rate),
            "start": "0",
            "end": str(round(curve.duration * rate)),
            "type": "sparse",
            "dimensions": "2",
            "resolution": "1",
            "notifyOnAdd": "true",
            "dataset": dataset,
            "minimum": "-1",
            "maximum": "1",
            "units": "",
        }
        ElementTree.SubElement(data, "model", attributes)
        points = ElementTree.SubElement(data, "dataset", id=dataset, dimensions="2")
        for frame, value in zip(frames, curve.values[:, v], strict=True):
            point = {"frame": str(frame), "value": f"{value:.6f}", "label": ""}
            ElementTree.SubElement(points, "point", point)
        layer = {
            "id": str(v),
            "type": "timevalues",
            "name": name,
            "model": model,
            "plotStyle": _CONNECTED_POINTS,
            "verticalScale": _PLUS_MINUS_ONE,
            "colour": COLOURS[name].light,
            "colourName": name.capitalize(),
            "darkBackground": "false",
        }
        ElementTree.SubElement(display, "layer", layer)
    ElementTree.indent(root)
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE sonic-visualiser>\n'
    return head + ElementTree.tostring(root, encoding="unicode") + "\n"
