"""What a run is: plain dataclasses.

A recipe file is Python with a function ``recipe() -> Recipe``; ``loading.py`` loads it. A section
that is ``None`` is off; numbers that follow from others are properties, never fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from red_mcore.config.data import Arithmetic, Data, Source
from red_mcore.config.errors import RecipeError
from red_mcore.config.evaluation import Benchmarks, Evaluation, Protocol
from red_mcore.config.fields import MayChange, Place, Prose, Seed, Steps, StepsOrNone
from red_mcore.config.model import Model, Offload, Parallel, Teacher
from red_mcore.config.output import Hub, Tracking
from red_mcore.config.reward import Format, Overlong, Repetition, Reward
from red_mcore.config.training import Base, Batch, Checkpoint, Optimizer, Rollout, Until

__all__ = [
    "Algorithm",
    "Arithmetic",
    "Base",
    "Batch",
    "Benchmarks",
    "Checkpoint",
    "Data",
    "Evaluation",
    "Format",
    "Hub",
    "Model",
    "Offload",
    "Optimizer",
    "Overlong",
    "Parallel",
    "Protocol",
    "Recipe",
    "RecipeError",
    "Repetition",
    "Reward",
    "Rollout",
    "Source",
    "Teacher",
    "Tracking",
    "Until",
]


@dataclass
class Algorithm:
    """Base of the algorithms' settings; see ``red_mcore.algorithms``."""

    traces: ClassVar[int] = 0
    """Teacher traces that join the rollouts of a group: 0 or 1."""
    needs_traces: ClassVar[bool] = False
    """Whether traces are needed beside those."""
    rollouts: ClassVar[bool] = True
    """Whether rollouts are sampled at all; imitation needs none."""
    compares: ClassVar[bool] = True
    """Whether the samples of a group are compared with one another, so that it needs two."""
    optimizer: ClassVar[str] = "main"
    """Which of its ``optimizers`` makes the step's updates."""

    teacher: Teacher | None = None
    """A model whose log-probs take part in the advantage of every token that was sampled; None is
    off. With a teacher every group is trained on, also one whose rewards are all the same."""

    @property
    def uses_reference(self) -> bool:
        """Whether a loss compares with the policy at start."""
        return False

    def optimizers(self, recipe: Recipe) -> dict[str, tuple[Optimizer, int]]:
        """Optimizers over the same weights, each with moments and schedule of its own: name ->
        (settings, updates)."""
        return {"main": (recipe.optimizer, recipe.steps * recipe.batch.updates_per_step)}

    def check(self, recipe: Recipe) -> None:
        """Raises RecipeError where ``recipe`` does not suit the algorithm; the base asks for
        nothing."""


@dataclass
class Recipe:
    """One run. ``python -m red_mcore.run FILE a.b=c`` builds it, validates it and starts the
    ranks."""

    name: Place
    """Name of the run, and of its folder."""
    model: Model
    algorithm: Prose[Algorithm]
    steps: StepsOrNone = 500
    """Steps of the algorithm: sample, grade, score, weigh, update, publish; 0 trains the base
    alone."""
    until: MayChange[Until | None] = None
    """Go on after ``steps``; the learning rates have to be constant."""
    patience: MayChange[Steps] = 10
    """Steps without an update, or without a trace where the algorithm wants one, after which a
    warning says so."""
    strict: MayChange[bool] = False
    """A run that learns nothing, by its warnings (``red_mcore.train.health``), ends with exit code
    4; where the recipe tells it, it does not start."""
    seed: Seed = 0
    """Seed of the weights of a fresh model, of the order of problems and of the sampling."""
    runs: MayChange[Place] = "runs"
    """Folder of run folders; this run lives in ``runs/name``."""
    imports: MayChange[list[Place]] = field(default_factory=list)
    """Folders in which import paths are looked for, beside the working folder and that of the
    recipe file, which is added where it is needed."""
    parallel: MayChange[Parallel] = field(default_factory=Parallel)
    offload: MayChange[Offload] = field(default_factory=Offload)
    batch: Batch = field(default_factory=Batch)
    rollout: Rollout = field(default_factory=Rollout)
    data: Data = field(default_factory=Data)
    reward: Reward = field(default_factory=Reward)
    optimizer: Optimizer = field(default_factory=Optimizer)
    base: Base | None = None
    checkpoint: MayChange[Checkpoint] = field(default_factory=Checkpoint)
    tracking: MayChange[Tracking] = field(default_factory=Tracking)
    evaluation: Evaluation = field(default_factory=Evaluation)
    hub: MayChange[Hub | None] = None

    @property
    def folder(self) -> Path:
        return Path(self.runs) / self.name
