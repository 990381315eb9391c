"""The model folder of a run: configuration, tokenizer and, for a fresh model, its first weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from red_mcore import resume
from red_mcore.architecture import hf_config
from red_mcore.recipe import Recipe, RecipeError

if TYPE_CHECKING:
    from red_mcore.megatron.ranks import Ranks


def prepare_model(recipe: Recipe, here: Ranks) -> tuple[Path, Path]:
    """(folder of the first weights, folder of config and tokenizer), the latter made in the run folder by rank 0."""
    import torch

    from red_mcore.convert import hf
    from red_mcore.convert.folder import fetch
    from red_mcore.data import template
    from red_mcore.data.seams import write_stop_ids
    from red_mcore.data.tokenizer import load_tokenizer
    from red_mcore.megatron.ranks import from_main, on_main

    folder = recipe.folder / "model"
    path = recipe.model.path
    if from_main(path is not None and not Path(path).is_dir()):  # nodes may differ in what they see
        on_main(here, lambda: fetch(recipe.model.path))
        path = fetch(path)  # from the cache, or on another node that does not share it

    def prepare() -> None:
        made = folder / "complete"
        if made.exists() and resume.begun(recipe):
            return  # what it was made of is compared apart, see ``identity``
        shutil.rmtree(folder, ignore_errors=True)  # half-written, or of a start that never saved
        model = replace(recipe.model, path=path)
        config, tokenizer = hf_config(model), load_tokenizer(model, recipe.data.template_arguments)
        template.check_recipe(recipe, model)  # of a hub model nothing was known before
        if len(tokenizer) > config["vocab_size"]:
            raise RecipeError(
                f"model.config.vocab_size={config['vocab_size']} does not hold the tokenizer's {len(tokenizer)} tokens"
            )
        folder.mkdir(parents=True, exist_ok=True)
        if path is None:
            hf.make_fresh(config, tokenizer, folder, recipe.seed, getattr(torch, recipe.model.dtype))
        else:
            tokenizer.save_pretrained(folder)
            config = {key: value for key, value in config.items() if key != "torch_dtype"}
            (folder / "config.json").write_text(json.dumps(config | {"dtype": recipe.model.dtype}, indent=2))
            generation = Path(path) / "generation_config.json"
            if generation.is_file():
                (folder / generation.name).write_text(generation.read_text())
            write_stop_ids(tokenizer, folder)
        made.touch()

    on_main(here, prepare)
    return (folder if path is None else Path(path)), folder
