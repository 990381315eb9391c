"""Rollouts of training kept as text (``tracking.rollouts_every``), to be read by people.

What ``rollout.record`` keeps is for programs: tokens, to train on again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from red_mcore.data.seams import prompt_text
from red_mcore.megatron.ranks import together
from red_mcore.samples.records import Group, Problem, Sample
from red_mcore.samples.responses import Response, of_sample, shown
from red_mcore.system.disk import write_lines
from red_mcore.train.hooks.hook import Hook
from red_mcore.train.run import Run
from red_mcore.train.step import Step

TRAINING = "training"
"""Name of the training problems among the benchmarks."""


class KeptRollouts(Hook):
    """Writes ``rollouts/training-NNNNNN.jsonl``, a row for each rollout and trace of the step.

    Step 1 is kept, and every ``rollouts_every``-th.
    """

    def after_step(self, run: Run, step: Step) -> None:
        every, number = run.recipe.tracking.rollouts_every, run.state.step
        if not every or not (number == 1 or number % every == 0):
            return
        with together():
            if run.ranks.is_main:
                file = run.recipe.folder / "rollouts" / f"training-{number:06d}.jsonl"
                write_lines(file, training_rows(run.tokenizer, step.groups))


def row(tokenizer: Any, response: Response) -> dict[str, Any]:
    """What there is to read of a response, with the prompt as the model got it."""
    prompt = None
    if response.prompt_ids is not None:
        prompt = prompt_text(tokenizer, response.prompt_ids.tolist())
    return shown(response, prompt)


def training_rows(tokenizer: Any, groups: Sequence[Group]) -> list[dict[str, Any]]:
    """A row for each sample, in order, with what the algorithm made of it.

    ``group`` numbers the groups from 0, ``trace`` marks those of a teacher.
    """
    found = []
    for number, group in enumerate(groups):
        for place, sample in enumerate(group.samples):
            found.append({"group": number} | _of_training(tokenizer, group.problem, place, sample))
    return found


def _of_training(tokenizer: Any, problem: Problem, place: int, sample: Sample) -> dict[str, Any]:
    record = of_sample(TRAINING, problem, place, sample, sample.reward)
    return {
        "trace": sample.is_offline,
        **row(tokenizer, record),
        "terms": sample.terms,
        "advantage": sample.advantage,
        "weight": sample.weight,
    }
