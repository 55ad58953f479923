"""Draws architecture.svg from the shapes of the model's arrays: `python docs/architecture.py`.

Nothing is computed: JAX derives the shapes from the program. A test compares the figure with the
model, so it has to be drawn again when the model changes.
"""

import html
import itertools
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from damff_jax.features import SEGMENT_SECONDS, FeatureConfig
from damff_jax.models.damff import DAMFF

FIGURE = Path(__file__).with_suffix(".svg")
SEGMENTS = 60
WIDTH, LEFT, RIGHT, MIDDLE = 760, 200, 560, 380
_STYLE = """
  text { font: 14px system-ui, sans-serif; text-anchor: middle; fill: #1b1f24 }
  .shape { font: 13px ui-monospace, monospace; fill: #4a5561 }
  rect { stroke: #5b6570; rx: 6 }
  path { stroke: #5b6570; fill: none; marker-end: url(#tip) }
"""


class Layers(NamedTuple):
    """Shapes of a model's outputs by layer, without the batch, and its numbers of parameters."""

    shapes: dict[str, Any]
    sizes: dict[str, int]


class Box(NamedTuple):
    """A rectangle around `x` with its top at `y`, a line of text, and a shape below it."""

    x: int
    y: int
    width: int
    text: str
    shape: str
    colour: str = "#ffffff"

    @property
    def bottom(self) -> int:
        return self.y + 50

    def svg(self) -> str:
        left = self.x - self.width // 2
        return (
            f'<rect x="{left}" y="{self.y}" width="{self.width}" height="50" fill="{self.colour}"/>'
            f'\n<text x="{self.x}" y="{self.y + 21}">{html.escape(self.text)}</text>'
            f'\n<text x="{self.x}" y="{self.y + 40}" class="shape">{html.escape(self.shape)}</text>'
        )


def layers(model: DAMFF, features: FeatureConfig) -> Layers:
    """The shapes of one crop of `SEGMENTS` segments."""
    log_mel = jnp.zeros((1, SEGMENTS, features.frames_per_segment, features.n_mels))
    mask = jnp.ones((1, SEGMENTS), bool)

    def traced(log_mel: jax.Array) -> Any:
        variables = model.init(jax.random.key(0), log_mel, mask, train=False)
        _, seen = model.apply(
            variables, log_mel, mask, train=False, capture_intermediates=True,
            mutable=["intermediates"],
        )  # fmt: skip
        return seen["intermediates"], variables["params"]

    seen, parameters = jax.eval_shape(traced, log_mel)
    outputs = {
        name: jax.tree.leaves(module["__call__"])
        for name, module in {**seen["branches"], **seen}.items()
        if name not in ("branches", "__call__")
    }
    sizes = {
        name: sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
        for name, tree in {**parameters, **parameters["branches"]}.items()
    }
    return Layers({name: [leaf.shape[1:] for leaf in out] for name, out in outputs.items()}, sizes)


def boxes(model: DAMFF, features: FeatureConfig, shown: Layers) -> list[list[Box]]:
    """The rows of the figure."""
    shapes, sizes = shown

    def stage(i: int, y: int) -> list[Box]:
        return [
            Box(x, y, 300, f"branch {name}: {_times(kernels[i - 1])} convolution", _times(shape),
                colour)
            for x, name, kernels, shape, colour in zip(
                (LEFT, RIGHT), "ab", (model.kernels_a, model.kernels_b), shapes[f"stage{i}"],
                ("#e3efff", "#ffeede"), strict=True,
            )
        ]  # fmt: skip

    def joined(i: int, y: int, axis: int, along: str) -> list[Box]:
        shape = list(shapes[f"stage{i}"][0])
        shape[axis] *= 2
        return [Box(MIDDLE, y, 480, f"joined along {along}", _times(shape))]

    def wide(y: int, text: str, shape: str, colour: str = "#ffffff") -> list[Box]:
        return [Box(MIDDLE, y, 480, text, shape, colour)]

    f, m = features.frames_per_segment, features.n_mels
    fused, squeezed = shapes["fusion"][0], shapes["squeeze"][0]
    units, sequence, head = model.hidden_size, shapes["sequence"][0], shapes["head"][0]
    of_song = f"{SEGMENTS} segments × {f} frames × {m} Mel bins"
    return [
        wide(70, f"log-Mel spectrogram of {SEGMENTS * SEGMENT_SECONDS:g} s", of_song),
        stage(1, 150),
        joined(1, 230, 0, "time"),
        stage(2, 310),
        joined(2, 390, 2, "channels"),
        stage(3, 470),
        wide(550, "dual-attention fusion, by channel and by point", _times(fused), "#e6f6e6"),
        wide(630, "1 × 1 convolution to one channel, flattened",
             f"{_times(squeezed)} = {math.prod(squeezed)} features per segment"),
        wide(710, f"BiLSTM over the segments, {units} units per direction",
             f"{_times(sequence)}, {sizes['sequence']:,} parameters", "#f1e8fb"),
        wide(790, "linear head: valence and arousal of each segment", _times(head)),
    ]  # fmt: skip


def draw(model: DAMFF, features: FeatureConfig) -> str:
    """The figure as SVG."""
    shown = layers(model, features)
    rows = boxes(model, features, shown)
    n = sum(shown.sizes[k] for k in ("branches", "fusion", "squeeze", "sequence", "head"))
    arrows = [
        f'<path d="M {(x := b.x if a.x == MIDDLE else a.x)} {a.bottom} L {x} {b.y - 2}"/>'
        for above, below in itertools.pairwise(rows)
        for a in above
        for b in below
    ]
    title = f"DAMFF: {n:,} parameters"
    note = "of a segment: frames × Mel bins × channels; each stage ends in 2 × 2 pooling"
    parts = [box.svg() for row in rows for box in row]
    height = rows[-1][0].bottom + 30
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        f' aria-label="{title}">\n<style>{_STYLE}</style>\n<defs><marker id="tip" viewBox="0 0 8 8"'
        ' refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" style="fill:#5b6570;stroke:none;marker-end:none"/>'
        f'</marker></defs>\n<rect width="{WIDTH}" height="{height}"'
        ' style="fill:#fbfcfd;stroke:none"/>'
        f'\n<text x="{MIDDLE}" y="28" font-weight="bold">{title}</text>'
        f'\n<text x="{MIDDLE}" y="52" class="shape">{note}</text>'
    )
    return "\n".join([head, *arrows, *parts, "</svg>\n"])


def _times(shape: Any) -> str:
    return " × ".join(map(str, shape))


if __name__ == "__main__":
    FIGURE.write_text(draw(DAMFF(axis_name=None), FeatureConfig()))
