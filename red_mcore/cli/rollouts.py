"""One HTML page of a run's rollouts as text, steps side by side; it needs nothing beside itself.

    python tools/rollouts.py RUN [--steps 1,50,100] [--groups N] [--out FILE.html]

The run keeps rollouts at each evaluation and, with tracking.rollouts_every=N, those of training. It
may still be going. Exit code: 0 done, 2 bad input (one line on stderr).
"""

from __future__ import annotations

from pathlib import Path

from red_mcore.cli import common
from red_mcore.config.recipe import RecipeError
from red_mcore.reports.run.rollout_page import write_page


def main(arguments: list[str]) -> int:
    """The exit code."""
    parser = common.parser("rollouts", __doc__)
    add = parser.add_argument
    add("run", metavar="RUN", type=Path, help="folder of a run")
    add("--steps", metavar="A,B", default="", help="steps to set side by side (some of all)")
    shown = "problems shown of a training step (4)"
    add("--groups", metavar="N", type=int, default=4, help=shown)
    add("--out", metavar="FILE", type=Path, help="the page (RUN/rollouts.html)")
    options = parser.parse_args(arguments)

    def write() -> int:
        common.check_positive(options, "groups")
        print(write_page(options.run, options.out, _steps(options.steps), options.groups))
        return 0

    return common.attempt("rollouts", write)


def _steps(text: str) -> list[int]:
    found = []
    for part in filter(None, map(str.strip, text.split(","))):
        if not part.isdecimal():
            raise RecipeError(f"--steps {text}: '{part}' is no step: write numbers, as 1,50,100")
        found.append(int(part))
    return found
