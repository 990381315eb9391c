"""The teacher that an algorithm may have, before anything is started: its folder, its shape under
the policy's layout, its tokenizer. No torch."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from red_mcore.checkpoints import manifests
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.data import vocabulary
from red_mcore.models.architecture import Architecture
from red_mcore.models.headers import HFHeaders
from red_mcore.models.layers import check_layers
from red_mcore.models.rules import hf_shapes, tied_names
from red_mcore.models.teacher import of_folder
from red_mcore.planning import numbers


def check(recipe: Recipe, policy: Architecture | None) -> None:
    """RecipeError where the teacher cannot score for this ``policy``, as far as both are here
    (None: the policy is not)."""
    teacher = recipe.algorithm.teacher
    if teacher is None or teacher.path is None:
        return
    path = teacher.path
    if not Path(path).is_dir():
        if Path(path).exists() or not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", path):
            raise RecipeError(
                f"algorithm.teacher.path {path} is neither a folder with a config.json nor a hub"
                " name: train or convert the teacher first, or name another"
            )
        return
    try:
        manifests.check_converted(Path(path), checksums=False)
    except RecipeError as error:
        raise _of_teacher(error) from None
    found = of_folder(Path(path))
    check_shape(recipe, found, policy)
    if not (Path(path) / "weights").is_dir():  # which tools/convert.py made
        try:
            HFHeaders(Path(path)).check(hf_shapes(found), tied_names(found))
        except RecipeError as error:
            raise _of_teacher(error) from None
    model = recipe.model.path
    if model is None or Path(model).is_dir():
        vocabulary.check_apart(model, path)


def check_shape(recipe: Recipe, teacher: Architecture, policy: Architecture | None) -> None:
    """RecipeError where the teacher's shape does not go with the policy's layout, lengths or
    vocabulary."""
    # No engine has the teacher, so that it need not be split for one.
    unsampled = replace(recipe, rollout=replace(recipe.rollout, tensor=1))
    try:
        check_layers(recipe.model, teacher, recipe.parallel.tensor)
        numbers.check_layout(unsampled, teacher)
    except RecipeError as error:
        raise _of_teacher(error) from None
    if policy is not None and teacher.vocab_size < policy.vocab_size:
        raise RecipeError(
            f"algorithm.teacher: vocab_size={teacher.vocab_size} is smaller than the policy's"
            f" {policy.vocab_size}, so that it could not score every token: take another teacher"
        )


def _of_teacher(error: RecipeError) -> RecipeError:
    return RecipeError(f"algorithm.teacher: {error}")
