"""The bounds of a recipe's numbers, each by itself; what they are together is for ``validation.py``."""

from __future__ import annotations

import math
import re

from red_mcore.overrides import flatten
from red_mcore.recipe import Recipe, RecipeError

_AT_LEAST = {
    "steps": 0,
    "seed": 0,
    "parallel.ranks": 1,
    "parallel.tensor": 1,
    "parallel.pipeline": 1,
    "parallel.virtual": 1,
    "parallel.context": 1,
    "parallel.expert": 1,
    "batch.prompts_per_step": 1,
    "batch.samples_per_prompt": 1,
    "batch.updates_per_step": 1,
    "batch.refills": 0,
    "rollout.max_prompt_tokens": 1,
    "rollout.max_response_tokens": 1,
    "rollout.tensor": 1,
    "rollout.kv_cache_mib": 1,
    "reward.workers": 1,
    "reward.overlong.buffer": 1,
    "reward.repetition.ngram": 1,
    "reward.accuracy": 0,
    "algorithm.gate": 0,
    "algorithm.demonstrations": 1,
    "algorithm.sft_steps": 1,
    "algorithm.first_lessons": 1,
    "algorithm.fade_steps": 1,
    "algorithm.lesson_traces": 1,
    "algorithm.probe_prompts": 1,
    "algorithm.episodes": 2,
    "algorithm.imitation.warmup_steps": 0,
    "algorithm.imitation.weight_decay": 0,
    "algorithm.imitation.clip_grad": 0,
    "algorithm.imitation.skip_grad": 0,
    "algorithm.warmup_steps": 0,
    "algorithm.decay_steps": 0,
    "optimizer.warmup_steps": 0,
    "optimizer.weight_decay": 0,
    "optimizer.clip_grad": 0,
    "optimizer.skip_grad": 0,
    "until.generated_tokens": 0,
    "until.train_seconds": 0,
    "until.most_steps": 1,
    "base.steps": 1,
    "base.sequences_per_step": 1,
    "base.optimizer.warmup_steps": 0,
    "base.optimizer.weight_decay": 0,
    "base.optimizer.clip_grad": 0,
    "base.optimizer.skip_grad": 0,
    "checkpoint.every": 0,
    "checkpoint.keep": 1,
    "checkpoint.keep_every": 0,
    "tracking.rollout_rows": 0,
    "tracking.rollouts_every": 0,
    "evaluation.every": 0,
    "evaluation.benchmarks.every": 0,
    "evaluation.benchmarks.limit": 1,
    "evaluation.samples": 1,
    "evaluation.temperature": 0,
    "data.held_out": 1,
    "evaluation.seed": 0,
}
_ABOVE_ZERO = (
    "rollout.temperature",
    "rollout.top_p",
    "rollout.logprob_gap_limit",
    "reward.timeout_seconds",
    "reward.format.weight",
    "reward.overlong.weight",
    "reward.repetition.weight",
    "algorithm.constant",
    "algorithm.gamma",
    "algorithm.clip_low",
    "algorithm.clip_high",
    "optimizer.lr",
    "optimizer.eps",
    "base.optimizer.lr",
    "base.optimizer.eps",
    "algorithm.imitation.lr",
    "algorithm.imitation.eps",
    "evaluation.top_p",
    "checkpoint.timeout_seconds",
)
_AT_MOST_ONE = (
    "rollout.top_p",
    "evaluation.top_p",
    "optimizer.min_lr_ratio",
    "optimizer.decay_fraction",
    "algorithm.peak",
    "algorithm.valley",
    "algorithm.entropy_ema",
    "algorithm.accuracy_ema",
    "algorithm.band_low",
    "algorithm.band_high",
    "algorithm.imitation.min_lr_ratio",
    "algorithm.imitation.decay_fraction",
    "base.optimizer.min_lr_ratio",
    "base.optimizer.decay_fraction",
)


def check_numbers(recipe: Recipe) -> None:
    """RecipeError, one line with the field, the number and the fix, for a number out of its bounds."""
    values = {name: value for name, value in flatten(recipe).items() if value is not None}
    for name, least in _AT_LEAST.items():
        if name in values and not values[name] >= least:
            raise RecipeError(f"{name}={values[name]} is too small: use {least} or more")
    for name in _ABOVE_ZERO:
        if name in values and not 0 < values[name] < math.inf:
            raise RecipeError(f"{name}={values[name]} is not a positive number: use one above 0")
    for name in _AT_MOST_ONE:
        if name in values and not 0 <= values[name] <= 1:
            raise RecipeError(f"{name}={values[name]} is not a fraction: use 0 to 1")
    for name in ("optimizer.betas", "base.optimizer.betas", "algorithm.imitation.betas"):
        if name in values and not all(0 <= beta < 1 for beta in values[name]):
            raise RecipeError(f"{name}={list(values[name])} has to lie in [0, 1): the usual ones are [0.9, 0.95]")
    if not re.fullmatch(r"\w[\w.+-]*(/\w[\w.+-]*)*", recipe.name):
        raise RecipeError(f"name='{recipe.name}' becomes a folder: use letters, digits and . _ + - only")
