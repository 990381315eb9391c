"""Log-probability of a target and full-vocabulary entropy from hidden states, a chunk of logits at
a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from red_mcore.megatron.sizes import CHUNK_BYTES


def logprob_and_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    vocab_size: int,
    temperature: Tensor | None = None,
    group: dist.ProcessGroup | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-prob of ``targets`` under softmax(hidden weight^T / temperature), entropy of
    softmax(hidden weight^T).

    Both [T] float32, in nats; ``temperature`` [T] is of the log-probs alone, None is 1 throughout.

    hidden [T, H], the same on all ranks of the tensor-parallel ``group`` (None: not sharded);
    weight [V/tp, H], this rank's rows of the output layer, of the same floating type; targets [T]
    int64 ids in the whole vocabulary. Rows that padding added beyond ``vocab_size`` take no part.
    Both results carry gradients; that of ``hidden`` is this rank's share, to be summed over the
    group. Beside the results, a few numbers per token are kept, and the logits are computed again
    in the backward, which needs no communication. With x the logits, m their maximum, t the
    temperature, Z_t = sum exp((x-m) / t) and S = sum (x-m) exp(x-m), all over the whole vocabulary:
    logp = (x_y - m) / t - ln Z_t and H = ln Z_1 - S / Z_1.
    """
    return _VocabParallel.apply(hidden, weight, targets, vocab_size, temperature, group)


class _VocabParallel(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, targets, vocab_size, temperature, group):
        rank, size = 0, 1
        if group is not None:  # of None torch would take the group of all ranks
            rank, size = dist.get_rank(group), dist.get_world_size(group)
        first = rank * len(weight)
        valid = max(0, min(len(weight), vocab_size - first))
        local = targets - first
        mine = (local >= 0) & (local < valid)
        local = local.clamp(0, max(valid - 1, 0))

        t = 1.0 if temperature is None else temperature
        # m, Z_1, S, x_y - m and (unless t is 1) Z_t of this rank's rows; of no rows -inf and zeros.
        top = torch.full((len(hidden),), -torch.inf, device=hidden.device)
        norm, moment, picked, heated = torch.zeros(4, len(hidden), device=hidden.device)
        for part in _chunks(hidden, valid):
            x = _logits(hidden[part], weight[:valid])
            top[part] = x.amax(1)
            x -= top[part, None]
            picked[part] = x.gather(1, local[part, None])[:, 0]
            if temperature is not None:
                heated[part] = (x / temperature[part, None]).exp_().sum(1)
            weights = x.exp()
            norm[part] = weights.sum(1)
            moment[part] = x.mul_(weights).sum(1)
        if size > 1:  # two reductions, however many chunks
            whole = top.clone()
            dist.all_reduce(whole, op=dist.ReduceOp.MAX, group=group)
            shift = torch.zeros_like(top)
            if valid:  # of no rows the maximum is -inf, and -inf times their zeros is no number
                shift = top - whole
            scale = shift.exp()
            moment = moment + shift * norm
            sums = torch.stack(
                (scale * norm, scale * moment, mine * (picked + shift), (shift / t).exp() * heated)
            )
            dist.all_reduce(sums, group=group)
            top, (norm, moment, picked, heated) = whole, sums
        log_norm = log_heated = norm.log()
        if temperature is not None:
            log_heated = heated.log()
        logp, entropy = picked / t - log_heated, log_norm - moment / norm
        norms = (top + log_norm, top / t + log_heated)
        ctx.save_for_backward(hidden, weight, local, mine, entropy, temperature, *norms)
        ctx.valid = valid
        ctx.set_materialize_grads(False)
        return logp, entropy

    @staticmethod
    def backward(ctx, grad_logp, grad_entropy):
        hidden, weight, local, mine, entropy, temperature, log_norm, log_heated = ctx.saved_tensors
        rows = weight[: ctx.valid]
        grad_hidden = torch.zeros_like(hidden)
        grad_weight = torch.zeros_like(weight, dtype=torch.float32)
        # With a, b the gradients of logp and H, p = softmax(x) and q = softmax(x / t):
        # d / dx_j = a / t (1[j = y] - q_j) - b p_j (ln p_j + H)
        a, b = grad_logp, grad_entropy
        if a is None:
            a = torch.zeros_like(log_norm)
        if temperature is not None:
            a = a / temperature
        for part in _chunks(hidden, ctx.valid):
            x = _logits(hidden[part], rows)
            if temperature is None:
                # p and q are the same, so that one exponential serves both terms.
                log_p = x.sub_(log_norm[part, None])
                factor = a[part, None]
                grad = log_p.exp()
                if b is not None:
                    factor = _by_entropy(log_p, entropy, b, part).add_(factor)
                grad.mul_(factor)
            else:
                grad = (x / temperature[part, None]).sub_(log_heated[part, None]).exp_()
                grad.mul_(a[part, None])
                if b is not None:
                    log_p = x.sub_(log_norm[part, None])
                    grad += log_p.exp().mul_(_by_entropy(log_p, entropy, b, part))
            grad = grad.neg_().scatter_add_(1, local[part, None], (a * mine)[part, None])
            grad = grad.to(hidden.dtype)
            x = log_p = factor = None  # type: ignore[assignment]  # they are large
            grad_hidden[part] = grad @ rows
            grad_weight[: ctx.valid] += grad.T @ hidden[part]
        return grad_hidden, grad_weight.to(weight.dtype), None, None, None, None


def _by_entropy(log_p: Tensor, entropy: Tensor, b: Tensor, part: slice) -> Tensor:
    """b (ln p + H), in place of ln p."""
    return log_p.add_(entropy[part, None]).mul_(b[part, None])


def _logits(hidden: Tensor, rows: Tensor) -> Tensor:
    return (hidden @ rows.T).float()


def _chunks(hidden: Tensor, valid: int) -> Iterator[slice]:
    """Slices of tokens whose logits fit ``CHUNK_BYTES``; none where the rank holds nothing but
    padding."""
    if not valid:
        return
    size = max(1, CHUNK_BYTES // (4 * valid))
    for start in range(0, len(hidden), size):
        yield slice(start, start + size)
