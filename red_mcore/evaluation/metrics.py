"""Scores of graded groups: pass@k, its standard error, lengths."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from red_mcore.records import Group


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Unbiased chance that one of ``k`` drawn samples is right: 1 - C(n-c, k) / C(n, k) (arXiv 2107.03374)."""
    if not 0 < k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples, there are {samples}")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def score(groups: Sequence[Group]) -> dict[str, float]:
    """``evaluation/...``: pass@1 with its standard error over problems, pass@k at all samples, length, truncation."""
    counts = [(len(g.rollouts), sum(s.accuracy == 1 for s in g.rollouts)) for g in groups]
    samples = [s for g in groups for s in g.rollouts]
    k = min(n for n, _ in counts)
    first = [pass_at_k(n, c, 1) for n, c in counts]
    return {
        "evaluation/pass1": statistics.fmean(first),
        "evaluation/pass1_stderr": statistics.stdev(first) / math.sqrt(len(first)) if len(first) > 1 else 0.0,
        f"evaluation/pass{k}": statistics.fmean(pass_at_k(n, c, k) for n, c in counts),
        "evaluation/length_tokens": statistics.fmean(len(s.response) for s in samples),
        "evaluation/truncated": statistics.fmean(float(s.truncated) for s in samples),
    }
