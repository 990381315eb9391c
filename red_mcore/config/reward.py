"""Sections of a recipe: what a response is worth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from red_mcore.config.fields import (
    Bound,
    Fraction,
    MayChange,
    PositiveWeight,
    Processes,
    Prose,
    SignedWeight,
    Tokens,
    Weight,
)


@dataclass
class Format:
    """1 where a response is one block ``<tag>...</tag>`` per tag, in order, and nothing else; else
    0."""

    tags: list[str] = field(default_factory=lambda: ["think", "answer"])
    """Names of the blocks, in order."""
    opened: bool = False
    """The chat template writes the first opening tag at the end of the prompt."""
    weight: PositiveWeight = 1.0
    """Weight of the term in the reward."""


@dataclass
class Overlong:
    """Soft length penalty: 0 up to ``limit - buffer`` tokens, then linear down to -1 at ``limit``
    (DAPO)."""

    buffer: Tokens = 2000
    """Tokens before ``rollout.max_response_tokens`` over which the penalty grows."""
    weight: PositiveWeight = 1.0
    """Weight of the term in the reward."""


@dataclass
class Repetition:
    """Penalty: the share of a response's n-grams of tokens that it has had before (arXiv
    2502.03373)."""

    ngram: Tokens = 20
    """Tokens of an n-gram."""
    weight: PositiveWeight = 1.0
    """Weight of the term in the reward."""


@dataclass
class Reward:
    """Verifiable reward, a sum of terms; math-verify in child processes that a wall clock can
    kill."""

    workers: MayChange[Processes] = 1
    """Verifier processes per engine."""
    timeout_seconds: Annotated[float, Bound(0.1, 10**7, unit="seconds")] = 5.0
    """CPU time that one verdict may cost, so that none depends on how busy the machine is; then the
    child ends and the sample counts as ``timeout``. A child that only waits, as a user's function
    may, is ended after 30 times as long."""
    boxed_only: bool = True
    """Only the last \\boxed{...} counts as an answer; otherwise, where there is none, the whole
    text is searched."""
    answer_after: Prose[str | None] = None
    """Only what stands behind the last occurrence of this text, e.g. ``</think>``, is judged, also
    of the held-out problems; a response without it is unparsable, hence wrong. None judges the
    whole response."""
    truncated: Literal["judged", "wrong", "masked"] = "judged"
    """What a response that the length limit cut off earns: what its verdict says; what a wrong one
    earns; or what its verdict says, but it is not trained on itself. Its accuracy is that of the
    verdict in any case."""
    accuracy: Weight = 1.0
    """Weight of the verdict: ``accuracy`` for correct, else ``accuracy`` x ``wrong``. A response
    whose verdict is timeout or crash is wrong: else a policy could gain by answers that nobody can
    judge."""
    wrong: SignedWeight = 0.0
    """Value of a verdict that is not correct; -1 in DAPO's code, where a length penalty then weighs
    half."""
    format: Format | None = None
    overlong: Overlong | None = None
    repetition: Repetition | None = None
    functions: dict[str, SignedWeight] = field(default_factory=dict)
    """Users' terms, ``package.module:function`` to weight. They run in the verifier's processes,
    under its time limit, and are given by name what their parameters ask for: ``problem``,
    ``gold``, ``response`` (texts), ``tokens`` (of the response), and any column of the problem's
    row in the data (``red_mcore.rewards.functions``). They return a number. One that fails adds
    nothing and is counted."""
    verdict: str | None = None
    """Import path of a function of the user's, called like those, that says whether a response is
    right, true or false, in the place of math-verify: for training, evaluations and benchmarks
    alike. It reads what ``answer_after`` leaves; golds need not be mathematics then."""
    failed_share: MayChange[Fraction] = 0.05
    """Share of a step's calls of a function that may fail without a warning. Where all fail, the
    run stops."""

    @property
    def paths(self) -> list[str]:
        """Import paths of the user's functions."""
        if self.verdict is None:
            return list(self.functions)
        return [self.verdict, *self.functions]
