"""Charts: where marks stand, and that their text is safe and readable."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from damff_jax.report import text
from damff_jax.report.charts import axes
from damff_jax.report.charts.chart import WIDTH, Chart
from damff_jax.report.charts.intervals import Interval, intervals


def parsed(svg):
    """The elements of an SVG; it must be well-formed."""
    return list(ElementTree.fromstring(svg).iter())


def paths_of(svg, css):
    return [e.get("d") for e in parsed(svg) if e.get("class") == css]


def square(label="x"):
    return Chart(label, axes.linear([0, 10], "x"), axes.linear([0, 1], "y"))


def test_points_stand_where_the_axes_say():
    chart = square()
    chart.points(np.array([0, 5, 10]), np.array([0, 0.5, 1]), "a")
    (path,) = paths_of(chart.svg(), "dots a")
    places = np.array(re.findall(r"M(\S+) (\S+)h0", path), float)
    # The second is half-way between the others, in both directions; up is smaller.
    np.testing.assert_allclose(places[1], (places[0] + places[2]) / 2, atol=0.1)
    assert places[0, 0] < places[2, 0] and places[0, 1] > places[2, 1]
    grid = [e.get("d") for e in parsed(chart.svg()) if e.get("class") == "grid"]
    assert any(f"M{places[0, 0]:.1f} " in d for d in grid)


def test_a_gap_interrupts_a_line_and_a_single_point_is_a_dot():
    chart = square()
    y = np.array([0.1, 0.2, np.nan, 0.4, np.nan, 0.6, 0.7, 0.8])
    chart.line(np.arange(8), y, "a")
    lines, (dots,) = paths_of(chart.svg(), "line a"), paths_of(chart.svg(), "dots a")
    assert [line.count("L") for line in lines] == [1, 2] and dots.count("M") == 1


def test_a_density_draws_each_cell_that_counts_the_fullest_in_full():
    chart = square()
    chart.density(np.array([[0, 1], [25, 100]]), "a")
    cells = [e for e in parsed(chart.svg()) if e.get("class") == "fill a"]
    assert sum(e.get("d").count("M") for e in cells) == 3
    opacities = [float(e.get("opacity")) for e in cells]
    assert opacities == sorted(opacities) and opacities[-1] == 1


def test_a_histogram_has_a_bar_per_filled_bin():
    chart = square()
    chart.bars(np.array([0, 2, 4, 10]), np.array([1, 0, 0.5]), "a")
    (path,) = paths_of(chart.svg(), "fill a")
    bars = np.array(re.findall(r"M(\S+) (\S+)V(\S+)H(\S+)V\S+z", path), float)
    heights, widths = bars[:, 1] - bars[:, 2], bars[:, 3] - bars[:, 0]
    assert len(bars) == 2 and heights[0] == pytest.approx(2 * heights[1], abs=0.2)
    assert widths[1] > 2 * widths[0]


def test_names_are_text_and_never_markup():
    name = 'a<b>&"c" </svg><script>'
    chart = Chart(name, axes.linear([0, 1], name), axes.linear([0, 1], name))
    chart.line(np.arange(2), np.arange(2), "a", name=name)
    chart.words(0.5, 0.5, name)
    svg = chart.svg()
    assert parsed(svg)[0].get("aria-label") == name and "<script" not in svg
    assert sum(e.text == name for e in parsed(svg)) == 4
    drawn = parsed(intervals("x", [Interval(name, 0.5)], axes.linear([0, 1], "x")))
    assert [e.text for e in drawn].count(name) == 1


def test_an_interval_is_drawn_from_end_to_end_and_one_beyond_the_axis_is_said_to_be():
    axis = axes.linear([0, 1], "x", text=text.decimals)
    rows = [Interval("a", 0.5, 0.25, 1.0, "a"), Interval("b", -3.0, css="b")]
    elements = parsed(intervals("x", rows, axis))
    (whisker,) = (e.get("d") for e in elements if e.get("class") == "whisker a")
    low, high = map(float, re.fullmatch(r"M(\S+) \d+H(\S+)", whisker).groups())
    circles = [float(e.get("cx")) for e in elements if e.tag.endswith("circle")]
    assert circles[0] == pytest.approx(low + (high - low) / 3, abs=0.1)
    assert 0 < circles[1] < low < high < WIDTH
    texts = [e.text for e in elements]
    assert "0.50 [0.25, 1.00]" in texts and "b (beyond the axis)" in texts and "a" in texts


@pytest.mark.parametrize(
    "values",
    [[0, 1], [3], [], [float("nan"), 2, 7], [-0.003, 0.0011], [1e6, 5e6], [0.1, 0.1], [0, 1e-17]],
)
def test_an_axis_covers_its_values_with_a_few_round_ticks(values):
    axis = axes.linear(values, "x")
    finite = [x for x in values if x == x]
    assert all(axis.low <= x <= axis.high for x in finite) and 2 <= len(axis.ticks) <= 8
    assert np.all(np.diff(axis.ticks) > 0) and axis.ticks[0] == axis.low
    assert len({axis.text(tick) for tick in axis.ticks}) == len(axis.ticks)


@pytest.mark.parametrize("values", [[0.5, 3.0], [1e-4, 20], [1.0], [], [0.0, 5.0, float("inf")]])
def test_a_logarithmic_axis_covers_the_positive_values(values):
    axis = axes.logarithmic(values, "x")
    positive = np.array([x for x in values if 0 < x < float("inf")])
    assert np.all((axis.low <= positive) & (positive <= axis.high)) and len(axis.ticks) >= 2
    middle = np.sqrt(axis.low * axis.high)
    np.testing.assert_allclose(axis.shares([axis.low, middle, axis.high]), [0, 0.5, 1])
    assert axis.shares([0.0, -1.0]).tolist() == [0, 0]


def test_times_are_minutes_and_seconds_at_round_places():
    texts = [axes.time(0, 45).text(tick) for tick in axes.time(0, 45).ticks]
    assert texts == ["0:00", "0:10", "0:20", "0:30", "0:40"]
    long = axes.time(0, 3 * 3600)
    assert [long.text(x) for x in long.ticks[:3]] == ["0:00", "30:00", "1:00:00"]
    assert long.label == "time (h:min:s)" and axes.time(30, 40).ticks[0] == 30
    assert len(axes.time(0, 0).ticks) >= 1


def test_numbers_have_a_minus_sign_and_no_negative_zero():
    assert [text.number(x) for x in (-0.25, 3, 1500, 0, 0.0002)] == [
        *("−0.25", "3", "1,500", "0", "2e−04")
    ]
    assert text.decimals(-0.001) == "0.00" and text.decimals(-0.5) == "−0.50"
