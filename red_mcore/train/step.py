"""What a step learns from its groups: score, weigh, update, teach."""

from __future__ import annotations

import math
import statistics

from red_mcore.algorithms.base import GroupAlgorithm, has_weights, losses_of
from red_mcore.algorithms.mixins import Lessons, OnePassWeights, TrainingProblems, UpdateCount
from red_mcore.algorithms.teaching import reverse_kl
from red_mcore.megatron.ranks import any_rank
from red_mcore.planning import plan
from red_mcore.samples import guards
from red_mcore.samples.records import Group, samples_of
from red_mcore.train.clock import Clock
from red_mcore.train.groups import without_masked
from red_mcore.train.run import Run


def learn(
    run: Run, algorithm: GroupAlgorithm, groups: list[Group], sampled: list[Group], clock: Clock
) -> dict[str, float]:
    """What a step learns from its groups, and from ``sampled``, those of all prompts drawn;
    metrics.

    All ranks have the same groups, and every decision on the way (what is kept, scored, updated
    or taught) is made from them, the state and the recipe alone: the ranks communicate in one
    order whatever the data are.
    """
    if found := guards.culprit(groups, guards.GIVEN):
        raise RuntimeError(f"step {run.state.step + 1}: {found}; {guards.REFUSED}")
    kept, metrics = algorithm.compose(groups, run.state.algorithm, run.state.step)
    kept = without_masked(kept, run.recipe.reward)
    metrics["groups/teaching"] = len(kept)
    if algorithm.teacher is None:  # who has something to say about every group
        metrics["groups/teaching"] = sum(map(is_trained, kept))
    with clock("score"):
        metrics |= score(run, algorithm, groups, kept)
    with clock("update"):
        metrics |= update(run, algorithm, groups, kept)
    metrics |= speed(run, kept, clock.seconds["time/update_seconds"])
    with clock("teach"):
        metrics |= teach(run, algorithm, sampled)
    return metrics


def is_trained(group: Group) -> bool:
    """Whether a group has anything to teach beside its entropies."""
    return any(sample.is_offline or sample.advantage for sample in group.samples)


def on_policy(run: Run, algorithm: GroupAlgorithm) -> bool:
    """Whether the update's own forward pass tells all that the rollouts' losses and the traces'
    weights need."""
    is_enough = isinstance(algorithm, OnePassWeights) or not has_weights(algorithm)
    return run.recipe.batch.updates_per_step == 1 and is_enough


def score(
    run: Run,
    algorithm: GroupAlgorithm,
    groups: list[Group],
    kept: list[Group],
) -> dict[str, float]:
    """Log-probs and entropies that must be known before the update, of the samples that are trained
    on."""
    if not kept:  # nothing to train on; the engine is watched all the same
        return checked_gap(run, run.policy.score(groups)) if samples_of(groups) else {}
    if run.reference is not None and algorithm.uses_reference:
        run.reference.score_reference(kept)
    metrics = {}
    if run.teacher is not None and algorithm.teacher is not None:
        run.teacher.score_teacher(kept)
        metrics = reverse_kl(kept)
    if on_policy(run, algorithm):
        return metrics
    return metrics | checked_gap(run, run.policy.score(kept))


def update(
    run: Run,
    algorithm: GroupAlgorithm,
    groups: list[Group],
    kept: list[Group],
) -> dict[str, float]:
    """Optimizer steps on the kept groups; metrics are means over them."""
    state, policy = run.state, run.policy
    parts = divided(run, algorithm, groups, kept)
    metrics: dict[str, float] = {}

    def weigh() -> None:
        metrics.update(algorithm.weigh(kept, state.algorithm, state.step))

    in_one_pass = on_policy(run, algorithm)
    weighs_in_pass = in_one_pass and has_weights(algorithm) and bool(kept)
    if not weighs_in_pass:
        weigh()
    token_losses = losses_of(algorithm, state.algorithm, state.step)
    updates: list[dict[str, float]] = []
    for part in parts:
        losses = policy.backward(
            part,
            token_losses,
            on_policy=in_one_pass,
            weigh=weigh if weighs_in_pass else None,
        )
        updates.append(checked_gap(run, losses) | policy.step(algorithm.optimizer))
        state.policy_version += not updates[-1]["update/skipped"]
    metrics |= means(updates) | {"update/tokens": float(sum(g.tokens for g in kept))}
    for name, is_offline in (("entropy/rollout_nats", False), ("entropy/offline_nats", True)):
        entropies = [s.entropy for s in samples_of(kept) if s.is_offline is is_offline]
        if entropies:
            metrics.setdefault(name, statistics.fmean(entropies))
    return metrics


def divided(
    run: Run,
    algorithm: GroupAlgorithm,
    groups: list[Group],
    kept: list[Group],
) -> list[list[Group]]:
    """The kept groups of each optimizer update, whole groups in each, their coefficients set.

    ``updates_per_step`` of them. Where the algorithm makes fewer, each still has the N of as many;
    without a group there is nothing to learn, and schedule and version stand still.
    """
    state = run.state
    wanted = count = run.recipe.batch.updates_per_step
    if isinstance(algorithm, UpdateCount):
        count = algorithm.updates(groups, wanted)
    parts = [kept[i::count] for i in range(min(count, len(kept)))]
    for part in parts:
        share = algorithm.sequences(groups) / wanted
        algorithm.aggregate(part, share, state.algorithm, state.step)
    return parts


def speed(run: Run, kept: list[Group], seconds: float) -> dict[str, float]:
    """Of the update: tokens, and floating-point operations as the model needs them, of a rank in
    a second."""
    lengths = [sample.tokens for sample in samples_of(kept)]
    flops = sum(n * plan.training_flops(run.arch, n) for n in lengths)
    per_rank = seconds * run.ranks.world
    return {
        "speed/update_tokens_per_second": sum(lengths) / per_rank,
        "speed/update_tflops": flops / per_rank / 1e12,
    }


def teach(run: Run, algorithm: GroupAlgorithm, groups: list[Group]) -> dict[str, float]:
    """The algorithm's lessons, each an update on traces alone; metrics are means over them.

    ``groups`` are those of the prompts as drawn, before any gave way to another or was sampled
    anew.
    """
    if not isinstance(algorithm, Lessons):
        return {}
    state = run.state
    training = TrainingProblems(run.problems, run.sampler.usable, run.recipe.seed)
    token_losses = losses_of(algorithm, state.algorithm, state.step)
    updates: list[dict[str, float]] = []
    taught = tokens = 0
    for lesson in algorithm.lessons(groups, state.algorithm, state.step, training):
        traces = run.sampler.traces(lesson.problems)
        if not traces:
            continue  # on all ranks: each of them has all problems
        taught += len(traces)
        tokens += sum(g.tokens for g in traces)
        for group in traces:
            group.samples[0].beta = lesson.beta
        algorithm.aggregate(traces, len(traces), state.algorithm, state.step)
        losses = run.policy.backward(traces, token_losses, on_policy=True)
        metrics = losses | run.policy.step("imitation", lesson.lr_scale)
        renamed = {}
        for name, value in metrics.items():
            renamed[f"lesson/{name.replace('/', '_')}"] = value
        updates.append(renamed)
        state.policy_version += not metrics["update/skipped"]
    if not updates:
        return {}
    return means(updates) | {
        "lesson/updates": len(updates),
        "lesson/traces": taught,
        "lesson/tokens": tokens,
    }


def means(rows: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each metric over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: statistics.fmean(row[name] for row in rows if name in row) for name in names}


def checked_gap(run: Run, metrics: dict[str, float]) -> dict[str, float]:
    """``metrics``; stops the run, before the weights change, if the engine samples from other
    weights than these.

    RuntimeError on every rank where it is one on any; also without a limit where the difference
    is no finite number.
    """
    rollout = run.recipe.rollout
    limit = rollout.logprob_gap_limit
    if rollout.replay:  # a recorded run was rounded otherwise
        limit = None
    gap = metrics.get("rollout/logprob_gap_max_nats", 0.0)
    if any_rank(not (math.isfinite(gap) and (limit is None or gap <= limit))):
        allowed = "null" if limit is None else f"{limit:.0e}"
        raise RuntimeError(
            f"trainer and engine differ by {gap:.2e} nats at policy version"
            f" {run.state.policy_version}, rollout.logprob_gap_limit={allowed}: the engine's weights"
            f" are stale or wrong; {guards.REFUSED}"
        )
    return metrics
