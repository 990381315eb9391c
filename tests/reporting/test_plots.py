"""Figures: that they are drawn from what metrics may hold, the same each time, and as files."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from red_mcore.reports import page, plots
from red_mcore.reports.numbers import reading, running_mean, short

PLOTS = {
    "curve": lambda: plots.curve(
        {"a": ([0, 1, 2], [1.0, np.nan, 3.0])}, "y", band={"a": [0.1, 0.1, np.nan]}, marks=[1]
    ),
    "smooth": lambda: plots.curve(
        {"a": (range(99), range(99)), "b": ([], [])}, "y", smooth=9, ylim=(0, None)
    ),
    "log": lambda: plots.curve(
        {"a": ([0, 1, 2], [0.0, 1e-5, 1e3])}, "y", logy=True, smooth=3, levels={"limit": 1}
    ),
    "dots": lambda: plots.curve(
        {"a": ([0, 1], [2, 3]), "b": ([0], [1e6])}, "y", dots=["b"], size=plots.WIDE
    ),
    "stacked": lambda: plots.stacked(
        [1, 2, 4], {"a": [1, 2, 3], "b": [0, np.nan, 0]}, "y", share=True
    ),
    "stacked one": lambda: plots.stacked([3], {"a": [0.0]}, "y", share=True),
    "histogram": lambda: plots.histogram({"a": [1, 2, 2, np.inf], "b": []}, "x"),
    "histogram of one": lambda: plots.histogram({"a": [5, 5]}, "x"),
    "histogram of nothing": lambda: plots.histogram({"a": []}, "x"),
    "bars": lambda: plots.bars(
        {"a": {"x": 1.0, "y": -2}, "b": {"y": np.nan}}, "y", {"a": {"x": 0.1}}
    ),
}


@pytest.mark.parametrize("name", PLOTS)
@pytest.mark.filterwarnings("error")
def test_svg_is_the_same_each_time(name):
    text = PLOTS[name]().svg
    assert text == PLOTS[name]().svg
    assert ET.fromstring(text).get("class") == "figure"


def test_png(tmp_path):
    file = PLOTS["curve"]().save_png(tmp_path / "a.png")
    assert file.read_bytes().startswith(b"\x89PNG")


def test_axes_of_a_size_line_up():
    boxes = {
        tuple(PLOTS[name]().figure.axes[0].get_position().bounds)
        for name in ("curve", "log", "histogram")
    }
    assert len(boxes) == 1


def test_running_mean():
    assert running_mean([1, 2, 3, 10], 3) == pytest.approx([1.5, 2, 5, 6.5])
    assert running_mean([1, 2], 1) == pytest.approx([1, 2])
    assert len(running_mean([], 5)) == 0


def test_short():
    assert [short(n) for n in (9.5, 950, 1234, 999_600, 6e5)] == [
        "9.5",
        "950",
        "1.23k",
        "1M",
        "600k",
    ]


def test_the_pieces_of_a_page_escape_their_texts():
    parts, plot = (
        page.environment().get_template("parts.html").module,
        plots.curve({"<i>": ([0], [0])}, "<i>"),
    )
    cells = [["<i>", page.Cell("<i>", "<i>", 1)]]
    made = [parts.note("<i>"), parts.definitions({"<i>": "<i>"}), parts.tile("<i>", "<i>", "<i>")]
    made += [
        parts.table(["<i>"], cells),
        parts.list(["<i>"]),
        parts.section("<i>", [replace(plot, caption="<i>")]),
    ]
    assert all("&lt;i&gt;" in part for part in made)
    assert "<i>" not in "".join(made)
    assert parts.section("empty", [None, None]).strip() == ""


@pytest.mark.parametrize(
    "steps",
    [[3], [1, 2], [0, 1], range(4), range(0, 1001, 50), [12_000, 12_004], [199_990, 200_010]],
)
def test_steps_have_no_halves_and_no_two_ticks_look_alike(steps):
    for plot in (plots.curve({"a": (steps, steps)}, "y"), plots.stacked(steps, {"a": steps}, "y")):
        (axes,) = plot.figure.axes
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        labels = axes.xaxis.get_major_formatter().format_ticks(ticks)
        assert ticks
        assert all(tick == round(tick) for tick in ticks)
        assert len(set(labels)) == len(labels)
        assert not any("." in label and "k" not in label for label in labels)


def test_a_reading_is_where_a_line_begins_and_ends():
    assert reading("traces", [np.nan, 0.25, 7, 0.5, np.inf]) == "traces 0.25 → 0.5"
    assert reading("", [2.0, 2.0]) == "2"
    assert reading("traces", [np.nan]) == ""


def test_a_figure_is_named_by_what_stands_above_it():
    made = plots.curve({"a": ([0, 1], [1, 2])}, "share of <i>").svg
    assert "<title>share of &lt;i&gt;</title>" in made


def test_names_are_no_formulas():
    name = r"cost in $\frac{ and $"
    made = [
        plots.bars({name: {name: 1.0}}, name),
        plots.curve({name: ([0, 1], [1, 2])}, name, name, levels={name: 1}),
    ]
    assert all(
        f"<title>{name}</title>" in plot.svg for plot in made
    )  # as a formula it would be refused
