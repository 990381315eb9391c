"""Checkpoints: Megatron's distributed format, random states, and one manifest that is written last.

``checkpoints/<tag>/`` holds ``weights/`` (model and optimizer), ``rng-<rank>.pt`` and ``manifest.json``. It is filled
under another name and moved into place when complete; ``checkpoints/latest`` then names it. Kill the run anywhere:
either the old or the new checkpoint is whole.
"""

from __future__ import annotations

import json
import queue
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.strategies import filesystem_async
from megatron.core.dist_checkpointing.strategies.torch import TorchDistSaveShardedStrategy
from megatron.core.tensor_parallel import get_cuda_rng_tracker

from red_mcore.megatron import shim
from red_mcore.megatron.policy import Policy

# The one sharding of optimizer state that loads under another tensor x pipeline x data layout.
_SHARDING = {
    "distrib_optim_sharding_type": "fully_reshardable",
    "distrib_optim_fully_reshardable_mem_efficient": False,
    "chained_optim_avoid_prefix": True,
}


def save(folder: Path, tag: str, policy: Policy, manifest: dict[str, Any], keep: int) -> Path:
    """Write checkpoint ``tag`` under ``folder`` and remove all but the newest ``keep``; a collective."""
    partial_folder = folder / f"{tag}.partial"
    if policy.ranks.is_main:
        for leftover in folder.glob("*.partial/"):  # of killed saves, whatever their tags
            shutil.rmtree(leftover)
        (partial_folder / "weights").mkdir(parents=True)
    dist.barrier()
    with shim.on_device():
        model = policy.model.sharded_state_dict()
        state = {
            "model": model,
            "optimizer": policy.optimizer.sharded_state_dict({"model": model}, is_loading=False, metadata=_SHARDING),
        }
        dist_checkpointing.save(state, str(partial_folder / "weights"), sharded_strategy=_InProcess("torch_dist", 1))
    torch.save(_random_states(), partial_folder / f"rng-{policy.ranks.rank}.pt")
    dist.barrier()
    final = folder / tag
    if policy.ranks.is_main:
        layout = [policy.ranks.tensor, policy.ranks.pipeline, policy.ranks.data]
        schedule = policy.schedule.state_dict()
        text = json.dumps({**manifest, "tag": tag, "layout": layout, "schedule": schedule}, indent=1)
        (partial_folder / "manifest.json").write_text(text)
        shutil.rmtree(final, ignore_errors=True)
        partial_folder.rename(final)
        pointer = folder / "latest.partial"
        pointer.write_text(tag)
        pointer.replace(folder / "latest")
        complete = sorted((p.parent for p in folder.glob("*/manifest.json")), key=lambda p: p.stat().st_mtime)
        for old in complete[:-keep]:
            shutil.rmtree(old)
    dist.barrier()
    return final


def load(folder: Path, manifest: dict[str, Any], policy: Policy) -> None:
    """Restore weights, optimizer, schedule and, under the layout they were saved in, random states; a collective."""
    source = folder / manifest["tag"]
    with shim.on_device():
        model = policy.model.sharded_state_dict()
        optimizer = policy.optimizer.sharded_state_dict({"model": model}, is_loading=True, metadata=_SHARDING)
        state = dist_checkpointing.load({"model": model, "optimizer": optimizer}, str(source / "weights"))
        policy.model.load_state_dict(state["model"])
        with _adamw_steps(policy.optimizer):
            policy.optimizer.load_state_dict(state["optimizer"])
    policy.schedule.load_state_dict(manifest["schedule"])
    ranks = policy.ranks
    if manifest["layout"] == [ranks.tensor, ranks.pipeline, ranks.data]:
        _set_random_states(torch.load(source / f"rng-{ranks.rank}.pt", weights_only=False))


def _random_states() -> dict[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "tracker": get_cuda_rng_tracker().get_states(),
    }


def _set_random_states(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"])
    get_cuda_rng_tracker().set_states(states["tracker"])


@contextmanager
def _adamw_steps(optimizer) -> Iterator[None]:
    """Loading a distributed optimizer over torch's AdamW, which Megatron-Core 0.16.1 gets wrong in two ways.

    It asks the checkpoint for each parameter's ``step``, which it stores once for all; and it leaves one step tensor
    shared by all parameters, which the next update would then advance once per parameter.
    """
    parts = [p for p in optimizer.chained_optimizers if isinstance(p.optimizer, torch.optim.AdamW)]
    for part in parts:
        if hasattr(part, "_set_main_param_and_optimizer_states"):
            part._set_main_param_and_optimizer_states = partial(_set_with_step, part)
    yield
    for part in parts:
        part.__dict__.pop("_set_main_param_and_optimizer_states", None)
        for state in part.optimizer.state.values():
            state["step"] = state["step"].clone()


def _set_with_step(part, parameter, tensors) -> None:
    step = part._get_main_param_and_optimizer_states(parameter)["step"]
    type(part)._set_main_param_and_optimizer_states(part, parameter, {"step": step, **tensors})


class _InProcess(TorchDistSaveShardedStrategy):
    """Megatron's writer without its forked processes.

    A rank runs threads of gloo and of the engine, which a fork may leave with a held lock, and when a writer process
    dies the rank waits for its answer for ever. Here the same code writes the same files in the calling thread.
    """

    def async_save(self, sharded_state_dict, checkpoint_dir):
        # Megatron would start a manager process to hold this queue.
        filesystem_async._results_queue = queue.SimpleQueue()
        return super().async_save(sharded_state_dict, checkpoint_dir)

    def _get_save_and_finalize_callbacks(self, writer, save_state_dict_ret):
        request = super()._get_save_and_finalize_callbacks(writer, save_state_dict_ret)
        if request.async_fn is None:
            return request
        transforms = [writer.transforms] if hasattr(writer, "transforms") else []
        return request._replace(async_fn=partial(_write, transforms))


def _write(transforms, rank: int, buckets, results) -> None:
    done = {}
    for i, bucket in enumerate(buckets):
        answers: queue.SimpleQueue = queue.SimpleQueue()
        counter: queue.Queue = queue.Queue()
        counter.put(i)
        filesystem_async.FileSystemWriterAsync.write_preloaded_data(transforms, i, bucket, answers, counter, True)
        _, answer = answers.get()
        if isinstance(answer, Exception):
            raise answer
        done[i] = answer
    results.put(done)
