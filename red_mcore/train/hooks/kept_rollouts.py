"""Rollouts of training kept as text (``tracking.rollouts_every``), to be read by people.

What ``rollout.record`` keeps is for programs: tokens, to train on again.
"""

from __future__ import annotations

from red_mcore.megatron.ranks import together
from red_mcore.system.disk import write_lines
from red_mcore.train import kept_rollouts
from red_mcore.train.hooks.hook import Hook, Step
from red_mcore.train.run import Run


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
                write_lines(file, kept_rollouts.rows(run.tokenizer, step.groups))
