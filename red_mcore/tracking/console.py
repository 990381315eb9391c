"""Progress on the screen: a bar with the time left, or plain lines where the output is a file."""

from __future__ import annotations

import sys
import time

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_SECONDS = 10.0
"""Least time between two plain lines; the first and the last are always printed."""


class Console:
    """``with Console("RED", total=500, done=120) as c``: steps, time left, a few metrics and what is being done now.

    ``show=False`` prints nothing: for the ranks beside the first, which run the same loop.
    """

    def __init__(self, description: str, total: int, done: int = 0, *, show: bool = True) -> None:
        self._description, self._total, self._done = description, total, done
        self._step, self._metrics = done, ""
        self._begin = time.monotonic()
        self._last_line = self._last_update = float("-inf")
        self._show = show
        self._bar: Progress | None = None
        if show and sys.stdout.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[metrics]}"),
                TextColumn("[dim]{task.fields[phase]}"),
                speed_estimate_period=600,  # seconds: steps may be slow
            )

    def __enter__(self) -> Console:
        if self._bar is not None:
            self._task = self._bar.add_task(
                self._description, total=self._total, completed=self._done, metrics="", phase=""
            )
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, step: int, metrics: dict[str, float], total: int | None = None) -> None:
        """``step`` steps are done; ``metrics`` are shown under the names given, four digits each.

        ``total`` replaces the number of steps in all, where that only shows on the way.
        """
        self._total = total or self._total
        self._step, self._last_update = step, time.monotonic()
        self._metrics = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=step, total=self._total, metrics=self._metrics)
        elif self._is_due(self._last_line) or step == self._total:
            self._line(f"left {self._left()}  {self._metrics}")

    def phase(self, text: str) -> None:
        """What is being done now. In a file it shows only where a step is long, as a sign of life."""
        if self._bar is not None:
            self._bar.update(self._task, phase=text)
        elif self._is_due(self._last_line) and self._is_due(self._last_update):
            self._line(text)

    def print(self, text: str) -> None:
        """A line of its own, above the bar."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        elif self._show:
            print(text, flush=True)

    @staticmethod
    def _is_due(last: float) -> bool:
        return time.monotonic() - last >= LINE_SECONDS

    def _line(self, text: str) -> None:
        self._last_line = time.monotonic()
        if self._show:
            print(f"{self._description} {self._step}/{self._total}  {text}", flush=True)

    def _left(self) -> str:
        seconds = (time.monotonic() - self._begin) / max(self._step - self._done, 1) * (self._total - self._step)
        minutes, seconds = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}"


class Watched:
    """``with Watched("reading tensors") as watch``: progress by ``watch(done, total)``, shown from its first call."""

    def __init__(self, description: str, *, show: bool = True) -> None:
        self._description, self._show = description, show
        self._console: Console | None = None

    def __enter__(self) -> Watched:
        return self

    def __call__(self, done: int, total: int) -> None:
        if self._console is None:
            self._console = Console(self._description, total, show=self._show).__enter__()
        self._console.update(done, {})

    def __exit__(self, *exception: object) -> None:
        if self._console is not None:
            self._console.__exit__(*exception)
