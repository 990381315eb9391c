"""Training: ``python -m red_mcore.run RECIPE [a.b=c ...]`` checks the recipe, starts the ranks and
trains."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from red_mcore.checkpoints import resume
from red_mcore.cli import common
from red_mcore.config.loading import load
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.config.redaction import guard_output
from red_mcore.config.tree import to_yaml
from red_mcore.data import sources
from red_mcore.planning import plan
from red_mcore.planning.checks import validate
from red_mcore.planning.rehearsal import Rehearsal
from red_mcore.system import launch, streams
from red_mcore.system.devices import has_gpu
from red_mcore.system.exit_codes import INTERRUPTED
from red_mcore.train import health


def main(arguments: list[str]) -> int:
    """Exit code: 0 done, 1 a rank failed, 2 bad input (one line on stderr), 4 done with
    ``strict=true`` and warnings (``health``), 130 interrupted, after saving."""
    guard_output()
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    if not (options.help or options.recipe):
        parser.error("give a RECIPE, or --help")
    try:
        if options.help:
            return _help(parser, options)
        recipe = load(options.recipe, options.overrides)
        if options.print_config:
            print(to_yaml(recipe), end="")
            return 0
        if options.dry_run:
            return _dry_run(recipe, options)
        # What can be refused is, before a rank starts: a mistake costs seconds.
        validate(recipe, here=True)
        resume.check(recipe)
        if summary := resume.finished(recipe):
            print(json.dumps(summary, indent=2))
            print(
                f"{recipe.folder} has done its {summary['steps']} steps; delete it or set name= to"
                " run again"
            )
            return health.exit_code(recipe, summary.get("warnings", []))
        return _start(recipe, options)
    except RecipeError as error:
        return common.refuse("red_mcore", error)
    except KeyboardInterrupt:
        return INTERRUPTED


def _dry_run(recipe: Recipe, options: argparse.Namespace) -> int:
    with Rehearsal(options.recipe, options.overrides) as rehearsal:
        validate(recipe)
        resume.check(recipe)
        seen = rehearsal.seen()
    print(to_yaml(recipe))
    print(_plan(recipe, seen))
    return health.exit_code(recipe, health.of_recipe(recipe))


def _start(recipe: Recipe, options: argparse.Namespace) -> int:
    """Train, in ranks of our own, or in this process where a launcher started it as a rank."""
    if code := health.exit_code(recipe, found := health.of_recipe(recipe)):
        print(*map(health.line, found), sep="\n", file=sys.stderr)
        print("red_mcore: error: not started, for strict=true", file=sys.stderr)
        return code
    if launch.join():
        launch.check_world(recipe.parallel.ranks)
        if os.environ["RANK"] == "0":
            print(_plan(recipe), flush=True)
        return _train(recipe)
    print(_plan(recipe), flush=True)  # before the ranks print into the same output
    # What a process has begun on a GPU is of no use to its forks. Without one all ranks share the
    # pages of what is imported here, once.
    fork = not has_gpu()
    if fork:
        _import(recipe)
    work = (options.recipe, options.overrides)
    return launch.launch(_rank, work, recipe.parallel.ranks, fork=fork)


def _help(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from red_mcore.cli import explain

    if options.recipe:
        explain.of_recipe(load(options.recipe, options.overrides))
    else:
        print(parser.format_help(), end="")
        explain.everything()
    return 0


def _plan(recipe: Recipe, seen: Sequence[str] = ()) -> str:
    """What a run would do, with the lines of a rehearsal, and what is to be feared of it last."""
    return "\n".join([plan.describe(recipe), *seen, *map(health.line, health.of_recipe(recipe))])


def _rank(file: str, overrides: list[str]) -> int:
    """Exit code of one of the ranks that ``main`` starts, which has checked the recipe."""
    streams.outlive()
    guard_output()
    try:
        return _train(load(file, overrides))
    except RecipeError as error:
        return common.refuse("red_mcore", error)
    except KeyboardInterrupt:
        return INTERRUPTED


def _train(recipe: Recipe) -> int:
    _import(recipe)
    from red_mcore.train import trainer

    return trainer.main(recipe)


def _import(recipe: Recipe) -> None:
    """What takes a rank's first ten seconds, after the environment that it reads."""
    from red_mcore.rollout.environment import begin_imports, set_environment

    begin_imports()
    names = [recipe.model.path, *sources.paths(recipe.data)]
    if recipe.algorithm.teacher is not None:
        names.append(recipe.algorithm.teacher.path)
    benchmarks = recipe.evaluation.benchmarks
    # Offline only where nothing is fetched: the hub's client would not look for what it lacks.
    is_local = all(Path(name).exists() for name in filter(None, names))
    set_environment(offline=is_local and (benchmarks is None or benchmarks.data is not None))
    import red_mcore.rollout.engine
    import red_mcore.train.trainer  # noqa: F401


def _parser() -> argparse.ArgumentParser:
    # Not the common one: --help takes a RECIPE, and wraps this text.
    parser = argparse.ArgumentParser(
        prog="red_mcore",
        usage="python -m red_mcore.run RECIPE [a.b=c ...] [--dry-run] [--print-config yaml]",
        allow_abbrev=False,
        add_help=False,
        description="Train with a recipe: a Python file with a function recipe() -> Recipe, or a"
        " YAML file such as the recipe.yaml of a run, which goes on with that run, or runs it anew"
        " with another name=.",
    )
    add = parser.add_argument
    add("recipe", metavar="RECIPE", nargs="?", help="recipe file")
    add("overrides", metavar="a.b=c", nargs="*", help="change a field of the recipe")
    add("--dry-run", action="store_true", help="check and print the recipe and its arithmetic")
    add("--print-config", choices=["yaml"], help="print the resolved recipe")
    add("-h", "--help", action="store_true", help="every field; after a RECIPE, its own")
    add("--version", action="version", version=f"red-mcore {version('red-mcore')}")
    return parser
