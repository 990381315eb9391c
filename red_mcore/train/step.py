"""A step of the algorithm: what it comes to, and its phases between sampling and publication.

All ranks have the same groups, and every decision on the way (what is kept, scored, updated or
taught) is made from them, the state and the recipe alone: the ranks communicate in one order
whatever the data are.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from functools import partial

from red_mcore.algorithms.base import GroupAlgorithm, Metrics, has_weights, losses_of
from red_mcore.algorithms.mixins import Lessons, OnePassWeights, TrainingProblems, UpdateCount
from red_mcore.algorithms.teaching import reverse_kl
from red_mcore.data import choosing
from red_mcore.megatron.ranks import any_rank
from red_mcore.planning import plan
from red_mcore.samples import guards
from red_mcore.samples.records import Group, samples_of
from red_mcore.train.clock import Clock
from red_mcore.train.groups import by_name, without_masked
from red_mcore.train.run import Run


@dataclass
class Step:
    """What a step has come to; phases fill it in, hooks read it and add to its metrics."""

    algorithm: GroupAlgorithm
    """The method as it is in this step."""
    clock: Clock
    groups: list[Group] = field(default_factory=list)
    """What the step learns from."""
    metrics: Metrics = field(default_factory=dict)
    """Its row, as far as it is known."""
    spends_budget: bool = False
    """Whether it is the one that used up a budget of ``until``."""
    drawn: list[Group] = field(default_factory=list)
    """The groups of all prompts as drawn, before any gave way to another or was sampled anew."""
    kept: list[Group] = field(default_factory=list)
    """What of ``groups`` the updates train on."""
    parts: list[list[Group]] = field(default_factory=list)
    """The same, of each update."""
    weighed: Metrics = field(default_factory=dict)
    """What the algorithm told when it set weights."""


def compose(run: Run, step: Step) -> None:
    """Set advantages: which groups are trained on."""
    if found := guards.culprit(step.groups, guards.GIVEN):
        raise RuntimeError(f"step {run.state.step + 1}: {found}; {guards.REFUSED}")
    kept, metrics = step.algorithm.compose(step.groups, run.state.algorithm, run.state.step)
    step.kept = without_masked(kept, run.recipe.reward)
    teaching = len(step.kept)
    if step.algorithm.teacher is None:  # who has something to say about every group
        teaching = sum(map(is_trained, step.kept))
    step.metrics |= metrics | {"groups/teaching": teaching}


def is_trained(group: Group) -> bool:
    """Whether a group has anything to teach beside its entropies."""
    return any(sample.is_offline or sample.advantage for sample in group.samples)


def divide(run: Run, step: Step) -> None:
    """Deal the kept groups to the optimizer updates, whole groups to each, and set coefficients.

    ``updates_per_step`` of them. Where the algorithm makes fewer, each still has the N of as many;
    without a group there is nothing to learn, and schedule and version stand still.
    """
    algorithm, state = step.algorithm, run.state
    wanted = count = run.recipe.batch.updates_per_step
    if isinstance(algorithm, UpdateCount):
        count = algorithm.updates(step.groups, wanted)
    step.parts = [step.kept[i::count] for i in range(min(count, len(step.kept)))]
    share = algorithm.sequences(step.groups) / wanted
    for part in step.parts:
        algorithm.aggregate(part, share, state.algorithm, state.step)


def is_on_policy(run: Run, step: Step) -> bool:
    """Whether the update's own forward pass tells all that the rollouts' losses and the traces'
    weights need."""
    weighs_later = isinstance(step.algorithm, OnePassWeights) or not has_weights(step.algorithm)
    return run.recipe.batch.updates_per_step == 1 and weighs_later


def score(run: Run, step: Step) -> None:
    """Measure the log-probs and entropies that must be known before the update, of the samples that
    are trained on."""
    if not step.kept:  # nothing to train on; the engine is watched all the same
        if samples_of(step.groups):
            step.metrics |= checked_gap(run, run.policy.score(step.groups))
        return
    if run.reference is not None and step.algorithm.uses_reference:
        run.reference.score_reference(step.kept)
    if run.teacher is not None and step.algorithm.teacher is not None:
        run.teacher.score_teacher(step.kept)
        step.metrics |= reverse_kl(step.kept)
    if not is_on_policy(run, step):
        step.metrics |= checked_gap(run, run.policy.score(step.kept))


def weighs_in_pass(run: Run, step: Step) -> bool:
    """Whether weights wait for entropies that the update's own pass is the first to measure."""
    return is_on_policy(run, step) and has_weights(step.algorithm) and bool(step.kept)


def weigh(run: Run, step: Step) -> None:
    """Set the weights that depend on entropies."""
    state = run.state
    step.weighed = step.algorithm.weigh(step.kept, state.algorithm, state.step)


def update(run: Run, step: Step) -> None:
    """Make the optimizer steps on the kept groups; metrics are means over them."""
    state, policy = run.state, run.policy
    token_losses = losses_of(step.algorithm, state.algorithm, state.step)
    weigh_in_pass = None
    if weighs_in_pass(run, step):
        weigh_in_pass = partial(weigh, run, step)
    updates = []
    for part in step.parts:
        losses = policy.backward(
            part, token_losses, on_policy=is_on_policy(run, step), weigh=weigh_in_pass
        )
        updates.append(checked_gap(run, losses) | policy.step(step.algorithm.optimizer))
        state.policy_version += not updates[-1]["update/skipped"]
    metrics = step.weighed | means(updates)
    metrics["update/tokens"] = float(sum(group.tokens for group in step.kept))
    for name, is_offline in (("entropy/rollout_nats", False), ("entropy/offline_nats", True)):
        entropies = [s.entropy for s in samples_of(step.kept) if s.is_offline is is_offline]
        if entropies:
            metrics.setdefault(name, statistics.fmean(entropies))
    step.metrics |= metrics


def speed(run: Run, step: Step) -> Metrics:
    """Of the update: tokens, and floating-point operations as the model needs them, of a rank in
    a second."""
    lengths = [sample.tokens for sample in samples_of(step.kept)]
    flops = sum(n * plan.training_flops(run.arch, n) for n in lengths)
    per_rank = step.clock.seconds["time/update_seconds"] * run.ranks.world
    return {
        "speed/update_tokens_per_second": sum(lengths) / per_rank,
        "speed/update_tflops": flops / per_rank / 1e12,
    }


def teach(run: Run, step: Step) -> None:
    """Give the algorithm's lessons, each an update on traces alone; metrics are means over them."""
    algorithm, state = step.algorithm, run.state
    if not isinstance(algorithm, Lessons):
        return
    training = TrainingProblems(run.problems, run.sampler.usable, run.recipe.seed)
    token_losses = losses_of(algorithm, state.algorithm, state.step)
    updates = []
    taught = tokens = 0
    lessons = algorithm.lessons(step.drawn, state.algorithm, state.step, training)
    for number, lesson in enumerate(lessons):
        key = (run.recipe.seed, "lesson", state.step, number)
        traces = run.sampler.traces(
            [choosing.drawn(problem, run.recipe.data, *key) for problem in lesson.problems]
        )
        if not traces:
            continue  # on all ranks: each of them has all problems
        taught += len(traces)
        tokens += sum(group.tokens for group in traces)
        for group in traces:
            group.samples[0].beta = lesson.beta
        algorithm.aggregate(traces, len(traces), state.algorithm, state.step)
        losses = run.policy.backward(traces, token_losses, on_policy=True)
        updates.append(losses | run.policy.step("imitation", lesson.lr_scale))
        state.policy_version += not updates[-1]["update/skipped"]
    if not updates:
        return
    for name, value in means(updates).items():
        step.metrics[f"lesson/{name.replace('/', '_')}"] = value
    step.metrics |= {
        "lesson/updates": len(updates),
        "lesson/traces": taught,
        "lesson/tokens": tokens,
    }


def means(rows: list[Metrics]) -> Metrics:
    """Mean of each metric over the rows that have it."""
    return {name: statistics.fmean(values) for name, values in by_name(rows).items()}


def checked_gap(run: Run, metrics: Metrics) -> Metrics:
    """``metrics``; stops the run, before the weights change, if the engine samples from other
    weights than these.

    RuntimeError on every rank where it is one on any; also without a limit where the difference
    is no finite number.
    """
    rollout = run.recipe.rollout
    limit, allowed = rollout.logprob_gap_limit, "null"
    if rollout.replay:  # a recorded run was rounded otherwise
        limit = None
    if limit is not None:
        allowed = f"{limit:.0e}"
    gap = metrics.get("rollout/logprob_gap_max_nats", 0.0)
    # Asked the other way round, NaN would pass.
    if any_rank(not (math.isfinite(gap) and (limit is None or gap <= limit))):
        raise RuntimeError(
            f"trainer and engine differ by {gap:.2e} nats at policy version"
            f" {run.state.policy_version}, rollout.logprob_gap_limit={allowed}: the engine's"
            f" weights are stale or wrong; {guards.REFUSED}"
        )
    return metrics
