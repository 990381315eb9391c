"""How a run ended: ``summary.json`` and a few lines, or how to go on."""

from __future__ import annotations

from typing import Any

from red_mcore.train import health, validation
from red_mcore.train.hooks.hook import Hook
from red_mcore.train.run import Run


class LastWords(Hook):
    """Rank 0 sums up what all steps came to; an interrupted run says what is saved."""

    def after_training(self, run: Run) -> None:
        if run.stopping:
            tell_warnings(run)
            where = f"{run.state.stage} step {run.state.step}"
            run.say(f"interrupted after {where}, saved: run the same command to go on")
        elif run.tracker is not None:
            summary = summarise(run)
            run.tracker.summary(summary)
            run.say(sentence(run, summary))
            tell_warnings(run)


def tell_warnings(run: Run) -> None:
    """Print what still holds, or held most of the time."""
    for warning in health.warnings(run.recipe, run.state.health):
        run.say(health.line(warning))


def summarise(run: Run) -> dict[str, Any]:
    """The content of ``summary.json``: before and after, what it took, and what was wrong."""
    recipe, state = run.recipe, run.state
    before, after, k = state.before, state.after, recipe.evaluation.samples
    assert before is not None  # measured before the first step, and after the last
    assert after is not None
    summary: dict[str, Any] = {
        "accuracy_before": before["evaluation/pass1"],
        "accuracy_after": after["evaluation/pass1"],
        "accuracy_after_stderr": after["evaluation/pass1_stderr"],
        f"pass{k}_before": before[f"evaluation/pass{k}"],
        f"pass{k}_after": after[f"evaluation/pass{k}"],
        "reward_before": before.get("evaluation/reward_mean"),  # an earlier version knew none
        "reward_after": after.get("evaluation/reward_mean"),
        "mean_length_before": before["evaluation/length_tokens"],
        "mean_length_after": after["evaluation/length_tokens"],
        "logprob_gap_max_nats": after.get("evaluation/logprob_gap_max_nats"),
        "held_out_problems": len(run.held_out),
    }
    for name in run.benchmarks:
        summary[f"{name}_before"] = before.get(f"evaluation/{name}_mean")
        summary[f"{name}_after"] = after.get(f"evaluation/{name}_mean")
    return (
        summary
        | validation.summary(recipe, state)
        | {
            "steps": state.step,
            "epochs": recipe.epochs,
            "seconds": round(state.seconds + run.elapsed, 1),
            "base_seconds": round(state.base_seconds, 1),
            "generated_tokens": int(state.generated_tokens),
            "train_seconds": state.train_seconds,
            "export": str(recipe.folder / "export"),
            "warnings": health.warnings(recipe, state.health),
        }
    )


def sentence(run: Run, summary: dict[str, Any]) -> str:
    """The summary in a line."""
    k = run.recipe.evaluation.samples
    return (
        f"held-out pass@1 {summary['accuracy_before']:.3f} -> {summary['accuracy_after']:.3f}   "
        f"pass@{k} {summary[f'pass{k}_before']:.3f} -> {summary[f'pass{k}_after']:.3f}   "
        f"{summary['steps']} steps, {summary['seconds']:.0f} s   {run.recipe.folder}"
    )
