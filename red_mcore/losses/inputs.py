"""What a token loss is given: the packed tokens of one micro-batch, and which belong together.

Torch is imported where it is needed, so that a recipe can be planned without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def same(sums: Tensor) -> Tensor:
    """The sums themselves: of a rank that holds whole sequences."""
    return sums


@dataclass
class Sequences:
    """The sequences that stand one after the other in a micro-batch, or this rank's part of each.

    Context-parallel ranks have the same sequences in the same order, so that their sums meet.
    """

    held: list[int]
    """Tokens of each sequence on this rank, prompt and padding included; T in all."""
    response: Tensor
    """[T] bool: the tokens that predict one of a response."""
    lengths: Tensor
    """[S] float32: each sequence's response tokens, on all ranks together; 0 for mere padding."""
    over_context: Callable[[Tensor], Tensor] = same
    """[S] -> [S], summed over the context-parallel ranks, with its gradient."""

    def sum(self, x: Tensor) -> Tensor:
        """[S]: ``x`` [T] summed over the response tokens of each sequence, wherever they are.

        Every context-parallel rank comes here as often as the others and in one order: the number
        of calls is that of a loss's source text, and ranks without a token of a response call, too.
        """
        from torch import stack

        # where, not a product: x may be infinite off the responses
        kept = x.where(self.response, 0.0)
        # Not index_add, whose order of summation, and so the last bit, is by chance on a GPU.
        return self.over_context(stack([part.sum() for part in kept.split(self.held)]))

    def spread(self, values: Tensor) -> Tensor:
        """[T]: each sequence's entry of ``values`` [S] at all its tokens."""
        from torch import cat

        return cat([value.expand(n) for value, n in zip(values, self.held, strict=True)])


@dataclass
class LossInputs:
    """Tensors [T] of a micro-batch's tokens, float32; entry t speaks of predicting the next token.

    Off the responses (prompts, padding) all but ``logp`` and ``entropy`` are 0, and whatever a loss
    gives there is multiplied by nothing.
    """

    logp: Tensor
    """Log-prob under the policy as it is now, nats; has a gradient."""
    entropy: Tensor
    """Full-vocabulary entropy of the policy as it is now, nats; has a gradient."""
    advantage: Tensor
    """The sample's, as ``compose`` set it; with a teacher the token's own."""
    beta: Tensor
    weight: Tensor
    """The sample's, as ``compose`` and ``weigh`` set them."""
    is_offline: Tensor
    """1 at the tokens of traces, else 0."""
    sequences: Sequences
    scored_logp: Tensor | None = None
    reference_logp: Tensor | None = None
    teacher_logp: Tensor | None = None
    """Log-prob under the teacher, nats; None where nobody has scored it."""

    @property
    def old_logp(self) -> Tensor:
        """Log-prob under the policy that sampled, nats. ValueError where nobody has scored it."""
        if self.scored_logp is None:
            raise ValueError("old_logp: these samples were not scored before the update")
        return self.scored_logp

    @property
    def has_reference(self) -> bool:
        """Whether ``ref_logp`` is known; of the traces of lessons it is not."""
        return self.reference_logp is not None

    @property
    def ref_logp(self) -> Tensor:
        """Log-prob under the policy at start, nats. ValueError where nobody has scored it."""
        if self.reference_logp is None:
            raise ValueError("ref_logp: no reference has scored these samples (uses_reference)")
        return self.reference_logp

    def sequence_sum(self, x: Tensor) -> Tensor:
        """[T] -> [T]: at each token the sum of ``x`` over its sequence's response, with gradient.

        Exact whatever the layout: a sequence is in one micro-batch, and where context-parallel
        ranks share it their parts are added up. Call it unconditionally, for it is a collective of
        theirs.
        """
        return self.sequences.spread(self.sequences.sum(x))

    def sequence_mean(self, x: Tensor) -> Tensor:
        """The same of the mean over the response's tokens."""
        sums = self.sequences.sum(x)
        return self.sequences.spread(sums / self.sequences.lengths.clamp(min=1))
