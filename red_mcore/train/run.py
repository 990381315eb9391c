"""A run in this process: what ``setup.build`` made, and what every phase and hook may do with
it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from red_mcore.checkpoints import identity
from red_mcore.config.recipe import Optimizer, Recipe
from red_mcore.config.tree import flatten
from red_mcore.models.architecture import Architecture
from red_mcore.samples.records import Problem
from red_mcore.system import signals
from red_mcore.train.state import State

if TYPE_CHECKING:
    from red_mcore.checkpoints.saving import Saver
    from red_mcore.data.cursor import Cursor, Mixture
    from red_mcore.evaluation.asking import Evaluator
    from red_mcore.megatron.policy import Policy
    from red_mcore.megatron.ranks import Ranks
    from red_mcore.rollout.recording import Recording
    from red_mcore.rollout.sampler import Sampler
    from red_mcore.tracking import Console, Tracker


def optimizers_of(recipe: Recipe, stage: str) -> dict[str, tuple[Optimizer, int]]:
    """Name -> (settings, updates of the schedule) of the optimizers that a stage uses."""
    if stage == "base" and recipe.base is not None:
        return {"main": (recipe.base.optimizer, recipe.base.steps)}
    return recipe.algorithm.optimizers(recipe)


@dataclass
class Run:
    """Everything that a step needs; methods named as collectives are called by all ranks."""

    recipe: Recipe
    ranks: Ranks
    arch: Architecture
    model_folder: Path
    """config.json, tokenizer and, for a fresh model, its first weights; the template of exports."""
    tokenizer: Any
    problems: list[Problem]
    held_out: list[Problem]
    cursor: Cursor | Mixture
    policy: Policy
    reference: Policy | None
    teacher: Policy | None
    sampler: Sampler
    benchmarks: dict[str, list[Problem]]
    evaluator: Evaluator | None
    """Puts the benchmarks to the engine; None where there are none."""
    recording: Recording
    saver: Saver
    tracker: Tracker | None
    """On rank 0 only."""
    state: State
    begin: float
    """``time.monotonic`` at this start."""
    asked: signals.Asked
    """What signals ask this rank for, at any moment."""
    stopping: bool = False
    """All ranks agreed to stop, after a step."""
    saving: bool = False
    """All ranks agreed to save after this step, and to go on."""
    screen: Console | None = None
    """What shows progress while steps are made."""

    @property
    def elapsed(self) -> float:
        """Seconds of this start."""
        return time.monotonic() - self.begin

    def say(self, text: str) -> None:
        """Print a line on rank 0, above the bar where there is one."""
        if self.screen is not None:
            self.screen.print(text)
        elif self.ranks.is_main:
            print(text, flush=True)

    def start_main(self) -> None:
        """Begin the algorithm's stage on the weights as they are, with new optimizers."""
        self.state.stage, self.state.step = "main", 0
        self.policy.start_optimizers(optimizers_of(self.recipe, "main"))

    @contextmanager
    def progress(self, description: str, total: int, done: int) -> Iterator[Console]:
        """A block of steps, shown on rank 0; on the others the console shows nothing."""
        from red_mcore.tracking import Console
        from red_mcore.tracking.console import unwatched

        with Console(description, total, done, show=self.ranks.is_main) as self.screen:
            self.sampler.watch = self.screen.part
            try:
                yield self.screen
            finally:
                self.screen, self.sampler.watch = None, unwatched

    def log(self, metrics: dict[str, float]) -> None:
        """Keep the metrics of this step; a collective."""
        from red_mcore.megatron.ranks import together

        with together():
            if self.tracker:
                self.tracker.log(self.state.step, metrics, self.state.stage)

    def agree(self) -> None:
        """Set ``stopping`` and ``saving`` on every rank by the signals that reached any.

        A collective, after a step.
        """
        from red_mcore.megatron.ranks import largest

        asked = largest(self.asked.take())
        self.stopping, self.saving = asked == signals.STOPPING, asked == signals.SAVING
        if self.saving:
            self.say(f"saving after {self.state.stage} step {self.state.step}, as SIGUSR1 asked")

    def checkpoint_due(self) -> bool:
        """Whether ``checkpoint.every`` wants this step kept."""
        every = self.recipe.checkpoint.every
        return bool(every) and self.state.step % every == 0

    def save(self) -> None:
        """Keep a checkpoint of this moment; a collective."""
        self.state.cursor = self.cursor.state()
        state = {**asdict(self.state), "seconds": self.state.seconds + self.elapsed}
        tag = f"{self.state.stage}-{self.state.step:06d}"
        copies = self.tracker.rows() | identity.copy(self.recipe.folder) if self.tracker else {}
        about = {"state": state, "recipe": flatten(self.recipe)}
        self.saver.save(tag, self.policy, about, copies)
