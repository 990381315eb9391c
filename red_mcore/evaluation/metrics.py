"""Held-out problems: their records and numbers, and what the screen is told of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from red_mcore.evaluation.summary import held_out_metrics
from red_mcore.samples.records import Group
from red_mcore.samples.responses import Response, of_sample

HELD_OUT = "held-out"
"""Name of the held-out problems among the benchmarks."""


def told(metrics: Mapping[str, float], benchmarks: Iterable[str] = ()) -> list[str]:
    """Lines for the screen: of the held-out problems, and of the ``benchmarks`` together, where
    there are some."""
    found = []
    if "evaluation/pass1" in metrics:
        passes = (
            name for name in metrics if name.startswith("evaluation/pass") and "_" not in name
        )
        most = max((name.removeprefix("evaluation/pass") for name in passes), key=int)
        found.append(
            f"held-out pass@1 {_with_error(metrics['evaluation/pass1'], metrics['evaluation/pass1_stderr'])}"
            f"  pass@{most} {metrics[f'evaluation/pass{most}']:.3f}"
            f"  {metrics['evaluation/length_tokens']:.0f} tokens, {metrics['evaluation/truncated']:.1%} cut off"
        )
    names = [name for name in (*benchmarks, "average") if f"evaluation/{name}_mean" in metrics]
    means = [
        f"{name} {_with_error(metrics[f'evaluation/{name}_mean'], metrics.get(f'evaluation/{name}_stderr'))}"
        for name in names
    ]
    return [*found, "  ".join(means)] if means else found


def _with_error(mean: float, error: float | None) -> str:
    return f"{mean:.3f}" if error is None or math.isnan(error) else f"{mean:.3f} ± {error:.3f}"


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
