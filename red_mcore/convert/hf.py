"""Hugging Face folder <-> ranks: load, stream, export, and make a fresh model's folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from torch import Tensor

from red_mcore.checkpoints import manifests
from red_mcore.convert.folder import write_model
from red_mcore.convert.stored import StoredWeights
from red_mcore.convert.tensors import HFTensors
from red_mcore.data.seams import write_stop_ids
from red_mcore.megatron.ranks import together
from red_mcore.models.architecture import Architecture, fresh_fields
from red_mcore.models.rules import Rule, hf_shapes, rules, tied_names


def load_weights(model: torch.nn.ModuleList, arch: Architecture, folder: Path) -> None:
    """Set this rank's parameters from the safetensors of ``folder``; each tensor is read and cut on
    its own.

    Raises RecipeError for a missing, unexpected or mis-shaped tensor, by name.
    """
    weights = HFTensors(folder)
    weights.check(hf_shapes(arch), tied_names(arch))
    rank, size = _tensor_coordinates()
    for rule, parameter in _owned(arch, _local_parameters(model)):
        parameter.data.copy_(rule.split([weights.read(name) for name, _ in rule.hf], rank, size))


def stream_weights(model: torch.nn.ModuleList, arch: Architecture) -> Iterator[tuple[str, Tensor]]:
    """Every HF tensor as (name, whole tensor) on every rank, one Megatron parameter at a time; a
    collective.

    The owner's tensor-parallel ranks merge their parts; the result goes to the other
    expert-parallel ranks, where they hold other experts, and to the other pipeline stages.
    """
    parameters = _local_parameters(model)
    _, size = _tensor_coordinates()
    stages = parallel_state.get_pipeline_model_parallel_world_size()
    stage = parallel_state.get_pipeline_model_parallel_rank()
    pipeline = parallel_state.get_pipeline_model_parallel_group()
    experts = parallel_state.get_expert_model_parallel_group()
    sample = next(model.parameters())  # all are of one type, on one device
    for rule in rules(arch):
        owner = _stage_of(rule, arch, stages)
        holder = None  # of an expert: the expert-parallel rank that has it
        if rule.expert is not None and arch.experts is not None:
            holder = rule.expert // (arch.experts.count // experts.size())
        if stage == owner and holder in (None, experts.rank()):
            part = parameters[rule.megatron].detach().contiguous()
            parts = [part]
            if size > 1:
                parts = [torch.empty_like(part) for _ in range(size)]
                dist.all_gather(parts, part, group=parallel_state.get_tensor_model_parallel_group())
            whole = [tensor.contiguous() for tensor in rule.merge(parts)]
        else:
            whole = [
                torch.empty(shape, dtype=sample.dtype, device=sample.device) for _, shape in rule.hf
            ]
        for (name, _), tensor in zip(rule.hf, whole, strict=True):
            if holder is not None and experts.size() > 1 and stage == owner:
                dist.broadcast(tensor, src=dist.get_global_rank(experts, holder), group=experts)
            if stages > 1:
                dist.broadcast(tensor, src=dist.get_global_rank(pipeline, owner), group=pipeline)
            yield name, tensor


def load_checkpoint(model: torch.nn.ModuleList, arch: Architecture, folder: Path) -> None:
    """``load_weights`` from a checkpoint that ``tools/convert.py`` made, or from a run's."""
    weights = StoredWeights(folder / "weights", arch)
    rank, size = _tensor_coordinates()
    for rule, parameter in _owned(arch, _local_parameters(model)):
        parameter.data.copy_(rule.split(rule.merge([weights.read(rule)]), rank, size))


def check_first(arch: Architecture, folder: Path) -> None:
    """RecipeError where ``load_first`` could not take ``folder``: a converted one is compared with
    its manifest."""
    manifests.check_converted(folder, checksums=True)
    if _is_converted(folder):
        StoredWeights(folder / "weights", arch)
    else:
        HFTensors(folder).check(hf_shapes(arch), tied_names(arch))


def load_first(model: torch.nn.ModuleList, arch: Architecture, folder: Path) -> None:
    """Set this rank's parameters from ``model.path``: an HF folder, or a checkpoint that
    ``tools/convert.py`` made."""
    if _is_converted(folder):
        load_checkpoint(model, arch, folder)
    else:
        load_weights(model, arch, folder)


def _is_converted(folder: Path) -> bool:
    return (folder / "weights" / ".metadata").is_file()


def export_folder(
    model: torch.nn.ModuleList,
    arch: Architecture,
    source: Path,
    folder: Path,
    main: bool,
    texts: Callable[[], Mapping[str, str]] = dict,
) -> None:
    """Write an HF folder that transformers and vLLM load: weights from the ranks, all else from
    ``source``.

    A collective. Written beside ``folder`` and moved into place when complete; ``main`` marks the
    rank that writes. ``texts``: further files by name, asked for on that rank alone.
    """
    tensors = stream_weights(model, arch)
    with together():
        try:
            if main:
                dtype = next(model.parameters()).dtype
                write_model(
                    folder,
                    source,
                    tensors,
                    hf_shapes(arch),
                    dtype,
                    made_from="a training run",
                    texts=texts(),
                )
        finally:
            for _ in tensors:  # to its end also where writing fails: all ranks take part in it
                pass


def make_fresh(
    config: dict[str, Any], tokenizer, folder: Path, seed: int, dtype: torch.dtype
) -> None:
    """Write the HF folder of a random model: transformers' own initialisation, seeded, and the
    tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # a bar for every saved file of a model this small
    fields = fresh_fields(config) | {
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": None,
    }
    with torch.random.fork_rng():  # the seed is the model's alone
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**fields), dtype=dtype)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_stop_ids(tokenizer, folder)


def _tensor_coordinates() -> tuple[int, int]:
    return (
        parallel_state.get_tensor_model_parallel_rank(),
        parallel_state.get_tensor_model_parallel_world_size(),
    )


def _stage_of(rule: Rule, arch: Architecture, stages: int) -> int:
    """Pipeline stage that owns the parameter (of a tied output layer: the first, which owns the
    embedding)."""
    if rule.layer is not None:
        chunks = stages * (parallel_state.get_virtual_pipeline_model_parallel_world_size() or 1)
        return rule.layer // (arch.layers // chunks) % stages
    return 0 if rule.megatron.startswith("embedding") else stages - 1


def _local_parameters(model: torch.nn.ModuleList) -> dict[str, torch.nn.Parameter]:
    """This rank's parameters by their names in the whole model."""
    settings: Any = model[0].config
    local_experts = (
        settings.num_moe_experts or 0
    ) // parallel_state.get_expert_model_parallel_world_size()
    first_expert = parallel_state.get_expert_model_parallel_rank() * local_experts
    out = {}
    chunk: Any  # of Megatron's, which has no types
    for chunk in model:
        for name, parameter in chunk.named_parameters():
            if name.startswith("decoder.layers."):
                local, rest = name.removeprefix("decoder.layers.").split(".", 1)
                rest = re.sub(
                    r"(?<=local_experts\.)\d+",
                    lambda found: str(int(found[0]) + first_expert),
                    rest,
                )
                name = f"decoder.layers.{chunk.decoder.layers[int(local)].layer_number - 1}.{rest}"
            out[name] = parameter
    return out


def _owned(arch: Architecture, parameters: dict) -> Iterator[tuple[Rule, torch.nn.Parameter]]:
    """Rules of the parameters that this rank holds, a tied output layer's copy on the last stage
    included."""
    for rule in rules(arch):
        if rule.megatron in parameters:
            yield rule, parameters[rule.megatron]
        if (
            arch.tied
            and rule.megatron.startswith("embedding")
            and "output_layer.weight" in parameters
        ):
            yield rule, parameters["output_layer.weight"]
