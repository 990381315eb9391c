"""Token losses: pure functions on packed tokens, each [T] -> [T], to be minimised after weighting and summing.

Denominators, masks and per-sample weights come in from outside (``Sample.coefficient``); nothing here communicates.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor


def policy_gradient(
    logp: Tensor,
    old_logp: Tensor,
    advantage: Tensor,
    clip_low: float | None = None,
    clip_high: float | None = None,
    clip_dual: float | None = None,
) -> Tensor:
    """-min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A) with rho = exp(logp - old_logp); None: no such bound.

    PPO's surrogate as GRPO (arXiv 2402.03300) uses it; unequal bounds are DAPO's (arXiv 2503.14476). Where A < 0 the
    loss is at most -``clip_dual`` A (dual clip, arXiv 1912.09729), beyond which it has no gradient. All inputs [T].
    """
    ratio = (logp - old_logp).exp()
    loss = -ratio * advantage
    if clip_low is not None or clip_high is not None:
        low = None if clip_low is None else 1 - clip_low
        high = None if clip_high is None else 1 + clip_high
        loss = -torch.minimum(ratio * advantage, ratio.clamp(low, high) * advantage)
    if clip_dual is not None:
        loss = torch.where(advantage < 0, torch.minimum(loss, -clip_dual * advantage), loss)
    return loss


Emphasis = Literal["equal", "probable", "uncertain"]


def imitation(logp: Tensor, emphasis: Emphasis = "equal") -> Tensor:
    """-m log p of the teacher's token, its multiplier m without gradient.

    ``equal`` m = 1, cross-entropy; ``probable`` m = p, DFT (arXiv 2508.05629); ``uncertain`` m = p (1 - p), CHORD-phi
    (arXiv 2508.11408), which passes over tokens that the policy is sure of, either way.
    """
    if emphasis == "equal":
        return -logp
    p = logp.detach().exp()
    return -logp * (p if emphasis == "probable" else p * (1 - p))


def shaping(logp: Tensor, gamma: float | None) -> Tensor:
    """f(p) = p / (p + gamma) with its gradient, gamma p / (p + gamma)^2 per unit of logp (LUFFY, arXiv 2504.14945).

    Stands where the importance ratio of an offline token would; None is the bare p. Finite for any finite logp.
    """
    if gamma is None:
        return logp.exp()
    return torch.sigmoid(logp - math.log(gamma))


Shift = Literal["detached", "autograd", "off"]


def policy_shift(logp: Tensor, beta: Tensor, shift: Shift) -> Tensor:
    """Importance ratio of an offline token whose teacher probability is defined as p + (1 - p) beta (RED, Eq. 8).

    ``detached`` keeps the denominator out of the gradient: d ratio / d logp = ratio, so beta = 0 is plain imitation and
    beta = 1 weighs by p. ``autograd`` differentiates it too: p beta / (p + (1-p) beta)^2. ``off`` is the bare p. Value
    and gradient are finite for any finite logp and beta in [0, 1].
    """
    p = logp.exp()
    if shift == "off":
        return p
    # At beta = 0 the ratio is 1 whatever p is, also where p underflows to 0.
    positive = beta > 0
    ratio = torch.where(positive, p / torch.where(positive, p + (1 - p) * beta, 1.0), 1.0)
    if shift == "autograd":
        return ratio
    return ratio.detach() * (logp - logp.detach()).exp()


def kl(logp: Tensor, ref_logp: Tensor, estimator: Literal["k1", "k2", "k3"] = "k3") -> Tensor:
    """Sample estimate of KL(policy || reference) per token, nats; with d = logp - ref_logp

    k1 = d, k2 = d^2 / 2, k3 = e^-d + d - 1.
    """
    diff = logp - ref_logp
    if estimator == "k1":
        return diff
    if estimator == "k2":
        return 0.5 * diff.square()
    return torch.exp(-diff) + diff - 1
