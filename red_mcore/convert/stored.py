"""The weights in Megatron's distributed checkpoints, one parameter at a time, in one process and
without Megatron.

A checkpoint stacks the same parameter of all layers (and of all experts of a layer) into one tensor
under one name, of which every rank stored a part. Parts are found by their place in the tensor, so
the layout that saved does not matter.
"""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint import DefaultLoadPlanner, LoadPlan
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner_helpers import create_read_items_for_chunk_list

from red_mcore.checkpoints.untrusted import Reader
from red_mcore.config.recipe import RecipeError
from red_mcore.models.architecture import Architecture
from red_mcore.models.rules import Rule, Shape, rules
from red_mcore.system import disk

_RENAMED = {
    "input_layernorm.weight": "self_attention.linear_qkv.layer_norm_weight",
    "pre_mlp_layernorm.weight": "mlp.linear_fc1.layer_norm_weight",
}
"""Megatron stores a layer's norms under the names that they have where a norm and the linear layer
after it are one."""
_OF_THE_MODEL = ("embedding.", "decoder.", "output_layer.")
"""Begin the names of weights; all else in a checkpoint are optimizers."""
_FILE = "__0_0.distcp"


@dataclass(frozen=True)
class StoredPlace:
    """Where a parameter stands in a checkpoint."""

    key: str
    """Name of the stored tensor."""
    index: Shape
    """(layer,) or (layer, expert) of the parameter; empty where it is a tensor of its own."""
    counts: Shape
    """Layers, and experts, that are stacked."""
    shape: Shape
    """The shape of the parameter, as one rank without tensor parallel holds it."""

    @property
    def chunk(self) -> ChunkStorageMetadata:
        """The part of the stored tensor that is the parameter."""
        offsets = torch.Size(self.index + (0,) * len(self.shape))
        return ChunkStorageMetadata(offsets, torch.Size((1,) * len(self.index) + self.shape))

    @property
    def has_padding(self) -> bool:
        """The stored tensor may have more rows: a vocabulary padded for tensor parallel ranks."""
        return not self.index and len(self.shape) == 2


def places(arch: Architecture) -> dict[str, StoredPlace]:
    """The place of every parameter, by its name in the rules."""
    found = {rule.megatron: _indexed(rule.megatron) for rule in rules(arch)}
    counts: dict[str, Shape] = {}
    for key, index in found.values():
        before = counts.get(key, (0,) * len(index))
        counts[key] = tuple(max(n, i + 1) for n, i in zip(before, index, strict=True))
    out = {}
    for rule in rules(arch):
        key, index = found[rule.megatron]
        shape = rule.split([torch.empty(shape, device="meta") for _, shape in rule.hf], 0, 1).shape
        out[rule.megatron] = StoredPlace(key, index, counts[key], tuple(shape))
    return out


class StoredWeights:
    """The weights of an existing checkpoint."""

    def __init__(self, folder: Path, arch: Architecture):
        """Reads the list of tensors alone; RecipeError, by name, for what is missing, unknown or
        mis-shaped."""
        self._folder, self._places = folder, places(arch)
        self._reader = Reader(folder)
        metadata = self._reader.read_metadata()
        self._reader.set_up_storage_reader(metadata, is_coordinator=True)
        self._tensors: dict[str, TensorStorageMetadata] = {}
        for key, stored in metadata.state_dict_metadata.items():
            if isinstance(stored, TensorStorageMetadata):
                self._tensors[key] = stored
        self._check()

    @property
    def dtypes(self) -> set[torch.dtype]:
        return {self._tensors[place.key].properties.dtype for place in self._places.values()}

    def read(self, rule: Rule) -> Tensor:
        """The whole parameter, without padding; RecipeError where it cannot be read."""
        place = self._places[rule.megatron]
        stored = self._tensors[place.key]
        whole = torch.empty(place.chunk.sizes, dtype=stored.properties.dtype)
        items = create_read_items_for_chunk_list(place.key, stored, [place.chunk])
        if sum(item.lengths.numel() for item in items) != whole.numel():
            raise RecipeError(f"{self._folder} holds only parts of {rule.megatron}")
        self._reader.read_data(LoadPlan(items), _Into(whole)).wait()
        return whole.view(place.shape)

    def _check(self) -> None:
        folder, wanted = self._folder, {place.key for place in self._places.values()}
        if missing := [key for key in sorted(wanted) if key not in self._tensors]:
            raise RecipeError(f"{folder} lacks tensor {missing[0]} ({len(missing)} missing in all)")
        others = self._tensors.keys() - wanted
        if unknown := sorted(key for key in others if key.startswith(_OF_THE_MODEL)):
            raise RecipeError(
                f"{folder} has tensor {unknown[0]} that the model does not know ({len(unknown)} in"
                " all)"
            )
        for place in self._places.values():
            stored, implied = tuple(self._tensors[place.key].size), place.counts + place.shape
            padded = place.has_padding and stored[0] >= implied[0] and stored[1:] == implied[1:]
            if stored != implied and not padded:
                raise RecipeError(
                    f"{folder}: {place.key} has shape {stored}, config.json implies {implied}"
                )


class WeightsWriter:
    """A new checkpoint of weights alone, as one rank would save it: ``add`` each rule's parameter,
    then ``finish``."""

    def __init__(self, folder: Path, arch: Architecture):
        """``folder`` has to exist, empty."""
        self._folder, self._places = folder, places(arch)
        self._metadata = Metadata({}, storage_data={})

    def add(self, rule: Rule, parameter: Tensor) -> None:
        """``parameter`` has the shape that one rank without tensor parallel holds."""
        place = self._places[rule.megatron]
        self._store(place, parameter)
        module, _, kind = place.key.rpartition(".")
        if place.index and kind == "weight" and ".linear_" in module:
            # Megatron itself asks for an empty object beside the weight of each of a layer's linear
            # modules.
            index, counts = ".".join(map(str, place.index)), ".".join(map(str, place.counts))
            self._store_nothing(f"{module}._extra_state/shard_{index}_{counts}")

    def finish(self) -> None:
        """Write the lists without which the file says nothing."""
        with disk.writing(self._folder):
            with (self._folder / ".metadata").open("wb") as output:
                pickle.dump(self._metadata, output)
            torch.save({}, self._folder / "common.pt")
        backend = {"sharded_backend": "torch_dist", "sharded_backend_version": 1}
        text = json.dumps(backend | {"common_backend": "torch", "common_backend_version": 1})
        disk.write_atomic(self._folder / "metadata.json", text)

    def _store(self, place: StoredPlace, parameter: Tensor) -> None:
        chunk = place.chunk
        stored = parameter.detach().view(chunk.sizes)
        whole = self._metadata.state_dict_metadata.setdefault(
            place.key,
            TensorStorageMetadata(
                TensorProperties(stored.dtype), torch.Size(place.counts + place.shape), []
            ),
        )
        assert isinstance(whole, TensorStorageMetadata)
        self._save(MetadataIndex(place.key, chunk.offsets, len(whole.chunks)), stored)
        whole.chunks.append(chunk)

    def _store_nothing(self, key: str) -> None:
        self._metadata.state_dict_metadata[key] = BytesStorageMetadata()
        self._save(MetadataIndex(key), [None])

    def _save(self, index: MetadataIndex, value: object) -> None:
        file = self._folder / _FILE
        with disk.writing(file, getattr(value, "nbytes", None)), file.open("ab") as output:
            begin = output.tell()
            torch.save(value, output)
            self._metadata.storage_data[index] = _StorageInfo(_FILE, begin, output.tell() - begin)


class _Into(DefaultLoadPlanner):
    """Hands the reader the places in one tensor that its parts belong to."""

    def __init__(self, whole: Tensor):
        super().__init__()
        self._whole = whole

    def resolve_tensor(self, read_item) -> Tensor:
        part = self._whole
        for dim, (begin, length) in enumerate(
            zip(read_item.dest_offsets, read_item.lengths, strict=True)
        ):
            part = part.narrow(dim, begin, length)
        return part

    def commit_tensor(self, read_item, tensor: Tensor) -> None:
        """Nothing is left to do: the part is a view."""


def _indexed(name: str) -> tuple[str, Shape]:
    """Name of the stored tensor and (layer,), (layer, expert) or () of the parameter ``name``."""
    index = tuple(int(part) for part in name.split(".") if part.isdigit())
    key = re.sub(r"\.\d+(?=\.)", "", name).replace(".local_experts.", ".experts.")
    for own, stored in _RENAMED.items():
        key = key.replace(f"layers.{own}", f"layers.{stored}")
    return key, index
