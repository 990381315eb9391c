"""Scores of graded groups on the held-out problems: pass@k, its standard error, lengths."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from red_mcore.evaluation.statistics import mean_and_error, pass_at_k
from red_mcore.rewards.verifier import VERDICTS
from red_mcore.samples.records import Group


def told(metrics: Mapping[str, float], benchmarks: Iterable[str] = ()) -> list[str]:
    """Lines for the screen: of the held-out problems, and of the ``benchmarks`` together, where there are some."""
    found = []
    if "evaluation/pass1" in metrics:
        passes = (name for name in metrics if name.startswith("evaluation/pass") and "_" not in name)
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


def score(groups: Sequence[Group]) -> dict[str, float]:
    """``evaluation/...``: pass@1 with its standard error over problems, pass@k at all samples, reward, length,
    truncation."""
    counts = [(len(g.rollouts), sum(s.accuracy == 1 for s in g.rollouts)) for g in groups]
    samples = [s for g in groups for s in g.rollouts]
    k = min(n for n, _ in counts)
    mean, error = mean_and_error([pass_at_k(n, c, 1) for n, c in counts])
    return {
        "evaluation/pass1": mean,
        "evaluation/pass1_stderr": error,
        f"evaluation/pass{k}": statistics.fmean(pass_at_k(n, c, k) for n, c in counts),
        "evaluation/reward_mean": statistics.fmean(s.reward for s in samples),
        "evaluation/length_tokens": statistics.fmean(len(s.response) for s in samples),
        "evaluation/truncated": statistics.fmean(float(s.truncated) for s in samples),
        **{f"evaluation/{name}": statistics.fmean(s.verdict == name for s in samples) for name in VERDICTS[2:]},
    }
