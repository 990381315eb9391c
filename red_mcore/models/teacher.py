"""The shape of the teacher that an algorithm may have."""

from __future__ import annotations

from pathlib import Path

from red_mcore.config.recipe import Model, Recipe, RecipeError
from red_mcore.models.architecture import Architecture, hf_config, read_architecture


def teacher_architecture(recipe: Recipe) -> Architecture | None:
    """The teacher's shape; None where there is no teacher, or only a hub has it."""
    teacher = recipe.algorithm.teacher
    if teacher is None or teacher.path is None or not Path(teacher.path).is_dir():
        return None
    return of_folder(Path(teacher.path))


def of_folder(folder: Path) -> Architecture:
    """The shape of the teacher in ``folder``. RecipeError for one that is not supported."""
    try:
        return read_architecture(hf_config(Model(path=str(folder))))
    except RecipeError as error:
        raise RecipeError(f"algorithm.teacher: {error}") from None
