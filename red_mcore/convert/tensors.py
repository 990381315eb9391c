"""Safetensors files, one tensor in memory at a time.

The library would map whole files into memory to read them, and wants all tensors of a file at once
to write it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from red_mcore.config.recipe import RecipeError
from red_mcore.models.headers import INDEX, HFHeaders, Place, Shape
from red_mcore.system import disk

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""The types of ``headers.WIDTHS``."""
_CHUNK = 1 << 24
"""Bytes that are compared at once."""


class HFTensors(HFHeaders):
    """The tensors of a Hugging Face folder; ``check`` compares what has to be the same, too."""

    @property
    def dtypes(self) -> set[torch.dtype]:
        return {DTYPES[place.dtype] for place in self._places.values()}

    def _check_same(self, same: dict[str, str]) -> None:
        for name, other in same.items():
            if not _equal(self._places[name], self._places[other]):
                raise RecipeError(
                    f"{self._folder}: config.json has tie_word_embeddings=true, but {name} differs"
                    f" from {other}: if the model was trained with two, set it to false there,"
                    f" else take {name} out of the weights"
                )

    def read(self, name: str) -> Tensor:
        """One tensor, in memory of its own; RecipeError where the file ends too early."""
        place = self._places[name]
        tensor = torch.empty(place.shape, dtype=DTYPES[place.dtype])
        with place.file.open("rb") as file:
            file.seek(place.begin)
            if file.readinto(_bytes(tensor)) < tensor.nbytes:
                raise RecipeError(f"{place.file} ends within {name}: fetch it again")
        return tensor


def write_tensors(
    folder: Path,
    tensors: Iterable[tuple[str, Tensor]],
    shapes: dict[str, Shape],
    dtype: torch.dtype,
    shard_bytes: int,
) -> None:
    """``model.safetensors`` of the tensors, or shards of at most ``shard_bytes`` (or of one tensor)
    and their index.

    ``tensors`` have to come in the order of ``shapes``; each is cast and written before the next is
    asked for.
    """
    sizes = {name: math.prod(shape) * dtype.itemsize for name, shape in shapes.items()}
    shards = _shards(sizes, shard_bytes)
    places: dict[str, str] = {}
    stream = zip(shapes, tensors, strict=True)
    for number, names in enumerate(shards, 1):
        file = "model.safetensors"
        if len(shards) > 1:
            file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        places |= dict.fromkeys(names, file)
        header = _header_of(names, shapes, sizes, dtype)
        size = len(header) + sum(map(sizes.__getitem__, names))
        with disk.written(folder / file, size) as write:
            write(header)
            for expected, (name, tensor) in islice(stream, len(names)):
                if (name, tuple(tensor.shape)) != (expected, shapes[expected]):
                    raise ValueError(
                        f"got {name} {tuple(tensor.shape)}, want {expected} {shapes[expected]}"
                    )
                write(_bytes(tensor.detach().to("cpu", dtype)))
    # An error if there are more tensors than names; and it runs the last lines of a generator.
    next(stream, None)
    if len(shards) > 1:
        total = {"total_size": sum(sizes.values())}
        text = json.dumps({"metadata": total, "weight_map": places}, indent=2)
        disk.write_atomic(folder / INDEX, text)


def _equal(one: Place, other: Place) -> bool:
    """Whether two tensors are the same, bit by bit, of which a chunk at a time is in memory."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    left = one.size
    with one.file.open("rb") as first, other.file.open("rb") as second:
        first.seek(one.begin)
        second.seek(other.begin)
        while left > 0:
            size = min(left, _CHUNK)
            if first.read(size) != second.read(size):
                return False
            left -= size
    return True


def _shards(sizes: dict[str, int], limit: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    used = 0
    for name, size in sizes.items():
        if shards[-1] and used + size > limit:
            shards.append([])
            used = 0
        shards[-1].append(name)
        used += size
    return shards


def _header_of(
    names: list[str], shapes: dict[str, Shape], sizes: dict[str, int], dtype: torch.dtype
) -> bytes:
    (type_name,) = (name for name, found in DTYPES.items() if found == dtype)
    header: dict[str, dict[str, Any]] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        begin, end = end, end + sizes[name]
        header[name] = {"dtype": type_name, "shape": shapes[name], "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # readers want the data aligned
    return len(text).to_bytes(8, "little") + text


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().data
