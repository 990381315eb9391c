"""What flows between the parts: problems, samples, groups. Plain data; numpy only.

Token ids are the only truth from the engine to the loss; text is for rewards and tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

import numpy as np

Kind = Literal["math", "choice"]
"""How answers are compared: as mathematics (or text), or as the letter of a choice."""


@dataclass(frozen=True)
class Trace:
    """One response of a teacher to a problem, and what is known of it; None is unknown."""

    text: str
    source: str | None = None
    """The teacher."""
    verified: bool | None = None
    """Whether its answer was found to be the gold."""
    tokens: int | None = None
    """Its length by its teacher's tokenizer."""
    finish_reason: str | None = None
    """``stop``, or ``length`` where it is cut."""


@dataclass(frozen=True)
class Problem:
    """One training or evaluation problem."""

    id: int
    text: str
    """What the user asks (without chat template)."""
    gold: str
    """Reference answer as the verifier wants it, e.g. ``7`` or ``\\frac{1}{2}``."""
    trace: str | None = None
    """The teacher's response that a step uses, ending in its answer; None where there is none."""
    traces: tuple[Trace, ...] = ()
    """All that its row has, where ``trace`` does not say it all: ``data.trace_choice`` makes one of
    them ``trace``."""
    kind: Kind = "math"
    source: int = 0
    """Which of a mixture's sources it is of."""
    name: str | None = None
    """Its ``id`` in a file of the project's own schema."""
    columns: dict[str, Any] | None = field(default=None, hash=False)
    """Cells of the row, JSON-able, by column: those that a reward function asks for."""


@dataclass
class Sample:
    """One response to one prompt, from the policy (rollout) or from a teacher (offline trace).

    ``advantage``, ``beta`` and ``weight`` are per-sample scalars set by the algorithm;
    ``coefficient[c]`` multiplies each token loss of component ``c`` and already holds that
    component's global denominator, so that a loss is a plain sum.
    """

    prompt: np.ndarray
    """[P] int32 token ids."""
    response: np.ndarray
    """[T] int32 token ids, end-of-sequence included where there was one."""
    is_offline: bool = False
    sampler_logp: np.ndarray | None = None
    """[T] float32 log-probs of the engine, nats; None for a trace."""
    truncated: bool = False
    """Stopped by the length limit instead of an end-of-sequence token."""
    text: str = ""
    answer: str | None = None
    """What was compared with the gold; None where the response has no answer."""
    verdict: str = ""
    """correct, wrong, unparsable, timeout or crash."""
    accuracy: float = 0.0
    """1 if the verifier accepts the answer, else 0."""
    reward: float = 0.0
    """Sum of ``terms``."""
    terms: dict[str, float | None] = field(default_factory=dict)
    """The reward's weighted terms by name; None for a user's function that failed."""
    policy_version: int = -1
    """Optimizer updates that the sampling engine's weights had seen; -1 for a trace."""
    advantage: float = 0.0
    beta: float = 0.0
    weight: float = 1.0
    coefficient: dict[str, float] = field(default_factory=dict)
    old_logp: np.ndarray | None = None
    """[T] float32 log-probs of the policy before this step's updates, nats."""
    ref_logp: np.ndarray | None = None
    teacher_logp: np.ndarray | None = None
    """[T] float32 log-probs of the frozen teacher, nats, at the temperature of ``old_logp``."""
    entropy: float = 0.0
    """Mean full-vocabulary entropy of the response's tokens before this step's updates, nats."""

    @property
    def tokens(self) -> int:
        return len(self.prompt) + len(self.response)


@dataclass
class Group:
    """All samples of one problem in one step; stays whole on one data-parallel rank."""

    problem: Problem
    samples: list[Sample]

    @property
    def rollouts(self) -> list[Sample]:
        """The responses that the policy sampled."""
        return [s for s in self.samples if not s.is_offline]

    @property
    def traces(self) -> list[Sample]:
        """The teacher's responses: at most one, whatever the algorithm."""
        return [s for s in self.samples if s.is_offline]

    @property
    def tokens(self) -> int:
        return sum(s.tokens for s in self.samples)


def samples_of(groups: Iterable[Group]) -> list[Sample]:
    """The samples of all groups, in order."""
    return list(chain.from_iterable(group.samples for group in groups))
