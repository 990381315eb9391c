"""Loss and gradients by transformers and torch's autograd, of each sequence by itself.

Nothing of the package takes part but the algorithm's token losses and the coefficients that it gave
the samples.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from layout_samples import TEMPERATURE
from loss_inputs import loss_inputs

from red_mcore.algorithms.base import losses_of
from red_mcore.samples.records import Sample


def token_losses(algorithm, sample: Sample, model) -> dict[str, torch.Tensor]:
    """Component -> [T] of one sequence."""
    tokens = torch.from_numpy(np.concatenate((sample.prompt, sample.response)).astype(np.int64))
    logits = model(tokens[None]).logits[0][len(sample.prompt) - 1 : -1]
    log_p = logits.log_softmax(-1)
    sampled = log_p if sample.is_offline else (logits / TEMPERATURE).log_softmax(-1)
    fields = {
        name: float(getattr(sample, name)) for name in ("advantage", "beta", "weight", "is_offline")
    }
    scored = {name: getattr(sample, name) for name in ("old_logp", "ref_logp", "teacher_logp")}
    fields |= {name: torch.from_numpy(logp) for name, logp in scored.items() if logp is not None}
    logp = sampled[torch.arange(len(log_p)), torch.from_numpy(sample.response.astype(np.int64))]
    entropy = -(log_p.exp() * log_p).sum(-1)
    return losses_of(algorithm, {}, 0)(loss_inputs(logp, entropy=entropy, **fields))


def reference(
    algorithm, samples: list[Sample], folder: Path
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """(component -> loss, gradients); a tied head's gradient is part of the embedding's."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    model.get_input_embeddings().padding_idx = (
        None  # the padding token, here one like others, would have no gradient
    )
    losses: dict[str, float] = {}
    for sample in samples:
        found = token_losses(algorithm, sample, model)
        parts = {
            name: coefficient * found[name].sum()
            for name, coefficient in sample.coefficient.items()
        }
        sum(parts.values()).backward()
        for name, part in parts.items():
            losses[name] = losses.get(name, 0.0) + part.item()
    return losses, dict(
        by_expert((name, parameter.grad.numpy()) for name, parameter in model.named_parameters())
    )


def by_expert(tensors: Iterable[tuple[str, np.ndarray]]) -> Iterator[tuple[str, np.ndarray]]:
    """Tensors by their names in a checkpoint, where transformers keeps those
    of all experts in one."""
    for name, tensor in tensors:
        layer, experts, kind = name.partition(".mlp.experts.")
        if not experts:
            yield name, tensor
            continue
        for i, part in enumerate(tensor):
            names = kind.replace("gate_up_proj", "gate_proj up_proj").split()
            for projection, half in zip(names, np.split(part, len(names)), strict=True):
                yield f"{layer}{experts}{i}.{projection}.weight", half
