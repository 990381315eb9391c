"""Megatron's strategies of writing and reading a distributed checkpoint, made safe: no process is
forked, and nothing that is read is run."""

from __future__ import annotations

import queue
from collections.abc import Callable
from functools import partial
from pathlib import Path

from megatron.core.dist_checkpointing.strategies import filesystem_async
from megatron.core.dist_checkpointing.strategies import torch as megatrons
from megatron.core.dist_checkpointing.strategies.common import TorchCommonLoadStrategy

from red_mcore.checkpoints import untrusted
from red_mcore.megatron import shim


class TensorData(megatrons.TorchDistLoadShardedStrategy):
    """Megatron's strategy of loading with a reader that runs nothing, in the place of the one that
    it makes itself."""

    def load(self, sharded_state_dict, checkpoint_dir):
        own = megatrons._get_filesystem_reader
        megatrons._get_filesystem_reader = _reader
        try:
            return super().load(sharded_state_dict, checkpoint_dir)
        finally:
            megatrons._get_filesystem_reader = own


def _reader(folder, cache_metadata=False) -> untrusted.Reader:
    """What Megatron calls instead of its own; ours keeps the list of tensors in any case."""
    return untrusted.Reader(folder)


class CommonData(TorchCommonLoadStrategy):
    """Megatron's strategy of loading what is no tensor."""

    def load_common(self, checkpoint_dir):
        return untrusted.read_data(Path(checkpoint_dir) / "common.pt")


class InProcessWriter(megatrons.TorchDistSaveShardedStrategy):
    """Megatron's writer without its forked processes.

    A rank runs threads of gloo and of the engine, which a fork may leave with a held lock, and when
    a writer process dies the rank waits for its answer for ever. Here the same code writes the same
    files in a thread of the rank.
    """

    def __init__(self, snapshot: bool) -> None:
        """``snapshot``: what is written must not change with the weights any more."""
        super().__init__("torch_dist", 1)
        self._snapshot = snapshot

    def async_save(self, sharded_state_dict, checkpoint_dir):
        # Megatron would start a manager process to hold this queue.
        filesystem_async._results_queue = queue.SimpleQueue()
        return super().async_save(sharded_state_dict, checkpoint_dir)

    def _get_save_and_finalize_callbacks(self, writer, save_state_dict_ret):
        request = super()._get_save_and_finalize_callbacks(writer, save_state_dict_ret)
        if request.async_fn is None:
            return request
        rank, _, results = request.async_fn_args
        buckets = request.preload_fn()
        if self._snapshot and shim.needed():  # where there is a GPU, preloading has copied
            buckets = [_copied(bucket) for bucket in buckets]
        # Megatron's list would hold tensors on the GPU until the checkpoint is complete.
        writer.write_buckets = buckets
        transforms = []
        if hasattr(writer, "transforms"):
            transforms.append(writer.transforms)
        return request._replace(
            async_fn=partial(write, transforms),
            async_fn_args=(rank, buckets, results),
            preload_fn=None,
        )


def _copied(bucket):
    path, key, (data, tensors) = bucket
    return path, key, (data, [(item, tensor.clone()) for item, tensor in tensors])


def write(transforms, rank: int, buckets, results, begin: Callable[[str, int], None]) -> None:
    """Write a rank's files, as Megatron's processes do, and put what they hold into ``results``.

    ``begin`` is told of each file, and of the bytes of its tensors, before it is written.
    """
    done = {}
    for i, bucket in enumerate(buckets):
        begin(bucket[0], sum(tensor.nbytes for _, tensor in bucket[2][1]))
        answers: queue.SimpleQueue = queue.SimpleQueue()
        counter: queue.Queue = queue.Queue()
        counter.put(i)
        filesystem_async.FileSystemWriterAsync.write_preloaded_data(
            transforms, i, bucket, answers, counter, True
        )
        _, answer = answers.get()
        if isinstance(answer, Exception):
            raise answer
        done[i] = answer
    results.put(done)
