"""What came out: every method read at equal steps, tokens and seconds, seed by seed."""

from __future__ import annotations

import statistics
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from red_mcore.comparison.curves import AXES, Curves, Reading, budgets
from red_mcore.comparison.legs import Run, curves_of
from red_mcore.comparison.plan import BASE, Method, Plan
from red_mcore.comparison.stats import Gap, gap, half_width
from red_mcore.config.tree import without_secrets
from red_mcore.planning.plan import find_architecture


@dataclass(frozen=True)
class Result:
    """One method; dicts are by seed and lack the seeds that failed."""

    method: Method
    curves: dict[int, Curves] = field(default_factory=dict)
    readings: dict[str, dict[int, Reading]] = field(default_factory=dict)
    """Axis -> seed -> the run there."""
    failed: tuple[int, ...] = ()
    """Seeds in which the run, or the base it starts from, failed."""

    @property
    def name(self) -> str:
        return self.method.name

    def values(self, axis: str, name: str = "pass1") -> dict[int, float]:
        return {seed: getattr(reading, name) for seed, reading in self.readings[axis].items()}

    def mean(self, axis: str, name: str = "pass1") -> float | None:
        values = self.values(axis, name).values()
        return statistics.fmean(values) if values else None

    def half(self, axis: str, *, over_seeds: bool) -> float:
        """Half of the 95 % confidence interval of ``mean(axis)``, see ``half_width``."""
        values, stderrs = (list(self.values(axis, name).values()) for name in ("pass1", "stderr"))
        return half_width(values, stderrs, over_seeds=over_seeds)

    def notes(self, axis: str) -> set[str]:
        return {reading.note for reading in self.readings[axis].values()} - {""}

    def total(self, axis: str) -> float | None:
        """Spent to the end of the run, mean over seeds."""
        spent = [float(curves.spending[axis][-1]) for curves in self.curves.values()]
        return statistics.fmean(spent) if spent else None

    @property
    def updates(self) -> float | None:
        """Optimizer updates to the end of the run, mean over seeds."""
        return statistics.fmean(c.updates for c in self.curves.values()) if self.curves else None

    @property
    def trained_tokens(self) -> float | None:
        """To the end of the run, mean over seeds; None where a run did not count them."""
        counts = [curves.trained_tokens for curves in self.curves.values()]
        return statistics.fmean(counts) if counts and None not in counts else None

    @cached_property
    def flops(self) -> float | None:
        """(6 x trained + 2 x generated tokens) x parameters, mean over seeds; None where one of them is not known."""
        architecture, trained = find_architecture(self.method.recipe), self.trained_tokens
        if architecture is None or trained is None:
            return None
        return (6 * trained + 2 * self.total("tokens")) * architecture.parameters

    @cached_property
    def learning_rates(self) -> str:
        rates = self.method.recipe.algorithm.optimizers(self.method.recipe)
        return ", ".join(
            f"{settings.lr:g}" + (f" ({name})" * (name != "main")) for name, (settings, _) in rates.items()
        )


@dataclass(frozen=True)
class Results:
    plan: Plan
    budgets: dict[int, dict[str, float]]
    """Seed -> axis -> what the reference spent."""
    all: list[Result]
    """In the order given."""

    @property
    def k(self) -> int:
        return self.plan.reference.recipe.evaluation.samples

    @property
    def over_seeds(self) -> bool:
        """Whether intervals are over seeds; fewer than three tell too little of them."""
        return len(self.plan.seeds) > 2

    @property
    def ranked(self) -> list[Result]:
        """By pass@1 at equal seconds, the highest first; methods that could not be read there last."""
        return sorted(self.all, key=lambda r: -(r.mean("seconds") if r.readings["seconds"] else -1.0))

    @property
    def reference(self) -> Result:
        return next(r for r in self.all if r.name == self.plan.reference.name)

    def budget(self, axis: str) -> float | None:
        """Mean over seeds."""
        return statistics.fmean(b[axis] for b in self.budgets.values()) if self.budgets else None

    def gap(self, one: Result, other: Result, axis: str) -> Gap | None:
        return gap(one.values(axis), other.values(axis), len(self.plan.seeds))


def collect(plan: Plan, failed: Collection[Run]) -> Results:
    """Read all runs; where the reference of a seed is missing, its methods are only read at equal steps."""
    limits = {}
    for seed in plan.seeds:
        if reference := curves_of(plan, seed, plan.reference):
            limits[seed] = budgets(reference, plan.steps)
    methods = plan.methods if plan.reference in plan.methods else plan.all
    return Results(plan, limits, [_result(plan, method, limits, failed) for method in methods])


def _result(plan: Plan, method: Method, limits: dict[int, dict[str, float]], failed: Collection[Run]) -> Result:
    found = {seed: curves_of(plan, seed, method) for seed in plan.seeds}
    curves = {seed: one for seed, one in found.items() if one is not None}
    readings: dict[str, dict[int, Reading]] = {axis: {} for axis in AXES}
    for seed, one in curves.items():
        wanted = limits.get(seed, {"steps": plan.steps})
        for axis, budget in wanted.items():
            if axis == "tokens" and not method.generates:
                reading = replace(one.read("seconds", wanted["seconds"]), note="end")
            else:
                reading = one.read(axis, budget)
            if axis == "steps" and method.in_first_stage(plan.steps):
                reading = replace(reading, note="stage")
            readings[axis][seed] = reading
    broken = tuple(seed for seed in plan.seeds if (seed, method.name) in failed or (seed, BASE) in failed)
    return Result(method, curves, readings, broken)


def as_json(results: Results, made: dict[str, Any]) -> dict[str, Any]:
    """All numbers of the report, and the evaluations that its lines go through; ``made``: how it came about."""
    return {
        "made": made,
        "reference": results.plan.reference.name,
        "seeds": results.plan.seeds,
        "k": results.k,
        "budgets": results.budgets,
        "methods": {result.name: _method_json(results, result) for result in results.all},
    }


def _method_json(results: Results, result: Result) -> dict[str, Any]:
    gaps = {axis: results.gap(result, results.reference, axis) for axis in AXES}
    return {
        "file": result.method.file,
        "overrides": without_secrets(result.method.overrides),
        "learning_rates": result.learning_rates,
        "failed_seeds": result.failed,
        "whole_run": {axis: result.total(axis) for axis in AXES}
        | {"updates": result.updates, "trained_tokens": result.trained_tokens, "flops": result.flops},
        "readings": {axis: {seed: vars(r) for seed, r in by.items()} for axis, by in result.readings.items()},
        "pass1": {
            axis: {"mean": result.mean(axis), "half_width_95": result.half(axis, over_seeds=results.over_seeds)}
            for axis in AXES
            if result.readings[axis]
        },
        "against_reference": {
            axis: {"differences": found.differences, "sign": found.sign} for axis, found in gaps.items() if found
        },
        "evaluations": {seed: _evaluations(curves) for seed, curves in result.curves.items()},
    }


def _evaluations(curves: Curves) -> list[dict[str, float]]:
    return [
        {axis: float(curves.spending[axis][i]) for axis in AXES}
        | {name: value for name, value in curves.rows[i].items() if name.startswith("evaluation/")}
        for i in curves.evaluated
    ]
