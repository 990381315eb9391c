"""Held-out problems: their records and numbers, and what the screen is told of an evaluation."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from red_mcore.evaluation.summary import held_out_metrics
from red_mcore.samples.records import Group
from red_mcore.samples.responses import Response, of_sample

HELD_OUT = "held-out"
"""Name of the held-out problems among the benchmarks."""
_PASS = re.compile(r"evaluation/pass(\d+)")


def told(metrics: Mapping[str, float], benchmarks: Iterable[str] = ()) -> list[str]:
    """Lines for the screen: of the held-out problems, and of the ``benchmarks`` together, where
    there are some."""
    found = []
    if "evaluation/pass1" in metrics:
        # Of pass1, pass1_stderr and pass8: the largest k.
        most = max(int(k[1]) for name in metrics if (k := _PASS.fullmatch(name)))
        length, cut = metrics["evaluation/length_tokens"], metrics["evaluation/truncated"]
        found.append(
            f"held-out pass@1 {_with_error(metrics, 'pass1', 'pass1_stderr')}"
            f"  pass@{most} {metrics[f'evaluation/pass{most}']:.3f}"
            f"  {length:.0f} tokens, {cut:.1%} cut off"
        )
    means = []
    for name in (*benchmarks, "average"):
        if f"evaluation/{name}_mean" in metrics:
            means.append(f"{name} {_with_error(metrics, f'{name}_mean', f'{name}_stderr')}")
    if means:
        found.append("  ".join(means))
    return found


def _with_error(metrics: Mapping[str, float], mean: str, stderr: str) -> str:
    text = f"{metrics[f'evaluation/{mean}']:.3f}"
    error = metrics.get(f"evaluation/{stderr}", math.nan)  # of a single problem there is none
    return text if math.isnan(error) else f"{text} ± {error:.3f}"


def responses_of(groups: Sequence[Group]) -> list[Response]:
    """The records of all rollouts of held-out problems."""
    found = []
    for group in groups:
        for number, sample in enumerate(group.rollouts):
            found.append(of_sample(HELD_OUT, group.problem, number, sample, sample.reward))
    return found


def score(groups: Sequence[Group]) -> dict[str, float]:
    """``evaluation/...`` of graded groups of held-out problems, see
    ``summary.held_out_metrics``."""
    return held_out_metrics(responses_of(groups))
