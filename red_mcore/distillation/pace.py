"""How often something may be done, so many times (or tokens) a minute, from any thread."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock


class Pace:
    """Deals a limit per minute out evenly: what is taken delays whoever comes next, and nothing is
    saved up, so that no minute whatever has more than the limit, but for what is under way at its
    ends.

    ``limit`` None is none.
    """

    def __init__(
        self,
        limit: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._each = 0.0 if limit is None else 60.0 / limit
        """Seconds that one takes."""
        self._clock, self._sleep, self._lock = clock, sleep, Lock()
        self._free = clock()
        """When the next may begin."""

    def take(self, amount: float = 1.0) -> None:
        """Wait for its turn, and let others wait for ``amount``."""
        with self._lock:
            now = self._clock()
            begin = max(now, self._free)
            self._free = begin + amount * self._each
        if begin > now:
            self._sleep(begin - now)

    def correct(self, amount: float) -> None:
        """What was taken turns out to be so much more (or, below 0, less)."""
        with self._lock:
            self._free += amount * self._each
