"""Figures in one look: quiet axes, colours that colour-blind readers tell apart, the quantity written above its panel.

Each function returns a ``Plot``, which is SVG for a page or a PNG file. All plots of a size have their axes at the same
place, so that they line up in a row; ``SIZE``, ``WIDE`` and ``FULL`` fill one, two and three columns of a page.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from red_mcore.system import disk

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, without the yellow, which white paper swallows; ink is for a reference."""
INK, GREY, FAINT = "#222222", "#b5b5b5", "#dedede"
STYLE = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "axes.grid": True,
    "grid.color": "#ececec",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "red-mcore",
}
SIZE, WIDE, FULL = (4.1, 2.55), (8.37, 2.55), (12.65, 2.55)
"""Inches. They have the widths of the columns of ``page.panels``, so that all text on a page is of one size."""
_LEFT, _RIGHT, _BOTTOM, _TOP = 0.55, 0.12, 0.45, 0.5
"""Inches around the axes; the top has a line for the quantity and one for the legend."""
_PER_CATEGORY = 0.24
"""Inches of a bar."""
_STEPS = (1, 2, 2.5, 5, 10)
"""What may lie between two ticks, times a power of ten."""
Values = Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Plot:
    """A finished figure."""

    figure: Figure

    @property
    def svg(self) -> str:
        """An <svg> element that fills the width it gets."""
        return svg(self.figure)

    def save_png(self, path: Path | str, dpi: int = 150) -> Path:
        """Write it as PNG; the path."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
        disk.write_atomic(Path(path), buffer.getvalue())
        return Path(path)


def curve(
    series: Mapping[str, tuple[Values, Values]],
    ylabel: str,
    xlabel: str = "step",
    band: Mapping[str, Values] | None = None,
    logy: bool = False,
    *,
    smooth: int = 0,
    dots: Collection[str] = (),
    marks: Values = (),
    levels: Mapping[str, float] | None = None,
    ylim: tuple[float | None, float | None] | None = None,
    colours: Mapping[str, str] | None = None,
    size: tuple[float, float] = SIZE,
) -> Plot:
    """Lines, label -> (xs, ys); points that are not finite (or, with ``logy``, not positive) are left out.

    ``band``: label -> half widths of an interval around its line. ``smooth`` > 1 draws the values as faint points and
    the mean (with ``logy`` the geometric one) of that many neighbours as the line. ``dots``: labels drawn as points, no
    line. ``marks``: xs with a tick inside the axes. ``levels``: label -> y of a dotted line across.
    """
    with _panel(ylabel, xlabel, size) as (figure, axes):
        for x in marks:
            axes.axvline(x, 0, 0.05, color="#777777", lw=1, zorder=4)
        for name, y in (levels or {}).items():
            axes.axhline(y, color="#888888", lw=1, ls=":", zorder=2)
            axes.annotate(_literal(name), (0, y), (3, 2), ("axes fraction", "data"), "offset points", **_SMALL)
        for (name, (xs, ys)), colour in zip(series.items(), _palette(series, colours), strict=True):
            x, y, half = _finite(xs, ys, (band or {}).get(name), positive=logy)
            if name in dots:
                axes.plot(x, y, ".", color=colour, alpha=0.7, ms=4.5, mew=0, label=_literal(name), zorder=2)
            elif smooth > 1:
                axes.plot(x, y, ".", color=colour, alpha=0.3, ms=4.5, mew=0, zorder=2)
                mean = np.exp(running_mean(np.log(y), smooth)) if logy else running_mean(y, smooth)
                axes.plot(x, mean, color=colour, lw=1.8, label=_literal(name), zorder=3)
            else:
                few = "o" if len(x) <= 40 else None
                axes.plot(x, y, color=colour, lw=1.8, marker=few, ms=3.5, label=_literal(name), zorder=3)
            if half is not None:
                axes.fill_between(x, y - half, y + half, color=colour, alpha=0.15, lw=0, zorder=2)
        axes.set_yscale("log" if logy else "linear")
        if ylim:
            axes.set_ylim(*ylim)
            low, high = axes.get_ylim()
            if ylim[1] is None and not logy:  # the room above is a share of what shows, not of the values' spread
                axes.set_ylim(low, max(high, low + 1.06 * (axes.dataLim.y1 - low)))
        _finish(axes, legend=any(series))
    return Plot(figure)


def stacked(
    xs: Values,
    parts: Mapping[str, Values],
    ylabel: str,
    xlabel: str = "step",
    *,
    share: bool = False,
    colours: Mapping[str, str] | None = None,
    size: tuple[float, float] = SIZE,
) -> Plot:
    """Quantities on top of each other, the first at the bottom, a bar for each x; ``share`` scales each to 1."""
    with _panel(ylabel, xlabel, size) as (figure, axes):
        heights = np.nan_to_num(np.array([list(values) for values in parts.values()], float).reshape(len(parts), -1))
        if share:
            heights = heights / np.maximum(heights.sum(0), 1e-300)
            axes.set_ylim(0, 1)
        x = np.asarray(xs, float)
        step = np.diff(x).min() if len(x) > 1 else 1.0
        edges = np.append(x, x[-1:] + step) - step / 2
        low = np.zeros(len(x))
        for (name, row), colour in zip(zip(parts, heights, strict=True), _palette(parts, colours), strict=True):
            # One outline, not a rectangle for each bar: hundreds of them would show gaps, and make a large file.
            axes.stairs(low + row, edges, baseline=low, fill=True, color=colour, lw=0.3, label=_literal(name), zorder=2)
            low = low + row
        if len(x):
            axes.set_xlim(edges[0], edges[-1])
        _finish(axes, legend=True)
    return Plot(figure)


def histogram(
    groups: Mapping[str, Values],
    xlabel: str,
    ylabel: str = "share",
    *,
    bins: int = 40,
    logx: bool = False,
    logy: bool = False,
    colours: Mapping[str, str] | None = None,
    size: tuple[float, float] = SIZE,
) -> Plot:
    """Share of each group's values in equal bins (equal ratios with ``logx``) that all groups have in common."""
    finite = {name: np.asarray(values, float) for name, values in groups.items()}
    finite = {name: v[np.isfinite(v) & (v > 0 if logx else True)] for name, v in finite.items()}
    everything = np.concatenate([*finite.values(), []])
    with _panel(ylabel, xlabel, size) as (figure, axes):
        if len(everything):
            low, high = everything.min(), everything.max()
            if low == high:
                low, high = (low / 2, high * 2) if logx else (low - 0.5, high + 0.5)
            edges = np.geomspace(low, high, bins + 1) if logx else np.linspace(low, high, bins + 1)
            for (name, values), colour in zip(finite.items(), _palette(groups, colours), strict=True):
                shares = np.histogram(values, edges)[0] / max(len(values), 1)
                axes.stairs(shares, edges, fill=True, color=colour, alpha=0.15, lw=0, zorder=2)
                axes.stairs(shares, edges, color=colour, lw=1.4, label=_literal(name), zorder=3)
        axes.set_xscale("log" if logx else "linear")
        axes.set_yscale("log" if logy else "linear")
        _finish(axes, legend=any(groups))
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
    """Bars to the right, a row of categories for group -> category -> value, groups side by side in each category.

    ``errors``: group -> category -> half of an interval. Each bar bears its value in the format ``form``. As high as
    the number of bars asks.
    """
    categories = list(dict.fromkeys(name for values in groups.values() for name in values))
    height = _TOP + _BOTTOM + _PER_CATEGORY * max(len(categories), 1) * (len(groups) + 0.5)
    # Names of categories may be longer than the numbers that stand there otherwise.
    left = max(_LEFT, 0.15 + 0.075 * max(map(len, categories), default=0))
    with _panel(ylabel, "", (width, height), left, {"axes.grid.axis": "x"}) as (figure, axes):
        thick = 0.8 / max(len(groups), 1)
        for i, ((name, values), colour) in enumerate(zip(groups.items(), _palette(groups, colours), strict=True)):
            for row, category in enumerate(categories):
                value = values.get(category, np.nan)
                if not np.isfinite(value):
                    continue
                at = row + (i - (len(groups) - 1) / 2) * thick
                error = (errors or {}).get(name, {}).get(category)
                axes.barh(at, value, thick * 0.9, color=colour, xerr=error, ecolor="#555555", zorder=2)
                end = value + (error or 0) if value >= 0 else value - (error or 0)
                side = 1 if value >= 0 else -1
                axes.annotate(
                    form.format(value), (end, at), (3 * side, 0), textcoords="offset points", va="center_baseline",
                    ha="left" if side > 0 else "right", **_SMALL,
                )  # fmt: skip
            axes.barh(0, 0, color=colour, label=_literal(name))
        axes.set_yticks(range(len(categories)), map(_literal, categories))
        axes.set_ylim(len(categories) - 0.4, -0.6)
        axes.margins(x=0.14)
        axes.axvline(0, color="#666666", lw=0.8)
        _legend(axes, any(groups))
    return Plot(figure)


def running_mean(values: Values, window: int) -> np.ndarray:
    """[n] Mean of the ``window`` values around each, as many before as after; fewer near the ends."""
    values = np.asarray(values, float)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    first, end = np.maximum(at - window // 2, 0), np.minimum(at + window // 2 + 1, len(values))
    return (sums[end] - sums[first]) / np.maximum(end - first, 1)


def short(number: float) -> str:
    """A count in few characters: 9.5, 950, 1.2k, 0.6M."""
    if abs(number) < 1000:
        return f"{number:.3g}"
    return f"{number / 1000:.3g}k" if abs(number) < 999_500 else f"{number / 1e6:.3g}M"


class Counts(Formatter):
    """Ticks in few characters, or in full where two would look the same: 12k, but 12,010 beside 12,020."""

    def __call__(self, value: float, position: int | None = None) -> str:
        return short(value)

    def format_ticks(self, values: Values) -> list[str]:
        labels = [short(value) for value in values]
        return labels if len(set(labels)) == len(labels) else [f"{value:,.0f}" for value in values]


def whole_ticks(axes: Axes, most: int = 7) -> None:
    """Ticks of an x axis that counts steps, which have no halves: not even where it shows a single one."""
    axes.xaxis.set_major_locator(MaxNLocator(most, steps=_STEPS, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(Counts())


def reading(name: str, values: Values, form: str = "{:.3g}") -> str:
    """A line of a figure in words: where it begins and where it ends, of the values that are finite."""
    finite = np.asarray(values, float)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return ""
    ends = dict.fromkeys(form.format(value) for value in (finite[0], finite[-1]))
    return " ".join(filter(None, [name, " \N{RIGHTWARDS ARROW} ".join(ends)]))


def svg(figure: Figure) -> str:
    """The figure as an element that fills the width it gets; the quantity above its panel is its title as text, too."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": STYLE["svg.hashsalt"]}):  # the same figure is the same text
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r'width="[^"]*" height="[^"]*"', 'class="figure"', text[text.index("<svg") :], count=1)
    title = f"<title>{html.escape(figure.get_label())}</title>" if figure.get_label() else ""
    return re.sub(r"^<svg[^>]*>", lambda found: found.group() + title, text)


def _literal(text: str) -> str:
    """Text in which no dollar begins a formula: names come from users' files."""
    return text.replace("$", r"\$")


_SMALL = {"fontsize": 8, "color": "#555555"}


@contextmanager
def _panel(title: str, xlabel: str, size: tuple[float, float], left: float = _LEFT, style: Mapping | None = None):
    """(figure, axes) with the margins that all plots share."""
    with mpl.rc_context({**STYLE, **(style or {})}):
        width, height = size
        figure = Figure(figsize=size)
        figure.set_label(title)
        box = (left / width, _BOTTOM / height, 1 - (left + _RIGHT) / width, 1 - (_BOTTOM + _TOP) / height)
        axes = figure.add_axes(box)
        figure.text(0.06 / width, 1 - 0.07 / height, _literal(title), ha="left", va="top", fontsize=9.5, color=INK)
        axes.set_xlabel(_literal(xlabel), color="#555555", labelpad=2)
        axes.tick_params(which="both", colors="#555555", length=2.5)
        yield figure, axes


def _finish(axes: Axes, *, legend: bool) -> None:
    if axes.get_yscale() == "linear":
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
        if max(map(abs, axes.get_ylim())) >= 10_000:
            axes.yaxis.set_major_formatter(Counts())
        else:  # 1e-5 once above the axis, not at every tick
            axes.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=True)
            axes.yaxis.offsetText.set(size=8, color="#555555")
    else:
        _log_ticks(axes)
    if axes.get_xscale() == "linear":
        if axes.get_xlabel() in ("step", "steps"):
            whole_ticks(axes)
        else:
            axes.xaxis.set_major_locator(MaxNLocator(7, steps=_STEPS))
            if max(map(abs, axes.get_xlim())) >= 10_000:
                axes.xaxis.set_major_formatter(Counts())
    _legend(axes, legend)


def _log_ticks(axes: Axes) -> None:
    """Powers of ten; on an axis that has few of them, plain numbers between them too."""
    low, high = axes.get_ylim()
    axes.yaxis.set_minor_formatter(NullFormatter())
    if high < 300 * low:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _legend(axes: Axes, wanted: bool) -> None:
    if wanted and axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="lower right", bbox_to_anchor=(1.0, 0.995), ncols=6, borderaxespad=0, borderpad=0.1, fontsize=8,
            handlelength=1.2, handletextpad=0.4, columnspacing=1.0,
        )  # fmt: skip


def _palette(names: Mapping[str, object], colours: Mapping[str, str] | None) -> list[str]:
    """A colour for each name: the one asked for, else the next of ``COLOURS``."""
    return [(colours or {}).get(name, COLOURS[i % len(COLOURS)]) for i, name in enumerate(names)]


def _finite(
    xs: Values, ys: Values, half: Values | None, *, positive: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    x, y = np.asarray(xs, float), np.asarray(ys, float)
    good = np.isfinite(x) & np.isfinite(y)
    if positive:
        good &= y > 0
    return x[good], y[good], None if half is None else np.nan_to_num(np.asarray(half, float))[good]
