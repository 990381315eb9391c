"""How far the trainer's log-probs are from those of the engine that sampled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def differences(logp: np.ndarray, sampler_logp: np.ndarray) -> np.ndarray:
    """|trainer - engine| of each token, nats; infinite where it is no number, which no maximum
    passes over."""
    return np.nan_to_num(np.abs(logp - sampler_logp), nan=np.inf, posinf=np.inf)


def engine_gap(gaps: Sequence[tuple[float, float, int]]) -> dict[str, float]:
    """``rollout/logprob_gap_{max,mean}_nats`` of rollouts; nothing where there are none.

    ``gaps``: each rollout's largest and summed |trainer - engine|, and its number of tokens.
    """
    if not gaps:
        return {}
    largest, total, tokens = zip(*gaps, strict=True)
    return {
        "rollout/logprob_gap_max_nats": max(largest),
        "rollout/logprob_gap_mean_nats": sum(total) / sum(tokens),
    }
