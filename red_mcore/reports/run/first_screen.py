"""What a reader of a run's report wants to know first: is it better, healthy, finished?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from red_mcore.reports.run.folder import RunFolder

_HALF = 1.96
"""Standard errors in half of a 95 % interval."""
_PART_OF_ANOTHER = "time/publish_engine_seconds"
"""A time that ``time/publish_seconds`` holds."""


@dataclass(frozen=True)
class Answer:
    """The answer to one of the questions that a reader comes with."""

    question: str
    kind: Literal["good", "bad", "open"]
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
    ask = "Better?"
    scores = run.held_out
    if not scores:
        return Answer(ask, "open", "not known yet", lines=["no evaluation so far"])
    begin, end = min(scores), max(scores)
    (first, first_error), (last, last_error) = scores[begin], scores[end]
    error = f", ± {last_error:.3f} standard error" if math.isfinite(last_error) else ""
    lines = [f"held-out pass@1{error}", *_problems(run)]
    if begin == end:
        when = f"after step {end}" if end else "before training"
        return Answer(ask, "open", "not known yet", f"{last:.3f} {when}", lines)
    kind, word, difference = _difference(first, first_error, last, last_error)
    lines.insert(1, difference + (f", since step {begin}" if begin else ""))
    best = max(scores, key=lambda step: scores[step][0])
    if scores[best][0] > max(first, last):
        lines.append(f"highest on the way: {scores[best][0]:.3f} after step {best}")
    return Answer(ask, kind, word, f"{first:.3f} → {last:.3f}", lines + _benchmarks(run))


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
        word = "1 reason for doubt" if len(reasons) == 1 else f"{len(reasons)} reasons for doubt"
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


def _difference(
    first: float, first_error: float, last: float, last_error: float
) -> tuple[str, str, str]:
    """(Kind of answer, word, the difference in words)."""
    change, half = last - first, _HALF * math.hypot(first_error, last_error)
    if not math.isfinite(half):
        side = "higher" if change > 0 else "lower"
        word = f"{side}, but is it certain?" if change else "unchanged"
        return "open", word, f"{change:+.3f}, with an unknown error"
    text = f"{change:+.3f} ± {half:.3f} (95 %)"
    if abs(change) <= half:
        return "open", "no clear difference" if half else "unchanged", text
    return ("good", "better", text) if change > 0 else ("bad", "worse", text)


def _problems(run: RunFolder) -> list[str]:
    problems = (run.summary or {}).get("held_out_problems")
    return [f"{problems} problems x {run.setting('evaluation.samples', '?')}"] if problems else []


def _benchmarks(run: RunFolder) -> list[str]:
    """Before and after, of the average where there are several."""
    lines = []
    for name in ["average"] if "average" in run.benchmarks else list(run.benchmarks)[:2]:
        scores = run.benchmarks[name]
        first, last = scores[min(scores)], scores[max(scores)]
        title = f"average of {len(run.benchmarks) - 1} benchmarks" if name == "average" else name
        if len(scores) > 1:
            difference = _difference(*first, *last)[2]
            lines.append(f"{title} {first[0]:.3f} → {last[0]:.3f}, {difference}")
    return lines


def _duration(run: RunFolder) -> str:
    """The time of the whole run where it is done, else of the phases logged."""
    evaluating = run.total("time/evaluate_seconds") + run.total("time/benchmark_seconds")
    training = sum(map(run.total, _timings(run))) - evaluating
    total = training + evaluating
    if run.finished and run.summary:
        seconds = run.summary.get("seconds")
        total = seconds if isinstance(seconds, (int, float)) else total
    return f"{clock(total)}, {clock(training)} training"


def _pace(run: RunFolder) -> list[str]:
    """Seconds of the last steps, to set the time since the last writing against."""
    last = [row for row in run.rows if row["step"]][-10:]
    seconds = sum(row.get(name) or 0.0 for row in last for name in _timings(run))
    return [f"the last steps took {clock(seconds / len(last))} each"] if seconds else []


def _timings(run: RunFolder) -> list[str]:
    return [name for name in run.names if name.startswith("time/") and name != _PART_OF_ANOTHER]


def clock(seconds: float) -> str:
    """5 s, 3.2 min, 1 h 07 min."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{seconds / 60:.1f} min"
