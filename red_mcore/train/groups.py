"""One step's groups: sampled, branched where the algorithm wants it, refilled where they do not vary."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from red_mcore.algorithms.base import GroupAlgorithm
from red_mcore.config.recipe import Reward
from red_mcore.rewards import failures
from red_mcore.rewards.verifier import NO_VERDICT
from red_mcore.rollout.sampler import rollout_metrics
from red_mcore.samples.records import Group, Problem
from red_mcore.train.setup import Run

SAMPLE, EVALUATE, REFILL, CONTINUE = 1, 2, 3, 4
"""First part of the key from which samples get their seeds."""
_RECORDED = {SAMPLE: "sample", REFILL: "refill", CONTINUE: "continue"}
"""What of it a recording may keep, by the name that its files have."""


def collect(run: Run, algorithm: GroupAlgorithm) -> tuple[list[Group], list[Group], dict[str, float]]:
    """The groups of the step that comes next, as many as the algorithm wants; those of all prompts drawn; metrics.

    With ``batch.refills``, each group that does not vary, by the algorithm's word, gives its place to a fresh prompt,
    in as many further rounds as allowed. A round asks for exactly the missing groups and waits for all of them, so
    nothing is thrown away by draw, and no short response is preferred to a long one. What still does not vary then
    stays, for ``compose`` to drop and count, or to keep for what else it teaches.

    A trace without a verdict (timeout, crash) is left out where its verdict would set advantages: it would be called
    wrong for want of time.
    """
    batch, step = run.recipe.batch, run.state.step
    count = batch.samples_per_prompt if algorithm.rollouts else 0
    bare: list[Group] = []
    """Groups from prompts alone: what the policy can do."""
    graded: list[Group] = []
    """The same, with the traces that have no verdict."""
    continued: list[Group] = []
    branches: list[dict[str, float]] = []
    rounds = 0

    def recorded_as(key: tuple[int, ...]) -> str:
        kind, _, *more = key
        return "-".join([f"step-{step + 1:06d}", _RECORDED[kind], *map(str, more)])

    def sample(wanted: int, key: tuple[int, ...]) -> list[Group]:
        problems = [run.problems[i] for i in run.cursor.next(wanted)]
        with_traces = algorithm.traces > 0
        groups = run.recording.groups(
            recorded_as(key),
            {"count": count, "with_traces": with_traces},
            problems,
            lambda: run.sampler.groups(problems, count, key, with_traces=with_traces),
        )
        graded.extend(groups)
        groups = [without_unjudged_trace(g) for g in groups] if algorithm.judges_traces else groups
        bare.extend(groups)
        groups, metrics = algorithm.branch(groups, sample_after)
        branches.append(metrics)
        return groups

    def sample_after(problems: Sequence[Problem], leading: Sequence[int]) -> list[Group]:
        nonlocal rounds
        rounds += 1
        key = (CONTINUE, step, rounds)
        groups = run.recording.groups(
            recorded_as(key),
            {"count": count, "leading": list(leading), "episodes": algorithm.episodes},
            problems,
            lambda: run.sampler.continuations(problems, leading, algorithm.episodes, count, key),
        )
        continued.extend(groups)
        return groups

    wanted = algorithm.prompts(step, batch.prompts_per_step)
    groups = sample(wanted, (SAMPLE, step))
    refills = 0
    while refills < batch.refills and len(kept := [g for g in groups if algorithm.varies(g)]) < wanted:
        refills += 1
        groups = kept + sample(wanted - len(kept), (REFILL, step, refills))

    if run.recipe.reward.paths:
        tried = [s for g in (*graded, *continued) for s in g.samples]
        failures.watch(run.recipe.reward, run.sampler.verifier, tried, f"step {step + 1}", run.say)
    metrics = rollout_metrics(bare)
    if algorithm.judges_traces:
        metrics["trace/unjudged"] = sum(len(g.samples) for g in graded) - sum(len(g.samples) for g in bare)
    if continued:
        metrics["rollout/generated_tokens"] += sum(len(s.response) for g in continued for s in g.rollouts)
    if batch.refills:
        metrics |= {"groups/refills": refills, "groups/sampled": len(bare)}
    for name in dict.fromkeys(name for found in branches for name in found):
        values = [found[name] for found in branches if name in found]
        metrics[name] = sum(values) if name.startswith("groups/") else statistics.fmean(values)
    return groups, bare, metrics


def without_unjudged_trace(group: Group) -> Group:
    """The group, a trace whose verdict is missing left out."""
    return Group(group.problem, [s for s in group.samples if not (s.is_offline and s.verdict in NO_VERDICT)])


def without_masked(groups: Sequence[Group], reward: Reward) -> list[Group]:
    """What is trained on of groups with their advantages: not the cut off responses that ``reward.truncated`` masks."""
    if reward.truncated != "masked":
        return list(groups)
    parts = (Group(g.problem, [s for s in g.samples if not s.truncated]) for g in groups)
    return [g for g in parts if g.samples]
