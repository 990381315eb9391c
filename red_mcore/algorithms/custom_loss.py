"""GRPO's groups under a token loss of one's own, by import path.

A recipe says ``algorithm=CustomLoss(loss="my_losses:smooth")``; the function is given the tensors
of a micro-batch and returns the loss of each token, to be minimised:

    def smooth(inputs: LossInputs) -> Tensor:          # all [T]
        drift = inputs.sequence_mean(inputs.logp - inputs.old_logp)
        return -inputs.advantage * inputs.logp + 0.1 * drift.square()

Whatever needs more than a loss is an algorithm: a class of its own (``base``).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from red_mcore.algorithms.base import Aggregation, ComponentLosses, State
from red_mcore.algorithms.entropy_bonus import EntropyBonus
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.losses.inputs import LossInputs

if TYPE_CHECKING:  # torch stays out of planning
    from torch import Tensor


@dataclass
class CustomLoss(EntropyBonus):
    """Rollouts only, with GRPO's advantages."""

    aggregation: Aggregation = "sequence"
    loss: str = ""
    """Import path of the token loss, ``package.module:function``: LossInputs -> [T]."""

    def check(self, recipe: Recipe) -> None:
        super().check(recipe)
        find_loss(self.loss)

    def token_losses(self, inputs: LossInputs, state: State, step: int) -> ComponentLosses:
        return {"rl": find_loss(self.loss)(inputs), "entropy": -inputs.entropy}


@cache
def find_loss(path: str) -> Callable[[LossInputs], Tensor]:
    """The function of that import path. RecipeError where there is none."""
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise RecipeError(
            f"algorithm.loss='{path}' is no import path: write package.module:function",
        )
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # whatever a user's module may raise
        kind = type(error).__name__
        raise RecipeError(
            f"algorithm.loss={path} cannot be imported ({kind}: {error}): run where {module} is,"
            " name its folder in imports=[...], or set PYTHONPATH"
        ) from error
    if not callable(found):
        raise RecipeError(f"algorithm.loss={path}: {module} has no function '{name}'")
    return found
