"""The figures of a comparison: means over seeds, with 95 % intervals where errors are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from red_mcore.comparison.curves import AXES, Curves
from red_mcore.comparison.results import Result, Results
from red_mcore.reports import plots
from red_mcore.reports.numbers import running_mean
from red_mcore.reports.plots import COLOURS, FULL, GREY, INK, STYLE, Plot
from red_mcore.stats import half_width


class Style(NamedTuple):
    """How a method looks in figures, and the sign of its marker in the legend."""

    colour: str
    marker: str = ""
    sign: str = "▬"


BLUE, RED, GREEN, PINK, ORANGE, SKY = COLOURS
REFERENCE = Style(INK, "o", "●")
STYLES = (
    Style(BLUE, "s", "■"),
    Style(RED, "^", "▲"),
    Style(GREEN, "D", "◆"),
    Style(PINK, "v", "▼"),
    Style(ORANGE, "P", "✚"),
    Style(SKY, "X", "✖"),
)
OTHERS, OTHER_DOTS = Style(GREY), Style("#777777", "o")
"""Methods without a style of their own; a grey that is fine for a line is faint for a dot."""
ALWAYS = ("grpo", "sft", "sft_then_grpo")
"""Methods shown in colour however they do: the plain ways that the others combine."""
LABELS = {"steps": "steps", "tokens": "generated tokens", "seconds": "training seconds"}
_SMOOTHING = 0.1
"""Running means of what is logged at each step are over this share of the reference's steps."""
_POINTS = 60
"""Points of a line."""


class Points(NamedTuple):
    """A line."""

    x: np.ndarray
    y: np.ndarray
    error: np.ndarray | None = None
    """The standard error of y, or half of its interval; None where it is not known."""


Line = Callable[[Curves], Points]
"""What is drawn of one seed's run."""


class Figures:
    """Draws the results of a comparison."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.shown = highlights(results)
        """Name -> style of the methods in colour, the reference first."""

    @property
    def legend(self) -> dict[str, Style]:
        """What is in colour, and all the rest."""
        if len(self.shown) < len(self.results.all):
            return self.shown | {"the others": OTHERS}
        return self.shown

    def budgets(self, name: str, title: str) -> list[Plot]:
        """A quantity of evaluations against steps, tokens and seconds."""
        return _alike(self._panel(title, axis, _evaluated(axis, name)) for axis in AXES)

    def one_by_one(self) -> list[Plot]:
        """pass@1 against seconds, a panel for each method beside the reference."""
        line, reference = _evaluated("seconds", "pass1"), self.results.reference.name
        made = []
        for result in self.results.ranked:
            if result.name != reference:
                styles = {reference: Style(INK), result.name: Style(BLUE)}
                made.append(self._panel(result.name, "seconds", line, styles))
        return _alike(made)

    def behaviour(self) -> list[Plot | None]:
        """Length, truncation, entropies and the weight of traces, against steps."""
        lines = {
            "tokens per held-out answer": _evaluated("steps", "length_tokens"),
            "share of held-out answers cut off": _evaluated("steps", "truncated"),
            "entropy on rollouts, nats": self._logged("entropy/rollout_nats"),
            "entropy on traces, nats": self._logged("entropy/offline_nats"),
            "weight w of the traces": self._logged("red/weight"),
        }
        return [self._panel(title, "steps", line) for title, line in lines.items()]

    def dots(self) -> Plot:
        """pass@1 of every method at the three budgets: mean, 95 % interval, a ring per seed."""
        ranked = self.results.ranked
        with mpl.rc_context({**STYLE, "axes.grid.axis": "x"}):
            figure = Figure(figsize=(FULL[0], 1.0 + 0.28 * len(ranked)), layout="constrained")
            panels = figure.subplots(1, 3, sharex=True, sharey=True)
            for place, axis in enumerate(AXES):
                panel = panels[place]
                for row, result in enumerate(ranked):
                    if result.readings[axis]:
                        self._dot(panel, row, result, axis)
                reference = self.results.reference.mean(axis)
                if reference is not None:
                    panel.axvline(reference, color=INK, lw=0.8, ls=":", zorder=1)
                panel.set_title(f"at equal {axis}", loc="left")
                panel.set_xlabel("pass@1")
            panels[0].set_yticks(range(len(ranked)), [result.name for result in ranked])
            panels[0].set_ylim(len(ranked) - 0.5, -0.5)
        return Plot(figure)

    def _dot(self, panel: Axes, row: int, result: Result, axis: str) -> None:
        values = list(result.values(axis).values())
        mean = float(np.mean(values))
        half = result.half(axis, over_seeds=self.results.over_seeds)
        colour, marker, _ = self.shown.get(result.name, OTHER_DOTS)
        ends = [max(0, mean - half), min(1, mean + half)]  # no accuracy lies beyond
        panel.plot(ends, [row, row], color=colour, lw=1.5, zorder=2)
        panel.plot(mean, row, marker, color=colour, ms=6, zorder=3)
        if len(values) > 1:
            ring: dict[str, Any] = {"mfc": "white", "mec": colour, "ms": 3.4, "mew": 0.9}
            panel.plot(values, [row] * len(values), "o", zorder=4, **ring)

    def _logged(self, name: str) -> Line:
        """The running mean of a metric, over steps."""
        window = max(1, round(_SMOOTHING * self.results.plan.steps))

        def line(curves: Curves) -> Points:
            steps, values = curves.metric(name)
            return Points(steps, running_mean(values, window))

        return line

    def _panel(
        self,
        title: str,
        axis: str,
        line: Line,
        styles: Mapping[str, Style] | None = None,
    ) -> Plot | None:
        """A line of each method, the mean over seeds as far as the budget goes; None without any.

        ``styles``: name -> style of those that stand out, the first above all. The first of styles
        that are given is there to compare with, without its interval.
        """
        banded = [*self.shown] if styles is None else [*styles][1:]
        styles = styles or self.shown
        order = {name: place for place, name in enumerate(styles)}
        limit = self.results.budget(axis) or 0.0
        lines, bands, colours = {}, {}, {}
        ends = {name: style.marker for name, style in styles.items()}
        # What is drawn last lies above: those without a style first, the first of styles last.
        for result in sorted(self.results.all, key=lambda r: -order.get(r.name, len(order))):
            every = [line(curves) for curves in result.curves.values()]
            seeds = [points for points in every if len(points.x) and points.x[-1]]
            if not limit or not seeds:
                continue
            x, mean, half = _mean(seeds, limit, over_seeds=self.results.over_seeds)
            lines[result.name] = (x, mean)
            colours[result.name] = styles.get(result.name, OTHERS).colour
            if half is not None and result.name in banded:
                bands[result.name] = half
        if not lines:
            return None
        look: dict[str, Any] = {"behind": lines.keys() - styles.keys(), "xlim": (0, 1.02 * limit)}
        look |= {"ends": ends, "colours": colours, "legend": False}
        return plots.curve(lines, title, LABELS[axis], bands, **look)


def highlights(results: Results) -> dict[str, Style]:
    """Styles by name: of the reference, the plain methods, then those best at seconds."""
    names = [result.name for result in results.ranked if result is not results.reference]
    plain = [name for name in ALWAYS if name in names]
    chosen = dict.fromkeys([*plain, *names])  # each once
    return {results.reference.name: REFERENCE} | dict(zip(chosen, STYLES, strict=False))


def _evaluated(axis: str, name: str) -> Line:
    """A quantity of evaluations over what was spent; pass@1 has its error."""

    def line(curves: Curves) -> Points:
        spent, values = curves.evaluation(axis, name)
        if name != "pass1":
            return Points(spent, values)
        return Points(spent, values, curves.evaluation(axis, "pass1_stderr")[1])

    return line


def _mean(seeds: Sequence[Points], limit: float, *, over_seeds: bool) -> Points:
    """(x, mean over seeds, half of its 95 % interval), up to ``limit`` or the first end."""
    first = max(points.x[0] for points in seeds)
    last = min(limit, *(points.x[-1] for points in seeds))
    x = np.linspace(first, last, _POINTS)
    values, errors = [], []
    for points in seeds:
        values.append(np.interp(x, points.x, points.y))
        if points.error is not None:
            errors.append(np.interp(x, points.x, points.error))
    table = np.array(values)
    if not errors:
        return Points(x, table.mean(0))
    half, stderrs = np.empty(_POINTS), np.array(errors)
    for i in range(_POINTS):
        half[i] = half_width([*table[:, i]], [*stderrs[:, i]], over_seeds=over_seeds)
    return Points(x, table.mean(0), half)


def _alike(panels: Iterable[Plot | None]) -> list[Plot]:
    """The panels that are there, with one range of accuracies."""
    found = [plot for plot in panels if plot]
    if not found:
        return []
    axes = [plot.figure.axes[0] for plot in found]
    low, high = min(one.dataLim.y0 for one in axes), max(one.dataLim.y1 for one in axes)
    for one in axes:
        one.set_ylim(max(0, low - 0.01), min(1.02, high + 0.01))
    return found
