"""One record of a graded response, wherever it is from: benchmarks, held-out problems, training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from red_mcore.samples.records import Kind, Problem, Sample

Key = tuple[str, int]
"""Benchmark and item: which problem a response answers."""


@dataclass(frozen=True, eq=False)
class Response:
    """One graded response to one problem."""

    benchmark: str
    item: int
    """Place of the problem in its benchmark."""
    sample: int
    """Number of the response among those to its problem, from 0."""
    problem: str
    text: str
    verdict: str
    """One of ``VERDICTS``; empty where it is not graded yet."""
    tokens: int | None
    """Generated tokens; None where nobody knows them, as in recorded texts."""
    truncated: bool | None
    """Stopped by the length limit; None where nobody knows."""
    prompt_ids: np.ndarray | None
    """[P] int32"""
    token_ids: np.ndarray | None
    """[T] int32"""
    gold: str = ""
    kind: Kind = "math"
    answer: str | None = None
    """What was compared with the gold; None where the response has no answer."""
    reward: float | None = None
    """None where only the verdict counts, as in benchmarks."""

    @property
    def is_correct(self) -> bool:
        return self.verdict == "correct"

    @property
    def problem_id(self) -> Key:
        """Equal for responses to the same problem, which are no independent observations."""
        return self.benchmark, self.item


def of_sample(
    benchmark: str, problem: Problem, number: int, sample: Sample, reward: float | None = None
) -> Response:
    """The record of a graded sample, the response ``number`` to its problem."""
    return Response(
        benchmark=benchmark,
        item=problem.id,
        sample=number,
        problem=problem.text,
        text=sample.text,
        verdict=sample.verdict,
        tokens=len(sample.response),
        truncated=sample.truncated,
        prompt_ids=sample.prompt,
        token_ids=sample.response,
        gold=problem.gold,
        kind=problem.kind,
        answer=sample.answer,
        reward=reward,
    )


def shown(response: Response, prompt: str | None = None) -> dict[str, Any]:
    """The record as a row to read; ``prompt`` is its text as the model got it."""
    return {
        "benchmark": response.benchmark,
        "problem": response.problem,
        "gold": response.gold,
        "prompt": prompt,
        "response": response.text,
        "answer": response.answer,
        "verdict": response.verdict,
        "reward": response.reward,
        "tokens": response.tokens,
        "truncated": response.truncated,
    }
