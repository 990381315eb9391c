"""Sections of a recipe: how accuracy is measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from red_mcore.config.fields import (
    Bound,
    FractionAboveZero,
    MayBegin,
    MayChange,
    Place,
    Problems,
    Prose,
    Samples,
    Seed,
    StepsOrNone,
    TemperatureOrGreedy,
    Tokens,
)

COMPETITIONS = ("AIME24", "AIME25", "AMC23", "AMC")


@dataclass
class Protocol:
    """How benchmarks are asked, sampled and judged; ``red_mcore.evaluation.protocols`` has those of
    the papers."""

    system_prompt: str | None = None
    """Text of the system turn; None gives no such turn, so that the chat template's own default, if
    it has one, applies."""
    instruction: str = "Please reason step by step, and put your final answer within \\boxed{}."
    """Text put after each problem in the user turn."""
    choice_instruction: str = (
        "Please reason step by step, and put the letter of your choice within \\boxed{}."
    )
    """The same for problems with choices."""
    opening: str = ""
    """Text that every response goes on from, such as ``<think>`` and a line break; left out where
    the chat template ends in it."""
    template_arguments: dict[str, Any] = field(default_factory=dict)
    """Arguments of the chat template, such as ``enable_thinking`` of Qwen3's."""
    temperature: TemperatureOrGreedy = 0.6
    """Temperature of the sampling; 0 is greedy."""
    top_p: FractionAboveZero = 1.0
    """Probability of the most likely tokens that are sampled from; 1 is all."""
    max_tokens: Tokens = 8192
    """Most tokens of a response."""
    samples: Samples = 4
    """Responses per problem."""
    competition_samples: Samples | None = 32
    """The same of AIME24, AIME25, AMC23 and AMC, whose 30 to 83 problems want many; None is as for
    all others."""
    boxed_only: bool = False
    """Only the last \\boxed{...} counts as an answer; otherwise, where there is none, the whole
    text is searched."""
    seed: Seed = 0
    """Seed of the sampling, and of the order in which choices are shown."""
    sequences_per_call: Annotated[int, Bound(1, 10**9, unit="responses")] = 128
    """Responses that one engine samples together, problems whole; then they are graded and kept.
    Rounding, and so the tokens, depend on what is sampled together, but not on how many engines
    there are."""

    def samples_for(self, benchmark: str) -> int:
        """Responses per problem of that benchmark."""
        if self.competition_samples is not None and benchmark in COMPETITIONS:
            return self.competition_samples
        return self.samples


@dataclass
class Benchmarks:
    """Benchmarks on the way: the same code, and with the same seed the same numbers, as
    ``tools/evaluate.py``."""

    names: MayChange[list[str]] = field(default_factory=list)
    """Names of the benchmarks; ``package.module:function`` is one of your own."""
    data: MayChange[Place | None] = None
    """Folder of their files; None fetches them from the hub."""
    limit: Problems | None = None
    """Only the first so many problems of each."""
    every: MayChange[StepsOrNone] = 0
    """Steps between evaluations; 0 evaluates only before and after training."""
    protocol: Prose[Protocol] = field(default_factory=Protocol)


@dataclass
class Evaluation:
    """Accuracy on the held-out problems, and on benchmarks."""

    every: MayChange[StepsOrNone] = 0
    """Steps between evaluations; 0 evaluates only before and after training."""
    samples: Samples = 8
    """Samples per held-out problem."""
    temperature: TemperatureOrGreedy = 1.0
    """Temperature of the sampling; 0 is greedy."""
    top_p: FractionAboveZero = 1.0
    """Probability of the most likely tokens that are sampled from; 1 is all."""
    seed: Seed = 7
    """Seed of the sampling."""
    benchmarks: MayBegin[Benchmarks | None] = None
