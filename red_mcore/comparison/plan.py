"""What a comparison or a sweep consists of: its methods, seeds and folders; and what it refuses."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from red_mcore.algorithms.mixins import stage_of
from red_mcore.checkpoints import resume
from red_mcore.config import modules
from red_mcore.config.loading import load
from red_mcore.config.overrides import override
from red_mcore.config.recipe import Data, Recipe, RecipeError, Until
from red_mcore.config.tree import flatten, is_within
from red_mcore.data import sources
from red_mcore.planning.checks import validate

EQUAL = (
    "model",
    "data",
    "base",
    "batch.prompts_per_step",
    "rollout",
    "reward",
    "evaluation",
    "parallel",
    "offload",
)
"""Fields, and sections with all their fields, that all recipes of a comparison share."""
MAY_DIFFER = (
    "evaluation.every",
    "rollout.logprob_gap_limit",
    "data.problems",
    "data.trace_choice",
    "data.trace_sources",
)
"""Fields among them that are free."""
TRAINED_ON = ("data.path", "data.mixture", "data.trace_field")
"""Free, too, in recipes with one ``data.held_out_path``: whose traces a method learns from, and how
they were chosen and mixed, may be what is compared."""
OURS = {
    "name": "give recipes of other names",
    "runs": "use --out",
    "seed": "use --seeds and --first-seed",
    "tracking.uri": "it is in the folder of --out",
    "tracking.experiment": "it is named by the command",
    "tracking.parent": "it is made by the command",
}
"""Fields that the command sets."""
LARGEST_MULTIPLE = 200
"""A method runs at most so many times the recipe's steps."""
BASE = "base"
Run = tuple[int, str]
"""Seed, and name of the method or ``base``."""


@dataclass(frozen=True)
class Method:
    """A recipe under comparison, or one trial of it in a sweep."""

    name: str
    file: str
    overrides: tuple[str, ...]
    recipe: Recipe
    of: str = ""
    """Name of the recipe that this is a trial of; empty outside a sweep."""
    settings: tuple[str, ...] = ()
    """The trial's own overrides, the last of ``overrides``."""

    @property
    def generates(self) -> bool:
        """Whether it generates tokens in the end."""
        return stage_of(self.recipe.algorithm, LARGEST_MULTIPLE * self.recipe.steps - 1).rollouts

    def in_first_stage(self, steps: int) -> bool:
        """Whether the last of so many steps is of another stage than the method ends with."""
        algorithm = self.recipe.algorithm
        last = stage_of(algorithm, LARGEST_MULTIPLE * self.recipe.steps - 1)
        return type(stage_of(algorithm, steps - 1)) is not type(last)

    def until(self, wanted: dict[str, float]) -> Until:
        """What lets a run go on until it has spent the ``tokens`` and ``seconds`` wanted."""
        tokens = wanted["tokens"] if self.generates else 0.0
        return Until(tokens, wanted["seconds"], LARGEST_MULTIPLE * self.recipe.steps)


@dataclass(frozen=True)
class Plan:
    """``out/seed<k>/<name>`` holds the run of a method, ``out/seed<k>/base`` the one that makes its
    start."""

    out: Path
    seeds: list[int]
    methods: list[Method]
    """The methods in the order given; in a sweep the reference is not among them unless a trial
    equals it."""
    reference: Method
    tracking: tuple[str, ...] = field(default=())
    """Overrides of every run that nest it in MLflow."""

    @property
    def all(self) -> list[Method]:
        """The methods to run, the reference first."""
        return [self.reference, *(m for m in self.methods if m.name != self.reference.name)]

    @property
    def steps(self) -> int:
        """The steps of the reference; the others do as many or more."""
        return self.reference.recipe.steps

    @property
    def has_base(self) -> bool:
        return self.reference.recipe.base is not None

    @property
    def runs(self) -> dict[Run, Method | None]:
        """All runs, seed by seed; None is the base that a seed's methods start from."""
        found: dict[Run, Method | None] = {}
        for seed in self.seeds:
            if self.has_base:
                found[seed, BASE] = None
            for method in self.all:
                found[seed, method.name] = method
        return found

    def folder(self, seed: int, name: str) -> Path:
        return self.out / f"seed{seed}" / name

    def own(self, seed: int, name: str) -> list[str]:
        """Overrides that put a run in its place; with them the same command goes on with it."""
        place = [f"name={name}", f"runs={self.out / f'seed{seed}'}", f"seed={seed}", *self.tracking]
        if name == BASE:
            return place
        if self.has_base:
            place += [f"model.path={self.folder(seed, BASE) / BASE}", "base=null"]
        return place

    def recipe(self, seed: int, method: Method | None) -> Recipe:
        """The recipe of one run; None is the base's."""
        if method is None:
            return override(self.reference.recipe, [*self.own(seed, BASE), "steps=0"])
        return override(method.recipe, self.own(seed, method.name))

    def finished(
        self, seed: int, method: Method | None, wanted: dict[str, float] | None = None
    ) -> dict[str, Any] | None:
        """Summary of a run that has done its recipe's steps, and spent what is ``wanted``; None
        otherwise."""
        name = BASE if method is None else method.name
        runs = str(self.folder(seed, name).parent)
        recipe = replace((method or self.reference).recipe, runs=runs, name=name)
        if method is None:
            recipe = replace(recipe, steps=0)
        elif wanted:
            recipe = replace(recipe, until=method.until(wanted))
        return resume.finished(recipe)


def comparison(
    files: list[str], overrides: list[str], out: Path, seeds: list[int], reference: str | None
) -> Plan:
    """RecipeError for recipes that cannot be compared, or that differ from those of runs that are
    there already."""
    _check_overrides(overrides)
    methods = [_method(file, overrides) for file in files]
    return _checked(Plan(out, seeds, methods, _find(methods, reference)))


def sweep(
    files: list[str], overrides: list[str], out: Path, seeds: list[int], reference: str | None
) -> Plan:
    """The trials of every recipe, each a method of its own; budgets come from the reference recipe
    as it is.

    RecipeError as in ``comparison``, and for recipes without trials, with more or fewer than
    others, or without problems of the sweep's own.
    """
    _check_overrides(overrides)
    swept = [_swept(file, overrides) for file in files]
    if len({len(tried) for _, tried in swept}) > 1:
        numbers = ", ".join(f"{method.name} {len(tried)}" for method, tried in swept)
        raise RecipeError(f"every recipe gets the same number of trials, these have: {numbers}")
    chosen = _find([method for method, _ in swept], reference)
    everything = []
    for method, tried in swept:
        for i, settings in enumerate(tried):
            trial = _method(method.file, [*overrides, *settings])
            named = replace(trial, name=f"{method.name}-{i}", of=method.name, settings=settings)
            if method is chosen and flatten(trial.recipe) == flatten(chosen.recipe):
                named = chosen = replace(named, name=chosen.name)  # the same run
            everything.append(named)
    return _checked(Plan(out, seeds, everything, chosen))


def _swept(file: str, overrides: list[str]) -> tuple[Method, list[tuple[str, ...]]]:
    """The recipe as it is, and the settings of its trials."""
    own = load(file)
    module = sys.modules.get(modules.name_of(Path(file)))  # as `load` has left it
    tried = getattr(module, "TRIALS", None)
    if not tried:
        fix = "list overrides to try, e.g. [['optimizer.lr=1e-3']]"
        raise RecipeError(f"recipe file {file} has no TRIALS: {fix}")
    method = _method(file, overrides)
    # Who tunes on the problems of the final comparison has chosen by its answers.
    if _problems(method.recipe.data) == _problems(own.data):
        has_files = sources.paths(method.recipe.data)
        other = "another data.path" if has_files else f"data.seed={own.data.seed + 1}"
        raise RecipeError(
            f"{method.name} would be tuned on its own problems, those of the final comparison:"
            f" add {other}"
        )
    return method, [tuple(settings) for settings in tried]


def _check_overrides(overrides: list[str]) -> None:
    for text in overrides:
        if (key := text.partition("=")[0]) in OURS:
            raise RecipeError(f"override {text}: {OURS[key]}")


def _method(file: str, overrides: list[str]) -> Method:
    recipe = load(file, overrides)
    return Method(recipe.name, file, tuple(overrides), recipe)


def _problems(data: Data) -> object:
    """What tells one set of problems from another."""
    if data.path is None and not data.mixture:
        return data.seed  # that they are drawn with
    return data.path, data.mixture, data.split, data.subset


def _find(methods: list[Method], name: str | None) -> Method:
    """The method of that name, or the first."""
    for method in methods:
        if name in (None, method.name):
            return method
    there = ", ".join(method.name for method in methods)
    raise RecipeError(f"--reference {name}: no recipe has that name, there are {there}")


def _checked(plan: Plan) -> Plan:
    if len(plan.methods) < 2:
        raise RecipeError(f"{len(plan.methods)} recipe is no comparison: give two or more")
    for name, count in Counter(m.name for m in plan.methods).items():
        if count > 1:
            fix = "change the name in one of the files"
            raise RecipeError(f"{count} recipes are named {name}: {fix}")
        if name == BASE or "/" in name:
            fix = f"'{BASE}' and '/' have another use here, rename it"
            raise RecipeError(f"a recipe is named {name}: {fix}")
    for method in plan.all:
        if method.recipe.until is not None:
            raise RecipeError(f"{method.name}: until is set by the command, use until=null")
        _check_length(method)
        _check_equal(plan.reference, method)
        _check_cut_anywhere(method, plan.steps)
        recipe = override(method.recipe, [f"runs={plan.out}"])
        if method is not plan.reference:  # the others go on after their steps
            recipe = replace(recipe, until=method.until({"tokens": 0.0, "seconds": 0.0}))
        validate(recipe)
    methods = [_evaluated_at(plan.steps, method) for method in plan.methods]
    plan = replace(plan, methods=methods, reference=_evaluated_at(plan.steps, plan.reference))
    _check_earlier(plan)
    return plan


def _check_length(method: Method) -> None:
    """RecipeError where anything but the steps tells how long a run is."""
    recipe = method.recipe
    if recipe.epochs is not None:
        raise RecipeError(f"{method.name}: runs are compared by steps: use epochs=null, and steps")
    if recipe.validation is not None and recipe.validation.patience:
        raise RecipeError(
            f"{method.name}: validation.patience={recipe.validation.patience} may end a run before"
            " the others: use validation.patience=0"
        )


def may_differ(reference: Recipe) -> tuple[str, ...]:
    """Fields that the others need not share with the reference, though within ``EQUAL``."""
    return MAY_DIFFER if reference.data.held_out_path is None else MAY_DIFFER + TRAINED_ON


def _check_equal(reference: Method, method: Method) -> None:
    ours, theirs = flatten(reference.recipe), flatten(method.recipe)
    free = may_differ(reference.recipe)
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key) and is_within(key, EQUAL) and not is_within(key, free):
            raise RecipeError(
                f"{key} is {ours.get(key)} in {reference.name} and {theirs.get(key)} in"
                f" {method.name}: make it equal, methods are compared and not their settings"
            )


def _check_cut_anywhere(method: Method, least: int) -> None:
    """RecipeError unless every evaluation along the run is also the end of a shorter run."""
    recipe = method.recipe
    if not recipe.evaluation.every:
        fault = "evaluation.every=0 leaves nothing to read along the run"
        raise RecipeError(f"{method.name}: {fault}: set it to 20, say")
    if recipe.steps < max(1, least):
        raise RecipeError(
            f"{method.name}: steps={recipe.steps} end before the reference's {least}:"
            f" use {max(1, least)} or more"
        )
    for name in resume.schedules_that_differ(recipe, LARGEST_MULTIPLE * recipe.steps):
        where = "optimizer" if name == "main" else f"algorithm.{name}"
        settings, _ = recipe.algorithm.optimizers(recipe)[name]
        raise RecipeError(
            f"{method.name}: {where}.schedule={settings.schedule} depends on the number of steps,"
            " so that a point along the run is not the end of a shorter run: use"
            f" {where}.schedule=constant"
        )


def _evaluated_at(step: int, method: Method) -> Method:
    """The method, evaluated more often where it would not be at ``step``."""
    every = next(n for n in range(method.recipe.evaluation.every, 0, -1) if step % n == 0)
    if every == method.recipe.evaluation.every:
        return method
    more = f"evaluation.every={every}"
    overrides, recipe = (*method.overrides, more), override(method.recipe, [more])
    return replace(method, overrides=overrides, recipe=recipe)


def _check_earlier(plan: Plan) -> None:
    """RecipeError where a run of another recipe lies in the place of one of this plan's."""
    for (seed, name), method in plan.runs.items():
        if plan.folder(seed, name).is_dir():
            resume.check(plan.recipe(seed, method))
