"""What a run asks of an engine; ``red_mcore.rollout.engine`` has the one that lives in the
trainer's process."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from red_mcore.rollout.publication import Publication
from red_mcore.tracking.console import Watch

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Completion:
    """One sampled response."""

    token_ids: np.ndarray
    """[T] int32, the stop token included where the response ended with one."""
    logp: np.ndarray
    """[T] float32, nats: log_softmax(logits / temperature) over the full vocabulary, whatever
    top-p; greedy: at 1."""
    truncated: bool
    """Stopped by the length limit: its last token is none that ends a response."""
    version: int
    """Publication that the response was sampled from."""


@runtime_checkable
class Engine(Protocol):
    """One rank's view of ``replicas`` equal engines; those of one replica's ranks act together.

    Its methods are called by all ranks of a replica with the same arguments, ``publish`` and
    ``close`` by all ranks.
    """

    replica: int
    """Which of the engines this rank asks."""
    replicas: int
    is_leader: bool
    """Whether this rank's samples are the replica's: one rank of each."""
    version: int | None
    """Of the weights that it samples from; None before they are published, or after that failed."""
    checksum: str | None
    """Of these weights, 16 hexadecimal digits: equal for equal weights, whoever published them."""
    stop_ids: Collection[int]
    """Tokens that end a response."""

    @property
    def about(self) -> dict[str, Any]:
        """What decides the tokens of a call beside its arguments and the weights; JSON-able."""

    def publish(
        self,
        tensors: Iterator[tuple[str, torch.Tensor]],
        expected: Mapping[str, tuple[int, ...]],
        version: int,
    ) -> Publication:
        """Sample from these weights from now on, and forget cached prefixes.

        ``expected``: Hugging Face name -> shape of each tensor, without ``lm_head.weight`` where it
        is tied to the embedding (a stream may hold it, it is passed over). PublicationError for
        tensors that are missing, unexpected, duplicated, mis-shaped or not finite, once all are
        read; the engine then refuses to sample until a publication succeeds.
        """

    def sample(
        self,
        prompts: Sequence[np.ndarray],
        n: int,
        seeds: Sequence[int],
        *,
        temperature: float | None = None,
        top_p: float | None = None,
        max_tokens: Sequence[int] | None = None,
        watch: Watch,
    ) -> list[list[Completion]]:
        """``n`` responses to each prompt ([P] token ids), the same for the same ``seeds`` (one per
        prompt), weights and arguments.

        Temperature 0 is greedy; None is the recipe's value. ``max_tokens``: most tokens of a
        response, one number per prompt; None is ``rollout.max_response_tokens`` for all. ``watch``
        is told how many of the responses are there, as they come. RuntimeError before a successful
        publication, ValueError for a prompt that is empty or too long.
        """

    def reset(self) -> None:
        """Forget whatever makes a call depend on earlier ones, such as cached prefixes."""

    def close(self) -> None:
        """Free what it holds."""
