"""What is left to do, told from the run folders alone, so that a comparison goes on after any end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from comparison.curves import Curves, budgets, extended, read_curves
from comparison.plan import BASE, Method, Plan

Run = tuple[int, str]
"""Seed, and name of the method or ``base``."""


@dataclass(frozen=True)
class Leg:
    """One start of ``python -m red_mcore.run``."""

    run: Run
    steps: int
    """Steps of the run when it is done."""
    arguments: tuple[str, ...]
    """Recipe file and overrides."""
    log: Path
    """What it prints."""

    def __str__(self) -> str:
        seed, name = self.run
        return f"seed {seed}  {name}" + ("" if name == BASE else f"  {self.steps} steps")


def legs(plan: Plan, failed: set[Run]) -> list[Leg]:
    """Legs that can start now, in the order in which they should; ``failed`` runs and what needs them are left out."""
    found = [leg for seed in plan.seeds for leg in _legs_of(plan, seed)]
    return [leg for leg in found if leg.run not in failed]


def curves_of(plan: Plan, seed: int, method: Method) -> Curves | None:
    """The run's curves once it has done the recipe's steps; None before that."""
    if plan.finished(seed, method) is None:
        return None
    return read_curves(plan.folder(seed, method.name), method.recipe.evaluation.samples)


def _legs_of(plan: Plan, seed: int) -> list[Leg]:
    if plan.has_base and plan.finished(seed, None) is None:
        return [_leg(plan, seed, None, 0)]
    reference = curves_of(plan, seed, plan.reference)
    wanted = budgets(reference, plan.steps) if reference else None
    found = []
    for method in plan.all:
        summary = plan.finished(seed, method)
        if summary is None:
            found.append(_leg(plan, seed, method, method.recipe.steps))
        elif wanted and method is not plan.reference:
            steps = extended(curves_of(plan, seed, method), summary["steps"], wanted, method)
            if steps is not None:
                found.append(_leg(plan, seed, method, steps))
    return found


def _leg(plan: Plan, seed: int, method: Method | None, steps: int) -> Leg:
    source, name = (plan.reference, BASE) if method is None else (method, method.name)
    arguments = (source.file, *source.overrides, *plan.own(seed, name), f"steps={steps}")
    return Leg((seed, name), steps, arguments, plan.folder(seed, f"{name}.log"))
