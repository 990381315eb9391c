"""Whether a recipe's epochs and validation can work, and how many steps its epochs are."""

from __future__ import annotations

import math

from red_mcore.config.recipe import Recipe, RecipeError


def check(recipe: Recipe) -> None:
    """RecipeError for epochs or a validation that do not go with the rest of the recipe."""
    if recipe.epochs is not None:
        _check_epochs(recipe, recipe.epochs)
    for name in ("record", "replay"):
        if recipe.data.conversations and getattr(recipe.rollout, name):
            raise RecipeError(
                f"rollout.{name} keeps no whole conversations: use data.conversations=false, or"
                f" rollout.{name}=null"
            )
    settings = recipe.validation
    if settings is None:
        return
    if settings.export == "best" and not settings.keep_best:
        raise RecipeError(
            "validation.export=best wants the best weights, which validation.keep_best=false does"
            " not keep: use keep_best=true, or export=last"
        )
    if settings.min_delta and not settings.patience:
        raise RecipeError(
            f"validation.min_delta={settings.min_delta:g} counts for validation.patience alone,"
            " which is 0: set patience, or use min_delta=0"
        )


def _check_epochs(recipe: Recipe, epochs: float) -> None:
    if recipe.algorithm.rollouts:
        raise RecipeError(
            f"epochs={epochs:g} counts passes over traces, and {type(recipe.algorithm).__name__}"
            " samples rollouts: use epochs=null and set steps"
        )
    if recipe.until is not None:
        raise RecipeError(f"epochs={epochs:g} and until exclude each other: use until=null")
    if recipe.data.mixture:
        raise RecipeError(
            f"epochs={epochs:g}: each source of data.mixture is dealt in epochs of its own:"
            " use epochs=null and set steps"
        )


def drawn_in(epochs: float, problems: int) -> int:
    """Problems that so many epochs draw in all, at least one."""
    return max(1, round(epochs * problems))


def steps_of(recipe: Recipe, problems: int) -> int:
    """The steps of the recipe with so many training problems: its ``steps``, or those of its
    ``epochs``, the last of which may draw fewer problems than the others."""
    if recipe.epochs is None:
        return recipe.steps
    return math.ceil(drawn_in(recipe.epochs, problems) / recipe.batch.prompts_per_step)
