"""How far the trainer's log-probs are from those of the engine that sampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Gap(NamedTuple):
    """|trainer - engine| over the tokens of a rollout, nats."""

    largest: float
    total: float
    tokens: int


def differences(logp: np.ndarray, sampler_logp: np.ndarray) -> np.ndarray:
    """|trainer - engine| of each token, nats; infinite where it is no number, which no maximum
    passes over."""
    return np.nan_to_num(np.abs(logp - sampler_logp), nan=np.inf, posinf=np.inf)


def engine_gap(gaps: Sequence[Gap]) -> dict[str, float]:
    """``rollout/logprob_gap_{max,mean}_nats`` of rollouts; nothing where there are none."""
    if not gaps:
        return {}
    tokens = sum(gap.tokens for gap in gaps)
    return {
        "rollout/logprob_gap_max_nats": max(gap.largest for gap in gaps),
        "rollout/logprob_gap_mean_nats": sum(gap.total for gap in gaps) / tokens,
    }
