"""What came out: every method read at equal steps, tokens and seconds, seed by seed."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from red_mcore.comparison.curves import AXES, Curves, Reading, budgets
from red_mcore.comparison.legs import Run, curves_of
from red_mcore.comparison.plan import BASE, Method, Plan
from red_mcore.config.tree import without_secrets
from red_mcore.planning.plan import find_architecture
from red_mcore.stats import Gap, gap, half_width


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
        return mean_of(self.values(axis, name).values())

    def half(self, axis: str, *, over_seeds: bool) -> float:
        """Half of the 95 % confidence interval of ``mean(axis)``, see ``half_width``; 0 of none."""
        values, errors = (list(self.values(axis, name).values()) for name in ("pass1", "stderr"))
        return half_width(values, errors, over_seeds=over_seeds) if values else 0.0

    def notes(self, axis: str) -> set[str]:
        return {reading.note for reading in self.readings[axis].values()} - {""}

    # What follows is spent to the end of the run: means over seeds, None where it is not known.

    def total(self, axis: str) -> float | None:
        return mean_of(float(curves.spending[axis][-1]) for curves in self.curves.values())

    @property
    def updates(self) -> float | None:
        """Optimizer updates."""
        return mean_of(curves.updates for curves in self.curves.values())

    @property
    def trained_tokens(self) -> float | None:
        return mean_of(curves.trained_tokens for curves in self.curves.values())

    @cached_property
    def flops(self) -> float | None:
        """(6 x trained + 2 x generated tokens) x parameters."""
        architecture = find_architecture(self.method.recipe)
        trained, generated = self.trained_tokens, self.total("tokens")
        if architecture is None or trained is None or generated is None:
            return None
        return (6 * trained + 2 * generated) * architecture.parameters

    @cached_property
    def learning_rates(self) -> str:
        """The rates in words, with the optimizer's name beside any but the main one's."""
        told = []
        for name, (settings, _) in self.method.recipe.algorithm.optimizers(
            self.method.recipe
        ).items():
            told.append(f"{settings.lr:g}" if name == "main" else f"{settings.lr:g} ({name})")
        return ", ".join(told)


@dataclass(frozen=True)
class Results:
    plan: Plan
    budgets: dict[int, dict[str, float]]
    """Seed -> axis -> what the reference spent."""
    all: list[Result]
    """The methods in the order given."""

    @property
    def k(self) -> int:
        return self.plan.reference.recipe.evaluation.samples

    @property
    def over_seeds(self) -> bool:
        """Whether intervals are over seeds; fewer than three tell too little of them."""
        return len(self.plan.seeds) > 2

    @property
    def ranked(self) -> list[Result]:
        """The methods by pass@1 at equal seconds; those not read there come last."""
        return sorted(
            self.all, key=lambda r: -(r.mean("seconds") if r.readings["seconds"] else -1.0)
        )

    @property
    def reference(self) -> Result:
        return next(r for r in self.all if r.name == self.plan.reference.name)

    def budget(self, axis: str) -> float | None:
        """Mean over seeds."""
        return mean_of(spent[axis] for spent in self.budgets.values())

    def gap(self, one: Result, other: Result, axis: str) -> Gap | None:
        return gap(one.values(axis), other.values(axis), len(self.plan.seeds))


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean; None of no values, and where one is not known."""
    found = list(values)
    known = [value for value in found if value is not None]
    return statistics.fmean(known) if known and len(known) == len(found) else None


def collect(plan: Plan, failed: Collection[Run]) -> Results:
    """Read all runs; where the reference of a seed is missing, its methods are only read at equal
    steps."""
    limits = {}
    for seed in plan.seeds:
        if reference := curves_of(plan, seed, plan.reference):
            limits[seed] = budgets(reference, plan.steps)
    methods = plan.methods if plan.reference in plan.methods else plan.all
    return Results(plan, limits, [_result(plan, method, limits, failed) for method in methods])


def _result(
    plan: Plan, method: Method, limits: dict[int, dict[str, float]], failed: Collection[Run]
) -> Result:
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
    broken = tuple(
        seed for seed in plan.seeds if (seed, method.name) in failed or (seed, BASE) in failed
    )
    return Result(method, curves, readings, broken)


def as_json(results: Results, made: dict[str, Any]) -> dict[str, Any]:
    """All numbers of the report, and the evaluations that its lines go through; ``made``: how it
    came about."""
    return {
        "made": made,
        "reference": results.plan.reference.name,
        "seeds": results.plan.seeds,
        "k": results.k,
        "budgets": results.budgets,
        "methods": {result.name: _method_json(results, result) for result in results.all},
    }


def _method_json(results: Results, result: Result) -> dict[str, Any]:
    pass1, against, readings = {}, {}, {}
    for axis in AXES:
        readings[axis] = {seed: vars(one) for seed, one in result.readings[axis].items()}
        if readings[axis]:
            half = result.half(axis, over_seeds=results.over_seeds)
            pass1[axis] = {"mean": result.mean(axis), "half_width_95": half}
        gap = results.gap(result, results.reference, axis)
        if gap:
            against[axis] = {"differences": gap.differences, "sign": gap.sign}
    whole = {axis: result.total(axis) for axis in AXES}
    whole |= {"updates": result.updates, "trained_tokens": result.trained_tokens}
    return {
        "file": result.method.file,
        "overrides": without_secrets(result.method.overrides),
        "learning_rates": result.learning_rates,
        "failed_seeds": result.failed,
        "whole_run": whole | {"flops": result.flops},
        "readings": readings,
        "pass1": pass1,
        "against_reference": against,
        "evaluations": {seed: _evaluations(one) for seed, one in result.curves.items()},
    }


def _evaluations(curves: Curves) -> list[dict[str, float]]:
    """What was spent until each evaluation, and what it found."""
    found = []
    for i in curves.evaluated:
        one = {axis: float(curves.spending[axis][i]) for axis in AXES}
        for name, value in curves.rows[i].items():
            if name.startswith("evaluation/"):
                one[name] = value
        found.append(one)
    return found
