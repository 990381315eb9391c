"""Figures in one look: quiet axes, and colours that colour-blind readers tell apart.

Each function returns a ``Plot``, which is SVG for a page or a PNG file. The quantity stands above
its panel. All plots of a size have their axes at the same place, so that they line up in a row.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from red_mcore.reports.numbers import Values, finite_of, running_mean, short
from red_mcore.system import disk

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, without the yellow, which white paper swallows; ink is for a reference."""
INK, GREY = "#222222", "#b5b5b5"
_LABEL = "#555555"
_SMALL: dict[str, Any] = {"fontsize": 8, "color": _LABEL}
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "text.color": INK,
    "axes.labelcolor": _LABEL,
    "xtick.color": _LABEL,
    "ytick.color": _LABEL,
    "axes.grid": True,
    "grid.color": "#ececec",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "red-mcore",
}
SIZE, WIDE, FULL = (4.1, 2.55), (8.37, 2.55), (12.65, 2.55)
"""Inches: one, two and three columns of a page, so that all text on a page is of one size."""
_LEFT, _RIGHT, _BOTTOM, _TOP = 0.55, 0.12, 0.45, 0.5
"""Inches around the axes; the top has a line for the quantity and one for the legend."""
_PER_BAR = 0.24
"""Inches."""
_TICK_STEPS = (1, 2, 2.5, 5, 10)
"""What may lie between two ticks, times a power of ten."""
_LARGE = 10_000
"""From here on, an axis has ticks such as 12k."""
Series = tuple[Values, Values]
"""The xs and ys of a line."""


@dataclass(frozen=True)
class Plot:
    """A finished figure, and the line below it."""

    figure: Figure
    caption: str = ""

    @property
    def width(self) -> str:
        """The class of a page's style sheet that makes room for the figure."""
        inches = self.figure.get_figwidth()
        if inches >= FULL[0]:
            return "full"
        return "wide" if inches >= WIDE[0] else ""

    @property
    def svg(self) -> str:
        """An <svg> element that fills the width it gets."""
        return svg(self.figure)

    def save_png(self, path: Path) -> Path:
        """Write the figure as PNG; returns the path."""
        buffer = io.BytesIO()
        options: dict[str, Any] = {"facecolor": "white", "metadata": {"Software": None}}
        self.figure.savefig(buffer, format="png", dpi=150, **options)
        disk.write_atomic(path, buffer.getvalue())
        return path


def curve(
    series: Mapping[str, Series],
    ylabel: str,
    xlabel: str = "step",
    band: Mapping[str, Values] | None = None,
    logy: bool = False,
    *,
    smooth: int = 0,
    dots: Collection[str] = (),
    behind: Collection[str] = (),
    ends: Mapping[str, str] | None = None,
    marks: Values = (),
    levels: Mapping[str, float] | None = None,
    xlim: tuple[float, float] | None = None,
    ylim: tuple[float | None, float | None] | None = None,
    colours: Mapping[str, str] | None = None,
    size: tuple[float, float] = SIZE,
    caption: str = "",
    legend: bool = True,
) -> Plot:
    """Lines, label -> (xs, ys); points that are not finite (or, with ``logy``, not positive) are
    left out.

    ``band``: label -> half widths of an interval around its line. ``smooth`` > 1 draws the values
    as faint points and the mean (with ``logy`` the geometric one) of that many neighbours as the
    line.
    ``dots``: labels drawn as points, no line. ``behind``: labels drawn thin, below the others.
    ``ends``: label -> marker at the end of its line. ``marks``: xs with a tick inside the axes.
    ``levels``: label -> y of a dotted line across.
    """
    bands, markers = band or {}, ends or {}
    with _panel(ylabel, xlabel, size) as (figure, axes):
        for x in marks:
            axes.axvline(x, 0, 0.05, color="#777777", lw=1, zorder=4)
        for name, level in (levels or {}).items():
            axes.axhline(level, color="#888888", lw=1, ls=":", zorder=2)
            place = (0, level), (3, 2), ("axes fraction", "data"), "offset points"
            axes.annotate(_literal(name), *place, **_SMALL)
        for name, colour in palette(series, colours).items():
            x, y, half = _finite(*series[name], bands.get(name), positive=logy)
            look: dict[str, Any] = {"color": colour, "lw": 1.8, "zorder": 3}
            if name in behind:
                look |= {"lw": 0.8, "zorder": 2}
            if name in dots:
                look |= {"marker": ".", "alpha": 0.7, "ms": 4.5, "mew": 0, "lw": 0, "zorder": 2}
            elif smooth > 1:
                axes.plot(x, y, ".", color=colour, alpha=0.3, ms=4.5, mew=0, zorder=2)
                y = np.exp(running_mean(np.log(y), smooth)) if logy else running_mean(y, smooth)
            elif len(x) <= 40 and not ends:
                look |= {"marker": "o", "ms": 3.5}
            axes.plot(x, y, label=_literal(name), **look)
            if markers.get(name) and len(x):
                axes.plot(x[-1], y[-1], markers[name], color=colour, ms=5, zorder=4, clip_on=False)
            if half is not None:
                axes.fill_between(x, y - half, y + half, color=colour, alpha=0.13, lw=0, zorder=2)
        axes.set_yscale("log" if logy else "linear")
        if xlim:
            axes.set_xlim(*xlim)
        if ylim:
            axes.set_ylim(*ylim)
            low, high = axes.get_ylim()
            if ylim[1] is None and not logy:
                # The room above is a share of what shows, not of the values' spread.
                axes.set_ylim(low, max(high, low + 1.06 * (axes.dataLim.y1 - low)))
        _finish(axes, legend=legend)
    return Plot(figure, caption)


def stacked(
    xs: Values,
    parts: Mapping[str, Values],
    ylabel: str,
    xlabel: str = "step",
    *,
    share: bool = False,
    colours: Mapping[str, str] | None = None,
    size: tuple[float, float] = SIZE,
    caption: str = "",
) -> Plot:
    """Quantities on top of each other, the first at the bottom, a bar for each x; ``share`` scales
    each bar to 1."""
    with _panel(ylabel, xlabel, size) as (figure, axes):
        rows = np.array([list(values) for values in parts.values()], float)
        heights = np.nan_to_num(rows.reshape(len(parts), -1))
        if share:
            heights = heights / np.maximum(heights.sum(0), 1e-300)
            axes.set_ylim(0, 1)
        x = np.asarray(xs, float)
        step = np.diff(x).min() if len(x) > 1 else 1.0
        edges = np.append(x, x[-1:] + step) - step / 2
        low = np.zeros(len(x))
        for row, (name, colour) in enumerate(palette(parts, colours).items()):
            high = low + heights[row]
            # One outline, not a rectangle for each bar: hundreds would show gaps in a large file.
            look: dict[str, Any] = {"color": colour, "lw": 0.3, "zorder": 2}
            axes.stairs(high, edges, baseline=low, fill=True, label=_literal(name), **look)
            low = high
        if len(x):
            axes.set_xlim(edges[0], edges[-1])
        _finish(axes)
    return Plot(figure, caption)


def histogram(
    groups: Mapping[str, Values],
    xlabel: str,
    ylabel: str = "share",
    *,
    bins: int = 40,
    colours: Mapping[str, str] | None = None,
) -> Plot:
    """Share of each group's values in equal bins that all groups have in common."""
    finite = {name: finite_of(group) for name, group in groups.items()}
    everything = np.concatenate([*finite.values(), []])
    with _panel(ylabel, xlabel, SIZE) as (figure, axes):
        if len(everything):
            edges = np.histogram_bin_edges(everything, bins)
            for name, colour in palette(groups, colours).items():
                shares = np.histogram(finite[name], edges)[0] / max(len(finite[name]), 1)
                axes.stairs(shares, edges, fill=True, color=colour, alpha=0.15, lw=0, zorder=2)
                axes.stairs(shares, edges, color=colour, lw=1.4, label=_literal(name), zorder=3)
        _finish(axes)
    return Plot(figure)


def bars(
    groups: Mapping[str, Mapping[str, float]],
    ylabel: str,
    errors: Mapping[str, Mapping[str, float]] | None = None,
    *,
    form: str = "{:.3g}",
    colours: Mapping[str, str] | None = None,
    width: float = SIZE[0],
) -> Plot:
    """Bars to the right, a row of categories for group -> category -> value, groups side by side in
    each category.

    ``errors``: group -> category -> half of an interval. Each bar bears its value in the format
    ``form``. The figure is as high as the number of bars asks.
    """
    categories = list(dict.fromkeys(chain.from_iterable(groups.values())))
    height = _TOP + _BOTTOM + _PER_BAR * max(len(categories), 1) * (len(groups) + 0.5)
    # Names of categories may be longer than the numbers that stand there otherwise.
    left = max(_LEFT, 0.15 + 0.075 * max(map(len, categories), default=0))
    thick = 0.8 / max(len(groups), 1)
    grid = {"axes.grid.axis": "x"}
    with _panel(ylabel, "", (width, height), left, grid) as (figure, axes):
        for i, (name, colour) in enumerate(palette(groups, colours).items()):
            values = np.array([groups[name].get(category) for category in categories], float)
            rows = np.flatnonzero(np.isfinite(values))
            look: dict[str, Any] = {"color": colour, "ecolor": _LABEL, "zorder": 2}
            if errors is not None:
                halves = [errors.get(name, {}).get(category, 0.0) for category in categories]
                look["xerr"] = np.array(halves)[rows]
            places = rows + (i - (len(groups) - 1) / 2) * thick
            drawn = axes.barh(places, values[rows], thick * 0.9, **look)
            for text in axes.bar_label(drawn, fmt=form, padding=3, **_SMALL):
                text.set_verticalalignment("center_baseline")
            axes.barh(0, 0, color=colour, label=_literal(name))  # the legend's, whatever is drawn
        axes.set_yticks(range(len(categories)), list(map(_literal, categories)))
        axes.set_ylim(len(categories) - 0.4, -0.6)
        axes.margins(x=0.14)  # for the numbers at the ends of bars
        axes.axvline(0, color="#666666", lw=0.8)
        _legend(axes, wanted=True)
    return Plot(figure)


class Counts(Formatter):
    """Ticks in few characters, or in full where two would look the same: 12k, but 12,010 beside
    12,020."""

    def __call__(self, value: float, position: int | None = None) -> str:
        return short(value)

    def format_ticks(self, values: Values) -> list[str]:
        labels = list(map(short, values))
        if len(set(labels)) < len(labels):
            return [f"{value:,.0f}" for value in values]
        return labels


def svg(figure: Figure) -> str:
    """The figure as an element that fills the width it gets; the quantity above its panel is its
    title as text, too."""
    buffer = io.StringIO()
    # With a salt of its own the same figure is the same text.
    with mpl.rc_context({"svg.hashsalt": STYLE["svg.hashsalt"]}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'width="[^"]*" height="[^"]*"', 'class="figure"', text, count=1)
    title = html.escape(str(figure.get_label()))
    if not title:
        return text
    begin = text.index(">") + 1
    return f"{text[:begin]}<title>{title}</title>{text[begin:]}"


def _literal(text: str) -> str:
    """Text in which no dollar begins a formula: names come from users' files."""
    return text.replace("$", r"\$")


@contextmanager
def _panel(
    title: str,
    xlabel: str,
    size: tuple[float, float],
    left: float = _LEFT,
    style: Mapping[Any, Any] | None = None,
) -> Iterator[tuple[Figure, Axes]]:
    """(figure, axes) with the margins that all plots share."""
    with mpl.rc_context({**STYLE, **(style or {})}):
        width, height = size
        figure = Figure(figsize=size)
        figure.set_label(title)
        across, upwards = 1 - (left + _RIGHT) / width, 1 - (_BOTTOM + _TOP) / height
        axes = figure.add_axes((left / width, _BOTTOM / height, across, upwards))
        corner = 0.06 / width, 1 - 0.07 / height
        figure.text(*corner, _literal(title), ha="left", va="top", fontsize=9.5)
        axes.set_xlabel(_literal(xlabel), labelpad=2)
        axes.tick_params(which="both", length=2.5)
        yield figure, axes


def _finish(axes: Axes, *, legend: bool = True) -> None:
    """Ticks that fit what the axes show, and the legend."""
    if axes.get_yscale() == "log":
        _log_ticks(axes)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=_TICK_STEPS))
        if max(map(abs, axes.get_ylim())) >= _LARGE:
            axes.yaxis.set_major_formatter(Counts())
        else:  # 1e-5 once above the axis, not at every tick
            axes.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=True)
            axes.yaxis.offsetText.set(size=8, color=_LABEL)
    if axes.get_xscale() == "linear":
        # Steps have no halves, not even where the axis shows a single one.
        whole = axes.get_xlabel() in ("step", "steps")
        ticks = MaxNLocator(7, steps=_TICK_STEPS, integer=whole, min_n_ticks=1 if whole else 2)
        axes.xaxis.set_major_locator(ticks)
        if whole or max(map(abs, axes.get_xlim())) >= _LARGE:
            axes.xaxis.set_major_formatter(Counts())
    _legend(axes, wanted=legend)


def _log_ticks(axes: Axes) -> None:
    """Powers of ten; on an axis that has few of them, plain numbers between them too."""
    low, high = axes.get_ylim()
    axes.yaxis.set_minor_formatter(NullFormatter())
    if high < 300 * low:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _legend(axes: Axes, *, wanted: bool) -> None:
    if wanted and axes.get_legend_handles_labels()[0]:
        look: dict[str, Any] = {"borderaxespad": 0, "borderpad": 0.1, "handlelength": 1.2}
        look |= {"handletextpad": 0.4, "columnspacing": 1.0, "bbox_to_anchor": (1.0, 0.995)}
        axes.legend(ncols=6, fontsize=8, loc="lower right", **look)


def palette(names: Iterable[str], colours: Mapping[str, str] | None = None) -> dict[str, str]:
    """A colour for each name: the one asked for, else the next of ``COLOURS``."""
    asked = colours or {}
    return {name: asked.get(name, COLOURS[i % len(COLOURS)]) for i, name in enumerate(names)}


def _finite(
    xs: Values, ys: Values, half: Values | None, *, positive: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The points that can be drawn."""
    x, y = np.asarray(xs, float), np.asarray(ys, float)
    good = np.isfinite(x) & np.isfinite(y)
    if positive:
        good &= y > 0
    if half is None:
        return x[good], y[good], None
    return x[good], y[good], np.nan_to_num(np.asarray(half, float))[good]
