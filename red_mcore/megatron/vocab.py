"""Log-probability of a target and full-vocabulary entropy from logits that are sharded over the vocabulary."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

CHUNK = 4096
"""Tokens whose logits are held in float32 at a time."""


def logprob_and_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    vocab_size: int,
    temperature: float = 1.0,
    group: dist.ProcessGroup | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-prob of ``targets`` and entropy of softmax(logits / temperature), both [T] float32, in nats.

    logits [T, V/tp] of any floating type, targets [T] int64 ids in the whole vocabulary, ``group`` the tensor-parallel
    group (None: not sharded). Rows that padding added beyond ``vocab_size`` take no part. Both results carry gradients;
    the backward needs no communication, because max, normaliser and entropy of each token are kept. With x the scaled
    logits, m their maximum, Z = sum exp(x-m) and S = sum (x-m) exp(x-m), all over the whole vocabulary:
    logp = x_y - m - ln Z and H = ln Z - S / Z.
    """
    return _VocabParallel.apply(logits, targets, vocab_size, temperature, group)


class _VocabParallel(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, targets, vocab_size, temperature, group):
        rank, size = (dist.get_rank(group), dist.get_world_size(group)) if group is not None else (0, 1)
        first = rank * logits.shape[1]
        valid = max(0, min(logits.shape[1], vocab_size - first))
        local = targets - first
        mine = (local >= 0) & (local < valid)
        local = local.clamp(0, max(valid - 1, 0))

        def reduce(x: Tensor, op) -> Tensor:
            if size > 1:
                dist.all_reduce(x, op=op, group=group)
            return x

        logp, entropy, log_norm = (torch.empty(len(logits), device=logits.device) for _ in range(3))
        for start in range(0, len(logits), CHUNK):
            part = slice(start, start + CHUNK)
            x = logits[part, :valid].float() / temperature
            top = x.amax(1) if valid else x.new_full((len(x),), -torch.inf)
            top = reduce(top, dist.ReduceOp.MAX)
            x = x - top[:, None]
            weights = x.exp()
            picked = x.gather(1, local[part, None])[:, 0] * mine[part] if valid else torch.zeros_like(top)
            norm, moment, picked = reduce(
                torch.stack((weights.sum(1), (x * weights).sum(1), picked)), dist.ReduceOp.SUM
            )
            logp[part] = picked - norm.log()
            entropy[part] = norm.log() - moment / norm
            log_norm[part] = top + norm.log()
        ctx.save_for_backward(logits, local, mine, log_norm, entropy)
        ctx.valid, ctx.temperature = valid, temperature
        return logp, entropy

    @staticmethod
    def backward(ctx, grad_logp, grad_entropy):
        logits, local, mine, log_norm, entropy = ctx.saved_tensors
        grad = torch.zeros_like(logits)
        for start in range(0, len(logits) if ctx.valid else 0, CHUNK):
            part = slice(start, start + CHUNK)
            log_p = logits[part, : ctx.valid].float() / ctx.temperature - log_norm[part, None]
            p = log_p.exp()
            # d logp / dx_j = 1[j = y] - p_j ;  dH / dx_j = -p_j (ln p_j + H)
            g = -p * grad_logp[part, None] - grad_entropy[part, None] * p * (log_p + entropy[part, None])
            g.scatter_add_(1, local[part, None], (grad_logp[part] * mine[part])[:, None])
            grad[part, : ctx.valid] = (g / ctx.temperature).to(grad.dtype)
        return grad, None, None, None, None
