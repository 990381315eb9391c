"""Token losses' inputs of a single sequence, from whatever a test wants to say of it."""

from __future__ import annotations

import torch
from torch import Tensor

from red_mcore.losses.inputs import LossInputs, Sequences


def loss_inputs(
    logp: Tensor,
    *,
    old_logp: Tensor | None = None,
    ref_logp: Tensor | None = None,
    teacher_logp: Tensor | None = None,
    **fields: Tensor | float,
) -> LossInputs:
    """All tokens are those of one response; fields [T] or numbers,
    0 where nothing is said (weights 1)."""
    given = {
        "entropy": 0.0,
        "advantage": 0.0,
        "beta": 0.0,
        "weight": 1.0,
        "is_offline": 0.0,
        **fields,
    }
    tensors = {
        name: torch.as_tensor(x, dtype=logp.dtype).expand_as(logp) for name, x in given.items()
    }
    whole = Sequences(
        held=[len(logp)],
        response=torch.ones(len(logp), dtype=torch.bool),
        lengths=torch.tensor([float(len(logp))]),
    )
    return LossInputs(
        logp=logp,
        sequences=whole,
        scored_logp=old_logp,
        reference_logp=ref_logp,
        teacher_logp=teacher_logp,
        **tensors,
    )
