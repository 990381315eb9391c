"""The figures of a comparison: means over seeds, with 95 % intervals where errors are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from red_mcore.comparison.curves import AXES, Curves
from red_mcore.comparison.results import Result, Results
from red_mcore.reports import plots
from red_mcore.reports.plots import COLOURS, FULL, GREY, INK, STYLE, Plot
from red_mcore.stats import half_width

MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "✖"}
"""Markers of methods in figures and in the legend, the reference's first."""
ALWAYS = ("grpo", "sft", "sft_then_grpo")
"""Methods shown in colour however they do: the plain ways that the others combine."""
LABELS = {"steps": "steps", "tokens": "generated tokens", "seconds": "training seconds"}
_SMOOTHING = 0.1
"""Running means of what is logged at each step are over this share of the reference's steps."""
_POINTS = 60
"""Points of a line."""
_OTHER_COLOUR = "#777777"
Points = tuple[np.ndarray, np.ndarray, np.ndarray | None]
"""x, y and, where known, the standard error of y."""
Line = Callable[[Curves], Points]
"""What is drawn of one seed's run."""


class Figures:
    """Draws the results of a comparison."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.shown = highlights(results)
        """Name -> (colour, marker) of the methods in colour, the reference first."""

    @property
    def legend(self) -> list[tuple[str, str, str]]:
        """(name, colour, sign) of what is in colour, and of all the rest."""
        found = [(name, colour, MARKERS[marker]) for name, (colour, marker) in self.shown.items()]
        if len(found) < len(self.results.all):
            found.append(("the others", GREY, "▬"))
        return found

    def budgets(self, name: str, title: str) -> list[Plot]:
        """A quantity of evaluations against steps, tokens and seconds."""
        return _alike(self._panel(title, axis, _evaluated(axis, name)) for axis in AXES)

    def one_by_one(self) -> list[Plot]:
        """pass@1 against seconds, a panel for each method beside the reference."""
        line, reference = _evaluated("seconds", "pass1"), self.results.reference.name
        made = []
        for result in self.results.ranked:
            if result.name != reference:
                styles = {reference: (INK, ""), result.name: (COLOURS[0], "")}
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
            for axis, panel in zip(AXES, panels, strict=True):
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
        mean, half = np.mean(values), result.half(axis, over_seeds=self.results.over_seeds)
        colour, marker = self.shown.get(result.name, (_OTHER_COLOUR, "o"))
        ends = [max(0, mean - half), min(1, mean + half)]  # no accuracy lies beyond
        panel.plot(ends, [row, row], color=colour, lw=1.5, zorder=2)
        panel.plot(mean, row, marker, color=colour, ms=6, zorder=3)
        if len(values) > 1:
            ring = {"mfc": "white", "mec": colour, "ms": 3.4, "mew": 0.9, "zorder": 4}
            panel.plot(values, [row] * len(values), "o", **ring)

    def _logged(self, name: str) -> Line:
        """The running mean of a metric, over steps."""
        window = max(1, round(_SMOOTHING * self.results.plan.steps))

        def line(curves: Curves) -> Points:
            steps, values = curves.metric(name)
            return steps, plots.running_mean(values, window), None

        return line

    def _panel(
        self,
        title: str,
        axis: str,
        line: Line,
        styles: Mapping[str, tuple[str, str]] | None = None,
    ) -> Plot | None:
        """A line of each method, the mean over seeds as far as the budget goes; None without any.

        ``styles``: name -> (colour, marker) of those that stand out, the first above all. The first
        of styles that are given is there to compare with, without its interval.
        """
        banded = set(self.shown) if styles is None else set(styles) - {next(iter(styles))}
        styles = styles or self.shown
        limit = self.results.budget(axis) or 0.0
        lines, bands, colours = {}, {}, {}
        order = {name: place for place, name in enumerate(styles)}
        lowest = len(order)
        for result in sorted(self.results.all, key=lambda r: -order.get(r.name, lowest)):
            every = [line(curves) for curves in result.curves.values()]
            seeds = [points for points in every if len(points[0]) and points[0][-1]]
            if not limit or not seeds:
                continue
            x, mean, half = _mean(seeds, limit, over_seeds=self.results.over_seeds)
            lines[result.name] = (x, mean)
            colours[result.name], _ = styles.get(result.name, (GREY, ""))
            if half is not None and result.name in banded:
                bands[result.name] = half
        if not lines:
            return None
        ends = {name: marker for name, (_, marker) in styles.items()}
        look = {"behind": lines.keys() - styles.keys(), "ends": ends, "colours": colours}
        limits = {"xlim": (0, 1.02 * limit), "legend": False}
        return plots.curve(lines, title, LABELS[axis], bands, **look, **limits)


def highlights(results: Results) -> dict[str, tuple[str, str]]:
    """Name -> (colour, marker): the reference, the plain methods, then those best at seconds."""
    names = [result.name for result in results.ranked if result is not results.reference]
    chosen = [name for name in ALWAYS if name in names]
    chosen += [name for name in names if name not in chosen]
    styles = zip((INK, *COLOURS), MARKERS, strict=True)
    return dict(zip([results.reference.name, *chosen], styles, strict=False))


def _evaluated(axis: str, name: str) -> Line:
    """A quantity of evaluations over what was spent; pass@1 has its error."""

    def line(curves: Curves) -> Points:
        spent, values = curves.evaluation(axis, name)
        error = curves.evaluation(axis, "pass1_stderr")[1] if name == "pass1" else None
        return spent, values, error

    return line


def _mean(seeds: Sequence[Points], limit: float, *, over_seeds: bool) -> Points:
    """(x, mean over seeds, half of its 95 % interval), up to ``limit`` or the first end."""
    first = max(x[0] for x, _, _ in seeds)
    last = min(limit, *(x[-1] for x, _, _ in seeds))
    x = np.linspace(first, last, _POINTS)
    values = np.array([np.interp(x, at, y) for at, y, _ in seeds])
    if seeds[0][2] is None:
        return x, values.mean(0), None
    errors = np.array([np.interp(x, at, error) for at, _, error in seeds])
    half = []
    for i in range(_POINTS):
        half.append(half_width(values[:, i], errors[:, i], over_seeds=over_seeds))
    return x, values.mean(0), np.array(half)


def _alike(panels: Iterable[Plot | None]) -> list[Plot]:
    """The panels that are there, with one range of accuracies."""
    found = [plot for plot in panels if plot]
    axes = [plot.figure.axes[0] for plot in found]
    for one in axes:
        low, high = min(a.dataLim.y0 for a in axes), max(a.dataLim.y1 for a in axes)
        one.set_ylim(max(0, low - 0.01), min(1.02, high + 0.01))
    return found
