"""Memory of a rank at its peak, from a recipe's numbers alone, and whether the machine has it; no
torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from red_mcore.config.recipe import Parallel, Recipe, RecipeError
from red_mcore.megatron.sizes import CHUNK_BYTES
from red_mcore.models.architecture import Architecture
from red_mcore.models.layers import uses_transformer_engine
from red_mcore.models.teacher import teacher_architecture
from red_mcore.system import devices
from red_mcore.system.devices import has_transformer_engine

BYTES = {"float32": 4, "bfloat16": 2}
PADDING = 4 / 3
"""Tokens that attention computes with, per token: lengths spread evenly between two powers of
two."""
PROCESS_BYTES = 1100 * 2**20
"""Bytes of a rank on CPUs beside all that depends on the model, as runs of a tiny one had it: half
for the imports of torch, Megatron and vLLM, the rest for the engine's own buffers and what
allocators keep after the first steps."""
VERIFIER_BYTES = 100 * 2**20
"""Bytes of a verifier's process, with SymPy."""


@dataclass(frozen=True)
class Memory:
    """Bytes of one rank. The engine lives in the trainer's process: its part stays during an
    update.

    Not counted: vLLM's CUDA graphs and temporaries, and FP8's copies of weights (nor what it saves
    in activations).
    """

    process: int
    """The programs themselves, on CPUs; on GPUs they are in the host's memory."""
    verifiers: int
    """The rank's share of its engine's, on CPUs."""
    weights: int
    gradients: int
    """The gradients in float32, of all micro-batches."""
    optimizer: int
    """The rank's share of each optimizer's moments and, of bfloat16 weights, of their float32 copy;
    0 if offloaded."""
    reference: int
    """Weights of the frozen policy that the algorithm compares with; 0 if offloaded."""
    teacher: int
    """Weights of the frozen teacher; 0 if offloaded."""
    activations: int
    """What the layers keep for the backward of full micro-batches, of all that are under way."""
    recomputed: int
    """The bytes of one layer that are not kept and made again for its backward."""
    logits: int
    """A chunk of them, its gradient, and the float32 gradient of the output layer; gone when a
    layer is recomputed."""
    step: int
    """What the optimizer's step needs, when the activations are gone: the weights before it, to
    tell by how much it changed them, temporaries of torch's AdamW on GPUs (Transformer Engine's has
    none), and what is offloaded otherwise."""
    scoring: int
    """What the reference or the teacher takes while it scores: its weights, if they are offloaded
    otherwise, and of the teacher, which has a shape of its own, a layer's activations and
    logits."""
    engine: int
    """vLLM's weights."""
    cache: int
    """vLLM's keys and values."""

    @property
    def update(self) -> int:
        return self.rollout + max(
            self.activations + max(self.recomputed, self.logits), self.step, self.scoring
        )

    @property
    def rollout(self) -> int:
        return self.resident + self.verifiers + self.cache

    @property
    def resident(self) -> int:
        """What the model itself takes, whatever is done."""
        return (
            self.process
            + self.weights
            + self.gradients
            + self.optimizer
            + self.reference
            + self.teacher
            + self.engine
        )


def estimate(recipe: Recipe, arch: Architecture, stage: int, on_gpu: bool) -> Memory:
    """The memory of a rank of pipeline ``stage``; GPUs compute norms in one kernel, which keeps
    less."""
    parallel, size = recipe.parallel, BYTES[recipe.model.dtype]
    shared = parameters_per_rank(arch, parallel.tensor, parallel.pipeline, parallel.expert)[stage]
    experts = _experts_per_rank(arch, parallel)
    copies = parallel.data * parallel.context
    owned = (shared - experts) / copies + experts * parallel.expert / copies
    each = 8 * len(recipe.algorithm.optimizers(recipe))  # two moments in float32
    if recipe.model.dtype == "bfloat16":
        each += 4  # the weights in float32
    state = round(owned * each)
    temporaries = 4  # the weights before the step, in float32
    if on_gpu and not has_transformer_engine():
        temporaries += 4  # of torch's AdamW
    kept, again = _activations(recipe, arch, stage, on_gpu)
    found = Memory(
        process=0,
        verifiers=0,
        weights=shared * size,
        gradients=shared * 4,
        optimizer=state,
        reference=0,
        teacher=0,
        activations=kept,
        recomputed=again,
        logits=0,
        step=round(owned * temporaries),
        scoring=0,
        engine=round(arch.parameters / recipe.rollout.tensor * size),
        cache=recipe.rollout.kv_cache_mib * 2**20,
    )
    if recipe.algorithm.uses_reference:
        found = replace(found, reference=shared * size)
    if (teacher := teacher_architecture(recipe)) is not None:
        found = _with_teacher(found, recipe, teacher, stage, on_gpu)
    if stage == parallel.pipeline - 1:
        found = replace(found, logits=_logits(recipe, arch))
    if not on_gpu:
        # The programs are in the same memory, from which there is nowhere to offload to.
        verifiers = recipe.reward.workers * VERIFIER_BYTES // recipe.rollout.tensor
        return replace(found, process=PROCESS_BYTES, verifiers=verifiers)
    if recipe.offload.optimizer:
        found = replace(found, optimizer=0, step=found.step + state)
    if recipe.offload.reference:
        scoring = max(found.scoring, found.reference)
        found = replace(found, reference=0, scoring=scoring)
    return found


def _with_teacher(
    memory: Memory, recipe: Recipe, teacher: Architecture, stage: int, on_gpu: bool
) -> Memory:
    parallel = recipe.parallel
    parts = parameters_per_rank(teacher, parallel.tensor, parallel.pipeline, parallel.expert)
    weights = parts[stage] * BYTES[recipe.model.dtype]
    # Nothing is kept for a backward: one layer at a time.
    alone = replace(recipe, parallel=replace(parallel, pipeline=1, virtual=1))
    scoring = sum(_activations(alone, replace(teacher, layers=1), 0, on_gpu))
    if stage == parallel.pipeline - 1:
        scoring += _logits(recipe, teacher)
    if on_gpu and recipe.offload.teacher:
        return replace(memory, scoring=scoring + weights)
    return replace(memory, teacher=weights, scoring=scoring)


def most_needing(recipe: Recipe, arch: Architecture, on_gpu: bool) -> Memory:
    """The memory of the pipeline stage whose ranks need the most."""
    stages = [estimate(recipe, arch, stage, on_gpu) for stage in range(recipe.parallel.pipeline)]
    return max(stages, key=lambda memory: memory.update)


@dataclass(frozen=True)
class Room:
    """Bytes that a GPU has for its rank, or a host for all its ranks; and the ranks that share
    them."""

    bytes: int
    ranks: int
    name: str
    """What has them, for messages."""

    @property
    def each(self) -> int:
        return self.bytes // self.ranks


def room(recipe: Recipe) -> Room | None:
    """What this machine has for the recipe's ranks; None where that cannot be told."""
    if devices.has_gpu():
        if (size := devices.gpu_memory()) is None:
            return None
        return Room(size, 1, "a GPU here")
    here = devices.ranks_here(recipe.parallel.ranks)
    name = "this machine"
    if here > 1:
        name += f" for {here} ranks"
    return Room(devices.host_memory(), here, name)


def is_for_another_machine(recipe: Recipe, arch: Architecture) -> bool:
    """Whether a plan made here is for a larger machine: the model alone fills this one, or jobs are
    handed on."""
    found = room(recipe)
    if found is None or devices.has_gpu():
        return False
    return devices.hands_jobs_on() or most_needing(recipe, arch, on_gpu=False).resident > found.each


def check(recipe: Recipe, arch: Architecture, here: bool) -> None:
    """RecipeError where the ranks cannot have the memory that they need whatever the lengths of the
    responses.

    ``here``: they are about to start on this machine; else only where the recipe is not for another
    one.
    """
    found = room(recipe)
    if found is None or (not here and is_for_another_machine(recipe, arch)):
        return
    need = most_needing(recipe, arch, devices.has_gpu())
    # The rollout's memory has no lengths in it; an update may fit once sequences are shorter.
    if need.rollout <= found.each:
        return
    gib, free = 2**30, found.each - need.resident
    wants = {
        "rollout.kv_cache_mib": (recipe.rollout.kv_cache_mib, need.cache, free - need.verifiers),
        "reward.workers": (recipe.reward.workers, need.verifiers, free - need.cache),
    }
    field, (value, size, left) = max(wants.items(), key=lambda item: item[1][1])
    if left > 0:
        raise RecipeError(
            f"{field}={value}: with it a rank needs {need.rollout / gib:.1f} GiB at least, and"
            f" {found.name} has {found.bytes / gib:.1f} GiB:"
            f" use {value * left // size} or less, or fewer ranks"
        )
    raise RecipeError(
        f"model: a rank needs {need.resident / gib:.1f} GiB for weights, gradients, optimizer and"
        f" engine, and {found.name} has {found.bytes / gib:.1f} GiB:"
        " use a smaller model, model.dtype=bfloat16, or more ranks with parallel.tensor or"
        " parallel.pipeline on more machines"
    )


def parameters_per_rank(
    architecture: Architecture, tensor: int, pipeline: int, expert: int = 1
) -> list[int]:
    """Parameters that one tensor-parallel rank of each pipeline stage holds, vocabulary padding not
    counted."""
    a = architecture
    qkv = (a.heads + 2 * a.kv_groups) * a.head_dim
    # What tensor parallel splits, and what every rank has whole.
    split = a.hidden_size * qkv + a.heads * a.head_dim * a.hidden_size
    whole = 2 * a.hidden_size
    if a.qkv_bias:
        split += qkv
    if a.output_bias:
        whole += a.hidden_size
    if a.qk_norm:
        whole += 2 * a.head_dim
    mlp = 3 * a.hidden_size * a.ffn_size
    if a.experts is None:
        split += mlp
    else:
        split += mlp * (a.experts.count // expert)
        whole += a.experts.count * a.hidden_size  # the router
    layer = split // tensor + whole
    vocabulary = math.ceil(a.vocab_size / tensor) * a.hidden_size
    stages = [a.layers // pipeline * layer] * pipeline
    stages[0] += vocabulary
    stages[-1] += a.hidden_size
    if not a.tied or pipeline > 1:  # a tied output layer on another stage is a copy
        stages[-1] += vocabulary
    return stages


def _experts_per_rank(a: Architecture, parallel: Parallel) -> int:
    if a.experts is None:
        return 0
    layer = a.experts.count // parallel.expert * 3 * a.hidden_size * a.ffn_size // parallel.tensor
    return a.layers // parallel.pipeline * layer


def _activations(recipe: Recipe, a: Architecture, stage: int, on_gpu: bool) -> tuple[int, int]:
    """(kept, recomputed): bytes of ``Memory.activations`` and ``Memory.recomputed``."""
    parallel, size = recipe.parallel, BYTES[recipe.model.dtype]
    transformer_engine = uses_transformer_engine(recipe.model, a, on_gpu)
    # Of each entry of a norm its input is kept, in float32 but for Transformer Engine; on CPUs also
    # what the weight scales.
    norm_bytes = 8
    if transformer_engine:
        norm_bytes = size
    elif on_gpu:
        norm_bytes = 4
    tensor, stages = parallel.tensor, parallel.pipeline
    residual = 1  # ranks that the stream between the layers is split over
    if parallel.sequence:
        residual = tensor
    heads, groups = a.heads * a.head_dim / tensor, a.kv_groups * a.head_dim / tensor

    norm = (norm_bytes + size) * a.hidden_size / residual
    rotation = 4 * a.head_dim * size
    keys = groups
    if parallel.context > 1 and not transformer_engine:
        # Our context parallel gathers the keys of all ranks, repeated for each query head: for its
        # two chunks, 2 ranks + 1.
        keys = heads * (2 * parallel.context + 1) / 2
    core = 2 * (heads + keys) * size + 4 * a.heads / tensor
    outside = 2 * norm + rotation
    if a.qk_norm:
        outside += norm_bytes * (heads + groups)
    # The next linear layer keeps the output; Transformer Engine's attention keeps the same tensor.
    output = heads * size
    if not transformer_engine:
        core, outside = PADDING * core, outside + output
    mlp = 5 * a.ffn_size / tensor * size
    if a.experts is not None:
        mlp = a.experts.per_token * (mlp + 2 * a.hidden_size * size)
    layer = outside + core + mlp
    if parallel.recompute == "none":
        kept, again = layer, 0.0
    elif parallel.recompute == "full":
        kept, again = a.hidden_size * size / residual, layer
    else:
        # Rotated queries and keys, and what values are a view of, are what the core begins with.
        core_input = (2 * heads + 3 * groups) * size
        kept, again = outside + core_input + mlp, core
        if transformer_engine:
            kept += output

    # Chunks of layers whose forward is done and whose backward is not, by Megatron's schedules.
    if parallel.virtual > 1:
        under_way = 2 * (stages - stage - 1) + (parallel.virtual - 1) * stages + 1
    else:
        under_way = stages - stage
    layers = under_way * a.layers / (stages * parallel.virtual)
    whole = layers * kept
    if stage == stages - 1:
        whole += norm + a.hidden_size * size
    tokens = _tokens(recipe)
    return round(tokens * whole), round(tokens * again)


def _logits(recipe: Recipe, a: Architecture) -> int:
    rows = math.ceil(a.vocab_size / recipe.parallel.tensor)
    tokens = _tokens(recipe)
    return round(
        2 * min(CHUNK_BYTES, 4 * rows * tokens)
        + rows * a.hidden_size * (4 + BYTES[recipe.model.dtype])
    )


def _tokens(recipe: Recipe) -> float:
    """The tokens of a rank's largest micro-batch: a step may have fewer than it takes."""
    batch, algorithm, rollout = recipe.batch, recipe.algorithm, recipe.rollout
    group = algorithm.traces
    if algorithm.rollouts:
        group += batch.samples_per_prompt
    sequences = batch.prompts_per_step * group
    if recipe.base is not None:
        sequences = max(sequences, recipe.base.sequences_per_step)
    tokens = sequences * (rollout.max_prompt_tokens + rollout.max_response_tokens)
    # Lessons may have any number of tokens.
    if algorithm.needs_traces or tokens > batch.tokens_per_micro_batch:
        tokens = batch.tokens_per_micro_batch
    return tokens / recipe.parallel.context
