"""What came out: every method read at equal steps, tokens and seconds, seed by seed."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from red_mcore.comparison.curves import AXES, Curves, Reading, budgets
from red_mcore.comparison.legs import curves_of
from red_mcore.comparison.plan import BASE, Method, Plan, Run
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
        values = list(self.values(axis).values())
        if not values:
            return 0.0
        errors = list(self.values(axis, "stderr").values())
        return half_width(values, errors, over_seeds=over_seeds)

    def notes(self, axis: str) -> set[str]:
        return {reading.note for reading in self.readings[axis].values()} - {""}

    def _over_seeds(self, spent: Callable[[Curves], float | None]) -> float | None:
        """The mean over seeds of what is ``spent`` to the end of the run; None where it is not
        known."""
        return mean_of(spent(curves) for curves in self.curves.values())

    def total(self, axis: str) -> float | None:
        return self._over_seeds(lambda curves: float(curves.spending[axis][-1]))

    @property
    def updates(self) -> float | None:
        """Optimizer updates."""
        return self._over_seeds(lambda curves: curves.updates)

    @property
    def trained_tokens(self) -> float | None:
        return self._over_seeds(lambda curves: curves.trained_tokens)

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
        recipe, told = self.method.recipe, []
        for name, (settings, _) in recipe.algorithm.optimizers(recipe).items():
            told.append(f"{settings.lr:g} ({name})".removesuffix(" (main)"))
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
        return sorted(self.all, key=_standing, reverse=True)

    @property
    def reference(self) -> Result:
        return next(r for r in self.all if r.name == self.plan.reference.name)

    def budget(self, axis: str) -> float | None:
        """Mean over seeds."""
        return mean_of(spent[axis] for spent in self.budgets.values())

    def gap(self, one: Result, other: Result, axis: str) -> Gap | None:
        return gap(one.values(axis), other.values(axis), len(self.plan.seeds))


def _standing(result: Result) -> float:
    """pass@1 at equal seconds; below any other where there is none."""
    mean = result.mean("seconds")
    return -1.0 if mean is None else mean


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean; None of no values, and where one is not known."""
    known = []
    for value in values:
        if value is None:
            return None
        known.append(value)
    return statistics.fmean(known) if known else None


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
    curves: dict[int, Curves] = {}
    readings: dict[str, dict[int, Reading]] = {axis: {} for axis in AXES}
    broken = []
    for seed in plan.seeds:
        if (seed, method.name) in failed or (seed, BASE) in failed:
            broken.append(seed)
        one = curves_of(plan, seed, method)
        if one is None:
            continue
        curves[seed] = one
        wanted = limits.get(seed, {"steps": plan.steps})
        for axis in wanted:
            readings[axis][seed] = _read(one, method, axis, wanted, plan.steps)
    return Result(method, curves, readings, tuple(broken))


def _read(
    curves: Curves, method: Method, axis: str, wanted: dict[str, float], steps: int
) -> Reading:
    """The run at what is ``wanted`` of ``axis``, with the note that the reader of a table needs."""
    if axis == "tokens" and not method.generates:
        return replace(curves.read("seconds", wanted["seconds"]), note="end")
    reading = curves.read(axis, wanted[axis])
    if axis == "steps" and method.in_first_stage(steps):
        return replace(reading, note="stage")
    return reading


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
