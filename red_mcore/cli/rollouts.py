"""One HTML page of a run's rollouts as text, steps side by side; it needs nothing beside itself.

    python tools/rollouts.py RUN [--steps 1,50,100] [--groups N] [--out FILE.html]

The run keeps rollouts at each evaluation and, with tracking.rollouts_every=N, those of training. It
may still be going. Exit code: 0 done, 2 bad input (one line on stderr).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from red_mcore.config.recipe import RecipeError
from red_mcore.reports.run.rollout_page import write_page


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="rollouts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a run")
    parser.add_argument(
        "--steps", metavar="A,B", default="", help="steps to set side by side (some of all)"
    )
    parser.add_argument(
        "--groups", metavar="N", type=int, default=4, help="problems shown of a training step (4)"
    )
    parser.add_argument("--out", metavar="FILE", type=Path, help="the page (RUN/rollouts.html)")
    options = parser.parse_args(arguments)
    try:
        if options.groups < 1:
            raise RecipeError(f"--groups {options.groups}: use 1 or more")
        print(write_page(options.run, options.out, _steps(options.steps), options.groups))
    except (RecipeError, OSError) as error:
        print(f"rollouts: error: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    return 0


def _steps(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if unread := next((part for part in parts if not part.isdecimal()), None):
        raise RecipeError(f"--steps {text}: '{unread}' is no step: write numbers, as 1,50,100")
    return [int(part) for part in parts]
