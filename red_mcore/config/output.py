"""Sections of a recipe: where results go, beside the run folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from red_mcore.config.fields import Bound, StepsOrNone


@dataclass
class Tracking:
    """What is told to MLflow and to other monitors, and which rollouts are kept as text."""

    mlflow: bool = True
    """Whether MLflow is told at all."""
    uri: str | None = None
    """MLflow tracking address; None is the SQLite file ``mlruns.db`` that all runs in ``runs``
    share, whose artifacts are in ``mlartifacts`` beside it. Where several machines write at once,
    give it a server's. User and password in it, as in any address of a recipe, are in no file,
    output or database of a run."""
    experiment: str = "red-mcore"
    """Name of the MLflow experiment."""
    parent: str | None = None
    """Id of the MLflow run that this one is nested under."""
    monitors: list[str] = field(default_factory=list)
    """Import paths, ``package.module:Class``, of further monitors, such as
    ``red_mcore.tracking.tensorboard:TensorBoard``; ``red_mcore.tracking.monitor`` is their
    contract."""
    rollout_rows: Annotated[int, Bound(0, 10**6, unit="rollouts")] = 16
    """Rollouts with their verdicts kept as a table at each evaluation."""
    rollouts_every: StepsOrNone = 0
    """Steps between those whose rollouts are kept as text, all of them, in
    ``rollouts/training-NNNNNN.jsonl``, the first step's among them; 0 keeps none.
    ``tools/rollouts.py`` sets them side by side."""


@dataclass
class Hub:
    """Repository of the Hugging Face hub that the export goes to at the end; the token is
    huggingface_hub's own."""

    name: str = ""
    """``owner/name``; it is made if there is none."""
    private: bool = True
    """Whether a repository that is made is private."""
