"""Graded answers as rows to read: of evaluations, and of training (``tracking.rollouts_every``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from red_mcore.data.seams import prompt_text
from red_mcore.samples.records import Group, Problem, Sample


def table(tokenizer: Any, groups: Sequence[Group], most: int) -> list[dict[str, Any]]:
    """The first rollouts of as many problems as give ``most`` rows."""
    picked = [(group.problem, sample) for group in groups for sample in group.rollouts[:2]][:most]
    return [row(tokenizer, problem, sample) for problem, sample in picked]


def rows(tokenizer: Any, groups: Sequence[Group]) -> list[dict[str, Any]]:
    """A row for each sample, in order; ``group`` numbers the groups from 0, ``trace`` marks those of a teacher."""
    return [
        {"group": number, "trace": sample.is_offline, **row(tokenizer, group.problem, sample)}
        | {"terms": sample.terms, "advantage": sample.advantage, "weight": sample.weight}
        for number, group in enumerate(groups)
        for sample in group.samples
    ]


def row(tokenizer: Any, problem: Problem, sample: Sample) -> dict[str, Any]:
    """What there is to read of a sample: the prompt as the model got it, the response, and how it was judged."""
    return {
        "problem": problem.text,
        "gold": problem.gold,
        "prompt": prompt_text(tokenizer, sample.prompt),
        "response": sample.text,
        "verdict": sample.verdict,
        "reward": sample.reward,
        "tokens": len(sample.response),
        "truncated": sample.truncated,
    }
