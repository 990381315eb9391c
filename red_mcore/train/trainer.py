"""The loop: sample, grade, score, weigh, update, teach, publish, evaluate, save."""

from __future__ import annotations

import math

import psutil
import torch

from red_mcore.config.recipe import Recipe
from red_mcore.convert import card, hub
from red_mcore.convert.hf import export_folder, stream_weights
from red_mcore.megatron.ranks import from_main
from red_mcore.models.rules import hf_shapes
from red_mcore.system.exit_codes import INTERRUPTED
from red_mcore.train import health, kept_rollouts
from red_mcore.train.base import train_base
from red_mcore.train.clock import Clock
from red_mcore.train.evaluating import benchmark, benchmark_alone, evaluate, evaluate_alone, show
from red_mcore.train.groups import collect
from red_mcore.train.setup import Run, build
from red_mcore.train.step import learn


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
