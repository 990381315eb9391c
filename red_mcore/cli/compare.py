"""An honest comparison of methods: one start, budgets and problems for all, one report.

    python tools/compare.py recipes/tiny/*.py --seeds 3
    python tools/compare.py --sweep recipes/tiny/*.py --seeds 1 --first-seed 100 data.seed=1

Per seed, one base is trained and every recipe starts from it. The first recipe (or ``--reference``)
is the reference: what it spends in its steps are the budgets. The others run as many steps or more,
and go on where they have then generated fewer tokens or trained for fewer seconds. Learning rates
are constant, so that one run per method is read at equal steps, at equal tokens and at equal
seconds. Stop it at any moment, even with kill -9: the same command goes on.

``--sweep`` tunes instead: it runs the ``TRIALS`` of each recipe file, lists of overrides, as many
for each, on problems of its own, and names the best of each method.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from red_mcore.cli import common
from red_mcore.comparison import plan as planned
from red_mcore.comparison.drive import drive
from red_mcore.comparison.results import collect
from red_mcore.config.recipe import RecipeError
from red_mcore.config.redaction import guard_output
from red_mcore.system import disk
from red_mcore.system.exit_codes import FAILED, INTERRUPTED

if TYPE_CHECKING:
    from red_mcore.tracking.monitor import Status

_EXIT_CODES = {"FINISHED": 0, "FAILED": FAILED, "KILLED": INTERRUPTED}


def main(arguments: list[str]) -> int:
    """Exit code: 0 done, 1 a run failed (the report says which), 2 bad input (one line on stderr),
    130 interrupted."""
    guard_output()
    options = _parser().parse_intermixed_args(arguments)
    files = [text for text in options.recipes if "=" not in text]
    overrides = [text for text in options.recipes if "=" in text]
    kind, make = "comparison", planned.comparison
    if options.sweep:
        kind, make = "sweep", planned.sweep
    out = Path(options.out or f"runs/{kind}")
    try:
        if min(options.seeds, options.jobs) < 1:
            raise RecipeError(
                f"--seeds {options.seeds} --jobs {options.jobs}: use 1 or more of each"
            )
        seeds = list(range(options.first_seed, options.first_seed + options.seeds))
        plan = make(files, overrides, out, seeds, options.reference)
        refusal = f"another comparison is at work in {out}: wait for it, or use another --out"
        with disk.alone(out / ".lock", refusal):
            return _run(plan, kind, ["python", "tools/compare.py", *arguments], options.jobs)
    except RecipeError as error:
        return common.refuse("compare", error)


def _run(plan: planned.Plan, kind: str, command: list[str], jobs: int) -> int:
    """Drive the runs of a plan, report them, and keep the report in MLflow."""
    parent = None
    if plan.reference.recipe.tracking.mlflow:
        from red_mcore.tracking import database
        from red_mcore.tracking.mlflow_run import MlflowParent

        uri = database.of_folder(plan.out, plan.out.absolute().parent)
        parent = MlflowParent(uri, "comparison", plan.out.absolute().name)
        nested = (
            f"tracking.uri={uri}",
            "tracking.experiment=comparison",
            f"tracking.parent={parent.run_id}",
        )
        plan = replace(plan, tracking=nested)
    outcome = drive(plan, jobs)
    status: Status = "FINISHED"
    if outcome.interrupted:
        print("interrupted: run the same command to go on")
        status = "KILLED"
    else:
        from red_mcore.reports.comparison.report import write_comparison
        from red_mcore.reports.comparison.sweep import write_sweep

        if outcome.failed:  # such a run has its place in the report, too
            status = "FAILED"
        results = collect(plan, outcome.failed)
        write = write_sweep if kind == "sweep" else write_comparison
        for file in write(results, outcome.failed, command, jobs):
            print(file)
            if parent:
                parent.artifact(file)
    if parent:
        parent.close(status)
    return _EXIT_CODES[status]


def _parser() -> argparse.ArgumentParser:
    usage = "python tools/compare.py RECIPES... [a.b=c ...] [options]"
    parser = common.parser("compare", __doc__, usage=usage)
    add = parser.add_argument
    recipes = "recipe files; and overrides a.b=c for all of them"
    add("recipes", metavar="RECIPE", nargs="*", help=recipes)
    add("--seeds", type=int, default=3, help="number of seeds (3)")
    add("--first-seed", type=int, default=0, help="the first of them (0)")
    add("--out", help="folder of everything (runs/comparison, or runs/sweep)")
    add("--reference", metavar="NAME", help="the recipe that sets the budgets (the first)")
    jobs = "runs at a time (1); with more, seconds compare only if there are cores for all"
    add("--jobs", type=int, default=1, help=jobs)
    sweep = "run the recipes' TRIALS and name the best of each"
    add("--sweep", action="store_true", help=sweep)
    return parser
