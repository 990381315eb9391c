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
import fcntl
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from red_mcore.comparison import plan as planned
from red_mcore.comparison.drive import drive
from red_mcore.comparison.results import collect
from red_mcore.config.recipe import RecipeError
from red_mcore.config.redaction import guard_output
from red_mcore.system.exit_codes import BAD_INPUT, FAILED, INTERRUPTED


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 a run failed (the report says which), 2 bad input (one line on stderr),
    130 interrupted."""
    guard_output()
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_intermixed_args(arguments)
    files = [text for text in options.recipes if "=" not in text]
    overrides = [text for text in options.recipes if "=" in text]
    kind = "sweep" if options.sweep else "comparison"
    out = Path(options.out or f"runs/{kind}")
    try:
        if min(options.seeds, options.jobs) < 1:
            raise RecipeError(
                f"--seeds {options.seeds} --jobs {options.jobs}: use 1 or more of each"
            )
        seeds = list(range(options.first_seed, options.first_seed + options.seeds))
        make = planned.sweep if options.sweep else planned.comparison
        plan = make(files, overrides, out, seeds, options.reference)
        with _alone(out):
            return _run(plan, kind, ["python", "tools/compare.py", *arguments], options.jobs)
    except RecipeError as error:
        print(f"compare: error: {error}", file=sys.stderr)
        return BAD_INPUT


def _run(plan: planned.Plan, kind: str, command: list[str], jobs: int) -> int:
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
    status = "FAILED" if outcome.failed else "FINISHED"
    if outcome.interrupted:
        print("interrupted: run the same command to go on")
        status = "KILLED"
    else:
        from red_mcore.reports.comparison.report import write_comparison
        from red_mcore.reports.comparison.sweep import write_sweep

        results = collect(plan, outcome.failed)
        write = write_sweep if kind == "sweep" else write_comparison
        for file in write(results, outcome.failed, command, jobs):
            print(file)
            if parent:
                parent.artifact(file)
    if parent:
        parent.end(status)
    return {"FINISHED": 0, "FAILED": FAILED, "KILLED": INTERRUPTED}[status]


@contextmanager
def _alone(out: Path):
    """RecipeError while another process works in ``out``; the system lets go of the lock however
    this one ends."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RecipeError(
                f"another comparison is at work in {out}: wait for it, or use another --out"
            ) from None
        yield


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="compare",
        usage="python tools/compare.py RECIPES... [a.b=c ...] [options]",
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=__doc__,
    )
    parser.add_argument(
        "recipes",
        metavar="RECIPE",
        nargs="*",
        help="recipe files; and overrides a.b=c for all of them",
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (3)")
    parser.add_argument("--first-seed", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--out", help="folder of everything (runs/comparison, or runs/sweep)")
    parser.add_argument(
        "--reference", metavar="NAME", help="the recipe that sets the budgets (the first)"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="runs at a time (1); with more, seconds compare only if there are cores for all",
    )
    parser.add_argument(
        "--sweep", action="store_true", help="run the recipes' TRIALS and name the best of each"
    )
    return parser
