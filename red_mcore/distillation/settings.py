"""What a distillation is: how the teacher samples, which answers are kept, and within which
limits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from red_mcore.config.recipe import Data, RecipeError

Rule = Literal["all", "correct", "shortest_correct", "k_correct", "fill"]
RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True)
class Sampling:
    """What decides the teacher's answers, beside the teacher itself."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 4096
    """Most tokens of an answer, its reasoning included."""
    system_prompt: str | None = None
    """Text of the system turn; None gives no such turn."""
    suffix: str = ""
    """Text on a line of its own behind each problem."""
    template_arguments: dict[str, Any] = field(default_factory=dict)
    """Arguments of the chat template, such as ``enable_thinking``."""
    banned: tuple[str, ...] = ()
    """Texts whose tokens the teacher may not sample (vLLM's ``bad_words``)."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further sampler settings by the names that the teacher knows, such as ``top_k``."""
    seed: int = 0
    """Every request has a seed of its own, made of this one, its problem and its number."""

    def check(self) -> None:
        """RecipeError naming the option that is out of its bounds."""
        if not 0 <= self.temperature <= 10:
            raise RecipeError(f"--temperature {self.temperature}: use 0 to 10")
        if not 0 < self.top_p <= 1:
            raise RecipeError(f"--top-p {self.top_p}: use a number above 0, at most 1")
        if self.max_tokens < 1:
            raise RecipeError(f"--max-tokens {self.max_tokens}: use 1 or more")
        if not all(text.strip() for text in self.banned):
            raise RecipeError("--ban '': a banned text needs a character that is no space")

    def row(self) -> dict[str, Any]:
        """JSON-able, as ledger, manifest and ``meta`` have it."""
        return asdict(self) | {"banned": list(self.banned)}

    def prompt_of(self, data: Data) -> Data:
        """``data`` with the prompt of these settings."""
        return replace(
            data,
            system_prompt=self.system_prompt,
            instruction=self.suffix,
            template_arguments=self.template_arguments,
        )


@dataclass(frozen=True)
class Keeping:
    """How many answers a problem gets, and which of them become traces."""

    rule: Rule = "all"
    """``all``; ``correct``; ``shortest_correct``: of the correct ones that with the fewest tokens;
    ``k_correct``: the first ``count`` correct ones; ``fill``: the same, and where ``samples``
    answers do not hold so many the problem is asked on, up to ``most`` times."""
    samples: int = 1
    """Answers to each problem; of ``fill`` those that it begins with."""
    count: int = 1
    """Correct answers of ``k_correct`` and ``fill``."""
    most: int = 16
    """Answers to one problem at most, of ``fill``."""

    @property
    def wants_correct(self) -> bool:
        """Whether verdicts decide what is kept."""
        return self.rule != "all"

    def check(self) -> None:
        """RecipeError naming the options that contradict each other."""
        for name in ("samples", "count", "most"):
            if getattr(self, name) < 1:
                raise RecipeError(f"--{name} {getattr(self, name)}: use 1 or more")
        if self.rule == "k_correct" and self.count > self.samples:
            raise RecipeError(
                f"--count {self.count} correct answers cannot be among --samples {self.samples}:"
                " raise --samples"
            )
        if self.rule == "fill" and self.most < max(self.samples, self.count):
            raise RecipeError(
                f"--most {self.most} is below --samples {self.samples} or --count {self.count}:"
                " raise --most"
            )


@dataclass(frozen=True)
class Limits:
    """How hard an address is asked."""

    concurrency: int = 16
    """Requests under way at once, at most; of a model in process, too."""
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    """Tokens of prompts and answers together."""
    timeout_seconds: float = 3600.0
    """What one request may take; then it is tried again."""
    patience_seconds: float = 1800.0
    """How long a request is tried again and again before the run gives up."""

    def check(self) -> None:
        """RecipeError naming the option that is out of its bounds."""
        if not 1 <= self.concurrency <= 4096:
            raise RecipeError(f"--concurrency {self.concurrency}: use 1 to 4096")
        options = {
            "--requests-per-minute": self.requests_per_minute,
            "--tokens-per-minute": self.tokens_per_minute,
            "--timeout": self.timeout_seconds,
            "--patience": self.patience_seconds,
        }
        for name, value in options.items():
            if value is not None and not 0 < value < float("inf"):
                raise RecipeError(f"{name} {value:g}: use a number above 0")


@dataclass(frozen=True)
class Prices:
    """What a teacher costs, in whatever money, per million tokens."""

    prompt: float = 0.0
    answer: float = 0.0

    def check(self) -> None:
        """RecipeError naming the option that is out of its bounds."""
        for name, value in (("prompt", self.prompt), ("answer", self.answer)):
            if not 0 <= value < float("inf"):
                raise RecipeError(f"--{name}-price {value:g}: use 0 or more")

    def of(self, prompt_tokens: float, answer_tokens: float) -> float:
        """The cost of so many tokens."""
        return (self.prompt * prompt_tokens + self.answer * answer_tokens) / 1e6
