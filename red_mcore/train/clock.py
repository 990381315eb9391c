"""Seconds of the phases of a step."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager


class Clock:
    """Seconds of each phase of a step, as metrics; tells the screen what is being done."""

    def __init__(self, announce: Callable[[str], None]):
        self.seconds: dict[str, float] = {}
        self._announce = announce

    @contextmanager
    def __call__(self, phase: str):
        self._announce(phase)
        start = time.perf_counter()
        yield
        self.seconds[f"time/{phase}_seconds"] = time.perf_counter() - start
