"""What is left to do, told from the run folders alone, so that a comparison survives any end."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from red_mcore.comparison.curves import Curves, budgets, read_curves
from red_mcore.comparison.plan import BASE, Method, Plan, Run


@dataclass(frozen=True)
class Leg:
    """One start of ``python -m red_mcore.run``."""

    run: Run
    arguments: tuple[str, ...]
    """Recipe file and overrides."""
    log: Path
    """What it prints."""

    def __str__(self) -> str:
        seed, name = self.run
        return f"seed {seed}  {name}"


def legs(plan: Plan, failed: set[Run]) -> list[Leg]:
    """Legs that can start now, in the order in which they should; ``failed`` runs and what needs
    them are left out."""
    found: list[Leg] = []
    for seed in plan.seeds:
        found += _legs_of(plan, seed, failed)
    return [leg for leg in found if leg.run not in failed]


def curves_of(plan: Plan, seed: int, method: Method) -> Curves | None:
    """The run's curves once it has done the recipe's steps; None before that."""
    if plan.finished(seed, method) is None:
        return None
    return read_curves(plan.folder(seed, method.name), method.recipe.evaluation.samples)


def _legs_of(plan: Plan, seed: int, failed: set[Run]) -> list[Leg]:
    """The base, then the reference, then the others until they have spent as much, or without
    budgets if it failed."""
    if plan.has_base and plan.finished(seed, None) is None:
        return [_leg(plan, seed, None)]
    reference = curves_of(plan, seed, plan.reference)
    if reference is None and (seed, plan.reference.name) not in failed:
        return [_leg(plan, seed, plan.reference)]
    wanted = None if reference is None else budgets(reference, plan.steps)
    found = []
    for method in plan.all:
        if method is not plan.reference and plan.finished(seed, method, wanted) is None:
            found.append(_leg(plan, seed, method, wanted))
    return found


def _leg(
    plan: Plan, seed: int, method: Method | None, wanted: dict[str, float] | None = None
) -> Leg:
    name, end = BASE, ["steps=0"]
    if method is not None:
        name, end = method.name, []
        if wanted:
            end.append("until={}")
            for field, value in asdict(method.until(wanted)).items():
                end.append(f"until.{field}={value!r}")
    source = method or plan.reference
    arguments = (source.file, *source.overrides, *plan.own(seed, name), *end)
    return Leg((seed, name), arguments, plan.folder(seed, f"{name}.log"))
