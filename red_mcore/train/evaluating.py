"""The policy measured on the way: held-out problems and benchmarks."""

from __future__ import annotations

import json

from red_mcore.evaluation import items
from red_mcore.evaluation import metrics as evaluation
from red_mcore.evaluation import summary as summaries
from red_mcore.megatron.ranks import together
from red_mcore.rewards import failures
from red_mcore.system.disk import write_atomic
from red_mcore.tracking.console import Watch
from red_mcore.train import kept_rollouts
from red_mcore.train.groups import EVALUATE
from red_mcore.train.run import Run


def show(run: Run, found: dict[str, float]) -> None:
    """Say the results of an evaluation."""
    when = f"step {run.state.step}" if run.state.step else "before training"
    for text in evaluation.told(found, run.benchmarks):
        run.say(f"{when}: {text}")


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
    run.state.evaluated = run.state.step
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
