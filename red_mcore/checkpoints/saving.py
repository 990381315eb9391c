"""Checkpoints: Megatron's distributed format, random states, and one manifest that is written last.

``checkpoints/<tag>/`` holds ``weights/`` (model and optimizers), ``rng-<rank>.json`` and
``manifest.json``. It is filled under another name and moved into place when complete;
``checkpoints/latest`` then names it. Kill the run anywhere: either the old or the new checkpoint is
whole. What was damaged later is found by the manifest's checksums. A checkpoint also keeps what the
run's side files held, where nothing else could make them anew.
"""

from __future__ import annotations

import copy
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.strategies.async_utils import AsyncRequest
from megatron.core.dist_checkpointing.utils import add_prefix_for_sharding
from torch.distributed.checkpoint.api import CheckpointException

from red_mcore.checkpoints import manifests, random_states, untrusted
from red_mcore.checkpoints.strategies import CommonData, InProcessWriter, TensorData
from red_mcore.config.recipe import Checkpoint, RecipeError
from red_mcore.megatron import shim
from red_mcore.megatron.policy import Policy
from red_mcore.megatron.ranks import Ranks, on_main, together
from red_mcore.system import disk
from red_mcore.system.exit_codes import LEFT

# The one sharding of optimizer state that loads under another tensor x pipeline x data layout.
_SHARDING = {
    "distrib_optim_sharding_type": "fully_reshardable",
    # Gathered for saving by the first data-parallel rank of each part of the model alone: all the
    # others would need as much of their hosts' memory, though only the first writes.
    "distrib_optim_fully_reshardable_mem_efficient": True,
    "chained_optim_avoid_prefix": True,
}


class Saver:
    """Writes the checkpoints under ``folder``, one at a time; its methods are collectives of all
    ranks.

    A thread of each rank writes the rank's own files and no more: the ranks speak to each other in
    the training thread alone, between steps. Any failure to write stops the run, by an error that
    names the file.
    """

    def __init__(self, folder: Path, settings: Checkpoint) -> None:
        self._folder, self._settings = folder, settings
        self._pending: _Pending | None = None

    def save(
        self,
        tag: str,
        policy: Policy,
        manifest: dict[str, Any],
        copies: Mapping[str, str] | None = None,
    ) -> None:
        """Checkpoint ``tag`` of this moment, once an earlier one is complete; ``asynchronous`` only
        begins it.

        ``copies``: texts of rank 0 that the checkpoint keeps, by file name.
        """
        self.finish()
        folder = self._folder / f"{tag}.partial"

        def make_room() -> None:
            for leftover in self._folder.glob("*.partial/"):  # of killed saves, whatever their tags
                shutil.rmtree(leftover)
            try:
                with disk.writing(folder):
                    (folder / "weights").mkdir(parents=True)
                for name, text in (copies or {}).items():
                    disk.write_atomic(folder / name, text)
            except RecipeError:
                shutil.rmtree(folder, ignore_errors=True)
                raise

        on_main(policy.ranks, make_room)
        with shim.on_device(), policy.optimizer_on_device():
            model = _model(policy)
            state = {"model": model, "optimizers": _optimizers(policy, model, is_loading=False)}
            request = dist_checkpointing.save(
                state,
                str(folder / "weights"),
                sharded_strategy=InProcessWriter(snapshot=self._settings.asynchronous),
                async_sharded_save=True,
            )
        schedules = {name: slot.schedule.state_dict() for name, slot in policy.slots.items()}
        manifest = copy.deepcopy(
            {**manifest, "tag": tag, "layout": policy.ranks.layout, "schedules": schedules}
        )
        self._pending = _Pending(folder, manifest, request, policy.ranks)
        if not self._settings.asynchronous:
            self.finish()

    def poll(self) -> None:
        """Complete the checkpoint that was begun if every rank has written its part."""
        if self._pending:
            self._complete(self._pending)

    def finish(self) -> None:
        """Wait for the checkpoint that was begun, if there is one, and complete it."""
        while self._pending:
            # Not for long: ranks that are done wait in the collective, which has a time limit of
            # its own.
            self._pending.thread.join(1.0)
            self._complete(self._pending)

    def _complete(self, pending: _Pending) -> None:
        """Put the checkpoint in its place if all ranks are done; RuntimeError where one failed or
        takes too long.

        RecipeError where a disk is full. The earlier checkpoint stays, nothing does of this one.
        """
        failure = pending.failure(self._settings.timeout_seconds)
        told: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(told, (failure, pending.files))
        if any(failure for failure, _ in told):
            self._pending = None
            if pending.ranks.is_main:  # what other ranks write even now, the next save removes
                pending.thread.join(5.0)
                shutil.rmtree(pending.folder, ignore_errors=True)
            if not failure:
                raise SystemExit(LEFT)
            if disk.full(pending.error):
                raise RecipeError(failure) from pending.error
            raise RuntimeError(failure) from pending.error
        if any(files is None for _, files in told):
            return
        self._pending = None
        with shim.on_device():
            for finalize in pending.request.finalize_fns:
                finalize()
        files: dict[str, list] = {}
        for _, part in told:
            files |= part
        on_main(pending.ranks, lambda: self._publish(pending, files))

    def _publish(self, pending: _Pending, files: dict[str, list]) -> None:
        """Write the manifest, move the checkpoint into place, and remove what is not kept; on rank
        0."""
        partial_folder, tag = pending.folder, pending.manifest["tag"]
        written = {partial_folder / name for name in files}
        # The others are small, and rank 0's own.
        others = {path for path in partial_folder.rglob("*") if path.is_file()} - written
        files |= manifests.digests(partial_folder, sorted(others))
        manifests.write(partial_folder, {**pending.manifest, "files": files})
        if (self._folder / tag).exists():  # one that is broken, and was written again
            self._remove(tag)
        partial_folder.rename(self._folder / tag)
        disk.write_atomic(self._folder / "latest", tag)
        readable = []
        for other in manifests.tags(self._folder):
            # What is newer was broken, and the run went on without it.
            if manifests.age(other) <= manifests.age(tag):
                with suppress(manifests.Broken):
                    readable.append(manifests.read(self._folder / other))
        kept = manifests.kept(readable, self._settings)
        if (best := manifests.best_of(readable)) in kept:
            disk.write_atomic(self._folder / "best", best)
        for other in manifests.tags(self._folder):
            if other not in kept:
                self._remove(other)

    def _remove(self, tag: str) -> None:
        # Renamed, it is at once gone for whoever looks for checkpoints.
        doomed = self._folder / f"{tag}.old.partial"
        (self._folder / tag).rename(doomed)
        shutil.rmtree(doomed)


class _Pending:
    """A checkpoint on its way: this rank's files, which a thread writes."""

    def __init__(
        self, folder: Path, manifest: dict[str, Any], request: AsyncRequest, ranks: Ranks
    ) -> None:
        self.folder, self.manifest, self.request, self.ranks = folder, manifest, request, ranks
        self.files: dict[str, list] | None = None
        """Digests of this rank's files, once they are written."""
        self.error: Exception | None = None
        self._at: Path = folder
        self._bytes: int | None = None
        self._begin = time.monotonic()
        # A daemon: a write that hangs must not keep a run that failed from ending.
        self.thread = Thread(target=self._write, args=(random_states.current(),), daemon=True)
        self.thread.start()

    @property
    def seconds(self) -> float:
        """The seconds since the checkpoint was begun."""
        return time.monotonic() - self._begin

    def failure(self, limit: float) -> str | None:
        """What is wrong on this rank, if anything is."""
        if self.error is not None and disk.full(self.error):
            return disk.refusal(self._at, self._bytes, self.error)
        if self.error is not None:
            return (
                f"checkpoint file {self._at} was not written:"
                f" {type(self.error).__name__}: {self.error}"
            )
        if self.files is None and self.seconds >= limit:
            return (
                f"checkpoint file {self._at} is not written after"
                f" checkpoint.timeout_seconds={limit:g}"
            )
        return None

    def _write(self, states: dict[str, Any]) -> None:
        try:
            files = []
            # Without, the rank has nothing to write of the weights.
            if self.request.async_fn is not None:
                _, buckets, _ = self.request.async_fn_args
                self.request.async_fn(*self.request.async_fn_args, self._is_at)
                files = [Path(path) for path, _, _ in buckets]
            self._is_at(self.folder / random_states.file_of(self.ranks.rank))
            self._at.write_text(json.dumps(states))
            self.files = manifests.digests(self.folder, [*files, self._at])
        except Exception as error:  # raised in the training thread, once the other ranks know
            self.error = error

    def _is_at(self, file: str | Path, size: int | None = None) -> None:
        self._at, self._bytes = Path(file), size


def load(folder: Path, manifest: dict[str, Any], policy: Policy) -> None:
    """Restore weights, optimizers, schedules and, under the layout they were saved in, random
    states; a collective.

    RecipeError where the checkpoint lacks one of the policy's optimizers, or holds something that
    is no data.
    """
    source, schedules = folder / manifest["tag"], manifest.get("schedules", {})
    if missing := [name for name in policy.slots if name not in schedules]:
        raise RecipeError(
            f"checkpoint {source} has no optimizer {missing[0]} (it has"
            f" {', '.join(schedules) or 'none'}): go on with the algorithm that saved it, or start"
            " anew under another name"
        )
    with shim.on_device(), policy.optimizer_on_device():
        model = _model(policy)
        optimizers = _optimizers(policy, model, is_loading=True)
        state = _read(source / "weights", {"model": model, "optimizers": optimizers}, policy.ranks)
        for name, tensors in state["model"].items():
            chunk = policy.model[int(name)]
            nothing = {key: None for key in chunk.state_dict() if _is_extra(key)}
            chunk.load_state_dict(tensors | nothing)
        for name in policy.slots:
            slot = policy.activate(name)
            with _keeping_what_is_not_stored(policy.optimizer):
                policy.optimizer.load_state_dict(state["optimizers"][name])
            slot.schedule.load_state_dict(schedules[name])
    if manifest["layout"] == policy.ranks.layout:
        with together():
            random_states.restore(source, policy.ranks.rank)


def _read(folder: Path, wanted: dict[str, Any], here: Ranks) -> dict[str, Any]:
    """``wanted`` with the tensors stored in ``folder``, whose files are read as data alone; a
    collective."""

    def look() -> None:
        untrusted.Reader(folder).read_metadata()
        untrusted.read_data(folder / "common.pt")

    on_main(here, look)  # what is wrong for all ranks is said once
    try:
        return dist_checkpointing.load(wanted, str(folder), TensorData(), CommonData())
    except CheckpointException as error:  # which every rank gets
        failure = next(iter(error.failures.values()))[0]
    with together():
        if isinstance(failure, RecipeError):
            raise failure
        raise RecipeError(
            f"{folder} cannot be read: {type(failure).__name__}: {str(failure).splitlines()[0]}"
        )


def _model(policy: Policy) -> dict[str, Any]:
    """Sharded state of each chunk of the model, by its number; the same whoever made the layers."""
    found = {}
    chunk: Any  # of Megatron's, which has no types
    for i, chunk in enumerate(policy.model):
        state = chunk.sharded_state_dict()
        found[str(i)] = {key: x for key, x in state.items() if not _is_extra(key)}
    return found


def _is_extra(key: str) -> bool:
    """Whether it is what Transformer Engine keeps for scalings that have a history; ours have
    none."""
    return key.endswith("_extra_state")


def _optimizers(policy: Policy, model: dict[str, Any], is_loading: bool) -> dict[str, Any]:
    """Sharded state of every slot: the float32 weights, which they share, with the first alone."""
    for part in policy.optimizer.chained_optimizers:
        part.get_parameter_state_dp_zero = partial(_with_gaps, part)
    found = {}
    for name in policy.slots:
        policy.activate(name)
        found[name] = policy.optimizer.sharded_state_dict(
            {"model": model}, is_loading, metadata=_SHARDING
        )
        if len(found) > 1:
            # One part, or (by number) two where experts have an optimizer of their own; None but on
            # the first rank.
            for part in [found[name]] if "param_state" in found[name] else found[name].values():
                for tensors in (part["param_state"] or {}).values():
                    del tensors["param"]
        add_prefix_for_sharding(found[name], f"{name}.")
    return found


def _with_gaps(part, **settings) -> dict | None:
    """State of a distributed optimizer, with the gaps that pad its buckets.

    Megatron-Core 0.16.1 leaves them out, but then looks the parameters up where they are counted
    in. What follows the first bucket would be saved shifted: all but the output layer on the last
    pipeline stage of a tied model.
    """
    found = type(part).get_parameter_state_dp_zero(part, **settings)
    if found is None:
        return None
    for i, buffer in enumerate(part.buffers):
        if len(buffer.buckets) == 1:
            continue  # nothing follows
        for tensors in found[i].values():
            for key in ("param", "exp_avg", "exp_avg_sq"):
                tensors[key] = _padded(tensors[key], buffer.buckets)
    return found


def _padded(whole: torch.Tensor, buckets) -> torch.Tensor:
    """The numbers of all buckets, one behind the other, with zeros where each is padded."""
    pieces, begin = [], 0
    for bucket in buckets:
        end = begin + bucket.numel_unpadded
        gap = bucket.grad_data.numel() - bucket.numel_unpadded
        pieces.append(torch.nn.functional.pad(whole[begin:end], (0, gap)))
        begin = end
    return torch.cat(pieces)


@contextmanager
def _keeping_what_is_not_stored(optimizer) -> Iterator[None]:
    """Loading a distributed optimizer whose checkpoint lacks some of its tensors, which then stay
    as they are.

    Megatron-Core 0.16.1 asks for each parameter's ``step`` of torch's AdamW, which it stores once
    for all. It then leaves one step tensor shared by all parameters, which the next update would
    advance once per parameter.
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
