"""What an earlier start of the same run left behind: finished, resumable, or of another recipe. No torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from red_mcore.recipe import Recipe, RecipeError, flatten

_MAY_CHANGE = (
    "runs",
    "parallel.",
    "tracking.",
    "checkpoint.",
    "evaluation.every",
    "rollout.tensor",
    "rollout.kv_cache_mib",
    "rollout.logprob_gap_limit",
    "reward.workers",
    "batch.tokens_per_micro_batch",
)
"""Fields that change neither what is learnt nor how it is measured."""


def checkpoints(recipe: Recipe) -> Path:
    return recipe.folder / "checkpoints"


def latest(folder: Path) -> dict[str, Any] | None:
    """Manifest of the newest complete checkpoint under ``folder``; None where there is none."""
    pointer = folder / "latest"
    if not pointer.is_file():
        return None
    file = folder / pointer.read_text().strip() / "manifest.json"
    if not file.is_file():
        raise RecipeError(f"{pointer} names a checkpoint without {file}: delete {folder} to start anew")
    return json.loads(file.read_text())


def check(recipe: Recipe) -> None:
    """RecipeError if the run folder holds a checkpoint of a recipe that learns something else."""
    manifest = latest(checkpoints(recipe))
    if manifest is None:
        return
    then, now = manifest["recipe"], json.loads(json.dumps(flatten(recipe)))
    for field in sorted(then.keys() | now.keys()):
        if then.get(field) != now.get(field) and not field.startswith(_MAY_CHANGE):
            raise RecipeError(
                f"{recipe.folder} was started with {field}={then.get(field)}, now it is {now.get(field)}: "
                "go on with the old value, choose another name=..., or delete the folder"
            )


def finished(recipe: Recipe) -> dict[str, Any] | None:
    """The summary of a run that has done all its steps; None otherwise."""
    file = recipe.folder / "summary.json"
    return json.loads(file.read_text()) if file.is_file() else None
