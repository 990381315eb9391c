"""What an earlier start of the same run left behind: finished, resumable, or of another recipe. No torch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from red_mcore import manifests
from red_mcore.overrides import flatten
from red_mcore.recipe import Model, Recipe, RecipeError

_MAY_CHANGE = (
    "runs",
    "until",
    "parallel.",
    "offload.",
    "model.layers",
    "tracking.",
    "checkpoint.",
    "evaluation.every",
    "evaluation.benchmarks",
    "rollout.tensor",
    "rollout.kv_cache_mib",
    "rollout.eager",
    "rollout.logprob_gap_limit",
    "rollout.record",
    "rollout.replay",
    "reward.workers",
    "batch.tokens_per_micro_batch",
)
"""Fields that change neither what is learnt nor how it is measured; ``replay`` is for debugging."""


def checkpoints(recipe: Recipe) -> Path:
    return recipe.folder / "checkpoints"


def latest(folder: Path) -> dict[str, Any] | None:
    """Manifest of the newest checkpoint under ``folder`` that is whole as far as sizes tell; None where none was saved.

    RecipeError where no checkpoint is whole. A run goes by checksums, too, before it goes on (``manifests.newest``).
    """
    return manifests.newest(folder)[0]


def check(recipe: Recipe) -> None:
    """RecipeError if the run folder holds a checkpoint of a recipe that learns something else.

    ``steps`` may change, down to those that are done, where no learning rate depends on it.
    """
    manifest = latest(checkpoints(recipe))
    if manifest is None:
        return
    # A run of an earlier version was started without the fields that are new, as their defaults are.
    defaults = flatten(Recipe(name="", model=Model(), algorithm=type(recipe.algorithm)()))
    then, now = json.loads(json.dumps([defaults | manifest["recipe"], flatten(recipe)]))
    for field in sorted(then.keys() | now.keys()):
        if field not in now and field not in manifest["recipe"]:
            continue  # a default of a section that is off
        if then.get(field) == now.get(field) or field.startswith(_MAY_CHANGE):
            continue
        if field == "steps" and not schedules_that_differ(recipe, then["steps"]):
            done = manifest["state"]["step"] if manifest["state"]["stage"] == "main" else 0
            if recipe.steps < done:
                raise RecipeError(
                    f"{recipe.folder} has done {done} steps, more than steps={recipe.steps}:"
                    f" use steps={done} or more, choose another name=..., or delete the folder"
                )
        else:
            raise RecipeError(
                f"{recipe.folder} was started with {field}={then.get(field)}, now it is {now.get(field)}: "
                "go on with the old value, choose another name=..., or delete the folder"
            )


def schedules_that_differ(recipe: Recipe, steps: int) -> list[str]:
    """The optimizers whose learning rates would be others in a run of ``steps`` steps instead of ``recipe.steps``."""
    there = recipe.algorithm.optimizers(replace(recipe, steps=steps))
    return [
        name
        for name, (settings, updates) in recipe.algorithm.optimizers(recipe).items()
        if settings.schedule != "constant" and updates != there[name][1]
    ]


def finished(recipe: Recipe) -> dict[str, Any] | None:
    """The summary of a run that has done the recipe's steps, or more, and spent what it has to; None otherwise."""
    file = recipe.folder / "summary.json"
    summary = json.loads(file.read_text()) if file.is_file() else None
    if summary is None or summary["steps"] < recipe.steps:
        return None
    until = recipe.until
    if until is None or summary["steps"] >= until.most_steps:
        return summary
    spent = (summary["generated_tokens"], summary["train_seconds"])
    return summary if all(now >= wanted for now, wanted in zip(spent, until.budgets, strict=True)) else None
