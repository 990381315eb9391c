"""What a distillation is going to take, told before it starts: tokens, money, time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from red_mcore.distillation.ledger import Line
from red_mcore.distillation.settings import Limits, Prices
from red_mcore.tracking.console import hours

SPEED = 40.0
"""Tokens per second of one answer, where nothing is known yet."""
SHARE = 0.5
"""Of the most tokens of an answer, where nothing is known yet."""


@dataclass(frozen=True)
class Estimate:
    """Of the requests that are still to be made."""

    requests: int
    prompt_tokens: float
    """Of one request, on average."""
    answer_tokens: float
    """Expected of one answer."""
    most_tokens: int
    """Of one answer, at most."""
    speed: float
    """Tokens per second of one answer."""
    is_measured: bool
    """Whether tokens and speed are those of answers that are there."""

    def cost(self, prices: Prices) -> tuple[float, float]:
        """(Expected, at most)."""
        prompts = self.requests * self.prompt_tokens
        return (
            prices.of(prompts, self.requests * self.answer_tokens),
            prices.of(prompts, self.requests * self.most_tokens),
        )

    def seconds(self, limits: Limits) -> float:
        """Expected: what the slowest of concurrency and the two limits leaves."""
        tokens = self.requests * (self.prompt_tokens + self.answer_tokens)
        at_once = max(1, min(limits.concurrency, self.requests))
        found = [self.requests * self.answer_tokens / self.speed / at_once]
        if limits.requests_per_minute is not None:
            found.append(60 * self.requests / limits.requests_per_minute)
        if limits.tokens_per_minute is not None:
            found.append(60 * tokens / limits.tokens_per_minute)
        return max(found)

    def lines(self, limits: Limits, prices: Prices) -> list[str]:
        """To read."""
        answers = self.requests * self.answer_tokens
        basis = "as the answers that are there" if self.is_measured else "assumed"
        prompts = self.requests * self.prompt_tokens
        told = [
            f"estimate: {self.requests:,} requests, {prompts:,.0f} tokens"
            f" of prompts, {answers:,.0f} of answers ({self.answer_tokens:,.0f} each, {basis}),"
            f" {self.requests * self.most_tokens:,} at most"
        ]
        if prices.prompt or prices.answer:
            expected, most = self.cost(prices)
            told.append(
                f"cost: about {expected:,.2f}, {most:,.2f} at most, at {prices.prompt:g} per"
                f" million tokens of prompts and {prices.answer:g} of answers"
            )
        paces = [f"{limits.concurrency} at once", f"{self.speed:.0f} tokens per second each"]
        if limits.requests_per_minute is not None:
            paces.append(f"{limits.requests_per_minute:g} requests per minute")
        if limits.tokens_per_minute is not None:
            paces.append(f"{limits.tokens_per_minute:g} tokens per minute")
        told.append(f"time: about {hours(self.seconds(limits))}, {', '.join(paces)} ({basis})")
        return told


def estimate(
    requests: int,
    prompt_tokens: float,
    lines: Iterable[Line],
    most_tokens: int,
    expected_tokens: float | None = None,
) -> Estimate:
    """By the answers that are there; without any by ``expected_tokens``, or half of the most."""
    known = [line for line in lines if line.has_tokens and line.tokens]
    seconds = sum(line.seconds for line in known)
    tokens = sum(line.tokens for line in known)
    if known:
        prompts = [line.prompt_tokens for line in known if line.prompt_tokens]
        prompt_tokens = sum(prompts) / len(prompts) if prompts else prompt_tokens
    guessed = min(most_tokens, expected_tokens or SHARE * most_tokens)
    return Estimate(
        requests=requests,
        prompt_tokens=prompt_tokens,
        answer_tokens=tokens / len(known) if known else guessed,
        most_tokens=most_tokens,
        speed=tokens / seconds if seconds else SPEED,
        is_measured=bool(known),
    )
