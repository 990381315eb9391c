"""Runs the legs, some at a time, and shows how far they are."""

from __future__ import annotations

import os
import re
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

from rich.live import Live
from rich.text import Text

from red_mcore.comparison.legs import Leg, legs
from red_mcore.comparison.plan import BASE, Plan, Run
from red_mcore.config.redaction import redacted
from red_mcore.system import disk
from red_mcore.system.signals import SAVE, held, stops

# The process that runs a leg is killed with this one, however this one ends: two must never write
# to one folder.
_START = """
import sys
from red_mcore.system.launch import die_with_parent
die_with_parent(int(sys.argv.pop(1)))
from red_mcore.cli import main
main("run")
"""
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LEFT = re.compile(r"left (\d+):(\d\d):(\d\d)")
REPORT_SECONDS = 600.0
"""The seconds between two reports in a file."""


@dataclass
class Outcome:
    failed: dict[Run, list[str]] = field(default_factory=dict)
    """Runs that failed, with the last lines of their logs."""
    signals: int = 0
    """How often this process was asked to stop."""

    @property
    def interrupted(self) -> bool:
        return self.signals > 0


def drive(plan: Plan, jobs: int) -> Outcome:
    """Run what is left of ``plan``, ``jobs`` legs at a time, until nothing is or a signal came.

    A first SIGINT, SIGTERM or SIGHUP lets the running legs finish their step and save, a second one
    kills them. SIGUSR1 lets them save and go on.
    """
    outcome = Outcome()
    running: list[_Running] = []

    def stop(number: int, frame: object) -> None:
        outcome.signals += 1

    def save(number: int, frame: object) -> None:
        for one in running:
            one.process.send_signal(number)

    with _handling(stop, save), Screen(plan, jobs) as screen:
        waiting = legs(plan, set())
        screen.update((), {leg.run for leg in waiting})
        while running or (waiting and not outcome.interrupted):
            while waiting and len(running) < jobs and not outcome.interrupted:
                running.append(_Running(waiting.pop(0)))
                screen.print(f"start    {running[-1].leg}, log {running[-1].leg.log}")
            screen.show(running)
            time.sleep(0.2)
            for one in running:
                # Here and not in the handler, which may come while a leg is being started.
                one.pass_on(outcome.signals)
            ended = [one for one in running if one.process.poll() is not None]
            for one in ended:
                running.remove(one)
                _tell_the_end(one, plan, outcome, screen)
            if ended:
                # What has ended may have been what others wait for: the reference, or the base.
                busy = {one.leg.run for one in running}
                possible = legs(plan, set(outcome.failed))
                waiting = [leg for leg in possible if leg.run not in busy]
                screen.update(outcome.failed.keys(), busy | {leg.run for leg in waiting})
                screen.report(running)
    return outcome


@contextmanager
def _handling(
    stop: Callable[[int, object], None], save: Callable[[int, object], None]
) -> Iterator[None]:
    """Signals in the block are handled by ``stop`` and ``save``."""
    before = {number: signal.signal(number, stop) for number in stops()}
    before[SAVE] = signal.signal(SAVE, save)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {SAVE})
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell_the_end(one: _Running, plan: Plan, outcome: Outcome, screen: Screen) -> None:
    """Say how a leg has ended, and keep the end of its log in ``outcome`` where it failed."""
    code = one.process.returncode
    if code and not outcome.interrupted:
        outcome.failed[one.leg.run] = one.tail(6)
        screen.print(f"FAILED   {one.leg}: exit code {code}, the end of {one.leg.log}:")
        screen.print("\n".join(f"         {line}" for line in one.tail(6)))
        return
    word = "stopped" if code else "done   "
    screen.print(f"{word}  {one.leg}, {one.seconds:.0f} s")
    for text in _warnings_of(plan.folder(*one.leg.run)):
        screen.print(f"warning  {one.leg}: {text}")


class _Running:
    """A leg in a process of its own, whose output goes to the leg's log."""

    def __init__(self, leg: Leg) -> None:
        self.leg, self._begin, self._passed_on = leg, time.monotonic(), 0
        disk.append(leg.log, redacted(f"\n$ python -m red_mcore.run {shlex.join(leg.arguments)}\n"))
        with held(), leg.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _START, str(os.getpid()), *leg.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A terminal's Ctrl-C comes to this process, which passes it on once.
                start_new_session=True,
            )

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begin

    def pass_on(self, signals: int) -> None:
        """Interrupt the run until it has got as many ``signals`` as this process."""
        for _ in range(self._passed_on, signals):
            self.process.send_signal(signal.SIGINT)
        self._passed_on = signals

    def tail(self, count: int) -> list[str]:
        """The last lines of the log that are not empty."""
        with self.leg.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4000))
            text = _ANSI.sub("", log.read().decode(errors="replace"))
        return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]

    def left(self, stage: str) -> float | None:
        """Seconds that the run itself says are left of ``stage``; None before it knows."""
        for text in reversed(self.tail(50)):
            if text.startswith("$ "):  # an earlier start
                return None
            if text.startswith(f"{stage} ") and (found := _LEFT.search(text)):
                hours, minutes, seconds = map(int, found.groups())
                return 3600.0 * hours + 60.0 * minutes + seconds
        return None


class Screen:
    """How many runs are done, the time left, and the last line of each running one.

    A terminal shows that all the time; a file gets it when a run has ended, and every
    ``REPORT_SECONDS``.
    """

    def __init__(self, plan: Plan, jobs: int) -> None:
        self._plan, self._jobs, self._runs = plan, jobs, plan.runs
        self._live = Live(auto_refresh=False, transient=True) if sys.stdout.isatty() else None
        self._seconds: dict[Run, float] = {}
        self._left: list[Run] = []
        self._reported = time.monotonic()

    def __enter__(self) -> Screen:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()

    def update(self, failed: Collection[Run], unfinished: Collection[Run]) -> None:
        """``unfinished``: runs that go on or wait to, though they may have done their recipe's
        steps."""
        self._seconds, self._left = {}, []
        for run, method in self._runs.items():
            seed, _ = run
            summary = self._plan.finished(seed, method)
            if summary and run not in unfinished:
                self._seconds[run] = summary["seconds"]
            elif run not in failed and (seed, BASE) not in failed:
                self._left.append(run)

    def show(self, running: list[_Running]) -> None:
        if self._live:
            text = "\n".join(self._lines(running))
            self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
        elif time.monotonic() - self._reported >= REPORT_SECONDS:
            self.report(running)

    def report(self, running: list[_Running]) -> None:
        """Write the lines into a file, once."""
        if not self._live:
            self._reported = time.monotonic()
            self.print("\n".join(self._lines(running)))

    def _lines(self, running: list[_Running]) -> list[str]:
        spent: dict[Run, float] = {}
        says: dict[Run, float] = {}
        lines = []
        for one in running:
            run = one.leg.run
            spent[run] = one.seconds
            told = one.left(self._stage(run))
            if told is not None:
                says[run] = told
            lines.append(f"  {one.leg}  {timedelta(seconds=int(one.seconds))}  {one.tail(1)[0]}")
        first = f"{len(self._runs) - len(self._left)} of {len(self._runs)} runs"
        left = seconds_left(self._left, self._seconds, spent, self._jobs, says)
        if left is not None:
            first += f", about {timedelta(seconds=round(left))} left"
        return [first, *lines]

    def _stage(self, run: Run) -> str:
        """What the run calls its steps."""
        method = self._runs[run]
        return type(method.recipe.algorithm).__name__ if method else "base training"

    def print(self, text: str) -> None:
        if self._live:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            print(text, flush=True)


def seconds_left(
    left: Collection[Run],
    seconds: dict[Run, float],
    spent: dict[Run, float],
    jobs: int,
    says: Mapping[Run, float] = MappingProxyType({}),
) -> float | None:
    """Time that the runs ``left`` take, as long as those of the same name took with other seeds,
    else as the mean run.

    ``seconds`` are those of the finished runs, ``spent`` of the running ones so far, ``says`` what
    some of them say is left; None before anything is known.
    """
    known = {run: rest + spent.get(run, 0.0) for run, rest in says.items()} | seconds
    if not known:
        return None
    total = 0.0
    for run in left:
        if run in says:
            total += says[run]
            continue
        same = [value for (_, name), value in known.items() if name == run[1]]
        whole = statistics.fmean(same or known.values())
        total += max(0.0, whole - spent.get(run, 0.0))
    return total / jobs


def _warnings_of(folder: Path) -> list[str]:
    """The warnings of a finished run."""
    file = folder / "summary.json"
    if not file.is_file():
        return []
    summary = disk.read_object(file) or {}
    return [warning["text"] for warning in summary.get("warnings", [])]
