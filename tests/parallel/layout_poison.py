"""Checkpoints that somebody has poisoned, under this rank's layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
import torch.distributed as dist
from layout_rank import Layout
from poison import POISONS, Runs, seal

from red_mcore.checkpoints import resume, saving
from red_mcore.config.recipe import RecipeError


def random_states(weights: Path, mark: Path) -> None:
    """As an earlier version kept them."""
    for file in weights.parent.glob("rng-*.json"):
        file.unlink()
        torch.save(Runs(mark), file.with_suffix(".pt"))


def check_poison(layout: Layout) -> dict[str, list[str]]:
    """What the first and the last rank say of each poison, by its name;
    and whether anything ran."""
    if layout.name not in ("one", "tp2"):
        return {}
    found, policy = {}, layout.policy(False, 260)
    for poison in (*POISONS, random_states):
        root = layout.out / f"poisoned-{layout.name}-{poison.__name__}"
        if layout.ranks.is_main:
            shutil.copytree(
                layout.out / f"checkpoints-{layout.name}-float32" / "main-2", root / "main-2"
            )
            poison(root / "main-2" / "weights", root / "ran")
            seal(root / "main-2")
        dist.barrier()
        try:
            saving.load(root, resume.latest(root), policy)
            said = "nothing"
        except (RecipeError, SystemExit) as error:
            said = f"{type(error).__name__}: {error}"
        told: list = [None] * layout.ranks.world
        dist.all_gather_object(told, said)
        found[poison.__name__] = [told[0], told[-1], str((root / "ran").exists())]
    return found
