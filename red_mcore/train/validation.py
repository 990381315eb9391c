"""The loss on held-out traces over a run: what it is, which step was best, and when it is time to
stop.

The loss is the cross-entropy of all trained tokens of all held-out traces over their number, in
nats: one mean over tokens, not a mean of means. Every rank has the log-prob of every token, and all
add them up in the same order in double precision, so that no layout changes more than the
rounding of the forward pass. What the run has seen is a JSON-able dict in its state, which a
checkpoint keeps; so a resumed run decides as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from red_mcore.config.recipe import Recipe, Validation
from red_mcore.megatron.ranks import from_main
from red_mcore.samples.records import Group, Sample, samples_of
from red_mcore.train.run import Run
from red_mcore.train.state import State


@dataclass
class Course:
    """What the measurements of a run have come to so far."""

    step: int
    """Of the last measurement."""
    loss: float
    """Of the last measurement, nats per token."""
    first: float
    """The loss before the first step, or at the first measurement of a run that began without."""
    best_step: int | None = None
    """The step after which the loss was the lowest, of those that were made; None before any."""
    best_loss: float | None = None
    mark: float | None = None
    """The loss of the last gain: what the next one has to be below."""
    waited: int = 0
    """Measurements in turn without a gain."""
    kept_step: int | None = None
    """The step whose checkpoint is kept as the best; None where none is."""

    def add(self, step: int, loss: float, settings: Validation) -> None:
        """Count the measurement after ``step``, which is not the first moment of the run."""
        self.step, self.loss = step, loss
        if self.mark is None or loss < self.mark - settings.min_delta:
            self.mark, self.waited = loss, 0
        else:
            self.waited += 1
        if self.best_loss is None or loss < self.best_loss:
            self.best_step, self.best_loss = step, loss
            if settings.keep_best:
                self.kept_step = step


def course_of(state: State) -> Course | None:
    """What the state knows; None before the first measurement."""
    return Course(**state.validation) if state.validation else None


def count(run: Run, loss: float) -> Course:
    """Add the loss of this moment to the state; returns what all have come to."""
    settings, state = run.recipe.validation, run.state
    assert settings is not None  # else nothing is measured
    course = course_of(state) or Course(state.step, loss, first=loss)
    if state.step:
        course.add(state.step, loss, settings)
    state.validation = asdict(course)
    return course


def stops(recipe: Recipe, state: State) -> bool:
    """Whether the loss has gone without a gain for as long as the recipe's patience lasts."""
    settings, course = recipe.validation, course_of(state)
    if settings is None or course is None or not settings.patience:
        return False
    return course.waited >= settings.patience


def is_best_now(recipe: Recipe, state: State) -> bool:
    """Whether the weights of this moment are the best so far and are to be kept."""
    if recipe.validation is None or not state.validation:
        return False
    return state.validation["kept_step"] == state.step


def result_step(recipe: Recipe, state: State) -> int:
    """The step whose weights are the run's result."""
    settings, course = recipe.validation, course_of(state)
    if settings is None or settings.export != "best" or course is None:
        return state.step
    return state.step if course.kept_step is None else course.kept_step


def measure(run: Run, groups: list[Group]) -> dict[str, float]:
    """The loss on the traces of ``groups`` with the weights as they are; a collective."""
    run.policy.score(groups)
    samples = samples_of(groups)
    loss, tokens = cross_entropy(samples)
    return {
        "validation/loss": from_main(loss),  # by which all ranks decide alike
        "validation/traces": float(len(samples)),
        "validation/tokens": float(tokens),
    }


def cross_entropy(samples: Iterable[Sample]) -> tuple[float, int]:
    """(Mean over all trained tokens of scored samples of -log p, nats; the number of tokens)."""
    total, tokens = 0.0, 0
    for sample in samples:
        assert sample.old_logp is not None  # it is scored
        logp = sample.old_logp
        if sample.trained is not None:
            logp = logp[sample.trained]
        total -= float(logp.sum(dtype=np.float64))
        tokens += len(logp)
    return total / tokens, tokens


def first_row(state: State) -> dict[str, float]:
    """What the row before the first step has of it."""
    course = course_of(state)
    return {} if course is None else {"validation/loss": course.first}


def row(state: State) -> dict[str, float]:
    """What the row of a measurement has of the course so far."""
    course = course_of(state)
    if course is None or course.best_loss is None or course.best_step is None:
        return {}
    return {"validation/best_loss": course.best_loss, "validation/best_step": course.best_step}


def summary(recipe: Recipe, state: State) -> dict[str, Any]:
    """What ``summary.json`` tells of it; {} where nothing was measured."""
    course = course_of(state)
    if course is None:
        return {}
    return {
        "validation_loss_before": course.first,
        "validation_loss": course.loss,
        "validation_loss_best": course.best_loss,
        "best_step": course.best_step,
        "measurements_without_gain": course.waited,
        "stopped_early": stops(recipe, state),
        "result_step": result_step(recipe, state),
    }
