"""Distillation under this rank's layout, from a teacher that is narrower and deeper than the
policy."""

from __future__ import annotations

import numpy as np
from layout_rank import Layout, WatchedPolicy
from layout_samples import COUNTS, DEEP, DISTILLED, TEACHER, budget_of, config, make_groups
from layout_updates import BEFORE, step_in_one_pass

from red_mcore.algorithms.base import losses_of
from red_mcore.config.recipe import Offload
from red_mcore.samples.records import Group, samples_of


def rollouts() -> list[Group]:
    return [Group(g.problem, g.rollouts) for g in make_groups()]


def distil(policy: WatchedPolicy, teacher: WatchedPolicy) -> tuple[dict[str, float], list[Group]]:
    """An update of distillation alone, and the groups as they were trained on; the policy has moved
    since it sampled, so that ratios are not 1."""
    groups = rollouts()
    metrics = policy.score(groups)
    teacher.score_teacher(groups)
    rng = np.random.default_rng(1)
    for sample in samples_of(groups):
        sample.old_logp = sample.old_logp + rng.normal(0, 0.3, len(sample.response)).astype(
            np.float32
        )
    algorithm = DISTILLED["alone"]
    kept, _ = algorithm.compose(groups, {}, 0)
    algorithm.aggregate(kept, algorithm.sequences(groups), {}, 0)
    return metrics | policy.update(kept, losses_of(algorithm, {}, 0)), kept


def check_teacher(layout: Layout) -> dict:
    """Updates of distillation alone, and as a part of RED's advantages in one pass, as the loop
    makes it."""
    teacher = layout.frozen(
        config(False, *TEACHER), "teacher", Offload(teacher=layout.name != "one")
    )
    found = {}
    depths = [DEEP] if layout.parallel.virtual > 1 else [2]
    if layout.name == "one":
        depths = [2, DEEP]
    for depth in depths:
        for count in COUNTS if (layout.name, depth) == ("one", 2) else COUNTS[-1:]:
            policy = layout.policy(depth == DEEP, budget_of(rollouts(), count), deep=depth == DEEP)
            metrics, kept = distil(policy, teacher)
            found["alone", depth, count] = layout.left(metrics, policy)
        found["samples", depth] = samples_of(kept)
        groups = make_groups()
        teacher.score_teacher(groups)
        policy = layout.policy(depth == DEEP, deep=depth == DEEP)
        metrics = step_in_one_pass(DISTILLED["added"], policy, groups, dict(BEFORE))
        found["added", depth, 4] = layout.left(metrics, policy)
    return found
