"""What a Hugging Face folder says of its weights, without reading them: index, shards and headers;
no torch.

A safetensors file: eight bytes with the length of a JSON header, the header, then the data of all
tensors without gaps.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import NamedTuple

from red_mcore.config.recipe import RecipeError

Shape = tuple[int, ...]

WIDTHS = {"F32": 4, "F16": 2, "BF16": 2}
"""Bytes of a number of each type that is read and written, by their names in a header."""
INDEX = "model.safetensors.index.json"
_BUFFERS = re.compile(
    # frequencies, which follow from rope_theta and rope_scaling
    r"\.rotary_emb\.(original_)?inv_freq$"
    # tables of the same (ColossalAI)
    r"|\.rotary_emb\.(cos|sin)_cached$"
    # the number that hides later tokens (transformers before 4.31)
    r"|\.(attn|self_attn|attention)\.masked_bias$"
)
"""Tensors of other programs that are computed, not learnt: passed over, as transformers and vLLM
do."""
_POINTER = b"version "
"""How Git LFS begins what it puts in a file's place."""


class Place(NamedTuple):
    """Where a tensor is."""

    file: Path
    begin: int
    """Byte of the file."""
    size: int
    """The bytes that it takes."""
    dtype: str
    shape: Shape


class HFHeaders:
    """Names, types, shapes and places of the tensors of a Hugging Face folder."""

    def __init__(self, folder: Path):
        """RecipeError for a folder without weights, a lost shard or a broken file."""
        self._folder = folder
        self._places: dict[str, Place] = {}
        for file in _files(folder):
            self._places |= _header(file)

    def check(self, expected: dict[str, Shape], same: dict[str, str]) -> None:
        """RecipeError, by name, for a missing, unknown, mis-shaped or unreadable tensor.

        ``same``: name -> the expected tensor that it has to equal, if it is there
        (``lm_head.weight`` where it is tied to the embedding). What is left afterwards are the
        ``expected``.
        """
        if missing := [name for name in expected if name not in self._places]:
            raise RecipeError(
                f"{self._folder} lacks tensor {missing[0]} ({len(missing)} missing in all)"
            )
        others = self._places.keys() - expected.keys() - same.keys()
        if unknown := sorted(name for name in others if not _BUFFERS.search(name)):
            raise RecipeError(
                f"{self._folder} has tensor {unknown[0]} that the model does not know"
                f" ({len(unknown)} in all): is its config.json another model's?"
            )
        self._check_same({name: other for name, other in same.items() if name in self._places})
        self._places = {name: self._places[name] for name in expected}
        for name, place in self._places.items():
            if place.shape != expected[name]:
                raise RecipeError(
                    f"{self._folder}: {name} has shape {place.shape}, config.json implies"
                    f" {expected[name]}"
                )
            if place.dtype not in WIDTHS:
                raise RecipeError(
                    f"{self._folder}: {name} is of type {place.dtype}; supported:"
                    f" {', '.join(WIDTHS)}"
                )
            if place.size != (size := math.prod(place.shape) * WIDTHS[place.dtype]):
                raise RecipeError(
                    f"{place.file}: {name} has {place.size} bytes and should have {size}:"
                    " fetch it again"
                )

    def _check_same(self, same: dict[str, str]) -> None:
        """The contents are the business of who reads them."""


def _files(folder: Path) -> list[Path]:
    index, single = folder / INDEX, folder / "model.safetensors"
    if not index.is_file():
        if not single.is_file():
            fault = f"{folder} holds neither model.safetensors nor {INDEX}"
            if any(folder.glob("pytorch_model*.bin*")):
                fault += (
                    ", but pytorch_model.bin, which is not read: AutoModelForCausalLM"
                    f".from_pretrained({str(folder)!r}).save_pretrained(FOLDER)"
                    " of transformers writes the former"
                )
            raise RecipeError(fault)
        return [single]
    try:
        names = sorted(set(map(str, json.loads(index.read_text())["weight_map"].values())))
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise RecipeError(
            f"{index} is no index of safetensors: want JSON with a weight_map"
        ) from None
    if lost := [name for name in names if not (folder / name).is_file()]:
        raise RecipeError(
            f"{folder} lacks {lost[0]}, which {INDEX} names ({len(lost)} of {len(names)} files"
            " missing)"
        )
    return [folder / name for name in names]


def _header(file: Path) -> dict[str, Place]:
    size = file.stat().st_size
    try:
        with file.open("rb") as content:
            first = content.read(8)
            if first == _POINTER:
                raise ValueError(
                    "it is Git LFS's note of where the file is (git lfs pull fetches it)"
                )
            length = int.from_bytes(first, "little")
            if length > size:
                raise ValueError("its header ends behind the file")
            header = json.loads(content.read(length))
        header.pop("__metadata__", None)
        data = 8 + length  # from where offsets count
        found: dict[str, Place] = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            place = Place(file, data + begin, end - begin, entry["dtype"], tuple(entry["shape"]))
            if place.begin < data or place.size < 0:
                raise ValueError("a tensor lies outside of its data")
            found[name] = place
        end = max((place.begin + place.size for place in found.values()), default=0)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise RecipeError(f"{file} is no safetensors file: {error}") from None
    if end > size:
        raise RecipeError(f"{file} has {size} bytes and should have {end}: fetch it again")
    return found
