"""The optimizers of a policy: the one place where settings become optimizers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from megatron.core.distributed import DistributedDataParallel
from megatron.core.optimizer import MegatronOptimizer, OptimizerConfig, get_megatron_optimizer

from red_mcore.config.recipe import Optimizer
from red_mcore.megatron.slots import Slot


def make_optimizers(
    chunks: Sequence[DistributedDataParallel],
    wanted: Mapping[str, tuple[Optimizer, int]],
    dtype: torch.dtype,
) -> tuple[MegatronOptimizer, dict[str, Slot]]:
    """(Megatron's optimizer, a slot in it by each name), with fresh moments on the weights as they
    are.

    ``wanted``: name -> (settings, updates of the schedule), in the order of the slots. ``dtype`` is
    that of the weights; bfloat16 ones get a float32 copy, which all slots share.
    """
    config = OptimizerConfig(
        optimizer="adam",
        lr=0.0,  # this and the other settings come with the slots
        bf16=dtype == torch.bfloat16,
        params_dtype=dtype,
        use_distributed_optimizer=True,
    )
    optimizer = get_megatron_optimizer(config, list(chunks))
    slots = {}
    for name, (settings, updates) in wanted.items():
        slots[name] = Slot(optimizer, settings, updates)
    return optimizer, slots
