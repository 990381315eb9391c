"""One step of an algorithm on made-up probabilities,
through the methods that the loop calls; float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from loss_inputs import loss_inputs

from red_mcore.algorithms.base import GroupAlgorithm, losses_of
from red_mcore.samples.records import Group, Problem, Sample

DEMO = (0.9, 0.5, 0.01)
"""What the policy thinks of the three tokens of the usual trace."""


@dataclass
class Seen(Sample):
    """A sample with the policy's present log-probs and token entropies,
    which in a run the update's forward finds."""

    logp: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    entropies: torch.Tensor = field(default_factory=lambda: torch.zeros(0))


def seen(
    p: Sequence[float],
    correct: float,
    *,
    old: Sequence[float] | None = None,
    entropies=1.0,
    **fields,
) -> Seen:
    """A response to which the policy gives ``p``, and gave ``old`` (by default the same) before the
    step's updates; to right ones a teacher gives more than that, to wrong ones less."""
    p = torch.tensor(p, dtype=torch.float64)
    old_logp = (p if old is None else torch.tensor(old, dtype=torch.float64)).log().numpy()
    entropies = torch.as_tensor(entropies, dtype=torch.float64).expand(len(p))
    return Seen(
        prompt=np.zeros(3, np.int32),
        response=np.zeros(len(p), np.int32),
        accuracy=correct,
        reward=correct,
        entropy=float(entropies.mean()),
        old_logp=old_logp,
        teacher_logp=old_logp + (0.2 if correct else -0.3),
        logp=p.log().requires_grad_(),
        entropies=entropies.clone().requires_grad_(),
        **fields,
    )


def trace(correct: float = 1.0, p: Sequence[float] = DEMO, entropies=1.0) -> Seen:
    return seen(p, correct, entropies=entropies, is_offline=True)


def group(*samples: Seen) -> Group:
    return Group(Problem(0, "", ""), list(samples))


def rolled(*correct: float, p: Sequence[float] = (0.3, 0.6)) -> list[Seen]:
    return [seen(p, c) for c in correct]


@dataclass
class Outcome:
    losses: dict[str, float]
    """Loss of each component, as the update sums it."""
    gradients: list[list[float]]
    """d loss / d logp of each sample, in the order given; zeros for samples left out."""
    by_entropy: list[list[float]]
    """The same, by the entropy of each token."""
    metrics: dict[str, float]
    kept: list[Group]

    @property
    def total(self) -> float:
        return sum(self.losses.values())


def one_step(
    algorithm: GroupAlgorithm,
    groups: Sequence[Group],
    state: dict | None = None,
    sequences: float | None = None,
    step: int = 0,
) -> Outcome:
    """Compose, aggregate, weigh and sum; ``sequences`` stands
    for N where a published value wants another."""
    samples = [s for g in groups for s in g.samples]
    state = {} if state is None else state
    kept, metrics = algorithm.compose(groups, state, step)
    if kept:
        count = algorithm.sequences(groups) if sequences is None else sequences
        algorithm.aggregate(kept, count, state, step)
    metrics |= algorithm.weigh(kept, state, step)
    losses: dict[str, float] = {}
    total = sum((s.logp + s.entropies).sum() * 0 for s in samples)
    for s in (s for g in kept for s in g.samples):
        scalars = {name: getattr(s, name) for name in ("advantage", "beta", "weight", "is_offline")}
        old = torch.from_numpy(s.old_logp)
        given = loss_inputs(
            s.logp,
            old_logp=old,
            ref_logp=old - 0.1,
            teacher_logp=torch.from_numpy(s.teacher_logp),
            entropy=s.entropies,
            **scalars,
        )
        found = losses_of(algorithm, state, step)(given)
        for name, coefficient in s.coefficient.items():
            part = (coefficient * found[name]).sum()
            losses[name] = losses.get(name, 0.0) + part.item()
            total = total + part
    assert torch.isfinite(total)
    gradients = torch.autograd.grad(
        total, [s.logp for s in samples] + [s.entropies for s in samples]
    )
    assert all(torch.isfinite(g).all() for g in gradients)
    by_logp, by_entropy = gradients[: len(samples)], gradients[len(samples) :]
    return Outcome(
        losses, [g.tolist() for g in by_logp], [g.tolist() for g in by_entropy], metrics, kept
    )
