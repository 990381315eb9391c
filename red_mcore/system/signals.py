"""What signals ask of a rank: to stop in good order, or to save now.

SIGINT, SIGTERM and SIGHUP: the step that is being made is finished, a checkpoint saved, and the run
ends; the same command goes on. SIGHUP comes when the terminal, or the connection to it, is gone.
Where it was ignored at the start, as ``nohup`` has it, the run goes on. SIGUSR1: a checkpoint after
this step, and the run goes on. A reader of the output that goes away (``| head``) is no signal: see
``streams``.

It is enough that one rank gets the signal: all ranks agree after each step (``Run.agree``).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SAVE = signal.SIGUSR1
STOPPING, SAVING = 2, 1
"""What ``Asked.take`` returns; of several ranks' answers the largest counts, for who stops also
saves."""


def hold() -> None:
    """Keep a SIGUSR1, which would end a process that has no handler yet, back until ``heed``; for
    children, too."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {SAVE})


@contextmanager
def held() -> Iterator[None]:
    """``hold`` for the processes that are started in the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {SAVE})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stops() -> list[signal.Signals]:
    """The signals of ``STOP`` that this process is to heed."""
    return [
        number
        for number in STOP
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
    ]


class Asked:
    """What this process was asked for since it heeds signals."""

    def __init__(self) -> None:
        self._stop = self._save = False

    def heed(self) -> None:
        """Take the signals from now on, and the SIGUSR1 that was held back."""
        for number in stops():
            signal.signal(number, self._on_stop)
        signal.signal(SAVE, self._on_save)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {SAVE})

    def take(self) -> int:
        """STOPPING, SAVING or 0. To stop is asked for good, to save once."""
        # In this order: a signal that comes meanwhile is not lost, but counts for the next step.
        save, self._save = self._save, False
        if self._stop:
            return STOPPING
        return SAVING if save else 0

    def _on_stop(self, number: int, frame: object) -> None:
        self._stop = True

    def _on_save(self, number: int, frame: object) -> None:
        self._save = True
