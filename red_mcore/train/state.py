"""What lasts between the steps of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class State:
    """What a checkpoint keeps besides weights, optimizer and random states; JSON-able."""

    stage: str = "main"
    """``base`` while a fresh model is trained on the base corpus, then ``main``."""
    step: int = 0
    """Steps of the stage that are done."""
    policy_version: int = 0
    """Optimizer updates of the main stage; also the version that the engines get."""
    cursor: dict[str, Any] | None = None
    """Where the data cursor stood at the last checkpoint."""
    algorithm: dict[str, Any] = field(default_factory=dict)
    """The algorithm's own memory, which it alone reads and writes."""
    tracker_run: str | None = None
    """Id of the run in MLflow."""
    before: dict[str, float] | None = None
    """Evaluation of the policy before the first step of the main stage."""
    after: dict[str, float] | None = None
    """The last evaluation."""
    evaluated: int = -1
    """Step of the last evaluation."""
    benchmarked: int = -1
    """The same, of the benchmarks."""
    validation: dict[str, Any] = field(default_factory=dict)
    """What ``red_mcore.train.validation`` has measured so far."""
    seconds: float = 0.0
    """Time spent so far over all starts."""
    base_seconds: float = 0.0
    """Time that the base stage took."""
    train_seconds: float = 0.0
    """Time in the phases of the steps, evaluation left out."""
    generated_tokens: float = 0.0
    """Tokens that the engines sampled for the steps."""
    health: dict[str, Any] = field(default_factory=dict)
    """What ``red_mcore.train.health`` has seen so far."""
