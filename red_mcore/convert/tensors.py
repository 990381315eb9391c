"""Safetensors files, one tensor in memory at a time.

The library would map whole files into memory to read them, and wants all tensors of a file at once to write it. The
format: eight bytes with the length of a JSON header, the header, then the data of all tensors without gaps.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from red_mcore import disk
from red_mcore.convert.rules import Shape
from red_mcore.recipe import RecipeError

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""The types that are read and written, by their names in a header."""
INDEX = "model.safetensors.index.json"
_BUFFERS = re.compile(
    r"\.rotary_emb\.(original_)?inv_freq$"  # frequencies, which follow from rope_theta and rope_scaling
    r"|\.rotary_emb\.(cos|sin)_cached$"  # tables of the same (ColossalAI)
    r"|\.(attn|self_attn|attention)\.masked_bias$"  # the number that hides later tokens (transformers before 4.31)
)
"""Tensors of other programs that are computed, not learnt: passed over, as transformers and vLLM do."""
_CHUNK = 1 << 24
"""Bytes that are compared at once."""


class _Place(NamedTuple):
    file: Path
    begin: int
    """Byte of the file."""
    size: int
    """In bytes."""
    dtype: str
    shape: Shape


class HFTensors:
    """The tensors of a Hugging Face folder."""

    def __init__(self, folder: Path):
        """Reads the headers alone; RecipeError for a folder without weights, a lost shard or a broken file."""
        self._folder = folder
        self._places: dict[str, _Place] = {}
        for file in _files(folder):
            self._places |= _header(file)

    @property
    def dtypes(self) -> set[torch.dtype]:
        return {DTYPES[place.dtype] for place in self._places.values()}

    def check(self, expected: dict[str, Shape], same: dict[str, str]) -> None:
        """RecipeError, by name, for a missing, unknown, mis-shaped or unreadable tensor.

        ``same``: name -> the expected tensor that it has to equal, if it is there (``lm_head.weight`` where it is tied
        to the embedding). What is left afterwards are the ``expected``.
        """
        if missing := [name for name in expected if name not in self._places]:
            raise RecipeError(f"{self._folder} lacks tensor {missing[0]} ({len(missing)} missing in all)")
        others = self._places.keys() - expected.keys() - same.keys()
        if unknown := sorted(name for name in others if not _BUFFERS.search(name)):
            raise RecipeError(
                f"{self._folder} has tensor {unknown[0]} that the model does not know ({len(unknown)} in all): is its"
                " config.json another model's?"
            )
        for name, other in same.items():
            if name in self._places and not _equal(self._places[name], self._places[other]):
                raise RecipeError(
                    f"{self._folder}: config.json has tie_word_embeddings=true, but {name} differs from {other}: if the"
                    f" model was trained with two, set it to false there, else take {name} out of the weights"
                )
        self._places = {name: self._places[name] for name in expected}
        for name, place in self._places.items():
            if place.shape != expected[name]:
                raise RecipeError(
                    f"{self._folder}: {name} has shape {place.shape}, config.json implies {expected[name]}"
                )
            if place.dtype not in DTYPES:
                raise RecipeError(f"{self._folder}: {name} is of type {place.dtype}; supported: {', '.join(DTYPES)}")

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
    """``model.safetensors`` of the tensors, or shards of at most ``shard_bytes`` (or of one tensor) and their index.

    ``tensors`` have to come in the order of ``shapes``; each is cast and written before the next is asked for.
    """
    shards = _shards({name: math.prod(shape) * dtype.itemsize for name, shape in shapes.items()}, shard_bytes)
    places, stream = {}, zip(shapes, tensors, strict=True)
    for number, names in enumerate(shards, 1):
        file = "model.safetensors" if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        places |= dict.fromkeys(names, file)
        header = _header_of(names, shapes, dtype)
        size = len(header) + sum(math.prod(shapes[name]) * dtype.itemsize for name in names)
        with disk.written(folder / file, size) as write:
            write(header)
            for _, (expected, (name, tensor)) in zip(names, stream, strict=False):
                if (name, tuple(tensor.shape)) != (expected, shapes[expected]):
                    raise ValueError(f"got {name} {tuple(tensor.shape)}, want {expected} {shapes[expected]}")
                write(_bytes(tensor.detach().to("cpu", dtype)))
    next(stream, None)  # an error if there are more tensors than names; runs the last lines of a generator
    if len(shards) > 1:
        size = sum(math.prod(shape) for shape in shapes.values()) * dtype.itemsize
        text = json.dumps({"metadata": {"total_size": size}, "weight_map": places}, indent=2)
        disk.write_atomic(folder / INDEX, text)


def _files(folder: Path) -> list[Path]:
    index, single = folder / INDEX, folder / "model.safetensors"
    if not index.is_file():
        if not single.is_file():
            pickled = any(folder.glob("pytorch_model*.bin*"))
            fix = (
                f", but pytorch_model.bin, which is not read: AutoModelForCausalLM.from_pretrained({str(folder)!r})"
                ".save_pretrained(FOLDER) of transformers writes the former"
            )
            raise RecipeError(f"{folder} holds neither model.safetensors nor {INDEX}{fix if pickled else ''}")
        return [single]
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError):
        raise RecipeError(f"{index} is no index of safetensors: want JSON with a weight_map") from None
    if lost := [name for name in names if not (folder / name).is_file()]:
        raise RecipeError(f"{folder} lacks {lost[0]}, which {INDEX} names ({len(lost)} of {len(names)} files missing)")
    return [folder / name for name in names]


def _header(file: Path) -> dict[str, _Place]:
    size = file.stat().st_size
    try:
        with file.open("rb") as content:
            length = int.from_bytes(content.read(8), "little")
            if length > size:
                raise ValueError("its header ends behind the file")
            header = json.loads(content.read(length))
        header.pop("__metadata__", None)
        found = {
            name: _Place(file, 8 + length + begin, end - begin, entry["dtype"], tuple(entry["shape"]))
            for name, entry in header.items()
            for begin, end in [entry["data_offsets"]]
        }
        end = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise RecipeError(f"{file} is no safetensors file: {error}") from None
    if end > size:
        raise RecipeError(f"{file} has {size} bytes and should have {end}: fetch it again")
    return found


def _equal(one: _Place, other: _Place) -> bool:
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


def _header_of(names: list[str], shapes: dict[str, Shape], dtype: torch.dtype) -> bytes:
    (type_name,) = (name for name, found in DTYPES.items() if found == dtype)
    ends = [0]
    for name in names:
        ends.append(ends[-1] + math.prod(shapes[name]) * dtype.itemsize)
    header = {"__metadata__": {"format": "pt"}} | {
        name: {"dtype": type_name, "shape": shapes[name], "data_offsets": offsets}
        for name, offsets in zip(names, pairwise(ends), strict=True)
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # readers want the data aligned
    return len(text).to_bytes(8, "little") + text


def _bytes(tensor: Tensor):
    return memoryview(tensor.contiguous().view(-1).view(torch.uint8).numpy())
