"""Rollouts of training kept as text (``tracking.rollouts_every``), to be read by people and by ``tools/rollouts.py``.

What ``rollout.record`` keeps is for programs: tokens, to train on again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from red_mcore.data.seams import prompt_text
from red_mcore.megatron.ranks import together
from red_mcore.samples.records import Group, Problem, Sample
from red_mcore.system.disk import write_lines
from red_mcore.train.setup import Run


def keep(run: Run, groups: Sequence[Group], step: int) -> None:
    """Write the groups that step ``step``, counted from 1, learnt from, where it is one to keep; a collective.

    ``rollouts/training-NNNNNN.jsonl`` has a row for each rollout and trace, with what the algorithm made of it.
    """
    every = run.recipe.tracking.rollouts_every
    if not every or not (step == 1 or step % every == 0):
        return
    with together():
        if run.ranks.is_main:
            file = run.recipe.folder / "rollouts" / f"training-{step:06d}.jsonl"
            write_lines(file, rows(run.tokenizer, groups))


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
