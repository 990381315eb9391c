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
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta

from rich.live import Live
from rich.text import Text

from comparison.legs import Leg, Run, legs
from comparison.plan import BASE, Plan
from red_mcore.disk import append
from red_mcore.signals import SAVE, held, stops

# The process that runs a leg is killed with this one, however this one ends: two must never write to one folder.
_START = (
    "import sys; from red_mcore.launch import die_with_parent; die_with_parent(int(sys.argv.pop(1)));"
    " from red_mcore import streams; streams.outlive(); from red_mcore.run import main; sys.exit(main())"
)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class Outcome:
    failed: dict[Run, list[str]] = field(default_factory=dict)
    """Runs that failed, with the last lines of their logs."""
    interrupted: bool = False


def drive(plan: Plan, jobs: int) -> Outcome:
    """Run what is left of ``plan``, ``jobs`` legs at a time, until nothing is or a signal came.

    A first SIGINT, SIGTERM or SIGHUP lets the running legs finish their step and save, a second one kills them. SIGUSR1
    lets them save and go on.
    """
    outcome = Outcome()
    running: list[_Running] = []
    signals = 0

    def stop(number, frame) -> None:
        nonlocal signals
        signals += 1
        outcome.interrupted = True

    def save(number, frame) -> None:
        for one in running:
            one.process.send_signal(number)

    handlers = {number: signal.signal(number, stop) for number in stops()}
    handlers[SAVE] = signal.signal(SAVE, save)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {SAVE})
    try:
        with Screen(plan, jobs) as screen:
            waiting = legs(plan, set())
            screen.update((), {leg.run for leg in waiting})
            while running or (waiting and not outcome.interrupted):
                while waiting and len(running) < jobs and not outcome.interrupted:
                    running.append(_Running(waiting.pop(0)))
                    screen.print(f"start    {running[-1].leg}")
                screen.show(running)
                time.sleep(0.2)
                for one in running:
                    one.pass_on(signals)
                ended = [one for one in running if one.process.poll() is not None]
                for one in ended:
                    running.remove(one)
                    code = one.process.returncode
                    if code and not outcome.interrupted:
                        outcome.failed[one.leg.run] = one.tail(6)
                        screen.print(f"FAILED   {one.leg}: exit code {code}, the end of {one.leg.log}:")
                        screen.print("\n".join(f"         {line}" for line in one.tail(6)))
                    else:
                        screen.print(f"{'stopped' if code else 'done   '}  {one.leg}, {one.seconds:.0f} s")
                if ended:
                    busy = {one.leg.run for one in running}
                    waiting = [leg for leg in legs(plan, set(outcome.failed)) if leg.run not in busy]
                    screen.update(outcome.failed.keys(), busy | {leg.run for leg in waiting})
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return outcome


class _Running:
    """A leg in a process of its own, whose output goes to the leg's log."""

    def __init__(self, leg: Leg) -> None:
        self.leg, self._begin, self._passed_on = leg, time.monotonic(), 0
        append(leg.log, f"\n$ python -m red_mcore.run {shlex.join(leg.arguments)}\n")
        with held(), leg.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _START, str(os.getpid()), *leg.arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C comes to this process, which passes it on once
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


class Screen:
    """How many runs are done, the time left, and the last line of each running one; in a file ``print`` alone."""

    def __init__(self, plan: Plan, jobs: int) -> None:
        self._plan, self._jobs = plan, jobs
        methods = [None, *plan.all] if plan.has_base else plan.all
        self._runs = {(seed, m.name if m else BASE): m for seed in plan.seeds for m in methods}
        self._live = Live(auto_refresh=False, transient=True) if sys.stdout.isatty() else None
        self._seconds: dict[Run, float] = {}
        self._left: list[Run] = []

    def __enter__(self) -> Screen:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()

    def update(self, failed: Collection[Run], unfinished: Collection[Run]) -> None:
        """``unfinished``: runs that go on or wait to, though they may have done their recipe's steps."""
        summaries = {run: self._plan.finished(run[0], method) for run, method in self._runs.items()}
        self._seconds = {run: s["seconds"] for run, s in summaries.items() if s and run not in unfinished}
        over = {*self._seconds, *failed, *(run for run in self._runs if (run[0], BASE) in failed)}
        self._left = [run for run in self._runs if run not in over]

    def show(self, running: list[_Running]) -> None:
        if not self._live:
            return
        spent = {one.leg.run: one.seconds for one in running}
        lines = [f"{len(self._runs) - len(self._left)} of {len(self._runs)} runs"]
        left = seconds_left(self._left, self._seconds, spent, self._jobs)
        if left is not None:
            lines[0] += f", about {timedelta(seconds=round(left))} left"
        lines += [f"  {one.leg}  {timedelta(seconds=int(one.seconds))}  {one.tail(1)[0]}" for one in running]
        self._live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)

    def print(self, text: str) -> None:
        if self._live:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            print(text, flush=True)


def seconds_left(left: Collection[Run], seconds: dict[Run, float], spent: dict[Run, float], jobs: int) -> float | None:
    """Time that the runs ``left`` take, as long as those of the same name took with other seeds, else as the mean run.

    ``seconds`` are those of the finished runs, ``spent`` of the running ones so far; None before the first has ended.
    """
    if not seconds:
        return None
    mean = statistics.fmean(seconds.values())
    total = 0.0
    for run in left:
        same = [value for (_, name), value in seconds.items() if name == run[1]]
        total += max(0.0, (statistics.fmean(same) if same else mean) - spent.get(run, 0.0))
    return total / jobs
