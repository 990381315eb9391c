"""What follows a run: the contract of a monitor, and how a recipe names one.

``tracking.monitors`` holds import paths, ``package.module:Class``;
``red_mcore.tracking.tensorboard`` is one to read first. MLflow has settings of its own
(``tracking.mlflow``), and the JSON files of the run folder are always written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from red_mcore.config import modules
from red_mcore.config.errors import RecipeError

Status = Literal["FINISHED", "FAILED", "KILLED"]
"""How a run ended; KILLED is one that a signal stopped, and that may go on."""
Row = dict[str, Any]
"""Of a table, or the metrics of a step with its ``step``."""


@runtime_checkable
class Monitor(Protocol):
    """Gets what a run has to tell, on rank 0 alone.

    It is made as ``Class(name, settings, folder)``: the run's name, its recipe's fields as
    ``{"optimizer.lr": 1e-6, ...}``, and its folder. Whatever a method raises costs the run a
    warning; the call is kept and made again later, in order.
    """

    def begin(self, steps: Mapping[str, int], earlier: Mapping[str, Sequence[Row]]) -> None:
        """The run starts, or goes on, after step ``steps[stage]`` (-1: before the first).

        Later steps that an earlier start told of are void. A stage that is not in ``steps`` is
        over. ``earlier``: all rows so far of each stage, for a monitor that does not have them.
        """

    def metrics(self, step: int, values: Mapping[str, float], stage: str = "main") -> None:
        """The numbers of a step by ``phase/quantity_unit``; they may be NaN."""

    def table(self, name: str, rows: Sequence[Row], step: int) -> None:
        """Graded responses to read; a step may come twice, and then the later table counts."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """What the run came to, once, at its end."""

    def close(self, status: Status) -> None:
        """Nothing follows."""


def check(paths: Sequence[str]) -> None:
    """RecipeError for an import path of ``tracking.monitors`` that leads to no monitor."""
    for path in paths:
        load(path)


def load(path: str) -> Callable[[str, dict[str, Any], Path], Monitor]:
    """The class at ``package.module:Class``; RecipeError where there is none, or it lacks a
    method."""
    found = modules.find_class(path, "tracking.monitors")
    wanted = ("begin", "metrics", "table", "summary", "close")
    missing = [method for method in wanted if not callable(getattr(found, method, None))]
    if missing:
        raise RecipeError(
            f"tracking.monitors: '{path}' has no {', '.join(missing)}: see"
            " red_mcore/tracking/monitor.py"
        )
    return found


def make(path: str, name: str, settings: dict[str, Any], folder: Path) -> Monitor:
    """The monitor at ``path`` for a run; RecipeError where it cannot be made."""
    make_monitor = load(path)
    try:
        return make_monitor(name, settings, folder)
    except RecipeError:
        raise
    except Exception as error:  # servers, disks and libraries fail in many ways
        raise RecipeError(
            f"tracking.monitors: '{path}' does not start ({type(error).__name__}: {error}):"
            " mend it or leave it out"
        ) from error
