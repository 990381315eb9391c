"""Reads distributed checkpoints as data, whoever made them: nothing that is in them is run.

torch reads the list of tensors (``.metadata``) with pickle, which calls whatever the file names,
and so it does objects beside the tensors. Here the list may name its own classes alone, objects are
refused, and no name leads out of the folder. Tensors, and what else torch stored, are read with
``weights_only``.
"""

from __future__ import annotations

import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import FileSystemReader, LoadPlan, LoadPlanner
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import LoadItemType
from torch.futures import Future

from red_mcore.config.recipe import RecipeError

_TORCHS = "torch.distributed.checkpoint"
_OF_A_LIST = {
    f"{_TORCHS}.metadata": {
        *("Metadata", "MetadataIndex", "StorageMeta", "TensorProperties", "_MEM_FORMAT_ENCODING"),
        *("TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata"),
    },
    f"{_TORCHS}.planner": {
        *("SavePlan", "WriteItem", "WriteItemType", "TensorWriteData", "BytesIOWriteData"),
    },
    f"{_TORCHS}.filesystem": {"_StorageInfo", "_StoragePrefix"},
    "torch.serialization": {"_get_layout"},
    "torch": {
        "Size",
        *(name for name, value in vars(torch).items() if isinstance(value, torch.dtype)),
    },
}
"""Module -> names of all that a list of tensors is made of; none of it does more than hold
values."""


class Reader(FileSystemReader):
    """torch's reader of the folder of a distributed checkpoint, for tensors alone."""

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder)
        self._metadata: Metadata | None = None

    def read_metadata(self) -> Metadata:
        """The list of tensors; RecipeError where there is none, or one that asks for something else
        than its kind."""
        if self._metadata is None:
            self._metadata = _read_list(Path(self.path) / ".metadata")
            self._metadata.storage_meta = StorageMeta(load_id=self.load_id)
        return self._metadata

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """It does what torch's does; RecipeError, naming file and tensor, for what cannot be read
        or is no tensor."""
        by_file = defaultdict(list)
        for item in plan.items:
            place = self.storage_data.get(item.storage_index)
            if item.type == LoadItemType.BYTE_IO or place is None:
                raise RecipeError(
                    f"{self.path}: {item.storage_index.fqn} is no tensor, and nothing else is read"
                )
            by_file[place.relative_path, item.storage_index.fqn].append(item)
        for (file, name), items in by_file.items():
            try:
                super().read_data(LoadPlan(items), planner)
            except pickle.UnpicklingError:
                raise RecipeError(
                    f"{self.path}/{file}: {name} is no tensor, and nothing else is read"
                ) from None
            except Exception as error:  # whatever bytes that are no tensor's bring torch to
                raise RecipeError(
                    f"{self.path}/{file}: {name} cannot be read: {_reason(error)}"
                ) from None
        done: Future = Future()
        done.set_result(None)
        return done


def read_data(file: Path) -> Any:
    """What ``torch.save`` wrote, as far as it is tensors and plain values; RecipeError for all
    else."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise RecipeError(
            f"{file} holds more than tensors and plain values, which is not read"
        ) from None
    except Exception as error:  # as above
        raise RecipeError(f"{file} cannot be read: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """The first line of what it says, else its kind."""
    return (str(error) or type(error).__name__).splitlines()[0]


class _ListUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in _OF_A_LIST.get(module, ()):
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not run")
        return super().find_class(module, name)


def _read_list(file: Path) -> Metadata:
    try:
        with file.open("rb") as stream:
            found = _ListUnpickler(stream).load()
        _check(found)
    except Exception as error:  # a pickle can fail in any way
        raise RecipeError(
            f"{file.parent} is no distributed checkpoint of Megatron: {file}: {_reason(error)}"
        ) from None
    return found


def _is_name(path: str) -> bool:
    return Path(path).name == path


def _check(found: Any) -> None:
    """ValueError for a list that torch's code could not work with, or that leads out of its
    folder."""
    if not isinstance(found, Metadata):
        raise ValueError("it is no list of tensors")
    for name, about in found.state_dict_metadata.items():
        if isinstance(about, BytesStorageMetadata):
            continue
        is_tensor = isinstance(about, TensorStorageMetadata)
        if not is_tensor or not isinstance(about.properties.dtype, torch.dtype):
            raise ValueError(f"{name} is no tensor")
        sizes = [about.size]
        for chunk in about.chunks:
            sizes += [chunk.offsets, chunk.sizes]
        if not all(isinstance(size, torch.Size) and len(size) == len(about.size) for size in sizes):
            raise ValueError(f"{name} has no shape")
    for index, place in found.storage_data.items():
        if not isinstance(index, MetadataIndex) or not _is_name(place.relative_path):
            raise ValueError(f"{getattr(place, 'relative_path', index)!r} is no file in the folder")
        if getattr(place, "transform_descriptors", None):
            raise ValueError(f"{place.relative_path} is compressed")
