"""One HTML page of a training run, which needs nothing beside itself: curves, samples, time,
settings.

    python tools/report.py RUN [--out FILE.html]

The run may be finished, still going or killed. Exit code: 0 done, 2 bad input (one line on stderr).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from red_mcore.config.recipe import RecipeError
from red_mcore.reports.run.report import write_report


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a run")
    parser.add_argument("--out", metavar="FILE", type=Path, help="the page (RUN/report.html)")
    options = parser.parse_args(arguments)
    try:
        print(write_report(options.run, options.out))
    except (RecipeError, OSError) as error:
        print(f"report: error: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    return 0
