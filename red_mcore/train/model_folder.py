"""The model folder of a run: configuration, tokenizer and, for a fresh model, its first weights."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from red_mcore.checkpoints import manifests, resume
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.models.architecture import hf_config
from red_mcore.system import disk

if TYPE_CHECKING:
    from red_mcore.megatron.ranks import Ranks

COMPLETE = "complete"
"""Written last: size and checksum of each file; empty where an older version made the folder."""


def damage(folder: Path) -> str | None:
    """What of a model folder is not as it was written, if anything is, and as far as that is
    known."""
    mark = folder / COMPLETE
    if not mark.is_file():
        return f"{mark} is missing"
    try:
        manifests.check(folder, {"files": _digests(folder)}, checksums=True)
    except (disk.Damaged, manifests.Broken) as fault:
        return str(fault)
    return None


def _digests(folder: Path) -> dict[str, Any]:
    """Size and checksum of each file when the folder was made, as far as known; Damaged."""
    mark = folder / COMPLETE
    if not (mark.is_file() and mark.stat().st_size):
        return {}
    found = disk.read_object(mark) or {}
    if any(not isinstance(about, list) or len(about) != 2 for about in found.values()):
        raise disk.Damaged(f"{mark} is damaged")
    return found


def prepare_model(recipe: Recipe, here: Ranks) -> tuple[Path, Path]:
    """(folder of the first weights, folder of config and tokenizer), the latter made in the run
    folder by rank 0.

    A collective. RecipeError for a model that does not go with its tokenizer, and where the folder
    of a run that has begun is damaged and cannot be made as it was.
    """
    from red_mcore.convert.folder import fetch
    from red_mcore.megatron.ranks import from_main, on_main

    folder, path = recipe.folder / "model", recipe.model.path
    if path is None:
        on_main(here, lambda: _prepare(recipe, None, folder))
        return folder, folder
    if from_main(not Path(path).is_dir()):  # nodes may differ in what they see
        name = path
        on_main(here, lambda: fetch(name))
        path = fetch(name)  # from the cache, or on another node that does not share it
    on_main(here, lambda: _prepare(recipe, path, folder))
    return Path(path), folder


def _prepare(recipe: Recipe, path: str | None, folder: Path) -> None:
    """Make the folder, where it is not there whole; ``path`` is the model's, None of a fresh
    one."""
    from red_mcore.data import template
    from red_mcore.data.tokenizer import load_tokenizer

    then: dict[str, Any] = {}
    if resume.begun(recipe) and folder.is_dir():
        if (fault := damage(folder)) is None:
            return  # what it was made of is compared apart, see ``identity``
        print(f"red_mcore: warning: {fault}: {folder} is made anew", flush=True)
        then = _weights_then(folder)
    shutil.rmtree(folder, ignore_errors=True)  # half-written, or of a start that never saved
    model = replace(recipe.model, path=path)
    config, tokenizer = hf_config(model), load_tokenizer(model, recipe.data.template_arguments)
    template.check_recipe(recipe, model)  # of a hub model nothing was known before
    if len(tokenizer) > config["vocab_size"]:
        raise RecipeError(
            f"model.config.vocab_size={config['vocab_size']} does not hold the tokenizer's"
            f" {len(tokenizer)} tokens"
        )
    with disk.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if path is None:
            _make_fresh(recipe, config, tokenizer, folder)
        else:
            _copy_companions(recipe, config, tokenizer, Path(path), folder)
    now = manifests.digests(folder, [file for file in folder.rglob("*") if file.is_file()])
    for name, about in then.items():
        if now.get(name) != about:
            raise RecipeError(
                f"{folder / name} is not what the run started from, and this version of"
                " transformers makes others: put the file back"
            )
    disk.write_atomic(folder / COMPLETE, json.dumps(now) + "\n")


def _weights_then(folder: Path) -> dict[str, Any]:
    """Size and checksum of each file of weights when the folder was made, as far as anybody
    knows."""
    with suppress(disk.Damaged):
        digests = _digests(folder).items()
        return {name: about for name, about in digests if name.endswith(".safetensors")}
    return {}


def _make_fresh(recipe: Recipe, config: dict[str, Any], tokenizer: Any, folder: Path) -> None:
    """Fill the folder of a model that starts from random weights."""
    import torch

    from red_mcore.convert import hf

    hf.make_fresh(config, tokenizer, folder, recipe.seed, getattr(torch, recipe.model.dtype))


def _copy_companions(
    recipe: Recipe, config: dict[str, Any], tokenizer: Any, model: Path, folder: Path
) -> None:
    """Fill the folder of a model that has its weights elsewhere: configuration, tokenizer,
    generation settings."""
    from red_mcore.data.seams import write_stop_ids

    tokenizer.save_pretrained(folder)
    config = config | {"dtype": recipe.model.dtype}
    config.pop("torch_dtype", None)  # its older name
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    generation = model / "generation_config.json"
    if generation.is_file():
        (folder / generation.name).write_text(generation.read_text())
    write_stop_ids(tokenizer, folder)
