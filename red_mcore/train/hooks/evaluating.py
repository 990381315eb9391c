"""The policy measured on the way: before the first step, at intervals, and after the last one."""

from __future__ import annotations

import json
from collections.abc import Sequence

from red_mcore.evaluation import items
from red_mcore.evaluation import metrics as evaluation
from red_mcore.evaluation import summary as summaries
from red_mcore.megatron.ranks import together
from red_mcore.rewards import failures
from red_mcore.samples.records import samples_of
from red_mcore.samples.responses import Response
from red_mcore.system.disk import write_atomic
from red_mcore.tracking.console import Watch, Watched
from red_mcore.train import health
from red_mcore.train.groups import EVALUATE
from red_mcore.train.hooks.budgets import done
from red_mcore.train.hooks.hook import Hook
from red_mcore.train.hooks.kept_rollouts import row
from red_mcore.train.run import Run
from red_mcore.train.step import Step
from red_mcore.train.validation import first_row

SHOWN_EACH = 2
"""Responses to a held-out problem in a table."""
COMPARED = 16
"""Held-out problems on which engine and trainer are compared."""


class Evaluating(Hook):
    """Held-out problems and benchmarks, each at its own interval."""

    def before_training(self, run: Run) -> None:
        state = run.state
        if state.before is None:
            state.before = state.after = evaluate_alone(run) | benchmark_alone(run)
            run.log(state.before | first_row(state))

    def after_step(self, run: Run, step: Step) -> None:
        state, settings, last = run.state, run.recipe.evaluation, done(run)
        if last or step.spends_budget or due(settings.every, state.step):
            with step.clock("evaluate"):
                state.after = evaluate(run)
            step.metrics |= state.after
            show(run, state.after)
        every = 0
        if settings.benchmarks is not None:
            every = settings.benchmarks.every
        if run.evaluator is not None and (last or due(every, state.step)):
            with step.clock("benchmark"):
                found = benchmark(run, run.sampler.watch)
            state.after = (state.after or {}) | found
            step.metrics |= found
            show(run, found)

    def after_training(self, run: Run) -> None:
        """A run that was stopped between evaluations, and then asked for no more steps, lacks the
        last."""
        state = run.state
        if run.stopping:
            return
        if state.evaluated != state.step:
            state.after = evaluate_alone(run)
        if run.evaluator is not None and state.benchmarked != state.step:
            state.after = (state.after or {}) | benchmark_alone(run)


def due(every: int, step: int) -> bool:
    """Whether an interval, 0 for never, ends with this step."""
    return bool(every) and step % every == 0


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
    """``found``, with its lines and warnings on the screen."""
    show(run, found)
    for warning in health.watch(run.recipe, run.state.health, run.state.step, found):
        run.say(health.line(warning))
    return found


def show(run: Run, found: dict[str, float]) -> None:
    """Say the results of an evaluation."""
    when = "before training"
    if run.state.step:
        when = f"step {run.state.step}"
    for text in evaluation.told(found, run.benchmarks):
        run.say(f"{when}: {text}")


def evaluate(run: Run) -> dict[str, float]:
    """Accuracy on the held-out problems, and a table of what was answered; a collective."""
    settings, reward = run.recipe.evaluation, run.recipe.reward
    groups = run.sampler.groups(
        run.held_out,
        settings.samples,
        (EVALUATE, settings.seed),
        temperature=settings.temperature,
        top_p=settings.top_p,
    )
    if reward.paths:
        failures.watch(reward, run.sampler.verifier, samples_of(groups), "evaluation", run.say)
    responses = evaluation.responses_of(groups)
    metrics = summaries.held_out_metrics(responses)
    # At another temperature the engine's log-probs and the trainer's are of different
    # distributions.
    if settings.temperature == run.recipe.rollout.temperature:
        gap = run.policy.score(groups[:COMPARED])["rollout/logprob_gap_max_nats"]
        metrics["evaluation/logprob_gap_max_nats"] = gap
    with together():
        keep_table(run, "evaluation", [each for each in responses if each.sample < SHOWN_EACH])
    run.state.evaluated = run.state.step
    return metrics


def benchmark(run: Run, watch: Watch) -> dict[str, float]:
    """Accuracy on the benchmarks, {} where there are none; a collective.

    What was answered stays in ``evaluation/step-NNNNNN``; after a kill in the middle, what is there
    of the same weights is not asked again.
    """
    if run.evaluator is None:
        return {}
    folder = run.recipe.folder / "evaluation" / f"step-{run.state.step:06d}"
    # What a run wrote that went another way from its checkpoint on is of no use.
    summary = run.evaluator.ask(run.benchmarks, folder, run.ranks, watch, renew=True)
    run.state.benchmarked = run.state.step
    with together():
        if run.tracker:
            write_atomic(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
            keep_table(run, "benchmarks", [each for each in items.read(folder) if each.sample == 0])
    return summaries.metrics(summary)


def keep_table(run: Run, name: str, responses: Sequence[Response]) -> None:
    """Keep the first responses, as many as ``tracking.rollout_rows``, to be read; rank 0 has a
    tracker."""
    if run.tracker:
        picked = responses[: run.recipe.tracking.rollout_rows]
        rows = [row(run.tokenizer, response) for response in picked]
        run.tracker.table(name, rows, run.state.step)
