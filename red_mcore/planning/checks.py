"""Whether a recipe can work: everything that numbers and files tell, before anything expensive is
imported."""

from __future__ import annotations

import math
import re
import tempfile
from pathlib import Path

from red_mcore.algorithms.mixins import stage_of
from red_mcore.checkpoints import manifests
from red_mcore.checkpoints.resume import schedules_that_differ
from red_mcore.config.bounds import check_numbers
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.convert import hub
from red_mcore.data import arithmetic, problems, sources, template
from red_mcore.data.formats import Columns
from red_mcore.data.tokenizer import VOCABULARY_SIZE
from red_mcore.evaluation import benchmarks, protocols
from red_mcore.models.architecture import Architecture
from red_mcore.models.headers import HFHeaders
from red_mcore.models.layers import check_layers
from red_mcore.models.rules import hf_shapes, tied_names
from red_mcore.planning import memory, teachers
from red_mcore.planning.memory import BYTES
from red_mcore.planning.plan import find_architecture
from red_mcore.rewards import functions
from red_mcore.samples.records import Problem
from red_mcore.system.devices import has_gpu
from red_mcore.tracking import addresses, monitor

CPU_HEAD_SIZES = (32, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""Head sizes that vLLM's attention on a CPU knows."""
CPU_EXPERT_MULTIPLE = 32
"""What vLLM's experts on a CPU have as widths, else padded once, which a publication cannot do
again."""
CPU_CACHE_BLOCK = 128
"""Tokens in one block of vLLM's key-value cache on a CPU."""


def validate(recipe: Recipe, here: bool = False) -> None:
    """Raises RecipeError, one line with the field, the numbers and the fix, for what cannot work.

    ``here``: the run is about to start on this machine; else it may be meant for a larger one
    (``memory.check``).
    """
    try:
        _validate(recipe, here)
    except OSError as error:
        # What a place is like that a field names: no permission, a broken link, a full disk.
        raise RecipeError(f"{error.filename}: {error.strerror}") from None


def _validate(recipe: Recipe, here: bool) -> None:
    check_numbers(recipe)
    if recipe.base is None and recipe.steps == 0:
        raise RecipeError("steps=0 without a base stage does nothing: use 1 or more")
    _check_until(recipe)
    if recipe.base is not None and recipe.model.path is not None:
        raise RecipeError(
            f"base trains a fresh model, but model.path={recipe.model.path} is a trained one:"
            " use base=null or model.path=null"
        )
    if recipe.model.path is not None:
        manifests.check_converted(Path(recipe.model.path), checksums=False)
    architecture = find_architecture(recipe)
    check_model(recipe, architecture)
    _check_weights(recipe, architecture)
    _check_ranks(recipe)
    _check_batch(recipe)
    _check_reward(recipe)
    _check_evaluation(recipe)
    _check_checkpoint(recipe)
    _check_recording(recipe)
    problems.check_data(recipe.data)
    if not sources.training(recipe.data):
        count = recipe.data.problems or problems.ARITHMETIC_PROBLEMS
        arithmetic.check_count(recipe.data.arithmetic, recipe.data.held_out + count)
    _check_benchmarks(recipe, architecture)
    _check_functions(recipe)
    recipe.algorithm.check(recipe)
    teachers.check(recipe, architecture)
    template.check_recipe(recipe, recipe.model)
    addresses.check(recipe.tracking)
    monitor.check(recipe.tracking.monitors)
    if architecture is not None:
        memory.check(recipe, architecture, here)
    if recipe.hub is not None:
        hub.check(recipe.hub.name)
    _check_writable(recipe.folder, f"run folder {recipe.folder}", "runs=")


def check_model(recipe: Recipe, architecture: Architecture | None) -> None:
    """What the model's shape forbids; of a hub model it is known (not None) once it is fetched.
    RecipeError."""
    check_layers(recipe.model, architecture, recipe.parallel.tensor)
    if architecture is not None:
        _check_architecture(recipe, architecture)


def _check_weights(recipe: Recipe, architecture: Architecture | None) -> None:
    """Index, shards and headers of a folder's safetensors; a vocabulary that holds the built-in
    tokenizer's tokens."""
    path = recipe.model.path
    if architecture is None:
        return
    if path is None and architecture.vocab_size < VOCABULARY_SIZE:
        raise RecipeError(
            f"model.config.vocab_size={architecture.vocab_size} does not hold the {VOCABULARY_SIZE} tokens of the"
            f" built-in tokenizer: use {VOCABULARY_SIZE} or more"
        )
    if (
        path is None or not Path(path).is_dir() or (Path(path) / "weights").is_dir()
    ):  # which tools/convert.py made
        return
    try:
        HFHeaders(Path(path)).check(hf_shapes(architecture), tied_names(architecture))
    except RecipeError as error:
        raise RecipeError(f"model.path: {error}") from None


def _check_ranks(recipe: Recipe) -> None:
    parallel, rollout = recipe.parallel, recipe.rollout
    model = parallel.tensor * parallel.pipeline * parallel.context
    if parallel.ranks % model:
        lower = parallel.ranks // model * model
        fits = f"{lower} or {lower + model}" if lower else f"{model}"
        raise RecipeError(
            f"parallel.ranks={parallel.ranks} is not a multiple of parallel.tensor x parallel.pipeline x"
            f" parallel.context = {parallel.tensor} x {parallel.pipeline} x {parallel.context} = {model}:"
            f" use {fits} ranks"
        )
    if parallel.virtual > 1 and parallel.pipeline == 1:
        raise RecipeError(
            f"parallel.virtual={parallel.virtual} needs parallel.pipeline above 1: use pipeline=2 or more, or virtual=1"
        )
    if parallel.virtual > 1 and parallel.pipeline == 2 and not has_gpu():
        # The previous and the next stage are the same rank, whose messages gloo tells apart by
        # their order alone.
        raise RecipeError(
            f"parallel.virtual={parallel.virtual} with parallel.pipeline=2 gives wrong results on CPUs:"
            " use pipeline=3 or more, or virtual=1"
        )
    if parallel.data % parallel.expert:
        raise RecipeError(
            f"parallel.expert={parallel.expert} does not divide the {parallel.data} data-parallel ranks"
            f" (ranks / (tensor x pipeline x context)): use {_either(_divisors(parallel.data))}"
        )
    if parallel.expert > 1 and (parallel.context > 1 or parallel.virtual > 1):
        raise RecipeError(
            f"parallel.expert={parallel.expert} does not go with parallel.context={parallel.context} and"
            f" parallel.virtual={parallel.virtual} yet: use expert=1, or 1 for both"
        )
    if parallel.sequence and parallel.tensor == 1:
        raise RecipeError(
            "parallel.sequence=true needs parallel.tensor above 1: use tensor=2 or more, or sequence=false"
        )
    if parallel.ranks % rollout.tensor:
        raise RecipeError(
            f"rollout.tensor={rollout.tensor} does not divide parallel.ranks={parallel.ranks}:"
            f" use {_either(_divisors(parallel.ranks))}"
        )


def _check_batch(recipe: Recipe) -> None:
    batch, rollout = recipe.batch, recipe.rollout
    if batch.updates_per_step > batch.prompts_per_step:
        raise RecipeError(
            f"batch.updates_per_step={batch.updates_per_step} exceeds batch.prompts_per_step={batch.prompts_per_step},"
            f" and an update takes whole groups: use {batch.prompts_per_step} or fewer"
        )
    algorithm = recipe.algorithm
    is_compared = algorithm.rollouts and algorithm.compares
    if is_compared and batch.samples_per_prompt + algorithm.traces < 2:
        raise RecipeError(
            f"batch.samples_per_prompt={batch.samples_per_prompt} makes groups of 1, which"
            f" {type(recipe.algorithm).__name__} cannot compare: use 2 or more"
        )
    if batch.refills and not recipe.algorithm.rollouts:
        raise RecipeError(
            f"batch.refills={batch.refills}: {type(recipe.algorithm).__name__} samples nothing that could be sampled"
            " anew: use 0"
        )
    sequence = rollout.max_prompt_tokens + rollout.max_response_tokens
    if batch.tokens_per_micro_batch < sequence:
        raise RecipeError(
            f"batch.tokens_per_micro_batch={batch.tokens_per_micro_batch} cannot hold one sequence of"
            f" rollout.max_prompt_tokens + max_response_tokens = {rollout.max_prompt_tokens}"
            f" + {rollout.max_response_tokens} = {sequence}: use {sequence} or more"
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
            "reward.answer_after is an empty text, which stands everywhere: use null, or a mark like </think>"
        )
    if reward.format is not None:
        tags = reward.format.tags
        if (
            not tags
            or len(set(tags)) < len(tags)
            or not all(re.fullmatch(r"[\w-]+", tag) for tag in tags)
        ):
            raise RecipeError(
                f"reward.format.tags={tags}: use one or more different names, e.g. [think, answer]"
            )
    names = [
        "accuracy",
        "format",
        "overlong",
        "repetition",
    ]  # of terms, which metrics are named after
    if reward.verdict is not None:
        functions.check_path("reward.verdict", reward.verdict)
    for path in reward.functions:
        name = path.partition(":")[2]
        if name in names:
            raise RecipeError(
                f"reward.functions: there is another term named '{name}': rename that of '{path}'"
            )
        names.append(name)
        functions.check_path("reward.functions", path)


def _check_functions(recipe: Recipe) -> None:
    """Imports and calls the user's functions, in a child, on problems of the data as far as those
    are here."""
    asked = recipe.evaluation.benchmarks

    def read(columns: Columns) -> dict[str, list[Problem]]:
        found = {"the data": problems.first(recipe.data, functions.TRIED, columns)}
        if asked is not None and asked.data is not None:
            for name in asked.names:
                found[name] = benchmarks.load(
                    name, asked.data, asked.protocol.seed, functions.TRIED, columns
                )
        return found

    functions.try_out(recipe.reward, read)


def _check_evaluation(recipe: Recipe) -> None:
    evaluation = recipe.evaluation
    if evaluation.temperature == 0 and evaluation.samples > 1:
        raise RecipeError(
            f"evaluation.temperature=0 gives {evaluation.samples} equal samples: use evaluation.samples=1, or a"
            " temperature above 0"
        )


def _check_benchmarks(recipe: Recipe, architecture: Architecture | None) -> None:
    settings = recipe.evaluation.benchmarks
    if settings is None:
        return
    try:
        benchmarks.check(settings.names, settings.data)
    except RecipeError as error:
        raise RecipeError(f"evaluation.benchmarks: {error}") from None
    protocols.check(settings.protocol, settings.names, "evaluation.benchmarks.protocol")
    most = settings.protocol.max_tokens
    if architecture is not None and most >= architecture.max_positions:
        raise RecipeError(
            f"evaluation.benchmarks.protocol.max_tokens={most} leaves no room for a prompt in"
            f" max_position_embeddings={architecture.max_positions}: use less"
        )


def _check_architecture(recipe: Recipe, a: Architecture) -> None:
    parallel, rollout = recipe.parallel, recipe.rollout
    ffn = "intermediate_size" if a.experts is None else "moe_intermediate_size"
    sizes = {"num_attention_heads": a.heads, "num_key_value_heads": a.kv_groups, ffn: a.ffn_size}
    common = math.gcd(*sizes.values())
    if a.head_dim % 2:
        raise RecipeError(
            f"model: head_dim={a.head_dim} (or hidden_size / num_attention_heads) is odd, and rotations turn pairs"
        )
    if a.heads % a.kv_groups:
        raise RecipeError(
            f"model: num_key_value_heads={a.kv_groups} does not divide num_attention_heads={a.heads}:"
            f" use {_either(_divisors(a.heads))}"
        )
    for field, tensor, fits in (
        ("parallel.tensor", parallel.tensor, _divisors(common)),
        ("rollout.tensor", rollout.tensor, _divisors(math.gcd(common, parallel.ranks))),
    ):
        for name, size in sizes.items():
            if size % tensor:
                raise RecipeError(
                    f"{field}={tensor} does not divide {name}={size}: use {_either(fits)}"
                )
    if a.layers % parallel.pipeline:
        raise RecipeError(
            f"parallel.pipeline={parallel.pipeline} does not divide num_hidden_layers={a.layers}:"
            f" use {_either(_divisors(a.layers))}"
        )
    per_stage = a.layers // parallel.pipeline
    if per_stage % parallel.virtual:
        raise RecipeError(
            f"parallel.virtual={parallel.virtual} does not divide num_hidden_layers / parallel.pipeline"
            f" = {a.layers} / {parallel.pipeline} = {per_stage}: use {_either(_divisors(per_stage))}"
        )
    sequence = rollout.max_prompt_tokens + rollout.max_response_tokens
    if sequence > a.max_positions:
        raise RecipeError(
            f"rollout.max_prompt_tokens + max_response_tokens = {rollout.max_prompt_tokens}"
            f" + {rollout.max_response_tokens} = {sequence} exceeds max_position_embeddings={a.max_positions}:"
            " shorten one, or raise the latter in model.config"
        )
    if a.window is not None and sequence > a.window:
        raise RecipeError(
            f"rollout.max_prompt_tokens + max_response_tokens = {rollout.max_prompt_tokens}"
            f" + {rollout.max_response_tokens} = {sequence} exceeds sliding_window={a.window},"
            " beyond which attention would have to forget: shorten one"
        )
    if a.experts is None and parallel.expert > 1:
        raise RecipeError(f"parallel.expert={parallel.expert}, but the model has no experts: use 1")
    if a.experts is not None and a.experts.count % parallel.expert:
        raise RecipeError(
            f"parallel.expert={parallel.expert} does not divide num_experts={a.experts.count}:"
            f" use {_either(_divisors(a.experts.count))}"
        )
    if a.experts is not None and parallel.virtual > 1:
        raise RecipeError(
            f"parallel.virtual={parallel.virtual} is not supported for a model with experts: use 1"
        )
    if a.experts is not None and parallel.tensor > 1 and not parallel.sequence:
        raise RecipeError(
            f"parallel.tensor={parallel.tensor} of a model with experts needs sequence parallel:"
            " use parallel.sequence=true"
        )
    token = 2 * a.layers * a.kv_groups // rollout.tensor * a.head_dim * BYTES[recipe.model.dtype]
    blocks = math.ceil(sequence / CPU_CACHE_BLOCK) * CPU_CACHE_BLOCK
    needed = math.ceil(blocks * token / 2**20)
    if rollout.kv_cache_mib < needed:
        raise RecipeError(
            f"rollout.kv_cache_mib={rollout.kv_cache_mib} cannot hold one sequence of {sequence} tokens"
            f" at {token} bytes each: use {needed} or more"
        )
    if a.head_dim not in CPU_HEAD_SIZES and not has_gpu():
        raise RecipeError(
            f"model: head_dim={a.head_dim} is none that vLLM's CPU attention knows:"
            f" use {_either(CPU_HEAD_SIZES)} (head_dim or hidden_size / num_attention_heads)"
        )
    widths = {
        "hidden_size": a.hidden_size,
        "moe_intermediate_size / rollout.tensor": a.ffn_size // rollout.tensor,
    }
    for name, width in widths.items() if a.experts is not None and not has_gpu() else ():
        if width % CPU_EXPERT_MULTIPLE:
            raise RecipeError(
                f"model: {name}={width} is none that vLLM's experts on a CPU take: use a multiple of"
                f" {CPU_EXPERT_MULTIPLE}"
            )


def _check_until(recipe: Recipe) -> None:
    until = recipe.until
    if until is None:
        return
    if until.most_steps < recipe.steps:
        raise RecipeError(
            f"until.most_steps={until.most_steps} is less than steps={recipe.steps}: use that or more"
        )
    for name in schedules_that_differ(recipe, until.most_steps):
        settings, _ = recipe.algorithm.optimizers(recipe)[name]
        where = "optimizer" if name == "main" else f"algorithm.{name}"
        raise RecipeError(
            f"until makes the number of steps unknown, which {where}.schedule={settings.schedule} depends on:"
            f" use {where}.schedule=constant, or until=null"
        )
    if until.generated_tokens and not stage_of(recipe.algorithm, until.most_steps - 1).rollouts:
        raise RecipeError(
            f"until.generated_tokens={until.generated_tokens:g}:"
            f" {type(recipe.algorithm).__name__} generates none, use 0"
        )


def _check_checkpoint(recipe: Recipe) -> None:
    settings, evaluation = recipe.checkpoint, recipe.evaluation
    every = settings.every
    if settings.keep_every and (not every or settings.keep_every % every):
        use = f"a multiple of {every}" if every else "checkpoint.every above 0"
        raise RecipeError(
            f"checkpoint.keep_every={settings.keep_every} is no multiple of checkpoint.every={every}: use {use}"
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
            f"checkpoint.keep_best={settings.keep_best[:80]} is no metric of an evaluation: use {_either(known)}"
        )
    if not evaluated or not every or every % evaluated:
        raise RecipeError(
            f"checkpoint.keep_best wants an evaluation at each checkpoint, but checkpoint.every={every} is no multiple"
            f" of {which}={evaluated}: use such a multiple"
        )


def _check_recording(recipe: Recipe) -> None:
    record, replay = recipe.rollout.record, recipe.rollout.replay
    if record and replay:
        raise RecipeError(
            f"rollout.record={record} and rollout.replay={replay} exclude each other: use one of them"
        )
    if record:
        _check_writable(Path(record), f"rollout.record={record}", "rollout.record=")
    if replay and not Path(replay).is_dir():
        raise RecipeError(
            f"rollout.replay={replay} is no folder: name one that rollout.record made, or use null"
        )


def _check_writable(folder: Path, name: str, field: str) -> None:
    place = folder.absolute()
    try:
        while not place.exists():
            place = place.parent
        with tempfile.TemporaryDirectory(dir=place):
            pass
    except (
        OSError
    ) as error:  # permission bits say nothing to root or on a read-only disk: only trying tells
        raise RecipeError(
            f"{name} cannot be made: {place}: {error.strerror}; set {field} to a writable folder"
        ) from None


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _either(numbers: list[int] | tuple[int, ...] | list[str]) -> str:
    *head, last = map(str, numbers)
    return f"{', '.join(head)} or {last}" if head else last
