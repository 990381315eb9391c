"""What a recipe will do: layout, batch arithmetic, sizes and places, from plain numbers."""

from __future__ import annotations

import math
import re
from dataclasses import fields
from pathlib import Path

from red_mcore.config.recipe import Model, Parallel, Recipe, RecipeError
from red_mcore.config.redaction import redacted
from red_mcore.models.architecture import Architecture, hf_config, read_architecture
from red_mcore.models.layers import uses_transformer_engine
from red_mcore.models.teacher import teacher_architecture
from red_mcore.planning.memory import BYTES, Memory, most_needing, parameters_per_rank, room
from red_mcore.system import devices
from red_mcore.tracking import database

LONGEST_TABLE = 64
"""Rows of the layout that are shown at most."""


def find_architecture(recipe: Recipe) -> Architecture | None:
    """The policy's shape; None for a hub name, whose config.json is not here, unless
    ``model.config`` has it all."""
    path = recipe.model.path
    if path is not None and Path(path).is_file():
        raise RecipeError(f"model.path {path} is a file: name the folder that holds it")
    if path is not None and not Path(path).is_dir():
        if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", path):
            raise RecipeError(
                f"model.path {path} is neither a folder with a config.json nor a hub name"
            )
        if "model_type" not in recipe.model.config:
            return None
    return read_architecture(hf_config(recipe.model))


def coordinates(rank: int, parallel: Parallel) -> tuple[int, int, int, int]:
    """(data, pipeline, context, tensor) coordinates of a rank; as in Megatron, tensor runs fastest,
    then context, then data, then pipeline."""
    rest, tensor = divmod(rank, parallel.tensor)
    rest, context = divmod(rest, parallel.context)
    pipeline, data = divmod(rest, parallel.data)
    return data, pipeline, context, tensor


def describe(recipe: Recipe) -> str:
    """The rank layout, the batch arithmetic, the sizes and the places of a valid recipe, as
    text."""
    parallel, batch, rollout = recipe.parallel, recipe.batch, recipe.rollout
    until, begin = recipe.until, _start(recipe)
    if until is not None:
        budgets = f"{until.generated_tokens:g} tokens and {until.train_seconds:g} s"
        begin += f", then until {budgets} are spent"
    engines = parallel.ranks // rollout.tensor
    lines = [
        f"{recipe.name}: {recipe.steps} steps of {type(recipe.algorithm).__name__} from {begin}",
        f"ranks: {_ranks(parallel)}",
        *_layout(parallel),
        f"batch: {_arithmetic(recipe)}",
        f"learning rate: {_rates(recipe)}",
        f"sequence: up to {rollout.max_prompt_tokens} prompt + {rollout.max_response_tokens}"
        " response tokens",
        f"engines: {engines} x TP{rollout.tensor},"
        f" {_either(*_share(batch.prompts_per_step, engines))} prompts each,"
        f" {rollout.kv_cache_mib} MiB of key-value cache per rank",
        *_teacher(recipe),
        *_sizes(recipe),
        f"writes: {recipe.folder}/ (recipe.yaml, metrics.jsonl, summary.json, rollouts/,"
        " checkpoints/, model/)",
    ]
    if recipe.tracking.mlflow:
        place = recipe.tracking.uri or database.of_folder(recipe.folder, Path(recipe.runs))
        lines.append(f"MLflow: {place}")
    return redacted("\n".join(lines))


def _start(recipe: Recipe) -> str:
    if recipe.model.path is not None:
        return recipe.model.path
    if recipe.base is None:
        return "a model at random"
    return (
        f"a fresh model after {recipe.base.steps} base steps of {recipe.base.sequences_per_step}"
        " sequences"
    )


def _ranks(parallel: Parallel) -> str:
    text = f"{parallel.ranks} = {parallel.tensor} tensor"
    if parallel.context > 1:
        text += f" x {parallel.context} context"
    text += f" x {parallel.data} data x {parallel.pipeline} pipeline"
    if parallel.virtual > 1:
        text += f" ({parallel.virtual} chunks of layers each)"
    if parallel.sequence:
        text += ", sequence parallel"
    if parallel.expert > 1:
        text += f", experts over {parallel.expert} data-parallel ranks"
    if parallel.recompute != "none":
        text += f", {parallel.recompute} recompute"
    return text


def _layout(parallel: Parallel) -> list[str]:
    """One row for each (pipeline, data) pair: the ranks that share its tensors and sequences."""
    rows = ["  pipeline  data  ranks"]
    axes = {"context": parallel.context, "tensor": parallel.tensor}
    shared = ", ".join(f"{name} 0-{size - 1}" for name, size in axes.items() if size > 1)
    together = parallel.context * parallel.tensor
    for first in range(0, parallel.ranks, together):
        data, pipeline, *_ = coordinates(first, parallel)
        row = f"  {pipeline:8d}  {data:4d}  {first}"
        if shared:
            row += f"-{first + together - 1} ({shared})"
        rows.append(row)
    if (count := len(rows) - 1) > LONGEST_TABLE:
        half = LONGEST_TABLE // 2
        return [*rows[: 1 + half], f"  ... {count - 2 * half} rows more", *rows[-half:]]
    return rows


def _arithmetic(recipe: Recipe) -> str:
    batch, traces = recipe.batch, recipe.algorithm.traces
    sampled = batch.samples_per_prompt if recipe.algorithm.rollouts else 0
    group = sampled + traces
    sequences = batch.prompts_per_step * group
    if not traces:
        samples = f"{sampled} rollouts"
    elif not sampled:
        samples = f"{traces} trace"
    else:
        samples = f"({sampled} rollouts + {traces} trace)"
    smallest, largest = _share(batch.prompts_per_step, batch.updates_per_step)
    update = _either(smallest * group, largest * group)
    refills = ""
    if batch.refills:
        refills = f", up to {batch.refills} further rounds for groups without variance"
    return (
        f"{batch.prompts_per_step} prompts x {samples} = {sequences} sequences{refills}"
        f" -> {batch.updates_per_step} update{'s' * (batch.updates_per_step > 1)} of {update},"
        f" micro-batches of <= {batch.tokens_per_micro_batch} tokens"
        f" on {recipe.parallel.data} data-parallel rank{'s' * (recipe.parallel.data > 1)}"
    )


def _rates(recipe: Recipe) -> str:
    """Rate and length of each optimizer's schedule."""
    parts = []
    for name, (settings, updates) in recipe.algorithm.optimizers(recipe).items():
        part = f"{name} {settings.lr:g} {settings.schedule} over {updates} updates"
        if settings.warmup_steps:
            part += f", {settings.warmup_steps} of warm-up"
        parts.append(part)
    return "; ".join(parts)


def _sizes(recipe: Recipe) -> list[str]:
    """Lines on parameters, layers, memory and checkpoints."""
    architecture = find_architecture(recipe)
    if architecture is None:
        return [f"parameters: known once {recipe.model.path} is fetched"]
    parallel = recipe.parallel
    stages = parameters_per_rank(architecture, parallel.tensor, parallel.pipeline, parallel.expert)
    where = " / ".join(f"{n:,}" for n in stages)
    if len(stages) > 1:
        where += " (pipeline stages)"
    return [
        f"parameters: {architecture.parameters:,} in all, {where} per rank, {recipe.model.dtype}",
        layers(recipe.model, architecture, devices.has_gpu()),
        *_memory(recipe, architecture),
        _checkpoints(recipe, architecture),
    ]


def _teacher(recipe: Recipe) -> list[str]:
    """A line on the teacher, where there is one."""
    teacher = recipe.algorithm.teacher
    if teacher is None:
        return []
    size = "of a size that is known once it is fetched"
    if (arch := teacher_architecture(recipe)) is not None:
        parallel = recipe.parallel
        parts = parameters_per_rank(arch, parallel.tensor, parallel.pipeline, parallel.expert)
        size = f"{arch.parameters:,} parameters in all, {max(parts):,} per rank at most"
    return [f"teacher: {teacher.path}, {size}, coefficient {teacher.coefficient:g}"]


def training_flops(a: Architecture, length: int) -> float:
    """The floating-point operations of one token's forward and backward in a sequence of
    ``length``: matrix products and causal attention."""
    active = a.parameters
    if not a.tied:
        active -= a.vocab_size * a.hidden_size  # the embedding is looked up
    if a.experts is not None:
        active -= (
            a.layers * (a.experts.count - a.experts.per_token) * 3 * a.hidden_size * a.ffn_size
        )
    return 3 * (2 * active + 2 * a.layers * a.heads * a.head_dim * length)


def layers(model: Model, architecture: Architecture, on_gpu: bool) -> str:
    """Whose layers the model gets."""
    if not uses_transformer_engine(model, architecture, on_gpu):
        return "layers: Megatron-Core's own, attention by torch"
    if model.fp8 == "none":
        return "layers: Transformer Engine"
    return f"layers: Transformer Engine, FP8 with {model.fp8} scaling"


def _memory(recipe: Recipe, architecture: Architecture) -> list[str]:
    """Lines on the memory of the pipeline stage that needs the most."""
    most = most_needing(recipe, architecture, devices.has_gpu())
    parts = []
    for field in fields(Memory):
        if size := getattr(most, field.name):
            parts.append(f"{field.name} {_mib(size)}")
    lines = [
        f"memory per rank on this machine: about {_mib(most.update)} in an update,"
        f" {_mib(most.rollout)} in a rollout",
        "  " + ", ".join(parts),
    ]
    found = room(recipe)
    if found is not None and most.update > found.each:
        lines.append(f"  which does not fit: {found.name} has {_mib(found.bytes)}")
    return lines


def _checkpoints(recipe: Recipe, architecture: Architecture) -> str:
    # Of the optimizers: the weights in float32, and the moments of each.
    state = architecture.parameters * (4 + 8 * len(recipe.algorithm.optimizers(recipe)))
    whole = state + architecture.parameters * BYTES[recipe.model.dtype]
    parts = recipe.parallel.tensor * recipe.parallel.pipeline
    where = "one rank"
    if parts > 1:
        where += f" of each of {parts} parts of the model"
    return (
        f"checkpoints: about {_mib(whole)} each; {where} to save one, and every rank to load one,"
        f" takes {_mib(state // parts)} or more of its host's memory"
    )


def _mib(size: int) -> str:
    if size >= 2**30:
        return f"{size / 2**30:.1f} GiB"
    return f"{size / 2**20:.0f} MiB"


def _share(total: int, parts: int) -> tuple[int, int]:
    """The smallest and the largest of the parts."""
    return total // parts, math.ceil(total / parts)


def _either(smallest: int, largest: int) -> str:
    if smallest == largest:
        return f"{largest}"
    return f"{smallest} or {largest}"
