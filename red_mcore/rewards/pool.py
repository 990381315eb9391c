"""Child processes that do small tasks, each with so much CPU time: no task can hang or bring down
its caller.

What ends a task is its child's own CPU time, so that a busy machine makes it late and not another
one: before each task the child sets a timer of the kernel (``ITIMER_PROF``, user and system time of
all its threads), whose signal ends the process wherever it is, also in C code. The wall clock ends
only a child that sleeps or waits for something else than a core, ``WALL`` times as long.

What a task starts dies with its child, which has limits on memory, files and processes. A child is
a fork of a process that has imported what tasks need, so that the next one is there at once: see
``keeper``.

Every child has a pipe of its own and nothing in common with the others, so that killing one at any
moment, or all of them, spoils no lock and no queue. That is why this is not a pool of a library:
with pebble 5.2's shared pipe, killing all children in the middle of a batch lost four in five of
its results and hung the rest.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import send_handle
from pathlib import Path
from typing import Any

from red_mcore.rewards import keeper
from red_mcore.system import streams

TIMEOUT, CRASH = "timeout", "crash"
CHUNK = 8
"""The most tasks that a child is given at once; each has its own deadline."""
TRIES = 3
"""Deaths over the same task that make it a crash: one may be the child's bad luck."""
START_SECONDS = 300.0
"""Limit of a child's start, imports included, on however slow a disk."""
WALL = 30.0
"""How long a child may wait, in multiples of its task's CPU time."""
GRACE_SECONDS = 10.0
"""How long a child and all that it started may take to end before its keeper is killed."""


class Pool:
    """``workers`` children that each compute ``work(*task)``; close it, or use it as a context
    manager.

    The children start at once while the caller goes on. ``prepare`` (imports, mostly) is called
    once, and a child that takes a dead one's place has what it made; it may leave neither threads
    nor processes, which a fork would not have. ``begin``, for what may, is called in each child
    before its first task. All functions are found by their import path. Children ignore Ctrl-C (it
    is the caller that saves and stops) and die with their parent, and what they start with them
    (``keeper``). The kernel ties them to the *thread* that starts them, so make and use a pool in a
    thread that lives as long.
    """

    def __init__(
        self,
        work: Callable[..., Any],
        workers: int,
        timeout: float,
        prepare: Callable[[], None] | None = None,
        begin: Callable[[], None] | None = None,
    ) -> None:
        """``timeout``: CPU seconds of one task, processes that it starts left out.

        RuntimeError, in ``run``, where children cannot be started.
        """
        self._life = (work, timeout, prepare, begin)
        self._failed_starts = 0
        self._children = [_Child(self._life) for _ in range(workers)]

    def run(self, tasks: Sequence[tuple]) -> list[tuple[str, Any]]:
        """What came of each task, in order: ("done", what ``work`` returned), ("timeout", None) or
        ("crash", what is known).

        A task is a crash where ``work`` raised, or where ``TRIES`` children died over it. One
        thread at a time.
        """
        batch = _Batch(tasks)
        try:
            while batch.left:
                self._deal(batch)
                ready = self._wait()
                for number, child in enumerate(self._children):
                    self._attend(batch, number, child, child.connection in ready)
            return batch.results
        except BaseException:
            # Nobody waits any more for what they were given.
            for number, child in enumerate(self._children):
                if not child.idle or child.connection.closed:
                    child.end()
                    self._children[number] = _Child(self._life, child)
            raise

    def _deal(self, batch: _Batch) -> None:
        """Give waiting tasks to idle children."""
        for child in self._children:
            if child.idle and batch.waiting:
                # Few at a time near the end, so that no child has a queue while another is idle.
                count = min(CHUNK, -(-len(batch.waiting) // (2 * len(self._children))))
                child.give([batch.waiting.popleft() for _ in range(count)], batch.tasks)

    def _attend(self, batch: _Batch, number: int, child: _Child, has_news: bool) -> None:
        """Take a child's results, or what it was given from one that has ended or is too late."""
        ended = None
        if has_news or child.connection.poll():
            try:
                for index, result in child.receive():
                    batch.finish(index, result)
                self._failed_starts = 0
            except (EOFError, OSError):
                ended = CRASH
        elif child.is_late():
            ended = TIMEOUT
        if ended is None:
            return
        unstarted, undone = child.starting, child.end(died=ended == CRASH)
        if child.exitcode == -signal.SIGPROF:
            ended = TIMEOUT
        self._children[number] = _Child(self._life, child)
        if unstarted:
            self._count_failed_start(child, ended)
        elif undone:
            batch.blame(undone, ended, child.exitcode)
        batch.waiting.extendleft(reversed(undone))

    def close(self) -> None:
        """End the children, whatever they are doing."""
        for child in self._children:
            child.process.terminate()
        for child in self._children:
            child.end()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(self) -> list:
        """Connections with news, once there are any or a deadline is over."""
        deadlines = [child.deadline for child in self._children if child.deadline is not None]
        seconds = None
        if deadlines:
            seconds = max(0.0, min(deadlines) - time.monotonic())
        return wait([child.connection for child in self._children], seconds)

    def _count_failed_start(self, child: _Child, how: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= TRIES * len(self._children):
            raise RuntimeError(
                f"child processes of the verifier do not start ({self._failed_starts} tries in a"
                f" row, the last ended by {how}, exit code {child.exitcode}); what they printed"
                " says why"
            )


class _Batch:
    """Tasks, and what came of them."""

    def __init__(self, tasks: Sequence[tuple]) -> None:
        self.tasks = tasks
        self.results: list[tuple[str, Any]] = [(CRASH, "")] * len(tasks)
        """Whole when none is ``left``."""
        self.left = len(tasks)
        self.waiting = deque(range(len(tasks)))
        """Places of the tasks that no child has."""
        self._deaths = Counter[int]()

    def finish(self, index: int, result: tuple[str, Any]) -> None:
        self.results[index] = result
        self.left -= 1

    def blame(self, undone: deque[int], ended: str, exitcode: int | None) -> None:
        """Hold the first of the tasks that a child left undone responsible for its end, and take
        it away if it may not be tried again."""
        first = undone[0]
        self._deaths[first] += 1
        if ended == TIMEOUT:
            self.finish(undone.popleft(), (TIMEOUT, None))
        elif self._deaths[first] == TRIES:
            reason = f"the child ended with exit code {exitcode}"
            self.finish(undone.popleft(), (CRASH, reason))


class _Child:
    """One child, what it was given, and when it has to be done with the first of it."""

    process: BaseProcess
    _control: Connection

    def __init__(self, life: tuple, before: _Child | None = None) -> None:
        """``life``: the last arguments of ``_serve``; ``before``: the ended child it follows."""
        # Not fork: the caller holds threads and device contexts that a forked child must not touch.
        context = multiprocessing.get_context("spawn")
        if before is not None and before.process.is_alive():
            self.process, self._control = before.process, before._control
        else:
            self._control, other = context.Pipe()
            self.process = context.Process(
                target=_serve, args=(os.getpid(), other, *life), daemon=True
            )
            self.process.start()
            other.close()
        self.connection, other = context.Pipe()
        with suppress(OSError):  # the keeper is dead, which the pipe's end is about to tell
            send_handle(self._control, other.fileno(), self.process.pid)
        other.close()  # the child's end; with ours alone its death shows as the end of the pipe
        self.exitcode: int | None = None
        self.starting = True
        self.deadline: float | None = time.monotonic() + START_SECONDS
        _, timeout, *_ = life
        self._wall = WALL * timeout
        self._worker = self.process.pid
        self._given: deque[int] = deque()

    @property
    def idle(self) -> bool:
        return not self.starting and not self._given

    def give(self, indices: list[int], tasks: Sequence[tuple]) -> None:
        self._given.extend(indices)
        self.deadline = time.monotonic() + self._wall
        with suppress(OSError):  # it is dead, which the pipe's end is about to tell
            self.connection.send([tasks[index] for index in indices])

    def receive(self) -> list[tuple[int, tuple[str, Any]]]:
        """Results that have come; EOFError or OSError where the child is dead."""
        found: list[tuple[int, tuple[str, Any]]] = []
        while self.connection.poll():
            try:
                result = self.connection.recv()
            except (EOFError, OSError):
                if found:  # these first; the pipe still tells its end the next time
                    break
                raise
            if self.starting:
                self.starting, self._worker = False, result
            else:
                found.append((self._given.popleft(), result))
            self.deadline = time.monotonic() + self._wall if self._given else None
        return found

    def is_late(self) -> bool:
        """Whether its deadline is over, and it neither has a core nor queues for one, as far as the
        system tells; one that does gets more time.

        One that starts does not: nothing else would end that.
        """
        if self.deadline is None or time.monotonic() < self.deadline:
            return False
        if self.starting or self._state() != "R":
            return True
        self.deadline = time.monotonic() + self._wall
        return False

    def _state(self) -> str:
        """The system's letter for it; empty without such a process, or where nothing is told."""
        try:
            return Path(f"/proc/{self._worker}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            return ""

    def end(self, died: bool = False) -> deque[int]:
        """End it and all it started; what it was given and did not do, in order.

        The keeper of one that ``died`` by itself lives on, for the next; that of one that has to be
        ended does not.
        """
        self.exitcode = self._told() if died else None
        if self.exitcode is None:
            self.process.terminate()
            self.process.join(GRACE_SECONDS)
            self.process.kill()
            self.process.join()
            self._control.close()
            self.exitcode = self.process.exitcode
        self.connection.close()
        return self._given

    def _told(self) -> int | None:
        """The exit code as the keeper tells it; a dead keeper's own; None where neither is."""
        try:
            if not self._control.poll(1.0) and not self.starting and self._state() not in "ZX":
                return None  # it closed its pipe
            return self._control.recv() if self._control.poll(GRACE_SECONDS) else None
        except (EOFError, OSError):
            self.process.join(GRACE_SECONDS)  # its pipe has ended, and so has it in a moment
            return self.process.exitcode


def _serve(
    parent: int,
    control: Connection,
    work: Callable[..., Any],
    timeout: float,
    prepare: Callable[[], None] | None,
    begin: Callable[[], None] | None,
) -> None:
    """The life of a keeper, and that of each child: results of tasks, until its pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process
    streams.outlive()  # a user's function may print
    keeper.enter(parent)
    if prepare is not None:
        prepare()
    gc.collect()
    gc.freeze()  # or a child's first collection would copy all the memory that it shares
    for stream in (sys.stdout, sys.stderr):  # or each child would write what is left in there
        stream.flush()
    connection = keeper.work(control)
    if "numpy.random" in sys.modules:  # random does so by itself
        sys.modules["numpy.random"].seed()
    if begin is not None:
        begin()
    connection.send(os.getpid())  # ready
    while True:
        try:
            tasks = connection.recv()
        except (EOFError, OSError):
            return
        for task in tasks:
            connection.send(_result(work, task, timeout))


def _result(work: Callable[..., Any], task: tuple, timeout: float) -> tuple[str, Any]:
    signal.setitimer(signal.ITIMER_PROF, timeout)
    try:
        return "done", work(*task)
    # RecursionError and MemoryError of hostile input, and whatever a user's function raises
    except Exception as error:
        return CRASH, f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
