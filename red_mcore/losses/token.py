"""Token losses: pure functions on packed tokens, each [T] -> [T], to be minimised once weighted
and summed.

Denominators, masks and per-sample weights come in from outside (``Sample.coefficient``); nothing
here communicates. Everything is a method of its tensors, so that this module imports no torch and
a recipe can be planned without it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


def policy_gradient(
    logp: Tensor,
    old_logp: Tensor,
    advantage: Tensor,
    clip_low: float | None = None,
    clip_high: float | None = None,
    clip_dual: float | None = None,
) -> Tensor:
    """``clipped_surrogate`` of each token's own ratio, exp(logp - old_logp)."""
    ratio = (logp - old_logp).exp()
    return clipped_surrogate(ratio, advantage, clip_low, clip_high, clip_dual)


def clipped_surrogate(
    ratio: Tensor,
    advantage: Tensor,
    clip_low: float | None = None,
    clip_high: float | None = None,
    clip_dual: float | None = None,
) -> Tensor:
    """-min(rho A, clip(rho, 1 - clip_low, 1 + clip_high) A) of the ratio rho; None: no such bound.

    PPO's surrogate as GRPO (arXiv 2402.03300) uses it; unequal bounds are DAPO's (arXiv
    2503.14476). Where A < 0 the loss is at most -``clip_dual`` A (dual clip, arXiv 1912.09729),
    beyond which it has no gradient. All inputs are [T].
    """
    loss = -ratio * advantage
    if clip_low is not None or clip_high is not None:
        loss = -(ratio * advantage).minimum(clamped(ratio, clip_low, clip_high) * advantage)
    if clip_dual is not None:
        loss = loss.minimum(-clip_dual * advantage).where(advantage < 0, loss)
    return loss


def clamped(ratio: Tensor, clip_low: float | None, clip_high: float | None) -> Tensor:
    """The ratio within 1 - ``clip_low`` and 1 + ``clip_high``; None: no such bound."""
    if clip_low is not None:
        ratio = ratio.clamp(min=1 - clip_low)
    if clip_high is not None:
        ratio = ratio.clamp(max=1 + clip_high)
    return ratio


Emphasis = Literal["equal", "probable", "uncertain"]


def imitation(logp: Tensor, emphasis: Emphasis = "equal") -> Tensor:
    """-m log p of the teacher's token, its multiplier m without gradient.

    ``equal`` m = 1, cross-entropy; ``probable`` m = p, DFT (arXiv 2508.05629); ``uncertain``
    m = p (1 - p), CHORD-phi (arXiv 2508.11408), which passes over tokens that the policy is sure
    of, either way.
    """
    if emphasis == "equal":
        return -logp
    p = logp.detach().exp()
    if emphasis == "probable":
        return -logp * p
    return -logp * (p * (1 - p))


def shaping(logp: Tensor, gamma: float | None) -> Tensor:
    """f(p) = p / (p + gamma), of gradient gamma p / (p + gamma)^2 per unit of logp (LUFFY, arXiv
    2504.14945).

    Stands where the importance ratio of an offline token would; None is the bare p. Finite for any
    finite logp.
    """
    if gamma is None:
        return logp.exp()
    return (logp - math.log(gamma)).sigmoid()


Shift = Literal["detached", "autograd", "off"]


def policy_shift(logp: Tensor, beta: Tensor, shift: Shift) -> Tensor:
    """Importance ratio of an offline token whose teacher probability is defined as p + (1 - p)
    beta (RED, Eq. 8).

    ``detached`` keeps the denominator out of the gradient: d ratio / d logp = ratio, so beta = 0 is
    plain imitation and beta = 1 weighs by p. ``autograd`` differentiates it too:
    p beta / (p + (1-p) beta)^2. ``off`` is the bare p. Value and gradient are finite for any finite
    logp and beta in [0, 1].
    """
    p = logp.exp()
    if shift == "off":
        return p
    # At beta = 0 the ratio is 1 whatever p is, also where p underflows to 0; the inner one keeps
    # the quotient, and with it its gradient, finite there.
    positive = beta > 0
    teacher = (p + (1 - p) * beta).where(positive, 1.0)
    ratio = (p / teacher).where(positive, 1.0)
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
    return (-diff).exp() + diff - 1
