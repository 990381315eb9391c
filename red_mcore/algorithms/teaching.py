"""What a teacher adds to any algorithm: a part of the advantage of every token that was sampled.

    A_t - c (log p_old,t - log q_t)

with p_old the policy that sampled, q the teacher, both at the rollouts' temperature and of the
token that was sampled. Over tokens drawn from p_old the part behind c estimates the reverse KL
divergence KL(p_old || q) at each place, without a look at what follows (no discount), and its
policy gradient is, in expectation, the gradient of that divergence: sum_v p_v log(p_v / q_v) has
the gradient sum_v p_v log(p_v / q_v) grad log p_v. The form is that of "On-Policy Distillation"
(Thinking Machines Lab, 2025). Traces, which the policy did not sample, have no such part.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from red_mcore.config.recipe import Algorithm, RecipeError
from red_mcore.samples.records import Group

if TYPE_CHECKING:  # torch stays out of planning
    from red_mcore.losses.inputs import LossInputs


def check(algorithm: Algorithm) -> None:
    """RecipeError where the algorithm has a teacher that it cannot use."""
    teacher, name = algorithm.teacher, type(algorithm).__name__
    if teacher is None:
        return
    if teacher.path is None:
        raise RecipeError(
            "algorithm.teacher.path=null: name the folder of the teacher,"
            " algorithm.teacher.path=FOLDER"
        )
    if not algorithm.rollouts:
        raise RecipeError(
            f"algorithm.teacher scores rollouts, and {name} samples none: use"
            " algorithm.teacher=null"
        )


def with_teacher(inputs: LossInputs, coefficient: float) -> LossInputs:
    """``inputs`` whose advantages have the teacher's part, but at tokens of traces.

    The traces of a lesson are scored by nobody, and have no advantages.
    """
    if inputs.teacher_logp is None:
        return inputs
    gap = (inputs.old_logp - inputs.teacher_logp).where(inputs.is_offline == 0, 0.0)
    return replace(inputs, advantage=inputs.advantage - coefficient * gap)


def reverse_kl(groups: Sequence[Group]) -> dict[str, float]:
    """``teacher/reverse_kl_nats``: the mean over all sampled tokens of log p - log q, with the
    engine's p. {} where there is no rollout."""
    gaps: list[float] = []
    for group in groups:
        for sample in group.rollouts:
            if sample.sampler_logp is not None and sample.teacher_logp is not None:
                gaps += (sample.sampler_logp - sample.teacher_logp).tolist()
    if not gaps:
        return {}
    return {"teacher/reverse_kl_nats": statistics.fmean(gaps)}
