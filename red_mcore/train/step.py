"""What a step learns from its groups: score, weigh, update, teach."""

from __future__ import annotations

import math
import statistics

from red_mcore.algorithms.base import GroupAlgorithm, Library
from red_mcore.megatron.ranks import any_rank
from red_mcore.planning import plan
from red_mcore.samples import guards
from red_mcore.samples.records import Group
from red_mcore.train.clock import Clock
from red_mcore.train.groups import without_masked
from red_mcore.train.setup import Run


def learn(
    run: Run, algorithm: GroupAlgorithm, groups: list[Group], sampled: list[Group], clock: Clock
) -> dict[str, float]:
    """What a step learns from its groups, and from ``sampled``, those of all prompts drawn; metrics.

    All ranks have the same groups, and every decision on the way (what is kept, scored, updated or taught) is made from
    them, the state and the recipe alone: the ranks communicate in one order whatever the data are.
    """
    if found := guards.culprit(groups, guards.GIVEN):
        raise RuntimeError(f"step {run.state.step + 1}: {found}; {guards.REFUSED}")
    kept, metrics = algorithm.compose(groups)
    kept = without_masked(kept, run.recipe.reward)
    metrics["groups/teaching"] = sum(any(s.is_offline or s.advantage for s in g.samples) for g in kept)
    with clock("score"):
        metrics |= score(run, algorithm, groups, kept)
    with clock("update"):
        metrics |= update(run, algorithm, groups, kept)
    metrics |= speed(run, kept, clock.seconds["time/update_seconds"])
    with clock("teach"):
        metrics |= teach(run, algorithm, sampled)
    return metrics


def on_policy(run: Run, algorithm: GroupAlgorithm) -> bool:
    """Whether the update's own forward pass tells all that the rollouts' losses and the traces' weights need."""
    return run.recipe.batch.updates_per_step == 1 and algorithm.weighs != "all"


def score(run: Run, algorithm: GroupAlgorithm, groups: list[Group], kept: list[Group]) -> dict[str, float]:
    """Log-probs and entropies that must be known before the update, of the samples that are trained on."""
    if not kept:  # nothing to train on; the engine is watched all the same
        return checked_gap(run, run.policy.score(groups)) if any(g.samples for g in groups) else {}
    if run.reference is not None and algorithm.uses_reference:
        run.reference.score_reference(kept)
    return {} if on_policy(run, algorithm) else checked_gap(run, run.policy.score(kept))


def update(run: Run, algorithm: GroupAlgorithm, groups: list[Group], kept: list[Group]) -> dict[str, float]:
    """``updates_per_step`` optimizer steps on the kept groups, whole groups in each; metrics are means over them.

    Where the algorithm makes fewer, each still has the N of as many.
    """
    state, policy = run.state, run.policy
    wanted = run.recipe.batch.updates_per_step
    parts = algorithm.updates(groups, wanted)
    metrics: dict[str, float] = {}

    def weigh() -> None:
        metrics.update(algorithm.weigh(kept, state.algorithm))

    updates: list[dict[str, float]] = []
    in_pass = bool(kept) and on_policy(run, algorithm) and algorithm.weighs == "traces"
    if not in_pass:
        weigh()
    for i in range(parts):
        part = kept[i::parts]
        if part:  # without a group that differs in reward there is nothing to learn; schedule and version stand still
            algorithm.aggregate(part, algorithm.sequences(groups) / wanted)
            losses = policy.backward(
                part,
                algorithm.token_losses,
                on_policy=on_policy(run, algorithm),
                weigh=weigh if in_pass else None,
            )
            updates.append(checked_gap(run, losses) | policy.step(algorithm.optimizer))
            state.policy_version += not updates[-1]["update/skipped"]
    metrics |= means(updates) | {"update/tokens": float(sum(g.tokens for g in kept))}
    for name, offline in {"entropy/rollout_nats": False, "entropy/offline_nats": True}.items():
        entropies = [s.entropy for g in kept for s in g.samples if s.is_offline is offline]
        if entropies:
            metrics.setdefault(name, statistics.fmean(entropies))
    return metrics


def speed(run: Run, kept: list[Group], seconds: float) -> dict[str, float]:
    """Of the update: tokens, and floating-point operations as the model needs them, of a rank in a second."""
    lengths = [s.tokens for g in kept for s in g.samples]
    flops = sum(n * plan.training_flops(run.arch, n) for n in lengths)
    per_rank = seconds * run.ranks.world
    return {"speed/update_tokens_per_second": sum(lengths) / per_rank, "speed/update_tflops": flops / per_rank / 1e12}


def teach(run: Run, algorithm: GroupAlgorithm, groups: list[Group]) -> dict[str, float]:
    """The algorithm's lessons, each an update on traces alone; metrics are means over them.

    ``groups`` are those of the prompts as drawn, before any gave way to another or was sampled anew.
    """
    state = run.state
    library = Library(run.problems, run.sampler.usable, run.recipe.seed)
    updates: list[dict[str, float]] = []
    taught = tokens = 0
    for lesson in algorithm.lessons(groups, state.algorithm, library, state.step):
        traces = run.sampler.traces(lesson.problems)
        if not traces:
            continue  # on all ranks: each of them has all problems
        taught += len(traces)
        tokens += sum(g.tokens for g in traces)
        for group in traces:
            group.samples[0].beta = lesson.beta
        algorithm.aggregate(traces, len(traces))
        losses = run.policy.backward(traces, algorithm.token_losses, on_policy=True)
        metrics = losses | run.policy.step("imitation", lesson.lr_scale)
        updates.append({f"lesson/{name.replace('/', '_')}": value for name, value in metrics.items()})
        state.policy_version += not metrics["update/skipped"]
    if not updates:
        return {}
    return means(updates) | {"lesson/updates": len(updates), "lesson/traces": taught, "lesson/tokens": tokens}


def means(rows: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each metric over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: statistics.fmean(row[name] for row in rows if name in row) for name in names}


def checked_gap(run: Run, metrics: dict[str, float]) -> dict[str, float]:
    """``metrics``; stops the run, before the weights change, if the engine samples from other weights than these.

    RuntimeError on every rank where it is one on any; also without a limit where the difference is no finite number.
    """
    rollout = run.recipe.rollout
    limit = None if rollout.replay else rollout.logprob_gap_limit  # a recorded run was rounded otherwise
    gap = metrics.get("rollout/logprob_gap_max_nats", 0.0)
    if any_rank(not (math.isfinite(gap) and (limit is None or gap <= limit))):
        allowed = "null" if limit is None else f"{limit:.0e}"
        raise RuntimeError(
            f"trainer and engine differ by {gap:.2e} nats at policy version {run.state.policy_version}, "
            f"rollout.logprob_gap_limit={allowed}: the engine's weights are stale or wrong; {guards.REFUSED}"
        )
    return metrics
