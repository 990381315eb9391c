"""A process that keeps others, one after another: what one of them starts, at whatever remove, dies
with it.

A reward function may start processes, those may start others, and one that calls ``setsid`` and
lets its parent end belongs to no group that could be killed. So the verifier's child does no task:
it imports what tasks need and forks a worker, which finds all that imported. The keeper is what the
kernel hands orphans to (``PR_SET_CHILD_SUBREAPER``), so that all that came of the worker stays in
its tree. When the worker ends, however it may, the keeper kills the rest of the tree, tells how the
worker ended, and forks the next one when it is asked to. When it is told to end (SIGTERM), or its
parent dies, it kills the whole tree and ends, too. It runs nobody's code, and starts no thread that
a fork would not have.

Linux only; elsewhere the child is its own worker, without keeper and limits.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle

MEMORY = 4 << 30
"""Address space of a process, bytes. A tower of powers fills the machine's memory sooner than it
runs out of time."""
FILE = 1 << 30
"""Largest file that a process may write, bytes."""
FILES = 1024
"""Files that a process may have open."""
PROCESSES = 64
"""Processes that a worker may have started and that still live; more end it. The kernel's own limit
(RLIMIT_NPROC) counts all that the user runs on the machine, ranks and other jobs included, and does
not hold for root."""
_LOOK_SECONDS = 0.25
"""Between two counts of them."""
_PDEATHSIG, _CHILD_SUBREAPER = 1, 36
_SIGNALS = {signal.SIGTERM, signal.SIGCHLD}


def enter(parent: int) -> None:
    """Make this process, a child of ``parent``, one that may keep others, with limits for all."""
    if sys.platform != "linux":
        return
    for number in _SIGNALS:  # whatever the parent does with them
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    os.setsid()  # what ends the parent's group must not end the keeper before its work is done
    _die_with(parent, signal.SIGTERM)
    _limit()
    _prctl(_CHILD_SUBREAPER, 1)


def work(control: Connection) -> Connection:
    """Fork a worker for each connection that ``control`` brings, and return it, in that worker
    alone.

    The keeper stays in here. It sends the exit code of each worker, once all is dead that this one
    started; then, with no process to end, it waits for the next connection as one that any signal
    ends at once.
    """
    if sys.platform != "linux":
        return Connection(recv_handle(control))
    keeper = os.getpid()
    while True:
        try:
            connection = Connection(recv_handle(control))
        except (EOFError, OSError):  # nobody asks any more
            os._exit(0)
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        worker = os.fork()
        if not worker:
            _die_with(keeper, signal.SIGKILL)
            os.setsid()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            control.close()
            return connection
        connection.close()
        code = _keep(worker)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        try:
            control.send(code)
        except OSError:
            os._exit(0)


def _keep(worker: int) -> int:
    """How the worker ended; all that came of it is dead. When told to end, this process ends."""
    while True:
        told = signal.sigtimedwait(_SIGNALS, _LOOK_SECONDS)
        if told is not None and told.si_signo == signal.SIGTERM:
            _end_all(worker)
            os._exit(128 + signal.SIGTERM)
        if (code := _reaped().get(worker)) is not None:
            _end_all()
            return code
        # Orphans count, too, for they are children of this process.
        count = len(_descendants(os.getpid())) - 1
        if count > PROCESSES:
            line = f"red_mcore: warning: a task of the verifier had {count} processes: ended\n"
            os.write(2, line.encode())
            return _end_all(worker)[worker]


def _end_all(*alive: int) -> dict[int, int]:
    """Kill all descendants, the ``alive`` children among them; exit codes of those that died."""
    codes: dict[int, int] = {}
    while True:
        found = {*alive, *_descendants(os.getpid())} - codes.keys()
        # Those that stand still start no others while the rest is looked for.
        _signal(found, signal.SIGSTOP)
        _signal({*found, *_descendants(os.getpid())}, signal.SIGKILL)
        try:
            signal.sigtimedwait({signal.SIGCHLD}, 0.01)
            codes |= _reaped()
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # none is left, and orphans would have come to this process
            return codes


def _reaped() -> dict[int, int]:
    """Exit codes, by process, of the children that have ended."""
    codes: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return codes
        if not pid:
            return codes
        codes[pid] = os.waitstatus_to_exitcode(status)


def _descendants(pid: int) -> list[int]:
    """Parents before their children; nothing of a process that has ended."""
    found = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as children:
                for child in map(int, children.read().split()):
                    found += [child, *_descendants(child)]
    return found


def _signal(pids: set[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _limit() -> None:
    """Sets the limits of this process and of all that come of it."""
    import resource

    for what, most in (
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, FILE),
        (resource.RLIMIT_NOFILE, FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        if hard != resource.RLIM_INFINITY:  # nobody may raise it
            most = min(most, hard)
        resource.setrlimit(what, (most, most))


def _die_with(parent: int, number: int) -> None:
    """Let the kernel send this process a signal when the thread that started it ends."""
    _prctl(_PDEATHSIG, number)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def _prctl(what: int, value: int) -> None:
    ctypes.CDLL(None).prctl(what, value, 0, 0, 0)
