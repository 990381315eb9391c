"""What an earlier start of the same run left behind: finished, resumable, or of another recipe. No
torch."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from red_mcore.checkpoints import identity, manifests
from red_mcore.config.fields import change_of
from red_mcore.config.recipe import Algorithm, Model, Recipe, RecipeError
from red_mcore.config.tree import CLASS, flatten, is_within, leaves, tree, without_secrets
from red_mcore.system import disk

_FILES = (
    *("summary.json", "metrics.jsonl", "recipe.yaml", "intake.json", "bad_golds.json"),
    identity.FILE,
)
"""What a run writes into its folder, at its end some of it."""
_COUNTS: tuple[str, ...] = ("steps", "generated_tokens", "train_seconds")
"""Of ``summary.json``: what tells whether a run is done; the latter two, whether one with ``until``
is."""


def checkpoints(recipe: Recipe) -> Path:
    return recipe.folder / "checkpoints"


def latest(folder: Path) -> dict[str, Any] | None:
    """Manifest of the newest checkpoint under ``folder`` that is whole as far as sizes tell; None
    where none was saved.

    RecipeError where no checkpoint is whole. A run goes by checksums, too, before it goes on
    (``manifests.newest``).
    """
    return manifests.newest(folder)[0]


def begun(recipe: Recipe) -> bool:
    """Whether the run folder holds something that the recipe would go on from, or a summary that it
    would show."""
    return latest(checkpoints(recipe)) is not None or (recipe.folder / "summary.json").is_file()


def check(recipe: Recipe) -> None:
    """RecipeError if the run folder is of a recipe that learns something else, or from something
    else.

    ``steps`` may change, down to those that are done, where no learning rate depends on it. What
    stands under the names in the recipe, data for example, is compared as far as it can be told
    before a rank starts (``identity``). A file that is damaged and cannot be made anew is
    RecipeError, too; another is told.
    """
    for name in _FILES:
        if (recipe.folder / name).is_dir():
            raise RecipeError(
                f"{recipe.folder / name} is a folder, where the run writes a file: move it away"
            )
    if not begun(recipe):
        return
    identity.check_classes(recipe)
    manifest = latest(checkpoints(recipe))
    try:
        _read_summary(recipe)
    except disk.Damaged as fault:
        if manifest is None:
            raise RecipeError(
                f"{fault}, and no checkpoint is left to make it from:"
                " put it back, or delete it to train anew"
            ) from None
        print(
            f"red_mcore: warning: {fault}: it is made anew from the newest checkpoint",
            file=sys.stderr,
            flush=True,
        )
    if manifest is not None:
        state = manifest["state"]
        _check_fields(recipe, manifest["recipe"], state["step"] * (state["stage"] == "main"))
    elif earlier := identity.read(recipe.folder).get("recipe"):
        # It is a finished run whose checkpoints were deleted.
        _check_fields(recipe, earlier, 0)
    identity.check(recipe)


def _check_fields(recipe: Recipe, earlier: dict[str, Any], done: int) -> None:
    """RecipeError where a field is another one than in ``earlier``, the flattened recipe of the
    run."""
    # A run of an earlier version was started without the fields that are new, as their defaults
    # are.
    defaults = flatten(Recipe(name="", model=Model(), algorithm=Algorithm())) | _defaults(
        recipe, earlier
    )
    then, now = json.loads(json.dumps([defaults | without_secrets(earlier), flatten(recipe)]))
    for field in sorted(then.keys() | now.keys()):
        if field not in now and field not in earlier:
            continue  # a default of a section that is off
        if then.get(field) == now.get(field) or _may_differ(recipe, field, earlier, now):
            continue
        if field == "steps" and recipe.epochs is not None:
            continue  # they follow from the epochs, which are compared, and the data
        if _is_class(field) and not _is_another(field, then, now):
            continue
        if field == "steps" and not schedules_that_differ(recipe, then["steps"]):
            if recipe.steps < done:
                raise RecipeError(
                    f"{recipe.folder} has done {done} steps, more than steps={recipe.steps}:"
                    f" use steps={done} or more, choose another name=..., or delete the folder"
                )
        else:
            raise RecipeError(
                f"{recipe.folder} was started with {field}={then.get(field)}, now it is"
                f" {now.get(field)}: go on with the old value, choose another name=..., or delete"
                " the folder"
            )


def _is_class(field: str) -> bool:
    return is_within(field, ["algorithm"]) and field.endswith(f".{CLASS}")


def _is_another(field: str, then: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a class has another name; the module that it is in may have changed.

    A run of an earlier version has no class in its recipe, but in its ``identity``.
    """
    names = [str(recipe.get(field)).rpartition(":")[2] for recipe in (then, now)]
    return "algorithm.class" in then and names[0] != names[1]


def _may_differ(recipe: Recipe, field: str, then: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a run may go on where it had another value in a field (``then`` and ``now``:
    flattened recipes)."""
    section: Any = recipe
    names: list[str] = []
    for part in field.split("."):
        if not is_dataclass(section):
            return False
        names.append(part)
        name = ".".join(names)
        change = change_of(type(section), part)
        if change is not None and (change.value or not (_is_on(name, then) and _is_on(name, now))):
            return True
        section = getattr(section, part, None)
    return False


def _defaults(section: Any, earlier: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Defaults, by full name, of the fields of ``section`` and of those sections in it that were on
    ``earlier``."""
    found: dict[str, Any] = {}
    for field in fields(section):
        name, now = prefix + field.name, getattr(section, field.name)
        default = field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        if is_dataclass(default):
            found |= leaves(tree(default), f"{name}.")
        elif default is not MISSING and not isinstance(default, dict):
            found[name] = default  # but of a mapping, whose entries have none
        if is_dataclass(now) and _is_on(name, earlier):
            found |= _defaults(now, earlier, f"{name}.")
    return found


def _is_on(section: str, recipe: dict[str, Any]) -> bool:
    return any(key.startswith(f"{section}.") for key in recipe)


def same_tracker(recipe: Recipe, earlier: dict[str, Any]) -> bool:
    """Whether runs of MLflow are to be found where they were under ``earlier``, a flattened
    recipe."""
    now = flatten(recipe)
    then = without_secrets(earlier)  # an earlier version kept them
    return all(then.get(field) == now[field] for field in ("tracking.uri", "tracking.experiment"))


def schedules_that_differ(recipe: Recipe, steps: int) -> list[str]:
    """The optimizers whose learning rates would be others in a run of ``steps`` steps instead of
    ``recipe.steps``."""
    there = recipe.algorithm.optimizers(replace(recipe, steps=steps))
    differing = []
    for name, (settings, updates) in recipe.algorithm.optimizers(recipe).items():
        if settings.schedule != "constant" and updates != there[name][1]:
            differing.append(name)
    return differing


def _read_summary(recipe: Recipe) -> dict[str, Any] | None:
    """``summary.json`` of the run, None where it has none yet; Damaged."""
    file = recipe.folder / "summary.json"
    summary = disk.read_object(file)
    if summary is None:
        return None
    names = _COUNTS
    if recipe.until is None:
        names = _COUNTS[:1]
    for name in names:
        value = summary.get(name)
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise disk.Damaged(f"{file} is damaged (its '{name}' is {json.dumps(value)[:60]})")
    return summary


def finished(recipe: Recipe) -> dict[str, Any] | None:
    """The summary of a run that has done the recipe's steps, or more, and spent what it has to;
    None otherwise.

    A damaged one is none: the run goes on from its newest checkpoint to the end, and writes it anew
    (see ``check``).
    """
    try:
        summary = _read_summary(recipe)
    except disk.Damaged:
        return None
    if summary is None:
        return None
    patience = recipe.validation.patience if recipe.validation else 0
    if summary.get("stopped_early") and 0 < patience <= summary["measurements_without_gain"]:
        return summary
    if recipe.epochs is not None:  # only the data tell their steps
        is_done = summary.get("epochs") == recipe.epochs and not summary.get("stopped_early")
        return summary if is_done else None
    if summary["steps"] < recipe.steps:
        return None
    until = recipe.until
    if until is None or summary["steps"] >= until.most_steps:
        return summary
    tokens, seconds = until.budgets
    if summary["generated_tokens"] >= tokens and summary["train_seconds"] >= seconds:
        return summary
    return None
