"""The figures of a run, for its page to ask for; None where nothing of it is logged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from red_mcore.reports import plots
from red_mcore.reports.numbers import Values, finite_of, reading, running_mean
from red_mcore.reports.plots import COLOURS, GREY, INK, WIDE, Plot, Series
from red_mcore.reports.run.folder import RunFolder
from red_mcore.rewards.verifier import VERDICTS

BLUE, RED, GREEN, PINK, ORANGE, SKY = COLOURS
DARK_GREY, PALE = "#444444", "#cfd6da"
VERDICT_COLOURS = {"correct": GREEN, "wrong": RED, "unparsable": ORANGE, "timeout": PINK}
VERDICT_COLOURS |= {"crash": DARK_GREY}
LOSS_COLOURS = {"total": INK, "rl": BLUE, "offline": RED, "entropy": GREEN, "wrong": PINK}
LOSS_COLOURS |= {"sft": ORANGE, "right": SKY}
"""The colours of the loss's components; rollouts and traces have theirs here too."""
PHASES = {"sample": BLUE, "score": SKY, "update": GREEN, "teach": ORANGE, "publish": PINK}
PHASES |= {"evaluate": GREY, "benchmark": DARK_GREY, "validate": PALE}
"""The parts of a step's time, and their colours; ``publish_engine`` is a part of ``publish``."""
_UNREAD = ("evaluation/", "reward/", "time/", "publish/")
"""Prefixes of metrics that are not worth a panel in the last section."""
_SHOWN_ELSEWHERE = {"rollout/generated_tokens", "rollout/reward_mean", "update/tokens"}
_SHOWN_ELSEWHERE |= {"update/skipped", "groups/all_right", "groups/all_wrong", "red/weight_raw"}
_MARKS_AT_THE_MOST = 30
_LEAST_TO_SMOOTH = 30
Lines = Mapping[str, str | Series]
"""Label -> metric, or its steps and values."""
Parts = dict[str, np.ndarray]
"""Label -> what a stack has of it at each step."""


class RunFigures:
    """Draws one run, and knows which metrics have a panel already."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self._shown = set(_SHOWN_ELSEWHERE)
        steps = run.metric("evaluation/pass1")[0]
        self.marks = steps if len(steps) <= _MARKS_AT_THE_MOST else steps[:0]
        """Steps with an evaluation, unless they are too many to see anything."""
        self.window = _window(len(run.rows))
        """Steps in a running mean."""

    def curve(
        self,
        title: str,
        lines: str | Lines,
        *,
        smooth: int | None = None,
        varying: bool = False,
        **options: Any,
    ) -> Plot | None:
        """A panel with those of ``lines``, or the one metric, that have a value; None where none
        has.

        ``varying``: None, too, where nothing changes over the steps. ``options`` are those of
        ``plots.curve``. Colours go with the places of labels, whether or not the ones before
        exist: traces have always theirs.
        """
        asked = {"": lines} if isinstance(lines, str) else lines
        found: dict[str, Series] = {}
        for label, line in asked.items():
            if isinstance(line, str):
                self._shown.add(line)
                line = self.run.metric(line)
            values = np.asarray(line[1], float)
            if np.isfinite(values).any():
                found[label] = (line[0], values)
        if not found or (varying and not any(map(_varies, found.values()))):
            return None
        if smooth is None:
            smooth = _window(max(len(steps) for steps, _ in found.values()))
        options.setdefault("marks", self.marks)
        options.setdefault("caption", _caption(found, smooth))
        options["colours"] = plots.palette(asked, options.get("colours"))
        return plots.curve(found, title, smooth=smooth, **options)

    def ends(self, name: str | None, form: str) -> str:
        """The first value of a metric and the last, in words; nothing where it has none."""
        values = self.run.metric(name or "")[1]
        return " → ".join(form.format(value) for value in (*values[:1], *values[1:][-1:]))

    def held_out(self) -> Plot | None:
        """pass@1, with its interval, and pass@k."""
        run = self.run
        halves = [score.half for score in run.scores("evaluation/pass1").values()]
        lines = {"pass@1": "evaluation/pass1"}
        if run.pass_k:
            lines[run.pass_k_name] = run.pass_k
        colours = dict.fromkeys(lines, SKY) | {"pass@1": BLUE}
        look: dict[str, Any] = {"marks": (), "ylim": (0, None), "colours": colours}
        return self.curve("accuracy", lines, smooth=0, band={"pass@1": halves}, **look)

    def benchmarks(self) -> list[Plot | None]:
        """Bars of the first and the last evaluation, and lines where there are others."""
        steps = self.run.benchmark_steps
        if not steps:
            return []
        colours = {f"step {steps[0]}": SKY} | {f"step {steps[-1]}": BLUE}
        means: dict[str, dict[str, float]] = {label: {} for label in colours}
        halves: dict[str, dict[str, float]] = {label: {} for label in colours}
        lines: dict[str, Series] = {}
        for name, scores in self.run.benchmarks.items():
            lines[name] = (list(scores), [score.mean for score in scores.values()])
            for step in {steps[0], steps[-1]} & scores.keys():
                means[f"step {step}"][name] = scores[step].mean
                halves[f"step {step}"][name] = scores[step].half
        look: dict[str, Any] = {"form": "{:.3f}", "colours": colours, "width": WIDE[0]}
        shown: list[Plot | None] = [plots.bars(means, "accuracy", halves, **look)]
        if len(steps) > 2:
            shown.append(self.curve("accuracy", lines, smooth=0, ylim=(0, None), marks=()))
        return shown

    def base(self, name: str) -> Series:
        """A quantity of base training, whose steps are counted by themselves."""
        rows = self.run.base_rows
        values = [row.get(f"base/{name}") for row in rows]
        return [row["step"] for row in rows], np.array(values, float)  # None becomes NaN

    def reward(self) -> Plot | None:
        """The mean reward, where that is not the accuracy."""
        accuracy, reward = (
            self.run.metric("rollout/accuracy"),
            self.run.metric("rollout/reward_mean"),
        )
        if np.array_equal(accuracy[1], reward[1], equal_nan=True):
            return None
        return self.curve("mean reward of rollouts", "rollout/reward_mean")

    def outcomes(self) -> Plot | None:
        """Shares of the verifier's verdicts."""
        steps, counts = self._parts({verdict: f"reward/{verdict}" for verdict in VERDICTS})
        return _shares(steps, counts, "outcome of rollouts, share", VERDICT_COLOURS)

    def groups(self) -> Plot | None:
        """Shares of groups that are all right, mixed and all wrong."""
        steps, right = self.run.metric("groups/all_right")
        wrong = self.run.metric("groups/all_wrong")[1]
        if not len(steps) or len(right) != len(wrong):
            return None
        parts = {"all right": right, "mixed": 1 - right - wrong, "all wrong": wrong}
        colours = {"all right": GREEN, "mixed": PALE, "all wrong": RED}
        return _shares(steps, parts, "groups of rollouts, share", colours)

    def weight(self) -> Plot | None:
        """RED's weight of traces, between its bounds, and what it is clamped from."""
        steps, raw = self.run.metric("red/weight_raw")
        if not len(steps):
            return None
        bounds = {}
        for key in ("weight_min", "weight_max"):
            bound = self.run.setting(f"algorithm.{key}")
            if bound:
                bounds[f"bound {bound:g}"] = bound
        size = "raw, its size"
        lines: Lines = {"w": "red/weight", size: (steps, np.abs(raw))}
        look: dict[str, Any] = {"dots": [size], "logy": True, "levels": bounds, "caption": ""}
        look["colours"] = {"w": RED, size: "#888888"}
        return self.curve("weight w of traces", lines, smooth=0, **look)

    def losses(self, title: str, prefix: str, total: str = "") -> Plot | None:
        """A loss, or several, and what it is made of, where that is more than one component."""
        names = [name for name in self.run.names if name.startswith(prefix)]
        self._shown.update(names)
        parts = {name.removeprefix(prefix): name for name in names if name != f"{prefix}total"}
        if not total:
            return self.curve(title, parts, colours=LOSS_COLOURS)
        lines = {"total": total} | (parts if len(parts) > 1 else {})
        return self.curve(title, lines, colours=LOSS_COLOURS)

    def sampling_rate(self) -> Series:
        """Generated tokens per second of sampling."""
        steps, rates = [], []
        for row in self.run.rows:
            tokens, seconds = row.get("rollout/generated_tokens"), row.get("time/sample_seconds")
            if tokens and seconds:
                steps.append(row["step"])
                rates.append(tokens / seconds)
        return steps, rates

    def time(self) -> list[Plot]:
        """Where the time went, but for evaluation."""
        steps, seconds = self._seconds()
        least = 0.001 * sum(values.sum() for values in seconds.values())
        shown = {}
        for name, values in seconds.items():
            if name != "evaluate" and values.sum() > least:
                shown[name] = values
        if not shown:
            return []
        return [
            plots.stacked(steps, shown, "share of a step's time", share=True, colours=PHASES),
            plots.stacked(steps, shown, "seconds of a step", size=WIDE, colours=PHASES),
        ]

    def times(self) -> list[list[str]]:
        """Rows of the table of phases: name, seconds, share, seconds per step."""
        steps, seconds = self._seconds()
        totals = {name: float(values.sum()) for name, values in seconds.items()}
        ordered = sorted(totals, key=totals.__getitem__, reverse=True)
        whole = totals["all"] = max(sum(totals.values()), 1e-9)
        rows = []
        for name in [*ordered, "all"]:
            total = totals[name]
            if total > 0.0005 * whole:
                share, each = f"{100 * total / whole:.1f} %", f"{total / max(len(steps), 1):.3f}"
                rows.append([name, f"{total:,.1f}", share, each])
        return rows

    def remaining(self, *prefixes: str) -> list[Plot | None]:
        """Panels of metrics that have none yet and are not the same at every step, so that a new
        metric shows before anyone thinks of its place."""
        made = []
        for name in self.run.names:
            if name in self._shown or name.startswith(_UNREAD) or not name.startswith(prefixes):
                continue
            made.append(self.curve(name.replace("_", " "), name, varying=True))
        return made

    def leave_out(self, prefix: str) -> str:
        """Metrics that are too many to be shown all."""
        self._shown.update(name for name in self.run.names if name.startswith(prefix))
        return ""

    def _seconds(self) -> tuple[list[int], Parts]:
        return self._parts({name: f"time/{name}_seconds" for name in PHASES})

    def _parts(self, metrics: Mapping[str, str]) -> tuple[list[int], Parts]:
        """(steps that have one of them, label -> values), 0 where a step lacks one; without those
        that are 0 everywhere."""
        rows = [row for row in self.run.rows if not row.keys().isdisjoint(metrics.values())]
        found = {}
        for label, metric in metrics.items():
            values = np.nan_to_num(np.array([row.get(metric) for row in rows], float))
            if values.any():
                found[label] = values
        return [row["step"] for row in rows], found


def _shares(steps: Values, parts: Parts, title: str, colours: Mapping[str, str]) -> Plot | None:
    """A stack, and below it what each part is of the whole, over all steps."""
    if not parts:
        return None
    totals = {label: float(np.nansum(values)) for label, values in parts.items()}
    whole, caption = sum(totals.values()), ""
    if whole:
        told = [f"{label} {100 * total / whole:.3g} %" for label, total in totals.items()]
        caption = f"over all steps: {', '.join(told)}"
    return plots.stacked(steps, parts, title, share=True, colours=colours, caption=caption)


def _caption(series: Mapping[str, Series], smooth: int) -> str:
    """The lines of a panel in words: where each begins and ends, smoothed as it is drawn."""
    told = []
    for label, (_, values) in series.items():
        drawn = running_mean(finite_of(values), max(smooth, 1))
        told.append(reading(label, drawn))
    return "; ".join(filter(None, told))


def _window(count: int) -> int:
    """Neighbours in a running mean of so many points; 0 where they can be looked at one by one."""
    return 2 * (count // 30) + 1 if count >= _LEAST_TO_SMOOTH else 0


def _varies(series: Series) -> bool:
    finite = finite_of(series[1])
    return len(finite) > 0 and bool((finite != finite[0]).any())
