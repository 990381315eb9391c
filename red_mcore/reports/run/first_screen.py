"""What a reader of a run's report wants to know first: is it better, healthy, finished?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from red_mcore.reports.run.folder import RunFolder, Score
from red_mcore.stats import NORMAL_95

_PART_OF_ANOTHER = "time/publish_engine_seconds"
"""A time that ``time/publish_seconds`` holds."""
Kind = Literal["good", "bad", "open"]


@dataclass(frozen=True)
class Answer:
    """The answer to one of the questions that a reader comes with."""

    question: str
    kind: Kind
    word: str
    number: str = ""
    lines: Sequence[str] = ()
    reasons: Sequence[str] = ()
    """A list below, of which the first three show at once."""


def answers(run: RunFolder) -> list[Answer]:
    """The three, in this order."""
    return [better(run), healthy(run), finished(run)]


def better(run: RunFolder) -> Answer:
    """Held-out pass@1 of the first and the last evaluation; better or worse where the 95 % interval
    of their difference leaves out 0.

    The interval takes the two as independent. They are of the same problems, so that it is rather
    too wide.
    """
    ask, scores = "Better?", run.held_out
    if not scores:
        return Answer(ask, "open", "not known yet", lines=["no evaluation so far"])
    begin, end = min(scores), max(scores)
    first, last = scores[begin], scores[end]
    error = f", ± {last.error:.3f} standard error" if math.isfinite(last.error) else ""
    lines = [f"held-out pass@1{error}"]
    if begin == end:
        when = f"after step {end}" if end else "before training"
        number = f"{last.mean:.3f} {when}"
        return Answer(ask, "open", "not known yet", number, lines + _problems(run))
    found = _difference(first, last)
    since = f", since step {begin}" if begin else ""
    lines += [found.text + since, *_problems(run)]
    best = max(scores, key=lambda step: scores[step].mean)
    if scores[best].mean > max(first.mean, last.mean):
        lines.append(f"highest on the way: {scores[best].mean:.3f} after step {best}")
    lines += _benchmarks(run)
    return Answer(ask, found.kind, found.word, f"{first.mean:.3f} → {last.mean:.3f}", lines)


def healthy(run: RunFolder) -> Answer:
    """Whether the run, or what it logged, gives cause to doubt."""
    ask = "Healthy?"
    reasons = list(run.warnings)
    if run.missing_steps:
        where = "steps have no row in metrics.jsonl: their values are lost"
        reasons.append(f"{run.missing_steps:,} {where}")
    for name in run.names:
        values = run.metric(name)[1]
        bad = np.count_nonzero(~np.isfinite(values))
        if bad and not name.endswith("_stderr"):  # of a single problem there is none
            reasons.append(f"{name} is no finite number in {bad:,} of {len(values):,} steps")
    if reasons:
        word = f"{len(reasons)} reasons for doubt" if len(reasons) > 1 else "1 reason for doubt"
        return Answer(ask, "bad", word, reasons=reasons)
    if not run.rows:
        return Answer(ask, "open", "not known yet")
    if not run.finished:
        return Answer(ask, "open", "nothing odd so far", lines=["every logged value is finite"])
    return Answer(ask, "good", "yes", lines=["no warning, and every logged value is finite"])


def finished(run: RunFolder) -> Answer:
    """Whether all steps are done, and how long it took."""
    ask, wanted = "Finished?", run.setting("steps")
    number = f"{run.steps:,} steps"
    # One that is finished with others went on until it had spent a budget, or lost its recipe.
    if isinstance(wanted, int) and not (run.finished and run.steps != wanted):
        number = f"{run.steps:,} of {wanted:,} steps"
    if run.finished:
        return Answer(ask, "good", "finished", number, [_duration(run)])
    lines = [f"still going, or stopped, after step {run.steps}"]
    base_steps = run.setting("base.steps")
    if not run.rows and run.base_rows and base_steps:
        number = f"{run.base_rows[-1]['step']:,} of {base_steps:,} steps of base training"
        lines = ["in base training, or stopped there"]
    elif not run.rows:
        number = ""
        lines = ["Nothing is logged yet: the run is at its start, or in base training."]
    if run.last_written:
        lines.append(f"last written {run.last_written}")
    if run.rows:
        lines += [_duration(run), *_pace(run)]
    return Answer(ask, "open", "not finished", number, lines)


class _Difference(NamedTuple):
    """What lies between two scores."""

    kind: Kind
    word: str
    text: str


def _difference(first: Score, last: Score) -> _Difference:
    change = last.mean - first.mean
    half = NORMAL_95 * math.hypot(first.error, last.error)
    if not math.isfinite(half):
        text = f"{change:+.3f}, with an unknown error"
        if not change:
            return _Difference("open", "unchanged", text)
        side = "higher" if change > 0 else "lower"
        return _Difference("open", f"{side}, but is it certain?", text)
    text = f"{change:+.3f} ± {half:.3f} (95 %)"
    if change > half:
        return _Difference("good", "better", text)
    if change < -half:
        return _Difference("bad", "worse", text)
    return _Difference("open", "no clear difference" if half else "unchanged", text)


def _problems(run: RunFolder) -> list[str]:
    problems = (run.summary or {}).get("held_out_problems")
    return [f"{problems} problems x {run.setting('evaluation.samples', '?')}"] if problems else []


def _benchmarks(run: RunFolder) -> list[str]:
    """Before and after, of the average where there are several."""
    titles = {name: name for name in list(run.benchmarks)[:2]}
    if "average" in run.benchmarks:
        titles = {"average": f"average of {len(run.benchmarks) - 1} benchmarks"}
    lines = []
    for name, title in titles.items():
        scores = run.benchmarks[name]
        first, last = scores[min(scores)], scores[max(scores)]
        if len(scores) > 1:
            ends = f"{first.mean:.3f} → {last.mean:.3f}"
            lines.append(f"{title} {ends}, {_difference(first, last).text}")
    return lines


def _duration(run: RunFolder) -> str:
    """The time of the whole run where it is done, else of the phases logged."""
    evaluating = run.total("time/evaluate_seconds") + run.total("time/benchmark_seconds")
    total = sum(map(run.total, _timings(run)))
    training = total - evaluating
    if run.finished and run.summary:
        seconds = run.summary.get("seconds")
        total = seconds if isinstance(seconds, (int, float)) else total
    return f"{clock(total)}, {clock(training)} training"


def _pace(run: RunFolder) -> list[str]:
    """Seconds of the last steps, to set the time since the last writing against."""
    last = [row for row in run.rows if row["step"]][-10:]
    seconds = 0.0
    for name in _timings(run):
        seconds += sum(row.get(name) or 0.0 for row in last)
    return [f"the last steps took {clock(seconds / len(last))} each"] if seconds else []


def _timings(run: RunFolder) -> list[str]:
    return [name for name in run.names if name.startswith("time/") and name != _PART_OF_ANOTHER]


def clock(seconds: float) -> str:
    """5 s, 3.2 min, 1 h 07 min."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{seconds / 60:.1f} min"
