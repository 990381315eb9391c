"""Checkpoints: Megatron's distributed format, random states, and one manifest that is written last.

``checkpoints/<tag>/`` holds ``weights/`` (model and optimizers), ``rng-<rank>.pt`` and ``manifest.json``. It is filled
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
from megatron.core.dist_checkpointing.utils import add_prefix_for_sharding
from megatron.core.tensor_parallel import get_cuda_rng_tracker

from red_mcore.megatron import shim
from red_mcore.megatron.policy import Policy
from red_mcore.recipe import RecipeError

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
        model = _model(policy)
        state = {"model": model, "optimizers": _optimizers(policy, model, is_loading=False)}
        dist_checkpointing.save(state, str(partial_folder / "weights"), sharded_strategy=_InProcess("torch_dist", 1))
    torch.save(_random_states(), partial_folder / f"rng-{policy.ranks.rank}.pt")
    dist.barrier()
    final = folder / tag
    if policy.ranks.is_main:
        schedules = {name: slot.schedule.state_dict() for name, slot in policy.slots.items()}
        text = json.dumps({**manifest, "tag": tag, "layout": policy.ranks.layout, "schedules": schedules}, indent=1)
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
    """Restore weights, optimizers, schedules and, under the layout they were saved in, random states; a collective.

    RecipeError where the checkpoint lacks one of the policy's optimizers.
    """
    source, schedules = folder / manifest["tag"], manifest.get("schedules", {})
    if missing := [name for name in policy.slots if name not in schedules]:
        raise RecipeError(
            f"checkpoint {source} has no optimizer {missing[0]} (it has {', '.join(schedules) or 'none'}):"
            " go on with the algorithm that saved it, or start anew under another name"
        )
    with shim.on_device():
        model = _model(policy)
        optimizers = _optimizers(policy, model, is_loading=True)
        state = dist_checkpointing.load({"model": model, "optimizers": optimizers}, str(source / "weights"))
        for name, tensors in state["model"].items():
            policy.model[int(name)].load_state_dict(tensors)
        for name in policy.slots:
            slot = policy.activate(name)
            with _keeping_what_is_not_stored(policy.optimizer):
                policy.optimizer.load_state_dict(state["optimizers"][name])
            slot.schedule.load_state_dict(schedules[name])
    if manifest["layout"] == policy.ranks.layout:
        _set_random_states(torch.load(source / f"rng-{policy.ranks.rank}.pt", weights_only=False))


def _model(policy: Policy) -> dict[str, Any]:
    """Sharded state of each chunk of the model, by its number."""
    return {str(i): chunk.sharded_state_dict() for i, chunk in enumerate(policy.model)}


def _optimizers(policy: Policy, model: dict[str, Any], is_loading: bool) -> dict[str, Any]:
    """Sharded state of every slot: the float32 weights, which they share, with the first alone."""
    for part in policy.optimizer.chained_optimizers:
        part.get_parameter_state_dp_zero = partial(_with_gaps, part)
    found = {}
    for name in policy.slots:
        policy.activate(name)
        found[name] = policy.optimizer.sharded_state_dict({"model": model}, is_loading, metadata=_SHARDING)
        if len(found) > 1:
            # One part, or (by number) two where experts have an optimizer of their own.
            for part in [found[name]] if "param_state" in found[name] else found[name].values():
                for tensors in part["param_state"].values():
                    del tensors["param"]
        add_prefix_for_sharding(found[name], f"{name}.")
    return found


def _with_gaps(part, **settings) -> dict:
    """State of a distributed optimizer, with the gaps that pad its buckets.

    Megatron-Core 0.16.1 leaves them out, but then looks the parameters up where they are counted in. What follows the
    first bucket would be saved shifted: all but the output layer on the last pipeline stage of a tied model.
    """
    found = type(part).get_parameter_state_dp_zero(part, **settings)
    for i, buffer in enumerate(part.buffers):
        sizes = [bucket.numel_unpadded for bucket in buffer.buckets]
        gaps = [bucket.grad_data.numel() - size for bucket, size in zip(buffer.buckets, sizes, strict=True)]
        for tensors in found[i].values():
            for key in ("param", "exp_avg", "exp_avg_sq"):
                pieces = zip(tensors[key].split(sizes), gaps, strict=True)
                tensors[key] = torch.cat([torch.nn.functional.pad(piece, (0, gap)) for piece, gap in pieces])
    return found


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
def _keeping_what_is_not_stored(optimizer) -> Iterator[None]:
    """Loading a distributed optimizer whose checkpoint lacks some of its tensors, which then stay as they are.

    Megatron-Core 0.16.1 asks for each parameter's ``step`` of torch's AdamW, which it stores once for all. It then
    leaves one step tensor shared by all parameters, which the next update would advance once per parameter.
    """
    for part in optimizer.chained_optimizers:
        part._set_main_param_and_optimizer_states = partial(_set_stored, part)
    yield
    for part in optimizer.chained_optimizers:
        del part._set_main_param_and_optimizer_states
        for state in part.optimizer.state.values():
            if "step" in state:
                state["step"] = state["step"].clone()


def _set_stored(part, parameter, tensors) -> None:
    present = part._get_main_param_and_optimizer_states(parameter)
    type(part)._set_main_param_and_optimizer_states(part, parameter, present | tensors)


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
