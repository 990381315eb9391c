"""Numbers that steer an update have to be finite: the first that is not, and of which sample it is. No torch.

Every comparison with NaN is false. So whatever protects something asks whether all is well (``gap <= limit``) and never
whether something is wrong (``gap > limit``), and what is compared with nothing is looked at here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from red_mcore.samples.records import Group, Sample

GIVEN = ("sampler_logp", "accuracy", "reward")
"""What a step starts from, fields of ``Sample``."""
COMPOSED = ("advantage", "beta", "weight", "coefficient")
"""What an algorithm makes of it."""
REFUSED = "the step is refused, and no weight has changed"
_WORDS = {
    "sampler_logp": "the engine's log-prob",
    "old_logp": "the trainer's log-prob",
    "ref_logp": "the reference's log-prob",
    "entropy": "the trainer's entropy",
}


class Culprit(NamedTuple):
    """A number that is not finite."""

    sample: Sample
    what: str
    where: str
    value: float

    def __str__(self) -> str:
        return f"{self.what} of {self.where} is {self.value}"


def culprit(groups: Sequence[Group], names: Sequence[str]) -> Culprit | None:
    """The first of the fields ``names`` (of ``Sample``; None and {} are well) that is not finite, samples in order."""
    for group in groups:
        for sample in group.samples:
            for name in names:
                value, what = getattr(sample, name), _WORDS.get(name, f"the {name}")
                if isinstance(value, np.ndarray):
                    wrong = np.flatnonzero(~np.isfinite(value))
                    if len(wrong):
                        token = int(wrong[0])
                        return Culprit(sample, f"{what} of token {token}", place(group, sample), float(value[token]))
                elif isinstance(value, dict):
                    for component, number in value.items():
                        if not math.isfinite(number):
                            return Culprit(sample, f"{what} of loss/{component}", place(group, sample), number)
                elif value is not None and not math.isfinite(value):
                    terms = f" (terms: {sample.terms})" if name == "reward" and len(sample.terms) > 1 else ""
                    return Culprit(sample, what, place(group, sample) + terms, value)
    return None


def place(group: Group, sample: Sample) -> str:
    """``rollout 2 of problem 17``, counted from 1, or ``the trace of problem 17``."""
    if sample.is_offline:
        return f"the trace of problem {group.problem.id}"
    number = next(i for i, other in enumerate(group.rollouts, 1) if other is sample)
    return f"rollout {number} of problem {group.problem.id}"


def place_in(groups: Sequence[Group], sample: Sample) -> str:
    """``place`` of a sample of one of ``groups``."""
    return next(place(group, sample) for group in groups if any(other is sample for other in group.samples))
