"""Log-probability of a target and full-vocabulary entropy from hidden states, a chunk of logits at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from red_mcore.memory import CHUNK_BYTES


def logprob_and_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    vocab_size: int,
    temperature: float = 1.0,
    group: dist.ProcessGroup | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-prob of ``targets`` and entropy of softmax(hidden weight^T / temperature), both [T] float32, in nats.

    hidden [T, H], the same on all ranks of the tensor-parallel ``group`` (None: not sharded); weight [V/tp, H], this
    rank's rows of the output layer, of the same floating type; targets [T] int64 ids in the whole vocabulary. Rows that
    padding added beyond ``vocab_size`` take no part. Both results carry gradients; that of ``hidden`` is this rank's
    share, to be summed over the group. Beside the results, two numbers per token are kept, and the logits are computed
    again in the backward, which needs no communication. With x the scaled logits, m their maximum, Z = sum exp(x-m) and
    S = sum (x-m) exp(x-m), all over the whole vocabulary: logp = x_y - m - ln Z and H = ln Z - S / Z.
    """
    return _VocabParallel.apply(hidden, weight, targets, vocab_size, temperature, group)


class _VocabParallel(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, targets, vocab_size, temperature, group):
        rank, size = (dist.get_rank(group), dist.get_world_size(group)) if group is not None else (0, 1)
        first = rank * len(weight)
        valid = max(0, min(len(weight), vocab_size - first))
        local = targets - first
        mine = (local >= 0) & (local < valid)
        local = local.clamp(0, max(valid - 1, 0))

        # m, Z, S and x_y - m of this rank's rows; of no rows -inf and zeros.
        top = torch.full((len(hidden),), -torch.inf, device=hidden.device)
        norm, moment, picked = torch.zeros(3, len(hidden), device=hidden.device)
        for part in _chunks(hidden, valid):
            x = _logits(hidden[part], weight[:valid], temperature)
            top[part] = x.amax(1)
            x -= top[part, None]
            picked[part] = x.gather(1, local[part, None])[:, 0]
            weights = x.exp()
            norm[part] = weights.sum(1)
            moment[part] = x.mul_(weights).sum(1)
        if size > 1:  # two reductions, however many chunks
            whole = top.clone()
            dist.all_reduce(whole, op=dist.ReduceOp.MAX, group=group)
            shift = top - whole if valid else torch.zeros_like(top)
            scale = shift.exp()
            sums = torch.stack((scale * norm, scale * (moment + shift * norm), mine * (picked + shift)))
            dist.all_reduce(sums, group=group)
            top, (norm, moment, picked) = whole, sums
        log_norm = norm.log()
        logp, entropy = picked - log_norm, log_norm - moment / norm
        ctx.save_for_backward(hidden, weight, local, mine, top + log_norm, entropy)
        ctx.valid, ctx.temperature = valid, temperature
        ctx.set_materialize_grads(False)
        return logp, entropy

    @staticmethod
    def backward(ctx, grad_logp, grad_entropy):
        hidden, weight, local, mine, log_norm, entropy = ctx.saved_tensors
        rows = weight[: ctx.valid]
        grad_hidden = torch.zeros_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        # With a, b the gradients of logp and H:  d / dx_j = a 1[j = y] - p_j (a + b (ln p_j + H)),  x = logits / T
        a = torch.zeros_like(log_norm) if grad_logp is None else grad_logp / ctx.temperature
        b = None if grad_entropy is None else grad_entropy / ctx.temperature
        for part in _chunks(hidden, ctx.valid):
            log_p = _logits(hidden[part], rows, ctx.temperature).sub_(log_norm[part, None])
            p = log_p.exp()
            slope = a[part, None]
            if b is not None:
                slope = log_p.add_(entropy[part, None]).mul_(b[part, None]).add_(slope)
            grad = p.mul_(slope).neg_().scatter_add_(1, local[part, None], (a * mine)[part, None]).to(hidden.dtype)
            del log_p, p, slope
            grad_hidden[part] = grad @ rows
            grad_weight[: ctx.valid] += grad.T @ hidden[part]
        return grad_hidden, grad_weight.to(weight.dtype), None, None, None, None


def _logits(hidden: Tensor, rows: Tensor, temperature: float) -> Tensor:
    logits = (hidden @ rows.T).float()
    return logits if temperature == 1.0 else logits.div_(temperature)


def _chunks(hidden: Tensor, valid: int) -> Iterator[slice]:
    """Slices of tokens whose logits fit ``CHUNK_BYTES``; none where the rank holds nothing but padding."""
    size = max(1, CHUNK_BYTES // (4 * max(valid, 1)))
    for start in range(0, len(hidden) if valid else 0, size):
        yield slice(start, start + size)
