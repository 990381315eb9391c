"""Scores of graded groups on the held-out problems: pass@k, its standard error, lengths."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from red_mcore.evaluation.statistics import mean_and_error, pass_at_k
from red_mcore.records import Group


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
    }
