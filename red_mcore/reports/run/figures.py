"""The figures of a run, by section; a section without any metric is empty text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from red_mcore.reports import plots
from red_mcore.reports.page import figure, note, panels, section, table
from red_mcore.reports.plots import COLOURS, GREY, INK, WIDE
from red_mcore.reports.run.folder import RunFolder
from red_mcore.rewards.verifier import VERDICTS

BLUE, RED, GREEN, PINK, ORANGE, SKY = COLOURS
VERDICT_COLOURS = dict(zip(VERDICTS, (GREEN, RED, ORANGE, PINK, "#444444"), strict=True))
_LOSSES = ("rl", "offline", "entropy", "wrong", "sft", "right")
LOSS_COLOURS = {"total": INK} | dict(zip(_LOSSES, COLOURS, strict=True))
"""Of the components; rollouts and traces have theirs here too."""
PHASES = {"sample": BLUE, "score": SKY, "update": GREEN, "teach": ORANGE, "publish": PINK}
PHASES |= {"evaluate": GREY, "benchmark": "#444444"}
"""Parts of a step's time, and their colours; ``publish_engine`` is a part of ``publish``."""
_OF_METHODS = ("trace/", "srft/", "chord/", "bread/", "hpt/", "red/", "lesson/")
"""Prefixes of what single methods log about their traces."""
_UNREAD = ("evaluation/", "reward/", "time/", "publish/")
"""Not worth a panel of their own in the last section."""
_MOST_MARKS = 30


class RunFigures:
    """Each method returns a section as HTML. ``rest`` comes last: it shows what the others have not."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self._used: set[str] = set()

    def held_out(self) -> str:
        run = self.run
        series, band = {}, {}
        steps, values = run.metric("evaluation/pass1")
        if len(steps):
            series["pass@1"] = (steps, values)
            errors = dict(zip(*run.metric("evaluation/pass1_stderr"), strict=True))
            band["pass@1"] = [1.96 * errors.get(step, 0.0) for step in steps]
        if run.pass_k:
            series[f"pass@{run.pass_k[15:]}"] = run.metric(run.pass_k)
        shown = []
        if series:
            colours = {name: BLUE if name == "pass@1" else SKY for name in series}
            plot = plots.curve(series, "accuracy", band=band, ylim=(0, None), colours=colours)
            shown.append(figure(plot.svg, self._reading(series, 0)))
            shown.append(self._curve({"": "evaluation/length_tokens"}, "tokens per answer", smooth=0, ylim=(0, None)))
            cut = {"": "evaluation/truncated"}
            shown.append(self._curve(cut, "share of answers cut off", smooth=0, ylim=(0, None), varying=True))
            shown.append(self._curve({"": "evaluation/reward_mean"}, "mean reward", smooth=0))
        below = note("The band is the 95 % interval of pass@1 over the problems.") if series else ""
        return section("Accuracy on held-out problems", panels(*shown), below)

    def benchmarks(self) -> str:
        found = self.run.benchmarks
        steps = sorted({step for scores in found.values() for step in scores})
        if not steps:
            return ""
        by_step = {
            f"step {step}": {name: scores[step] for name, scores in found.items() if step in scores}
            for step in dict.fromkeys((steps[0], steps[-1]))
        }
        shown = plots.bars(
            {label: {name: mean for name, (mean, _) in scores.items()} for label, scores in by_step.items()},
            "accuracy",
            {
                label: {name: 1.96 * error for name, (_, error) in scores.items() if np.isfinite(error)}
                for label, scores in by_step.items()
            },
            form="{:.3f}",
            colours={f"step {steps[0]}": SKY, f"step {steps[-1]}": BLUE},
            width=WIDE[0],
        )
        rows = [
            [name, *(_with_error(*scores[s]) if s in scores else "" for s in steps)] for name, scores in found.items()
        ]
        over_time = ""
        if len(steps) > 2:
            lines = {name: (list(scores), [mean for mean, _ in scores.values()]) for name, scores in found.items()}
            over_time = figure(plots.curve(lines, "accuracy", ylim=(0, None)).svg)
        return section(
            "Benchmarks",
            panels(figure(shown.svg, width="wide"), over_time),
            table(["benchmark", *(f"step {s}" for s in steps)], rows),
            note("± and bars are 95 % intervals."),
        )

    def base(self) -> str:
        """Of base training; its steps are counted by themselves."""
        rows = self.run.base_rows
        if not rows:
            return ""
        shown = []
        for name, title, logy in (("loss", "loss", False), ("grad_norm", "gradient norm", True)):
            values = [row.get(f"base/{name}") for row in rows]
            series = {"": ([row["step"] for row in rows], np.array(values, float))}  # None becomes NaN
            smooth = self._smooth(len(rows))
            plot = plots.curve(series, f"{title} of base training", logy=logy, smooth=smooth)
            shown.append(figure(plot.svg, self._reading(series, smooth)))
        return section("Base training", panels(*shown))

    def rollouts(self) -> str:
        run = self.run
        accuracy = self._curve(
            {"rollouts": "rollout/accuracy", "traces": "trace/accuracy"}, "accuracy in training", ylim=(0, 1.02)
        )
        same = np.array_equal(run.metric("rollout/accuracy")[1], run.metric("rollout/reward_mean")[1], equal_nan=True)
        self._used.add("rollout/reward_mean")
        reward = "" if same else self._curve({"": "rollout/reward_mean"}, "mean reward of rollouts")
        limit = run.setting("rollout.max_response_tokens")
        lengths = self._curve(
            {"rollouts": "rollout/length_tokens", "traces": "trace/length_tokens"}, "tokens per answer", ylim=(0, None)
        )
        title = f"share of rollouts cut off at {limit:,} tokens" if limit else "share of rollouts cut off"
        cut = self._curve({"": "rollout/truncated"}, title, ylim=(0, None))
        taught = {"trained on": "groups/kept", "dropped": "groups/dropped"}
        kept = self._curve(taught, "groups in a step", ylim=(0, None), varying=True)
        shown = panels(accuracy, reward, self._outcomes(), self._groups(), kept, lengths, cut)
        return section("Rollouts and traces", self._legend() if shown else "", shown)

    def imitation(self) -> str:
        run = self.run
        entropies = {"rollouts": "entropy/rollout_nats", "traces": "entropy/offline_nats"}
        shown = [self._curve(entropies, "entropy per token, nats", ylim=(0, None)), self._weight()]
        beta = {"": "red/beta_mean"}
        shown.append(self._curve(beta, "beta: accuracy of a trace's group", ylim=(0, 1.02)))
        shown += [*self._lessons(), *self._remaining(_OF_METHODS)]
        has_weight = "red/weight_raw" in run.names
        below = (
            "The raw weight is the ratio of the relative changes of the two entropies since the step before; its"
            " size is what counts, clamped to the bounds it is w."
        )
        return section("Entropies and imitation", panels(*shown), note(below) if has_weight else "")

    def optimisation(self) -> str:
        parts = [name for name in self.run.names if name.startswith("loss/") and name != "loss/total"]
        losses = {"total": "loss/total"} | ({name[5:]: name for name in parts} if len(parts) > 1 else {})
        self._used.update(parts)
        shown = [
            self._curve(losses, "loss", colours=LOSS_COLOURS),
            self._curve({"": "update/grad_norm"}, "gradient norm", logy=True),
            self._curve({"": "update/lr"}, "learning rate", smooth=0, ylim=(0, None)),
            self._curve({"": "update/change_norm"}, "norm of the weights' change in a step", logy=True),
            self._curve({"": "update/weight_norm"}, "norm of the weights"),
        ]
        self._used.add("update/skipped")
        skipped = self.run.total("update/skipped")
        return section("Optimisation", panels(*shown), note(f"{skipped:g} updates were skipped.") if skipped else "")

    def gap(self) -> str:
        limit = self.run.setting("rollout.logprob_gap_limit")
        names = {"largest": "rollout/logprob_gap_max_nats", "mean": "rollout/logprob_gap_mean_nats"}
        levels = {"limit": limit} if limit else {}
        plot = self._curve(names, "difference of a token's log-prob, nats", logy=True, levels=levels, size=WIDE)
        return section("Trainer against engine", panels(plot))

    def time(self) -> str:
        run = self.run
        phases = {name: colour for name, colour in PHASES.items() if f"time/{name}_seconds" in run.names}
        rows = [row for row in run.rows if any(f"time/{name}_seconds" in row for name in phases)]
        if not rows:
            return ""
        steps = [row["step"] for row in rows]
        heights = {name: [row.get(f"time/{name}_seconds") or 0.0 for row in rows] for name in phases}
        totals = {name: sum(values) for name, values in heights.items()}
        everything = max(sum(totals.values()), 1e-9)
        shown = {n: heights[n] for n in phases if n != "evaluate" and totals[n] > 0.001 * everything}
        stacks = panels(
            figure(plots.stacked(steps, shown, "share of a step's time", share=True, colours=PHASES).svg),
            figure(plots.stacked(steps, shown, "seconds of a step", size=WIDE, colours=PHASES).svg, width="wide"),
        )
        ordered = sorted(((total, name) for name, total in totals.items() if total > 0.0005 * everything), reverse=True)
        lines = [
            [name, f"{total:,.1f}", f"{100 * total / everything:.1f} %", f"{total / len(rows):.3f}"]
            for total, name in [*ordered, (everything, "all")]
        ]
        below = note("The figures leave out evaluation, which the table has." if totals.get("evaluate") else "")
        return section("Time", stacks, below, table(["phase", "seconds", "share", "seconds per step"], lines))

    def speed(self) -> str:
        run = self.run
        rates = [
            (row["step"], row["rollout/generated_tokens"] / row["time/sample_seconds"])
            for row in run.rows
            if row.get("rollout/generated_tokens") and row.get("time/sample_seconds")
        ]
        self._used |= {"rollout/generated_tokens", "update/tokens", "packing/fill_fraction", "packing/imbalance"}
        sampling = ""
        if rates:
            plot = plots.curve(
                {"": tuple(zip(*rates, strict=True))}, "generated tokens per second of sampling",
                smooth=self._smooth(len(rates)), ylim=(0, None),
            )  # fmt: skip
            sampling = figure(plot.svg)
        memory = {"process": "memory/rank0_mib", "GPU, peak": "memory/gpu_peak_mib"}
        return section(
            "Speed and memory",
            panels(
                sampling,
                self._curve(
                    {"": "speed/update_tokens_per_second"}, "updated tokens per second and rank", ylim=(0, None)
                ),
                self._curve({"": "speed/update_tflops"}, "TFLOP per second and rank in updates", ylim=(0, None)),
                self._curve(memory, "memory of rank 0, MiB", smooth=0, ylim=(0, None)),
                self._curve({"": "packing/fill_fraction"}, "share of packed tokens that are no padding", varying=True),
                self._curve({"": "packing/imbalance"}, "load of the busiest rank over the mean", varying=True),
            ),
        )

    def rest(self) -> str:
        """Whatever else was logged, so that a new metric shows before anyone thinks of its place."""
        return section("Everything else", panels(*self._remaining(("",))))

    @cached_property
    def _marks(self) -> np.ndarray:
        """Steps with an evaluation, unless they are too many to see anything."""
        steps = self.run.metric("evaluation/pass1")[0]
        return steps if len(steps) <= _MOST_MARKS else steps[:0]

    def _curve(
        self, names: dict[str, str], title: str, *, smooth: int | None = None, varying: bool = False, **options
    ) -> str:
        """A panel with those of ``names`` (label -> metric) that exist; nothing where none does.

        ``varying``: nothing either where all are the same at every step. Colours go with the labels' places, whether
        or not the ones before exist: traces are always vermilion.
        """
        colours = dict(zip(names, COLOURS, strict=False)) | options.pop("colours", {})
        found = {label: self.run.metric(name) for label, name in names.items() if name in self.run.names}
        self._used.update(names.values())
        found = {label: xy for label, xy in found.items() if np.isfinite(xy[1]).any()}
        if not found or (varying and not any(_varies(y) for _, y in found.values())):
            return ""
        if smooth is None:
            smooth = self._smooth(max(len(x) for x, _ in found.values()))
        plot = plots.curve(found, title, smooth=smooth, marks=self._marks, colours=colours, **options)
        return figure(plot.svg, self._reading(found, smooth), width="wide" if options.get("size") == WIDE else "")

    @staticmethod
    def _reading(series: dict[str, tuple[np.ndarray, np.ndarray]], smooth: int) -> str:
        """The lines of a panel in words: where each begins and ends, smoothed as it is drawn."""
        finite = {label: ys[np.isfinite(ys)] for label, (_, ys) in series.items()}
        return "; ".join(
            filter(None, (plots.reading(label, plots.running_mean(ys, max(smooth, 1))) for label, ys in finite.items()))
        )

    @staticmethod
    def _smooth(count: int) -> int:
        """Neighbours in a running mean of so many points; 0 where they are few enough to be looked at one by one."""
        return 2 * (count // 30) + 1 if count >= 30 else 0

    def _remaining(self, prefixes: Sequence[str]) -> list[str]:
        """Panels of metrics that have none yet and are not the same at every step."""
        shown = []
        for name in self.run.names:
            if name in self._used or name.startswith(_UNREAD) or not name.startswith(tuple(prefixes)):
                continue
            self._used.add(name)
            shown.append(self._curve({"": name}, name.replace("_", " "), varying=True))
        return shown

    def _legend(self) -> str:
        """How to read the curves."""
        smooth = self._smooth(len(self.run.rows))
        points = f"Points are single steps, lines are means of {smooth} steps." if smooth else ""
        marks = "Ticks inside the axes mark steps with an evaluation." if len(self._marks) else ""
        return note(f"{points} {marks}".strip()) if points or marks else ""

    def _lessons(self) -> list[str]:
        """Updates on traces alone: what they are, and not every norm of theirs."""
        run = self.run
        losses = {n[12:]: n for n in run.names if n.startswith("lesson/loss_") and n != "lesson/loss_total"}
        self._used.update(name for name in run.names if name.startswith("lesson/"))
        return [
            self._curve(losses, "loss of lessons on traces", colours=LOSS_COLOURS),
            self._curve({"": "lesson/traces"}, "traces of lessons in a step", ylim=(0, None)),
            self._curve({"": "lesson/update_lr"}, "learning rate of lessons", smooth=0, ylim=(0, None)),
        ]

    def _weight(self) -> str:
        run = self.run
        steps, raw = run.metric("red/weight_raw")
        self._used |= {"red/weight", "red/weight_raw"}
        if not len(steps):
            return ""
        bounds = {f"bound {b:g}": b for key in ("weight_min", "weight_max") if (b := run.setting(f"algorithm.{key}"))}
        plot = plots.curve(
            {"w": run.metric("red/weight"), "raw, its size": (steps, np.abs(raw))}, "weight w of traces", logy=True,
            dots=["raw, its size"], levels=bounds, colours={"w": RED, "raw, its size": "#888888"}, marks=self._marks,
        )  # fmt: skip
        return figure(plot.svg)

    def _outcomes(self) -> str:
        return self._shares({v: f"reward/{v}" for v in VERDICTS}, "outcome of rollouts, share", VERDICT_COLOURS)

    def _groups(self) -> str:
        """Shares of groups that are all right, mixed and all wrong."""
        run = self.run
        steps, right = run.metric("groups/all_right")
        wrong = run.metric("groups/all_wrong")[1]
        self._used |= {"groups/all_right", "groups/all_wrong"}
        if not len(steps) or len(right) != len(wrong):
            return ""
        parts = {"all right": right, "mixed": 1 - right - wrong, "all wrong": wrong}
        colours = {"all right": GREEN, "mixed": "#cfd6da", "all wrong": RED}
        plot = plots.stacked(steps, parts, "groups of rollouts, share", colours=colours, share=True)
        return figure(plot.svg, _overall(parts))

    def _shares(self, names: dict[str, str], title: str, colours: dict[str, str]) -> str:
        rows = [row for row in self.run.rows if any(name in row for name in names.values())]
        counts = {label: [row.get(name) or 0.0 for row in rows] for label, name in names.items()}
        counts = {label: values for label, values in counts.items() if any(values)}
        if not counts:
            return ""
        steps = [row["step"] for row in rows]
        return figure(plots.stacked(steps, counts, title, share=True, colours=colours).svg, _overall(counts))


def _overall(parts: dict[str, Sequence[float]]) -> str:
    """A stack in words: what each part is of the whole, over all steps."""
    totals = {label: float(np.nansum(values)) for label, values in parts.items()}
    whole = sum(totals.values())
    shares = ", ".join(f"{label} {100 * total / whole:.3g} %" for label, total in totals.items()) if whole else ""
    return f"over all steps: {shares}" if shares else ""


def _with_error(mean: float, error: float) -> str:
    return f"{mean:.3f} ± {1.96 * error:.3f}" if np.isfinite(error) else f"{mean:.3f}"


def _varies(values: np.ndarray) -> bool:
    finite = values[np.isfinite(values)]
    return len(finite) > 0 and bool((finite != finite[0]).any())
