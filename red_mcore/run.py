"""The one entry: ``python -m red_mcore.run RECIPE [a.b=c ...]`` checks the recipe, starts the ranks and trains."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from red_mcore import launch, planning, resume, signals, streams
from red_mcore.overrides import load, to_yaml
from red_mcore.recipe import Recipe, RecipeError
from red_mcore.validation import validate


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 a rank failed, 2 bad input (one line on stderr), 130 interrupted, after saving."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_intermixed_args(arguments)
    if options.launched_by is not None:
        launch.die_with_parent(options.launched_by)
    try:
        recipe = load(options.recipe, options.overrides)
        if options.print_config:
            print(to_yaml(recipe), end="")
            return 0
        if options.launched_by is not None:  # which has checked the recipe
            code = _train(recipe)
            # To the agent anything but 0 is a failure, on which it stops the ranks that are still saving.
            return 0 if code == launch.INTERRUPTED else code
        validate(recipe)
        resume.check(recipe)
        if options.dry_run:
            print(to_yaml(recipe))
            print(planning.describe(recipe))
            return 0
        if summary := resume.finished(recipe):
            print(json.dumps(summary, indent=2))
            print(f"{recipe.folder} has done its {summary['steps']} steps; delete it or set name= to run again")
            return 0
        if launch.join():
            launch.check_world(recipe.parallel.ranks)
            if os.environ["RANK"] == "0":
                print(planning.describe(recipe), flush=True)
            return _train(recipe)
        print(planning.describe(recipe), flush=True)
        command = [sys.executable, "-m", "red_mcore.run", *arguments, f"--launched-by={os.getpid()}"]
        return launch.launch(command, recipe.parallel.ranks)
    except RecipeError as error:
        print(f"red_mcore: error: {error}", file=sys.stderr)
        return launch.BAD_INPUT
    except KeyboardInterrupt:
        return launch.INTERRUPTED


def _train(recipe: Recipe) -> int:
    from red_mcore.rollout.environment import begin_imports, set_environment

    begin_imports()
    names, benchmarks = (recipe.model.path, recipe.data.path), recipe.evaluation.benchmarks
    is_local = all(name is None or Path(name).exists() for name in names)
    set_environment(offline=is_local and (benchmarks is None or benchmarks.data is not None))
    from red_mcore import trainer  # only now: it imports what reads the environment

    return trainer.main(recipe)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="red_mcore",
        usage="python -m red_mcore.run RECIPE [a.b=c ...] [--dry-run] [--print-config yaml]",
        allow_abbrev=False,
        description="Train with a recipe: a Python file with a function recipe() -> Recipe.",
    )
    parser.add_argument("recipe", metavar="RECIPE", help="recipe file")
    parser.add_argument("overrides", metavar="a.b=c", nargs="*", help="change a field of the recipe")
    parser.add_argument("--dry-run", action="store_true", help="check and print the recipe and its arithmetic")
    parser.add_argument("--print-config", choices=["yaml"], help="print the resolved recipe")
    parser.add_argument("--launched-by", type=int, help=argparse.SUPPRESS)  # process id of the launcher, for its ranks
    return parser


if __name__ == "__main__":
    streams.outlive()
    signals.hold()
    sys.exit(main())
