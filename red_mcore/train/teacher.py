"""The teacher of a run on its ranks: another model, frozen, that scores the policy's rollouts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from red_mcore.config.recipe import Recipe
from red_mcore.data import vocabulary
from red_mcore.models.architecture import Architecture
from red_mcore.models.teacher import of_folder
from red_mcore.planning import teachers

if TYPE_CHECKING:
    from red_mcore.megatron.policy import Policy
    from red_mcore.megatron.ranks import Ranks


@dataclass(frozen=True)
class OpenTeacher:
    """A teacher whose folder was looked at, weights left aside."""

    weights: Path
    """Its folder: of a hub's model that in the cache."""
    arch: Architecture


def open_teacher(
    recipe: Recipe, here: Ranks, policy: Architecture, tokenizer: Any
) -> OpenTeacher | None:
    """The teacher that the algorithm names, None where it names none; a collective.

    RecipeError, on all ranks, where it does not go with the policy's shape or ``tokenizer``: the
    planner knows that of folders, but not of a hub's models.
    """
    from red_mcore.convert import hf
    from red_mcore.convert.folder import fetch
    from red_mcore.megatron.ranks import from_main, on_main

    teacher = recipe.algorithm.teacher
    if teacher is None or teacher.path is None:  # the latter is refused where a recipe is checked
        return None
    name: str = teacher.path
    folder = Path(name)
    if from_main(not folder.is_dir()):  # nodes may differ in what they see
        on_main(here, lambda: fetch(name))
        folder = Path(fetch(name))  # from the cache, or on a node that does not share it
    arch = of_folder(folder)

    def check() -> None:
        teachers.check_shape(recipe, arch, policy)
        hf.check_first(arch, folder)
        vocabulary.check(tokenizer, str(folder))

    on_main(here, check)
    return OpenTeacher(folder, arch)


def build_teacher(recipe: Recipe, here: Ranks, teacher: OpenTeacher) -> Policy:
    """The teacher's model under the policy's layout, its weights loaded; a collective."""
    from red_mcore.convert import hf
    from red_mcore.megatron.offload import to_host
    from red_mcore.megatron.policy import Policy
    from red_mcore.megatron.ranks import together

    built = Policy(recipe, teacher.arch, here)
    with together():
        hf.load_first(built.model, teacher.arch, teacher.weights)
    if recipe.offload.teacher:
        to_host(built.model.parameters())
    return built
