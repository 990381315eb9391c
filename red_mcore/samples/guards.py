"""Numbers that steer an update have to be finite: the first that is not, and of which sample it
is. No torch.

Every comparison with NaN is false. So whatever protects something asks whether all is well (``gap
<= limit``) and never whether something is wrong (``gap > limit``), and what is compared with
nothing is looked at here.
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
    "teacher_logp": "the teacher's log-prob",
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
    """The first of the ``Sample`` fields ``names`` that is not finite; None and {} are well."""
    for group in groups:
        for sample in group.samples:
            for name in names:
                if found := _spoilt(group, sample, name):
                    return found
    return None


def _spoilt(group: Group, sample: Sample, name: str) -> Culprit | None:
    value, what = getattr(sample, name), _WORDS.get(name, f"the {name}")
    if value is None:
        return None
    if isinstance(value, np.ndarray):
        wrong = np.flatnonzero(~np.isfinite(value))
        if not len(wrong):
            return None  # also where there is no token
        token = int(wrong[0])
        what = f"{what} of token {token}"
        return Culprit(sample, what, place(group, sample), float(value[token]))
    if isinstance(value, dict):
        for component, number in value.items():
            if not math.isfinite(number):
                what = f"{what} of loss/{component}"
                return Culprit(sample, what, place(group, sample), number)
        return None
    if math.isfinite(value):
        return None
    where = place(group, sample)
    if name == "reward" and len(sample.terms) > 1:
        where += f" (terms: {sample.terms})"
    return Culprit(sample, what, where, value)


def place(group: Group, sample: Sample) -> str:
    """``rollout 2 of problem 17``, counted from 1, or ``the trace of problem 17``."""
    if sample.is_offline:
        return f"the trace of problem {group.problem.id}"
    # By identity: samples of arrays cannot be compared with ==.
    number = next(i for i, other in enumerate(group.rollouts, 1) if other is sample)
    return f"rollout {number} of problem {group.problem.id}"


def place_in(groups: Sequence[Group], sample: Sample) -> str:
    """``place`` of a sample of one of ``groups``."""
    for group in groups:
        if any(other is sample for other in group.samples):
            return place(group, sample)
    raise ValueError("the sample is of none of the groups")
