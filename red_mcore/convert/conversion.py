"""Checkpoints to and from Hugging Face folders in one process; one parameter is in memory at a
time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from red_mcore.checkpoints import manifests
from red_mcore.config.recipe import RecipeError
from red_mcore.convert import card
from red_mcore.convert.folder import (
    RECORD,
    architecture_of,
    check_free,
    copy_companions,
    dtype_name,
    fetch,
    made_whole,
    size_in_bytes,
    write_model,
    write_record,
)
from red_mcore.convert.stored import StoredWeights, WeightsWriter
from red_mcore.convert.tensors import HFTensors
from red_mcore.models.architecture import Architecture
from red_mcore.models.rules import hf_shapes, rules, tied_names

WEIGHTS = "weights"


@dataclass
class StoredModel:
    """A model on disk."""

    folder: Path
    companions: Path
    """Folder of its config.json, tokenizer, generation settings and chat template."""
    arch: Architecture
    weights: HFTensors | StoredWeights

    @property
    def dtype(self) -> torch.dtype:
        """The type of all tensors; RecipeError where they differ."""
        if len(self.weights.dtypes) > 1:
            found = ", ".join(sorted(map(dtype_name, self.weights.dtypes)))
            raise RecipeError(
                f"{self.folder} has tensors of several types, {found}:"
                " choose one with --dtype when converting"
            )
        return next(iter(self.weights.dtypes))

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Each tensor by its Hugging Face name, in the order of ``hf_shapes``."""
        for rule in rules(self.arch):
            names = [name for name, _ in rule.hf]
            if isinstance(self.weights, HFTensors):
                yield from ((name, self.weights.read(name)) for name in names)
            else:
                yield from zip(names, rule.merge([self.weights.read(rule)]), strict=True)


def open_hf(folder: Path) -> StoredModel:
    """A Hugging Face folder; RecipeError for what it lacks, or has and should not, by name."""
    arch = architecture_of(folder)
    weights = HFTensors(folder)
    weights.check(hf_shapes(arch), tied_names(arch))
    return StoredModel(folder, folder, arch, weights)


def open_checkpoint(folder: Path) -> StoredModel:
    """A training run's checkpoint, or what ``from_hf`` wrote; RecipeError for what it lacks, by
    name.

    The former's configuration and tokenizer are those in the run's ``model`` folder, the latter's
    its own.
    """
    if not folder.is_dir():
        raise RecipeError(f"{folder} is no folder")
    if not (folder / manifests.NAME).is_file():
        raise RecipeError(
            f"{folder} has no {manifests.NAME}, so it is no complete checkpoint:"
            " name RUN/checkpoints/TAG, RUN itself for its newest, or a folder that"
            " hf-to-megatron wrote"
        )
    if not (folder / WEIGHTS).is_dir():
        raise RecipeError(f"{folder} has no {WEIGHTS} folder")
    companions = folder
    if not (folder / "config.json").is_file():
        companions = folder.parent.parent / "model"
        if not (companions / "config.json").is_file():
            raise RecipeError(
                f"{folder} has no config.json, nor has {companions}:"
                f" copy the files of the run's model folder beside {WEIGHTS}"
            )
    arch = architecture_of(companions)
    return StoredModel(folder, companions, arch, StoredWeights(folder / WEIGHTS, arch))


def newest_checkpoint(folder: Path) -> tuple[Path, list[str]]:
    """The newest whole checkpoint of a run, or of the folder of its checkpoints, else ``folder``
    itself; and what is damaged in newer ones.

    RecipeError where ``folder`` is a checkpoint that is damaged.
    """
    for parent in (folder / "checkpoints", folder):
        manifest, faults = manifests.newest(parent, checksums=True)
        if manifest:
            back = f"going back to checkpoint {manifest['tag']}"
            return parent / manifest["tag"], [f"{fault}; {back}" for fault in faults]
    manifests.check_converted(folder, checksums=True)
    return folder, []


def find_model(folder: Path) -> tuple[Path, list[str]]:
    """Where the model is that is meant by a run (its newest checkpoint), a checkpoint, a Hugging
    Face folder or a hub name, which is fetched; and what is damaged in newer checkpoints.
    RecipeError for none of these."""
    if not folder.is_dir():
        if folder.is_absolute() or len(folder.parts) > 2:
            raise RecipeError(
                f"{folder} is no folder: name a Hugging Face folder, a run, a checkpoint or a hub"
                " name"
            )
        folder = Path(fetch(str(folder)))
    if _is_hf(folder):
        return folder, []
    return newest_checkpoint(folder)


def open_any(folder: Path) -> StoredModel:
    """What ``find_model`` found."""
    if _is_hf(folder):
        return open_hf(folder)
    return open_checkpoint(folder)


def _is_hf(folder: Path) -> bool:
    return (folder / "config.json").is_file() and not (folder / manifests.NAME).is_file()


def to_hf(
    checkpoint: Path,
    out: Path,
    *,
    dtype: torch.dtype | None,
    shard_bytes: int,
    replace: bool,
    watch: Callable[[int, int], None],
) -> None:
    """Write a Hugging Face folder from a checkpoint; in the stored type where ``dtype`` is None.

    ``watch`` is told (tensors done, tensors in all). RecipeError for bad input, before anything is
    written.
    """
    check_free(out, replace)  # before weights are looked at: it costs nothing
    model = open_checkpoint(checkpoint)
    shapes = hf_shapes(model.arch)
    write_model(
        out,
        model.companions,
        _watched(model, watch),
        shapes,
        dtype or model.dtype,
        made_from=str(checkpoint),
        shard_bytes=shard_bytes,
        replace=replace,
        texts=card.of_checkpoint(checkpoint, model.companions),
    )


def from_hf(
    hf: Path,
    out: Path,
    *,
    dtype: torch.dtype | None,
    replace: bool,
    watch: Callable[[int, int], None],
) -> None:
    """Write a checkpoint of weights alone from a Hugging Face folder, with all that the folder
    holds beside them.

    ``model.path`` of a recipe takes the result, and so do ``to_hf`` and ``verify``. See ``to_hf``
    for the rest.
    """
    check_free(out, replace)
    model = open_hf(hf)
    dtype, shapes = dtype or model.dtype, hf_shapes(model.arch)
    with made_whole(out, size_in_bytes(shapes, dtype), replace) as partial:
        copy_companions(hf, partial, dtype)
        (partial / WEIGHTS).mkdir()
        writer = WeightsWriter(partial / WEIGHTS, model.arch)
        tensors = _watched(model, watch)
        for rule in rules(model.arch):
            parameter = rule.split([next(tensors)[1].to(dtype) for _ in rule.hf], 0, 1)
            writer.add(rule, parameter)
        writer.finish()
        write_record(partial, str(hf), shapes, dtype)
        # Without the record, in which a comparison is noted later.
        files = [file for file in partial.rglob("*") if file.is_file() and file.name != RECORD]
        manifests.write(partial, {"tag": out.name, "files": manifests.digests(partial, files)})


def _watched(model: StoredModel, watch: Callable[[int, int], None]) -> Iterator[tuple[str, Tensor]]:
    total = len(hf_shapes(model.arch))
    for number, named in enumerate(model.tensors(), 1):
        watch(number, total)
        yield named
