"""The report's figures, as SVG text: colours that colour-blind readers tell apart, and no label on another."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from red_mcore.comparison.curves import AXES, Curves
from red_mcore.comparison.results import Result, Results
from red_mcore.comparison.stats import half_width
from red_mcore.reports.plots import COLOURS, FAINT, GREY, INK, STYLE, Counts, svg, whole_ticks

MARKERS = ("s", "^", "D", "v", "P", "X")
ALWAYS = ("grpo", "sft", "sft_then_grpo")
"""Methods shown in colour however they do: the plain ways that the others combine."""
SMOOTHING = 0.1
"""Running means of what is logged at each step are over this share of the reference's steps."""
LABELS = {"steps": "steps", "tokens": "generated tokens", "seconds": "training seconds"}
_POINTS = 60
"""Points of a line."""
Series = tuple[np.ndarray, np.ndarray, np.ndarray | None]
"""x, y and, where known, the standard error of y, of one seed."""


class Figures:
    """Each method returns one <svg> element."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.shown = highlights(results)
        """Name -> (colour, marker) of the methods in colour, the reference first."""

    def budgets(self) -> str:
        """pass@1 against steps, tokens and seconds, side by side."""
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(11.5, 4.4), layout="constrained")
            panels = figure.subplots(1, 3, sharey=True)
            for axis, panel in zip(AXES, panels, strict=True):
                for result in self._grey_first():
                    self._evaluated(panel, result, axis, "pass1", band=result.name in self.shown)
                self._axis(panel, axis)
            panels[0].set_ylabel("pass@1 on held-out problems")
            return self._with_legend(figure)

    def pass_k(self) -> str:
        """pass@k against steps, tokens and seconds."""
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(11.5, 4.0), layout="constrained")
            panels = figure.subplots(1, 3, sharey=True)
            for axis, panel in zip(AXES, panels, strict=True):
                for result in self._grey_first():
                    self._evaluated(panel, result, axis, f"pass{self.results.k}")
                self._axis(panel, axis)
            panels[0].set_ylabel(f"pass@{self.results.k} on held-out problems")
            return self._with_legend(figure)

    def dots(self) -> str:
        """pass@1 of every method at the three budgets: mean, 95 % interval, a ring per seed."""
        ranked = self.results.ranked
        with mpl.rc_context({**STYLE, "axes.grid.axis": "x"}):
            figure = Figure(figsize=(11.5, 1.0 + 0.28 * len(ranked)), layout="constrained")
            panels = figure.subplots(1, 3, sharex=True, sharey=True)
            for axis, panel in zip(AXES, panels, strict=True):
                for row, result in enumerate(ranked):
                    if result.readings[axis]:
                        self._dot(panel, row, result, axis)
                if (mean := self.results.reference.mean(axis)) is not None:
                    panel.axvline(mean, color=INK, lw=0.8, ls=":", zorder=1)
                panel.set_title(f"at equal {axis}", loc="left")
                panel.set_xlabel("pass@1")
            panels[0].set_yticks(range(len(ranked)), [r.name for r in ranked])
            panels[0].set_ylim(len(ranked) - 0.5, -0.5)
            for label in panels[0].get_yticklabels():
                label.set_color(self._colour(label.get_text(), "#555555"))
            return svg(figure)

    def multiples(self) -> str:
        """pass@1 against seconds, a panel per method beside the reference."""
        reference = self.results.reference
        others = [r for r in self.results.ranked if r is not reference]
        columns = min(5, len(others))
        rows = -(-len(others) // columns)
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(11.5, 0.6 + 1.8 * rows), layout="constrained")
            panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
            for panel in panels.flat[len(others) :]:
                panel.set_axis_off()
            for result, panel in zip(others, panels.flat, strict=False):
                for other in others:
                    self._evaluated(panel, other, "seconds", "pass1", color=FAINT, lw=0.7)
                self._evaluated(panel, reference, "seconds", "pass1", color=INK, lw=1.1, ls="--")
                self._evaluated(panel, result, "seconds", "pass1", band=True, color=COLOURS[0], lw=1.9)
                panel.set_title(result.name, loc="left")
                self._axis(panel, "seconds", label=False)
                panel.xaxis.set_major_locator(MaxNLocator(4))
                panel.tick_params(labelbottom=True)
            figure.supxlabel("training seconds", fontsize=9)
            figure.supylabel("pass@1 on held-out problems", fontsize=9)
            return svg(figure)

    def behaviour(self) -> str:
        """Length, truncation, entropies and the weight of traces, against steps."""

        def evaluated(name: str) -> Callable[[Curves], Series]:
            return lambda curves: (*curves.evaluation("steps", name), None)

        def logged(name: str) -> Callable[[Curves], Series]:
            return lambda curves: (
                *smooth(*curves.metric(name), max(1, round(SMOOTHING * self.results.plan.steps))),
                None,
            )

        quantities = {
            "tokens per held-out answer": evaluated("length_tokens"),
            "share of held-out answers cut off": evaluated("truncated"),
            "entropy on rollouts, nats": logged("entropy/rollout_nats"),
            "entropy on traces, nats": logged("entropy/offline_nats"),
            "weight w of the traces": logged("red/weight"),
        }
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(11.5, 6.2), layout="constrained")
            panels = figure.subplots(2, 3)
            for (title, quantity), panel in zip(quantities.items(), panels.flat, strict=False):
                for result in self._grey_first():
                    series = [quantity(curves) for curves in result.curves.values()]
                    self._line(panel, result, "steps", [s for s in series if len(s[0])])
                panel.set_title(title, loc="left")
                self._axis(panel, "steps")
            panels.flat[-1].set_axis_off()
            panels.flat[-1].legend(handles=self._handles(), loc="center left")
            return svg(figure)

    def _grey_first(self) -> list[Result]:
        """So that colours lie above grey, and the reference above all."""
        order = list(self.shown)
        return sorted(self.results.all, key=lambda r: -order.index(r.name) if r.name in order else -len(order))

    def _colour(self, name: str, otherwise: str) -> str:
        return self.shown[name][0] if name in self.shown else otherwise

    def _dot(self, panel: Axes, row: int, result: Result, axis: str) -> None:
        colour, marker = self.shown.get(result.name, ("#777777", "o"))
        mean, half, values = (
            result.mean(axis),
            result.half(axis, over_seeds=self.results.over_seeds),
            list(result.values(axis).values()),
        )
        # No accuracy lies in the rest of a wide interval.
        panel.plot([max(0, mean - half), min(1, mean + half)], [row, row], color=colour, lw=1.5, zorder=2)
        panel.plot(mean, row, marker, color=colour, ms=6, zorder=3)
        if len(values) > 1:
            panel.plot(values, [row] * len(values), "o", mfc="white", mec=colour, ms=3.4, mew=0.9, zorder=4)

    def _evaluated(self, panel: Axes, result: Result, axis: str, name: str, *, band: bool = False, **style) -> None:
        series: list[Series] = []
        for curves in result.curves.values():
            error = curves.evaluation(axis, f"{name}_stderr")[1] if band else None
            series.append((*curves.evaluation(axis, name), error))
        self._line(panel, result, axis, series, **style)

    def _line(self, panel: Axes, result: Result, axis: str, series: list[Series], **style) -> None:
        """Mean over seeds as far as the budget goes; the band is its 95 % interval, where standard errors are given."""
        limit = self.results.budget(axis)
        ends = [x[-1] for x, _, _ in series]
        if limit is None or not ends or not min(ends):
            return
        x = np.linspace(max(x[0] for x, _, _ in series), min(limit, *ends), _POINTS)
        values = np.array([np.interp(x, at, y) for at, y, _ in series])
        colour, marker = self.shown.get(result.name, (GREY, None))
        if marker and not style:
            panel.plot(x[-1], values.mean(0)[-1], marker, color=colour, ms=5, zorder=4, clip_on=False)
        style = {"color": colour, "lw": 1.9 if marker else 0.8, **style}
        z = 3 if style["lw"] > 1 else 2
        panel.plot(x, values.mean(0), zorder=z, **style)
        if series[0][2] is not None:
            errors = np.array([np.interp(x, at, error) for at, _, error in series])
            half = np.array(
                [half_width(v, e, over_seeds=self.results.over_seeds) for v, e in zip(values.T, errors.T, strict=True)]
            )
            low, high = values.mean(0) - half, values.mean(0) + half
            panel.fill_between(x, low.clip(0), high.clip(max=1), color=style["color"], alpha=0.09, lw=0, zorder=z - 1)

    def _axis(self, panel: Axes, axis: str, *, label: bool = True) -> None:
        if limit := self.results.budget(axis):
            panel.set_xlim(0, limit * 1.02)
        if label:
            panel.set_xlabel(LABELS[axis])
        if axis == "tokens":
            panel.xaxis.set_major_formatter(Counts())
        elif axis == "steps":
            whole_ticks(panel)

    def _handles(self) -> list[Line2D]:
        handles = [
            Line2D([], [], color=colour, marker=marker, ms=5, lw=1.9, label=name)
            for name, (colour, marker) in self.shown.items()
        ]
        if len(self.shown) < len(self.results.all):
            handles.append(Line2D([], [], color=GREY, lw=0.8, label="the others"))
        return handles

    def _with_legend(self, figure: Figure) -> str:
        figure.legend(handles=self._handles(), loc="outside upper left", ncols=4)
        return svg(figure)


def highlights(results: Results) -> dict[str, tuple[str, str]]:
    """Name -> (colour, marker): the reference, the plain methods, then the highest at equal seconds."""
    names = [r.name for r in results.ranked if r is not results.reference]
    chosen = [name for name in ALWAYS if name in names]
    chosen += [name for name in names if name not in chosen][: len(COLOURS) - len(chosen)]
    styles = zip(COLOURS, MARKERS, strict=True)
    return {results.reference.name: (INK, "o")} | dict(zip(chosen, styles, strict=False))


def smooth(x: np.ndarray, y: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of ``window`` neighbours."""
    if len(x) < 2 * window:
        return x, y
    kernel = np.ones(window) / window
    return np.convolve(x, kernel, "valid"), np.convolve(y, kernel, "valid")
