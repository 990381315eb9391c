"""Checkpoints that ranks save and load, for the tests under tests/convert to convert."""

from __future__ import annotations

import shutil

import torch
import torch.distributed as dist
from layout_rank import Layout
from layout_samples import GRID, make_groups
from layout_updates import step
from megatron.core import dist_checkpointing

from red_mcore.checkpoints import saving
from red_mcore.config.recipe import Checkpoint
from red_mcore.convert import conversion, hf
from red_mcore.megatron import shim


def check_conversion(layout: Layout) -> dict:
    """Whether ranks, and Megatron itself, load what ``from_hf`` makes;
    and a run's checkpoint, with its export."""
    found = {}
    for tied in (True, False):
        converted = layout.out / f"converted-{tied}"
        if layout.name == "one":  # the first of all layouts
            conversion.from_hf(
                layout.source(tied), converted, dtype=None, replace=False, watch=lambda *done: None
            )
            found["megatron", tied] = loaded_by_megatron(layout, tied)
        policy = layout.policy(tied, trained=False)
        expected = policy.weights()
        clear(policy.model)
        hf.load_first(policy.model, policy.arch, converted)
        found["ranks", tied] = expected, policy.weights()
        if layout.name == "tp2_pp2":
            save_run(layout, tied)
    return found


def loaded_by_megatron(layout: Layout, tied: bool) -> bool:
    """Whether Megatron finds each tensor and object that it asks for,
    and the weights are those that were converted."""
    policy = layout.policy(tied, trained=False)
    expected = policy.weights()
    clear(policy.model)
    with shim.on_device():
        asked = {"model": policy.model[0].sharded_state_dict()}
        state = dist_checkpointing.load(asked, str(layout.out / f"converted-{tied}" / "weights"))
        policy.model[0].load_state_dict(state["model"])
    return all((tensor == expected[name]).all() for name, tensor in policy.weights().items())


def save_run(layout: Layout, tied: bool) -> None:
    """``run-TIED``, as a training run would leave it after a step:
    its model, a checkpoint and an export."""
    run = layout.out / f"run-{tied}"
    if layout.ranks.is_main:
        shutil.copytree(layout.source(tied), run / "model")
    dist.barrier()
    policy = layout.policy(tied)
    step(GRID["red"], policy, make_groups(), {})
    saving.Saver(run / "checkpoints", Checkpoint()).save("main-1", policy, {})
    hf.export_folder(policy.model, policy.arch, run / "model", run / "export", layout.ranks.is_main)


def clear(model: torch.nn.Module) -> None:
    for parameter in model.parameters():
        parameter.data.fill_(7.0)
