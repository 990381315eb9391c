"""One HTML page of a training run, which needs nothing beside itself: curves, samples, time,
settings.

    python tools/report.py RUN [--out FILE.html]

The run may be finished, still going or killed. Exit code: 0 done, 2 bad input (one line on stderr).
"""

from __future__ import annotations

from pathlib import Path

from red_mcore.cli import common
from red_mcore.reports.run.report import write_report


def main(arguments: list[str]) -> int:
    """The exit code."""
    parser = common.parser("report", __doc__)
    parser.add_argument("run", metavar="RUN", type=Path, help="folder of a run")
    parser.add_argument("--out", metavar="FILE", type=Path, help="the page (RUN/report.html)")
    options = parser.parse_args(arguments)

    def write() -> int:
        print(write_report(options.run, options.out))
        return 0

    return common.attempt("report", write)
