"""Whether a recipe's numbers go together: with each other, and with the model's shape. No file is
read."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from red_mcore.algorithms.mixins import stage_of
from red_mcore.checkpoints.resume import schedules_that_differ
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.models.architecture import Architecture
from red_mcore.planning.memory import BYTES
from red_mcore.rewards import functions
from red_mcore.system import devices

CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""Head sizes that vLLM's attention on a CPU knows."""
CPU_EXPERT_MULTIPLE = 32
"""What vLLM's experts on a CPU have as widths, else padded once, which a publication cannot do
again."""
CPU_CACHE_BLOCK = 128
"""Tokens in one block of vLLM's key-value cache on a CPU."""
TERMS = ("accuracy", "format", "overlong", "repetition")
"""The terms of the reward that are not a user's; metrics are named after terms."""


def check(recipe: Recipe) -> None:
    """RecipeError for numbers that do not go together, whatever the model is."""
    _check_ranks(recipe)
    _check_batch(recipe)
    _check_reward(recipe)
    _check_evaluation(recipe)
    _check_checkpoint(recipe)


def check_shape(recipe: Recipe, architecture: Architecture) -> None:
    """RecipeError for numbers that a policy of this shape forbids."""
    check_layout(recipe, architecture)
    _check_engine(recipe, architecture)


def check_layout(recipe: Recipe, architecture: Architecture) -> None:
    """The same of a model that only scores."""
    _check_parts(recipe, architecture)
    _check_lengths(recipe, architecture)
    _check_experts(recipe, architecture)


def check_until(recipe: Recipe) -> None:
    """RecipeError where ``until`` does not go with the steps, the schedules or the algorithm."""
    until = recipe.until
    if until is None:
        return
    if until.most_steps < recipe.steps:
        raise RecipeError(
            f"until.most_steps={until.most_steps} is less than steps={recipe.steps}:"
            " use that or more"
        )
    for name in schedules_that_differ(recipe, until.most_steps):
        settings, _ = recipe.algorithm.optimizers(recipe)[name]
        where = f"algorithm.{name}"
        if name == "main":
            where = "optimizer"
        raise RecipeError(
            f"until makes the number of steps unknown, which {where}.schedule={settings.schedule}"
            f" depends on: use {where}.schedule=constant, or until=null"
        )
    if until.generated_tokens and not stage_of(recipe.algorithm, until.most_steps - 1).rollouts:
        raise RecipeError(
            f"until.generated_tokens={until.generated_tokens:g}:"
            f" {type(recipe.algorithm).__name__} generates none, use 0"
        )


def _check_ranks(recipe: Recipe) -> None:
    parallel, rollout = recipe.parallel, recipe.rollout
    model = parallel.tensor * parallel.pipeline * parallel.context
    if parallel.ranks % model:
        lower = parallel.ranks // model * model
        fits = f"{model}"
        if lower:
            fits = f"{lower} or {lower + model}"
        raise RecipeError(
            f"parallel.ranks={parallel.ranks} is not a multiple of parallel.tensor x"
            f" parallel.pipeline x parallel.context = {parallel.tensor} x {parallel.pipeline} x"
            f" {parallel.context} = {model}: use {fits} ranks"
        )
    if parallel.virtual > 1 and parallel.pipeline == 1:
        raise RecipeError(
            f"parallel.virtual={parallel.virtual} needs parallel.pipeline above 1:"
            " use pipeline=2 or more, or virtual=1"
        )
    if parallel.virtual > 1 and parallel.pipeline == 2 and not devices.has_gpu():
        # The previous and the next stage are the same rank, whose messages gloo tells apart by
        # their order alone.
        raise RecipeError(
            f"parallel.virtual={parallel.virtual} with parallel.pipeline=2 gives wrong results on"
            " CPUs: use pipeline=3 or more, or virtual=1"
        )
    data = f"the {parallel.data} data-parallel ranks (ranks / (tensor x pipeline x context))"
    _check_divides("parallel.expert", parallel.expert, data, parallel.data)
    if parallel.expert > 1 and (parallel.context > 1 or parallel.virtual > 1):
        raise RecipeError(
            f"parallel.expert={parallel.expert} does not go with"
            f" parallel.context={parallel.context} and parallel.virtual={parallel.virtual} yet:"
            " use expert=1, or 1 for both"
        )
    if parallel.sequence and parallel.tensor == 1:
        raise RecipeError(
            "parallel.sequence=true needs parallel.tensor above 1:"
            " use tensor=2 or more, or sequence=false"
        )
    ranks = f"parallel.ranks={parallel.ranks}"
    _check_divides("rollout.tensor", rollout.tensor, ranks, parallel.ranks)


def _check_batch(recipe: Recipe) -> None:
    batch, algorithm = recipe.batch, recipe.algorithm
    if batch.updates_per_step > batch.prompts_per_step:
        raise RecipeError(
            f"batch.updates_per_step={batch.updates_per_step} exceeds"
            f" batch.prompts_per_step={batch.prompts_per_step}, and an update takes whole groups:"
            f" use {batch.prompts_per_step} or fewer"
        )
    is_compared = algorithm.rollouts and algorithm.compares
    if is_compared and batch.samples_per_prompt + algorithm.traces < 2:
        raise RecipeError(
            f"batch.samples_per_prompt={batch.samples_per_prompt} makes groups of 1, which"
            f" {type(algorithm).__name__} cannot compare: use 2 or more"
        )
    if batch.refills and not algorithm.rollouts:
        raise RecipeError(
            f"batch.refills={batch.refills}: {type(algorithm).__name__} samples nothing"
            " that could be sampled anew: use 0"
        )
    sequence, told = _longest_sequence(recipe)
    if batch.tokens_per_micro_batch < sequence:
        raise RecipeError(
            f"batch.tokens_per_micro_batch={batch.tokens_per_micro_batch} cannot hold one sequence"
            f" of {told}: use {sequence} or more"
        )


def _check_reward(recipe: Recipe) -> None:
    reward, longest = recipe.reward, recipe.rollout.max_response_tokens
    if reward.overlong is not None and reward.overlong.buffer > longest:
        raise RecipeError(
            f"reward.overlong.buffer={reward.overlong.buffer} is longer than"
            f" rollout.max_response_tokens={longest}: use at most that"
        )
    if not reward.wrong < 1:
        raise RecipeError(
            f"reward.wrong={reward.wrong} is no less than the 1 of a correct answer: use 0 or -1"
        )
    if reward.answer_after == "":
        raise RecipeError(
            "reward.answer_after is an empty text, which stands everywhere:"
            " use null, or a mark like </think>"
        )
    if reward.format is not None:
        tags = reward.format.tags
        are_names = all(re.fullmatch(r"[\w-]+", tag) for tag in tags)
        if not tags or len(set(tags)) < len(tags) or not are_names:
            raise RecipeError(
                f"reward.format.tags={tags}: use one or more different names, e.g. [think, answer]"
            )
    if reward.verdict is not None:
        functions.check_path("reward.verdict", reward.verdict)
    names = {*TERMS}
    for path in reward.functions:
        name = path.partition(":")[2]
        if name in names:
            raise RecipeError(
                f"reward.functions: there is another term named '{name}': rename that of '{path}'"
            )
        names.add(name)
        functions.check_path("reward.functions", path)


def _check_evaluation(recipe: Recipe) -> None:
    evaluation = recipe.evaluation
    if evaluation.temperature == 0 and evaluation.samples > 1:
        raise RecipeError(
            f"evaluation.temperature=0 gives {evaluation.samples} equal samples:"
            " use evaluation.samples=1, or a temperature above 0"
        )


def _check_checkpoint(recipe: Recipe) -> None:
    settings, evaluation = recipe.checkpoint, recipe.evaluation
    every = settings.every
    if settings.keep_every and (not every or settings.keep_every % every):
        use = f"a multiple of {every}"
        if not every:
            use = "checkpoint.every above 0"
        raise RecipeError(
            f"checkpoint.keep_every={settings.keep_every} is no multiple of"
            f" checkpoint.every={every}: use {use}"
        )
    if settings.keep_best is None:
        return
    names = ("pass1", f"pass{evaluation.samples}", "reward_mean", "length_tokens", "truncated")
    known = [f"evaluation/{name}" for name in names]
    which, evaluated = "evaluation.every", evaluation.every
    if evaluation.benchmarks is not None:
        means = [f"evaluation/{name}_mean" for name in (*evaluation.benchmarks.names, "average")]
        known += means
        if settings.keep_best in means:
            which, evaluated = "evaluation.benchmarks.every", evaluation.benchmarks.every
    if settings.keep_best not in known:
        raise RecipeError(
            f"checkpoint.keep_best={settings.keep_best[:80]} is no metric of an evaluation:"
            f" use {_either(known)}"
        )
    if not evaluated or not every or every % evaluated:
        raise RecipeError(
            "checkpoint.keep_best wants an evaluation at each checkpoint, but"
            f" checkpoint.every={every} is no multiple of {which}={evaluated}: use such a multiple"
        )


def _check_parts(recipe: Recipe, a: Architecture) -> None:
    """What tensor and pipeline parallel split has to be split evenly."""
    parallel, rollout = recipe.parallel, recipe.rollout
    ffn = "intermediate_size"
    if a.experts is not None:
        ffn = "moe_intermediate_size"
    sizes = {"num_attention_heads": a.heads, "num_key_value_heads": a.kv_groups, ffn: a.ffn_size}
    if a.head_dim % 2:
        raise RecipeError(
            f"model: head_dim={a.head_dim} (or hidden_size / num_attention_heads) is odd, and"
            " rotations turn pairs"
        )
    heads = f"num_attention_heads={a.heads}"
    _check_divides("model: num_key_value_heads", a.kv_groups, heads, a.heads)
    common = math.gcd(*sizes.values())
    for field, tensor, fits in (
        ("parallel.tensor", parallel.tensor, common),
        ("rollout.tensor", rollout.tensor, math.gcd(common, parallel.ranks)),
    ):
        for name, size in sizes.items():
            _check_divides(field, tensor, f"{name}={size}", size, fits)
    layers = f"num_hidden_layers={a.layers}"
    _check_divides("parallel.pipeline", parallel.pipeline, layers, a.layers)
    stage = a.layers // parallel.pipeline
    layers = f"num_hidden_layers / parallel.pipeline = {a.layers} / {parallel.pipeline} = {stage}"
    _check_divides("parallel.virtual", parallel.virtual, layers, stage)


def _check_lengths(recipe: Recipe, a: Architecture) -> None:
    sequence, told = _longest_sequence(recipe)
    if sequence > a.max_positions:
        raise RecipeError(
            f"{told} exceeds max_position_embeddings={a.max_positions}: shorten one, or raise the"
            " latter in model.config"
        )
    if a.window is not None and sequence > a.window:
        raise RecipeError(
            f"{told} exceeds sliding_window={a.window}, beyond which attention would have to"
            " forget: shorten one"
        )


def _check_experts(recipe: Recipe, a: Architecture) -> None:
    parallel = recipe.parallel
    if a.experts is None:
        if parallel.expert > 1:
            raise RecipeError(
                f"parallel.expert={parallel.expert}, but the model has no experts: use 1"
            )
        return
    count = f"num_experts={a.experts.count}"
    _check_divides("parallel.expert", parallel.expert, count, a.experts.count)
    if parallel.virtual > 1:
        raise RecipeError(
            f"parallel.virtual={parallel.virtual} is not supported for a model with experts: use 1"
        )
    if parallel.tensor > 1 and not parallel.sequence:
        raise RecipeError(
            f"parallel.tensor={parallel.tensor} of a model with experts needs sequence parallel:"
            " use parallel.sequence=true"
        )


def _check_engine(recipe: Recipe, a: Architecture) -> None:
    """What vLLM has to have room for, and can compute on a CPU."""
    rollout = recipe.rollout
    sequence, _ = _longest_sequence(recipe)
    token = 2 * a.layers * a.kv_groups // rollout.tensor * a.head_dim * BYTES[recipe.model.dtype]
    # In whole blocks, without which the engine does not take the sequence.
    tokens = math.ceil(sequence / CPU_CACHE_BLOCK) * CPU_CACHE_BLOCK
    needed = math.ceil(tokens * token / 2**20)
    if rollout.kv_cache_mib < needed:
        raise RecipeError(
            f"rollout.kv_cache_mib={rollout.kv_cache_mib} cannot hold one sequence of {sequence}"
            f" tokens at {token} bytes each: use {needed} or more"
        )
    if devices.has_gpu():
        return
    if a.head_dim not in CPU_HEAD_SIZES:
        raise RecipeError(
            f"model: head_dim={a.head_dim} is none that vLLM's CPU attention knows:"
            f" use {_either(CPU_HEAD_SIZES)} (head_dim or hidden_size / num_attention_heads)"
        )
    if a.experts is None:
        return
    widths = {
        "hidden_size": a.hidden_size,
        "moe_intermediate_size / rollout.tensor": a.ffn_size // rollout.tensor,
    }
    for name, width in widths.items():
        if width % CPU_EXPERT_MULTIPLE:
            raise RecipeError(
                f"model: {name}={width} is none that vLLM's experts on a CPU take:"
                f" use a multiple of {CPU_EXPERT_MULTIPLE}"
            )


def _longest_sequence(recipe: Recipe) -> tuple[int, str]:
    """Tokens of the longest prompt with the longest response, and the sum in words."""
    rollout = recipe.rollout
    sequence = rollout.max_prompt_tokens + rollout.max_response_tokens
    return sequence, (
        f"rollout.max_prompt_tokens + max_response_tokens = {rollout.max_prompt_tokens} +"
        f" {rollout.max_response_tokens} = {sequence}"
    )


def _check_divides(
    field: str, size: int, whole: str, number: int, common: int | None = None
) -> None:
    """RecipeError where ``size`` does not divide ``number``, which the message calls ``whole``; it
    names the divisors of ``common``, where that has to be divided, too."""
    if number % size:
        number = common or number
        fits = [n for n in range(1, number + 1) if number % n == 0]
        raise RecipeError(f"{field}={size} does not divide {whole}: use {_either(fits)}")


def _either(options: Sequence[object]) -> str:
    """``a, b or c``."""
    *head, last = map(str, options)
    if not head:
        return last
    return f"{', '.join(head)} or {last}"
