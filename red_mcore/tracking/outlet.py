"""A monitor that may fail for a while: what it lacks waits, and the run goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from red_mcore.config.redaction import redacted
from red_mcore.system import disk
from red_mcore.tracking.monitor import Monitor, Status
from red_mcore.tracking.rows import METRICS

_PAUSE = 60.0
"""Seconds after which a monitor is tried again where it failed, twice as many each time: a try may
take half a minute."""

Call = Callable[[Monitor], None]


class Outlet:
    """Calls a monitor, in order; one warning where it begins to fail, one where it lacks some to
    the end."""

    def __init__(self, name: str, monitor: Monitor, folder: Path) -> None:
        """``name`` is for warnings; ``folder`` is the run's, which has everything whatever
        happens."""
        self._name, self._monitor, self._folder = name, monitor, folder
        self._waiting: list[Call] = []
        self._failures = 0
        """How often it has failed since it worked."""
        self._again = 0.0
        """When (``time.monotonic``) it is tried again."""

    def send(self, call: Call) -> None:
        """Make the call, now or once the monitor works again."""
        self._waiting.append(call)
        if time.monotonic() < self._again:
            return
        try:
            while self._waiting:
                self._waiting[0](self._monitor)
                del self._waiting[0]  # not before it has worked
        except Exception as error:  # servers, networks and disks fail in many ways
            if self._failures == 0:
                rest = f"going on with {self._folder / METRICS} alone"
                warn(f"{self._name} failed ({redacted(reason(error))}); {rest}")
            self._again = time.monotonic() + _PAUSE * 2**self._failures
            self._failures += 1
        else:
            self._failures = 0

    def close(self, status: Status) -> None:
        """The last call, which is tried at once; what is still missing is told."""
        self._again = 0.0
        self.send(lambda monitor: monitor.close(status))
        if self._waiting:
            lacking = f"the last {len(self._waiting)} entries of this run"
            warn(f"{self._name} lacks {lacking}, which are in {self._folder}")


def reason(error: Exception) -> str:
    """What an error says, in a line."""
    if full := disk.full(error):
        return full
    for line in str(error).splitlines():
        if line.strip() and "autoflush" not in line:  # SQLAlchemy's advice to its own users
            return line
    return type(error).__name__


def warn(text: str) -> None:
    """Print a warning of the run's."""
    print(f"red_mcore: warning: {text}", file=sys.stderr, flush=True)
