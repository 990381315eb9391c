"""One step's groups: sampled, branched where the algorithm wants it, refilled where they do not
vary."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence

from red_mcore.algorithms.base import GroupAlgorithm, Metrics
from red_mcore.algorithms.mixins import Branching, JudgedTrace, PromptCount
from red_mcore.config.recipe import Reward
from red_mcore.data import choosing
from red_mcore.rewards import failures
from red_mcore.rewards.verifier import NO_VERDICT
from red_mcore.rollout.sampler import rollout_metrics
from red_mcore.samples.records import Group, Problem, samples_of
from red_mcore.train.run import Run

SAMPLE, EVALUATE, REFILL, CONTINUE = 1, 2, 3, 4
"""First part of the key from which samples get their seeds."""
_RECORDED = {SAMPLE: "sample", REFILL: "refill", CONTINUE: "continue"}
"""What of it a recording may keep, by the name that its files have."""


def collect(run: Run, algorithm: GroupAlgorithm) -> tuple[list[Group], list[Group], Metrics]:
    """The groups of the step that comes next, as many as the algorithm wants; those of all prompts
    drawn; metrics.

    With ``batch.refills``, each group that does not vary, by the algorithm's word, gives its place
    to a fresh prompt, in as many further rounds as allowed. A round asks for exactly the missing
    groups and waits for all of them, so nothing is thrown away by draw, and no short response is
    preferred to a long one. What still does not vary then stays, for ``compose`` to drop and count,
    or to keep for what else it teaches.
    """
    batch, step = run.recipe.batch, run.state.step
    wanted = batch.prompts_per_step
    if isinstance(algorithm, PromptCount):
        wanted = algorithm.prompts(step, wanted)
    drawn = _Drawn(run, algorithm)
    groups = drawn.sample(wanted, (SAMPLE, step))
    refills = 0
    while refills < batch.refills:
        varying = [group for group in groups if algorithm.varies(group)]
        if len(varying) == wanted:
            break
        refills += 1
        groups = varying + drawn.sample(wanted - len(varying), (REFILL, step, refills))
    if run.recipe.reward.paths:
        tried = samples_of(drawn.graded + drawn.continued)
        where = f"step {step + 1}"
        failures.watch(run.recipe.reward, run.sampler.verifier, tried, where, run.say)
    metrics = drawn.metrics()
    if batch.refills:
        metrics |= {"groups/refills": refills, "groups/sampled": len(drawn.bare)}
    return groups, drawn.bare, metrics


class _Drawn:
    """What a step has sampled so far."""

    def __init__(self, run: Run, algorithm: GroupAlgorithm) -> None:
        self._run, self._algorithm = run, algorithm
        self._count = 0
        if algorithm.rollouts:
            self._count = run.recipe.batch.samples_per_prompt
        self._judges = isinstance(algorithm, JudgedTrace)
        self.bare: list[Group] = []
        """Groups from prompts alone: what the policy can do."""
        self.graded: list[Group] = []
        """The same, with the traces that have no verdict."""
        self.continued: list[Group] = []
        """Groups whose rollouts go on from a part of a trace."""
        self._branches: list[Metrics] = []
        self._rounds = 0

    def sample(self, wanted: int, key: tuple[int, ...]) -> list[Group]:
        """The groups of as many further prompts, branched where the algorithm wants it."""
        run, algorithm = self._run, self._algorithm
        recipe = run.recipe
        problems = choosing.deal(run.problems, run.cursor, wanted, recipe.data, recipe.seed)
        with_traces = algorithm.traces > 0
        groups = run.recording.groups(
            self._recorded_as(key),
            {"count": self._count, "with_traces": with_traces},
            problems,
            lambda: run.sampler.groups(problems, self._count, key, with_traces=with_traces),
        )
        self.graded += groups
        if self._judges:
            groups = [without_unjudged_trace(group) for group in groups]
        self.bare += groups
        if isinstance(algorithm, Branching):
            state, step = run.state.algorithm, run.state.step
            groups, metrics = algorithm.branch(groups, state, step, self._sample_after)
            self._branches.append(metrics)
        return groups

    def _sample_after(self, problems: Sequence[Problem], characters: Sequence[int]) -> list[Group]:
        """What ``SampleAfter`` says; each round has seeds of its own."""
        run = self._run
        self._rounds += 1
        key = (CONTINUE, run.state.step, self._rounds)
        groups = run.recording.groups(
            self._recorded_as(key),
            {"count": self._count, "characters": list(characters)},
            problems,
            lambda: run.sampler.continuations(problems, characters, self._count, key),
        )
        self.continued += groups
        return groups

    def _recorded_as(self, key: tuple[int, ...]) -> str:
        kind, _, *more = key
        return "-".join([f"step-{self._run.state.step + 1:06d}", _RECORDED[kind], *map(str, more)])

    def metrics(self) -> Metrics:
        """What all of it says of the policy, what it has cost, and what the branches told."""
        metrics = rollout_metrics(self.bare)
        if self._judges:
            unjudged = len(samples_of(self.graded)) - len(samples_of(self.bare))
            metrics["trace/unjudged"] = unjudged
        if self.continued:
            rollouts = [s for s in samples_of(self.continued) if not s.is_offline]
            metrics["rollout/generated_tokens"] += sum(len(s.response) for s in rollouts)
        for name, values in by_name(self._branches).items():
            # Counts of groups add up over the rounds of refills; all else are means.
            if name.startswith("groups/"):
                metrics[name] = sum(values)
            else:
                metrics[name] = statistics.fmean(values)
        return metrics


def by_name(rows: Iterable[Metrics]) -> dict[str, list[float]]:
    """The values of each metric, of the rows that have it."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for name, value in row.items():
            found[name].append(value)
    return found


def without_unjudged_trace(group: Group) -> Group:
    """The group, a trace whose verdict is missing left out."""
    judged = [s for s in group.samples if not (s.is_offline and s.verdict in NO_VERDICT)]
    return Group(group.problem, judged)


def without_masked(groups: Sequence[Group], reward: Reward) -> list[Group]:
    """What is trained on of groups with their advantages: not the cut off responses that
    ``reward.truncated`` masks."""
    if reward.truncated != "masked":
        return list(groups)
    parts = []
    for group in groups:
        whole = [s for s in group.samples if not s.truncated]
        if whole:
            parts.append(Group(group.problem, whole))
    return parts
