"""Megatron's schedule: one pass of micro-batches through the pipeline's stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from megatron.core import parallel_state
from megatron.core.pipeline_parallel import get_forward_backward_func
from torch import Tensor

from red_mcore.megatron import shim
from red_mcore.megatron.packing import MicroBatch

Loss = Callable[[MicroBatch, Tensor], tuple[Tensor, dict[str, Any]]]
"""(Micro-batch, output of the model) -> (loss, {}), on the last stage, as Megatron wants it."""


def run_schedule(
    chunks: Sequence[Any], batches: Sequence[MicroBatch], loss: Loss, *, forward_only: bool
) -> None:
    """Send the micro-batches through this rank's ``chunks`` of the model; the backward, unless
    ``forward_only``, adds to the gradients."""

    def forward_step(iterator, model):
        batch = next(iterator)
        output = model(
            input_ids=batch.tokens,
            position_ids=None,
            attention_mask=None,
            packed_seq_params=batch.packing,
        )
        return output, partial(loss, batch)

    for chunk in chunks:
        chunk.train(not forward_only)
    context = parallel_state.get_context_parallel_world_size()
    with shim.on_device():
        get_forward_backward_func()(
            forward_step_func=forward_step,
            data_iterator=[iter(batches) for _ in chunks],
            model=chunks,
            num_microbatches=len(batches),
            seq_length=batches[0].tokens.shape[1] * context,
            micro_batch_size=1,
            forward_only=forward_only,
        )


def undo_schedule_scale(loss: Tensor, micro_batches: int) -> Tensor:
    """``loss`` times what Megatron's schedule divides it by: the number of micro-batches, over the
    context-parallel size.

    With ``calculate_per_token_loss`` and a loss function that returns (loss, log), that division is
    all that happens to a loss between here and the summed gradient
    (megatron.core.pipeline_parallel.schedules.forward_step_calc_loss).
    """
    return loss * (micro_batches / parallel_state.get_context_parallel_world_size())
