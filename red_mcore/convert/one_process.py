"""The Megatron model of a folder on disk in this one process, for reading its predictions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from red_mcore.convert.conversion import StoredModel


class LoadedModel:
    """A model with its weights, on the GPU if there is one; all calls belong inside ``loaded`` and
    ``no_grad``."""

    def __init__(self, built: torch.nn.Module, model: StoredModel) -> None:
        from red_mcore.megatron.model import output_weight

        self._built, self.arch = built, model.arch
        self.output_weight = output_weight(built)[: model.arch.vocab_size]
        """[V, H]"""

    def hidden(self, tokens: Tensor) -> Tensor:
        """tokens [T] int64 -> [T, H], what the output layer makes the logits of the T next tokens
        from."""
        from red_mcore.megatron import shim
        from red_mcore.megatron.attention import Packing

        return self._built(
            input_ids=tokens[None].to(shim.device()),
            position_ids=None,
            attention_mask=None,
            packed_seq_params=Packing.of([len(tokens)], shim.device()),
        )[0]


@contextmanager
def loaded(
    model: StoredModel, dtype: Literal["float32", "bfloat16"] = "float32"
) -> Iterator[LoadedModel]:
    """The model on one rank, computing in ``dtype``; no gradients are kept inside the block.

    Joins a process group of its own, which must be the only one of the process, and leaves it at
    the end.
    """
    import torch.distributed as dist
    from megatron.core import parallel_state
    from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed

    from red_mcore.config.recipe import Model, Parallel
    from red_mcore.convert import hf
    from red_mcore.megatron import ranks, shim
    from red_mcore.megatron.model import build_model

    shim.install()
    backend = "gloo" if shim.needed() else "cpu:gloo,cuda:nccl"
    dist.init_process_group(
        backend, store=dist.HashStore(), rank=0, world_size=1
    )  # asks for no port
    try:
        with shim.on_device(), torch.no_grad():
            parallel_state.initialize_model_parallel()
            model_parallel_cuda_manual_seed(0)
            built = build_model(model.arch, Parallel(ranks=1), Model(dtype=dtype)).eval()
            hf.load_first(built, model.arch, model.folder)
            yield LoadedModel(built[0], model)
    finally:
        ranks.stop()
