"""The loop: sample, grade, score, weigh, update, teach, publish, evaluate, save."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable
from contextlib import contextmanager

import psutil
import torch

from red_mcore.algorithms.base import GroupAlgorithm, Library
from red_mcore.config.recipe import Recipe
from red_mcore.convert import card, hub
from red_mcore.convert.hf import export_folder, stream_weights
from red_mcore.evaluation import items
from red_mcore.evaluation import metrics as evaluation
from red_mcore.evaluation import summary as summaries
from red_mcore.megatron.ranks import any_rank, from_main, together
from red_mcore.models.rules import hf_shapes
from red_mcore.planning import plan
from red_mcore.rewards import failures
from red_mcore.samples import guards
from red_mcore.samples.records import Group
from red_mcore.system.disk import write_atomic
from red_mcore.system.exit_codes import INTERRUPTED
from red_mcore.tracking.console import Watch, Watched
from red_mcore.train import health, kept_rollouts
from red_mcore.train.base import train_base
from red_mcore.train.groups import EVALUATE, collect, without_masked
from red_mcore.train.setup import Run, build


def main(recipe: Recipe) -> int:
    """Train to the end, or until a signal; the exit code: 0, 4 (``UNHEALTHY``) or 130."""
    with build(recipe) as run:
        if run.state.stage == "base":
            train_base(run)
        if not run.stopping:
            train(run)
        run.saver.finish()
        if not run.stopping:
            finish(run)
            return health.exit_code(recipe, health.warnings(recipe, run.state.health))
        for warning in health.warnings(recipe, run.state.health):
            run.say(health.line(warning))
        run.say(f"interrupted after {run.state.stage} step {run.state.step}, saved: run the same command to go on")
        return INTERRUPTED


def train(run: Run) -> None:
    """The algorithm's steps, from where the state stands."""
    recipe, state = run.recipe, run.state
    publish(run)
    if state.before is None:
        state.before = state.after = evaluate_alone(run) | benchmark_alone(run)
        state.evaluated = state.step
        run.log(state.before)
    with run.console(type(recipe.algorithm).__name__, recipe.steps, state.step) as console:
        while not done(run) and not run.stopping:
            clock = Clock(console.phase)
            run.sampler.watch = console.part
            before, version = spent(run), state.policy_version
            algorithm = recipe.algorithm.at(state.step)
            with clock("sample"):
                groups, sampled, metrics = collect(run, algorithm)
            metrics |= learn(run, algorithm, groups, sampled, clock)
            kept_rollouts.keep(run, groups, state.step + 1)
            with clock("publish"):
                metrics |= publish(run)
            state.step += 1
            state.generated_tokens += metrics.get("rollout/generated_tokens", 0.0)
            state.train_seconds += from_main(sum(clock.seconds.values()))  # ranks have to end together
            last = done(run)
            if last or crossed(run, before) or due(recipe.evaluation.every, state.step):
                with clock("evaluate"):
                    state.after, state.evaluated = evaluate(run), state.step
                metrics |= state.after
                show(run, state.after, console.print)
            if run.asker is not None and (last or due(recipe.evaluation.benchmarks.every, state.step)):
                with clock("benchmark"):
                    found = benchmark(run, console.part)
                state.after = state.after | found
                metrics |= found
                show(run, found, console.print)
            updated = state.policy_version > version
            for warning in health.watch(
                recipe, state.health, state.step, metrics, algorithm, updated=updated, last=last
            ):
                console.print(health.line(warning))
            metrics |= memory()
            run.log(metrics | clock.seconds)
            run.agree()
            run.saver.poll()
            if run.stopping or run.saving or run.checkpoint_due() or last:
                console.phase("save")
                run.save()
            shown = {"accuracy": "rollout/accuracy", "tokens": "rollout/length_tokens", "loss": "loss/total"}
            console.update(
                state.step, {name: metrics[key] for name, key in shown.items() if key in metrics}, expected_steps(run)
            )
    if done(run) and state.evaluated != state.step:  # stopped between evaluations, and then asked for no more steps
        state.after, state.evaluated = evaluate_alone(run), state.step
    if done(run) and run.asker is not None and state.benchmarked != state.step:
        state.after = state.after | benchmark_alone(run)


def evaluate_alone(run: Run) -> dict[str, float]:
    """``evaluate`` outside of the steps, with progress, result and warnings on the screen."""
    with Watched("held-out responses", show=run.ranks.is_main) as watch:
        run.sampler.watch = watch
        found = evaluate(run)
    return shown_alone(run, found)


def benchmark_alone(run: Run) -> dict[str, float]:
    """The same of the benchmarks."""
    with Watched("benchmark responses", show=run.ranks.is_main) as watch:
        found = benchmark(run, watch)
    return shown_alone(run, found)


def shown_alone(run: Run, found: dict[str, float]) -> dict[str, float]:
    show(run, found, run.say)
    for warning in health.watch(run.recipe, run.state.health, run.state.step, found):
        run.say(health.line(warning))
    return found


def show(run: Run, found: dict[str, float], say: Callable[[str], None]) -> None:
    """The results of an evaluation."""
    for text in evaluation.told(found, run.benchmarks):
        say(f"{f'step {run.state.step}' if run.state.step else 'before training'}: {text}")


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


def due(every: int, step: int) -> bool:
    return bool(every) and step % every == 0


def done(run: Run) -> bool:
    """Whether the run has done its steps, and spent what it has to."""
    state, until = run.state, run.recipe.until
    if state.step < run.recipe.steps:
        return False
    if until is None or state.step >= until.most_steps:
        return True
    return all(now >= wanted for now, wanted in zip(spent(run), until.budgets, strict=True))


def spent(run: Run) -> tuple[float, float]:
    """What ``Until.budgets`` limit."""
    return run.state.generated_tokens, run.state.train_seconds


def crossed(run: Run, before: tuple[float, float]) -> bool:
    """Whether the step that is just done has spent one of the budgets, where runs are compared."""
    until = run.recipe.until
    if until is None:
        return False
    return any(was < wanted <= now for was, wanted, now in zip(before, until.budgets, spent(run), strict=True))


def expected_steps(run: Run) -> int:
    """Steps in all, as far as the pace so far tells."""
    state, until, steps = run.state, run.recipe.until, run.recipe.steps
    if until is None or state.step < steps:
        return steps
    longest = max(state.step * wanted / now for now, wanted in zip(spent(run), until.budgets, strict=True) if now)
    return min(max(state.step, math.ceil(longest)), until.most_steps)


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


def publish(run: Run) -> dict[str, float]:
    """The policy's weights into every engine."""
    engine, state = run.sampler.engine, run.state
    if engine.version == state.policy_version:
        return {}
    tensors = stream_weights(run.policy.model, run.arch)
    publication = engine.publish(tensors, hf_shapes(run.arch), state.policy_version)
    return {
        "publish/version": publication.version,
        "publish/tensors": publication.tensors,
        "publish/bytes": publication.bytes,
        "time/publish_engine_seconds": publication.seconds,
        # Metrics are numbers: the low half of the digest, exact in a float.
        "publish/checksum_low32": int(publication.checksum[8:], 16),
    }


def evaluate(run: Run) -> dict[str, float]:
    """Accuracy on the held-out problems, and a table of what was answered."""
    settings = run.recipe.evaluation
    groups = run.sampler.groups(
        run.held_out,
        settings.samples,
        (EVALUATE, settings.seed),
        temperature=settings.temperature,
        top_p=settings.top_p,
    )
    if run.recipe.reward.paths:
        samples = [s for g in groups for s in g.samples]
        failures.watch(run.recipe.reward, run.sampler.verifier, samples, "evaluation", run.say)
    metrics = evaluation.score(groups)
    if settings.temperature == run.recipe.rollout.temperature:  # else the two speak of different distributions
        metrics["evaluation/logprob_gap_max_nats"] = run.policy.score(groups[:16])["rollout/logprob_gap_max_nats"]
    with together():
        if run.tracker:
            run.tracker.table(
                "evaluation",
                kept_rollouts.table(run.tokenizer, groups, run.recipe.tracking.rollout_rows),
                run.state.step,
            )
    return metrics


def benchmark(run: Run, watch: Watch) -> dict[str, float]:
    """Accuracy on the benchmarks, {} where there are none; what was answered stays in ``evaluation/step-NNNNNN``.

    Goes on with what is there of the same weights, after a kill in the middle.
    """
    if run.asker is None:
        return {}
    folder = run.recipe.folder / "evaluation" / f"step-{run.state.step:06d}"
    # What a run wrote that went another way from its checkpoint on is of no use.
    summary = run.asker.ask(run.benchmarks, folder, run.ranks, watch, renew=True)
    run.state.benchmarked = run.state.step
    with together():
        if run.tracker:
            write_atomic(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
            rows = summaries.samples(items.read(folder), run.recipe.tracking.rollout_rows)
            run.tracker.table("benchmarks", rows, run.state.step)
    return summaries.metrics(summary)


def finish(run: Run) -> None:
    """Export and summary."""
    recipe, state = run.recipe, run.state
    after = state.after
    export_folder(
        *(run.policy.model, run.arch, run.model_folder, recipe.folder / "export", run.ranks.is_main),
        texts=lambda: card.texts(recipe.folder, state.stage, state.step, after),
    )
    k = recipe.evaluation.samples
    if run.tracker is None:
        return
    ends = (("before", state.before), ("after", after))
    summary = {
        "accuracy_before": state.before["evaluation/pass1"],
        "accuracy_after": after["evaluation/pass1"],
        "accuracy_after_stderr": after["evaluation/pass1_stderr"],
        f"pass{k}_before": state.before[f"evaluation/pass{k}"],
        f"pass{k}_after": after[f"evaluation/pass{k}"],
        "reward_before": state.before.get("evaluation/reward_mean"),  # unknown to a run of an earlier version
        "reward_after": after.get("evaluation/reward_mean"),
        "mean_length_before": state.before["evaluation/length_tokens"],
        "mean_length_after": after["evaluation/length_tokens"],
        "logprob_gap_max_nats": after.get("evaluation/logprob_gap_max_nats"),
        "held_out_problems": len(run.held_out),
        **{f"{name}_{when}": found.get(f"evaluation/{name}_mean") for name in run.benchmarks for when, found in ends},
        "steps": state.step,
        "seconds": round(state.seconds + run.elapsed, 1),
        "base_seconds": round(state.base_seconds, 1),
        "generated_tokens": int(state.generated_tokens),
        "train_seconds": state.train_seconds,
        "export": str(recipe.folder / "export"),
        "warnings": health.warnings(recipe, state.health),
    }
    run.tracker.summary(summary)
    run.say(
        f"held-out pass@1 {summary['accuracy_before']:.3f} -> {summary['accuracy_after']:.3f}   "
        f"pass@{k} {summary[f'pass{k}_before']:.3f} -> {summary[f'pass{k}_after']:.3f}   "
        f"{state.step} steps, {summary['seconds']:.0f} s   {recipe.folder}"
    )
    for warning in summary["warnings"]:
        run.say(health.line(warning))
    if recipe.hub is not None:
        run.say(hub.push_apart(recipe.folder / "export", recipe.hub))


def memory() -> dict[str, float]:
    """Of rank 0: the process's now, and the GPU's peak of tensors since the last call."""
    found = {"memory/rank0_mib": psutil.Process().memory_info().rss / 2**20}
    if torch.cuda.is_available():
        found["memory/gpu_peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
        torch.cuda.reset_peak_memory_stats()
    return found


class Clock:
    """Seconds of each phase of a step, as metrics; tells the screen what is being done."""

    def __init__(self, announce: Callable[[str], None]):
        self.seconds: dict[str, float] = {}
        self._announce = announce

    @contextmanager
    def __call__(self, phase: str):
        self._announce(phase)
        start = time.perf_counter()
        yield
        self.seconds[f"time/{phase}_seconds"] = time.perf_counter() - start
