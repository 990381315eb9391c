"""Hugging Face folders, written whole or not at all: configuration, tokenizer, weights, and where
they came from."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from red_mcore.config.recipe import RecipeError
from red_mcore.convert.tensors import write_tensors
from red_mcore.models.architecture import Architecture, read_architecture
from red_mcore.models.rules import Shape
from red_mcore.system import disk

SHARD_BYTES = 4 * 10**9
"""The most bytes of weights in one file, unless another number is asked for."""
RECORD = "conversion.json"
"""What a folder was made from and whether that was verified; in what this package writes, exports
and conversions."""
_COMPANIONS = (".json", ".jinja", ".txt", ".model", ".tiktoken")
"""Suffixes of configuration, tokenizer, generation settings and chat template."""
_OURS = (RECORD, "manifest.json")


@contextmanager
def made_whole(folder: Path, size: int, replace: bool) -> Iterator[Path]:
    """An empty folder to fill, which becomes ``folder`` at the end of the block; what an exception
    ends is removed.

    ``size`` in bytes is what will be written. RecipeError where the disk has no room, or where
    ``folder`` exists and is not empty, unless it may be replaced.
    """
    check_free(folder, replace)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with disk.writing(partial):
        partial.mkdir(parents=True)
    try:
        if (free := shutil.disk_usage(partial).free) < size:
            raise RecipeError(
                f"the disk is full: {folder} needs {size:,} bytes, {free:,} are free: make room"
            )
        yield partial
        # Only now, when all is written: until here the old one is whole.
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def check_free(folder: Path, replace: bool) -> None:
    """RecipeError where ``folder`` exists and is not empty, unless it may be replaced."""
    if folder.exists() and not (folder.is_dir() and (replace or not any(folder.iterdir()))):
        raise RecipeError(f"{folder} exists: choose another folder, or add --force to replace it")


def write_model(
    folder: Path,
    source: Path,
    tensors: Iterable[tuple[str, Tensor]],
    shapes: dict[str, Shape],
    dtype: torch.dtype,
    *,
    made_from: str,
    shard_bytes: int = SHARD_BYTES,
    replace: bool = True,
    texts: Mapping[str, str] | None = None,
) -> None:
    """A Hugging Face folder that transformers and vLLM load; its configuration and tokenizer come
    from ``source``.

    ``tensors`` have to come in the order of ``shapes``; one is held at a time. ``texts``: further
    files by name. OSError as the file system says.
    """
    with made_whole(folder, size_in_bytes(shapes, dtype), replace) as partial:
        copy_companions(source, partial, dtype)
        write_tensors(partial, tensors, shapes, dtype, shard_bytes)
        write_record(partial, made_from, shapes, dtype)
        for name, text in (texts or {}).items():
            (partial / name).write_text(text, encoding="utf-8")


def copy_companions(source: Path, folder: Path, dtype: torch.dtype) -> None:
    """Copy all that a Hugging Face folder holds beside its weights; ``config.json`` then names
    ``dtype``."""
    for file in sorted(source.iterdir()):
        # Record, manifest and index are of the weights there; those here get their own.
        left_out = file.name in _OURS or file.name.endswith(".index.json")
        if file.is_file() and file.suffix in _COMPANIONS and not left_out:
            with disk.writing(folder / file.name, file.stat().st_size):
                shutil.copy(file, folder / file.name)
    config = read_config(folder)
    # Under the name, or the names, that the file has.
    keys = config.keys() & {"dtype", "torch_dtype"} or {"dtype"}
    named = dict.fromkeys(keys, dtype_name(dtype))
    if config != config | named:
        disk.write_atomic(folder / "config.json", json.dumps(config | named, indent=2) + "\n")


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of the folder; RecipeError where there is none, or none that is a JSON
    object."""
    if (config := disk.read_object(folder / "config.json")) is not None:
        return config
    if not folder.is_dir():
        raise RecipeError(f"{folder} is no folder")
    raise RecipeError(f"{folder} has no config.json")


def architecture_of(folder: Path) -> Architecture:
    """Architecture of a folder with ``config.json``; RecipeError, with the file, for what is not
    supported."""
    config, file = read_config(folder), folder / "config.json"
    try:
        return read_architecture(config, file)
    except RecipeError as error:
        raise RecipeError(f"{file}: {error}") from None


def write_record(
    folder: Path, made_from: str, shapes: dict[str, Shape], dtype: torch.dtype
) -> None:
    record = {
        "made_from": made_from,
        "tensors": len(shapes),
        "bytes": size_in_bytes(shapes, dtype),
        "dtype": dtype_name(dtype),
        "verified": None,
    }
    disk.write_atomic(folder / RECORD, json.dumps(record, indent=2) + "\n")


def record_verified(folder: Path, result: dict[str, Any]) -> None:
    """Set ``verified`` in the folder's record, if it has one."""
    file = folder / RECORD
    if (record := disk.read_object(file)) is not None:
        disk.write_atomic(file, json.dumps(record | {"verified": result}, indent=2) + "\n")


def size_in_bytes(shapes: dict[str, Shape], dtype: torch.dtype) -> int:
    return sum(math.prod(shape) for shape in shapes.values()) * dtype.itemsize


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def fetch(name: str) -> str:
    """Folder of the hub model ``name``; RecipeError where there is no such model or no way to
    it."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        # Of weights safetensors alone: pickled ones could run what they name.
        return snapshot_download(
            name, allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise RecipeError(
            f"model {name} is no folder here and cannot be fetched from the hub:"
            f" {str(error).splitlines()[0]}"
        ) from error
