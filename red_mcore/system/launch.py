"""Ranks: started here as processes of this machine, or joined where torchrun or srun started this
process.

A first Ctrl-C, SIGTERM or SIGHUP is only passed on, so that every rank finishes its step and saves,
however long that takes; a second one kills. SIGUSR1, which asks for a checkpoint, is always passed
on. Ranks of one machine meet on its loopback interface, where nobody else's packets arrive.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

from red_mcore.config.recipe import RecipeError
from red_mcore.system import signals
from red_mcore.system.exit_codes import BAD_INPUT, FAILED, INTERRUPTED, LEFT, UNHEALTHY

GRACE_SECONDS = 30.0
"""What the other ranks have to end by themselves once one has failed."""
_LOOPBACK = "127.0.0.1"
_IN_GOOD_ORDER = (0, UNHEALTHY, INTERRUPTED)
"""Exit codes of ranks that have done what they were to do; the run's is the largest."""


def launch(
    work: Callable[..., int],
    arguments: tuple,
    ranks: int,
    *,
    fork: bool,
    on_signal: str = "stopping after this step and saving",
) -> int:
    """Run ``work(*arguments)`` as ``ranks`` processes on this machine, with torchrun's variables;
    the run's exit code.

    ``fork``: the ranks are copies of this process and share what it has imported; it must not have
    touched a GPU, nor run threads of its own. Else each imports for itself, and ``work`` and
    ``arguments`` are pickled.

    0: every rank returned 0. 1: a rank failed; one line on stderr names it, and the others are
    stopped. 2: a rank found bad input and said so. 4: all did their work, a ``strict`` run with
    warnings. 130: the ranks were interrupted and ended in good order, or a second signal killed
    them.
    """
    from torch.distributed import TCPStore

    # Bound before the ranks start, so that the port stays theirs; served after it, for a fork must
    # not copy a thread.
    listener = socket.create_server((_LOOPBACK, 0))
    loopback = "lo" if sys.platform == "linux" else "lo0"
    os.environ |= {
        "MASTER_ADDR": _LOOPBACK,
        "MASTER_PORT": str(listener.getsockname()[1]),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # rank 0 opens no store of its own
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
        "VLLM_HOST_IP": _LOOPBACK,
    }
    # As torchrun does: ranks and vLLM's workers share the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    team = _Team(on_signal)
    try:
        team.start(multiprocessing.get_context("fork" if fork else "spawn"), work, arguments, ranks)
        store = TCPStore(
            _LOOPBACK,
            listener.getsockname()[1],
            is_master=True,
            wait_for_workers=False,
            master_listen_fd=listener.detach(),
        )
        codes = team.wait()
        del store
    finally:
        team.end()
    if BAD_INPUT in codes.values():
        return BAD_INPUT  # that rank has printed its line; others may have failed for want of it
    # The first one is the cause: those after it were stopped. Others may have left because of it.
    failures = {rank: code for rank, code in codes.items() if code not in _IN_GOOD_ORDER}
    causes = {rank: code for rank, code in failures.items() if code != LEFT} or failures
    rank, code = next(iter(causes.items()), (None, 0))
    before_first_step = (0, *(-number for number in signals.STOP))  # ranks that had no handler yet
    if team.received > 1 or (team.received and code in before_first_step):
        return INTERRUPTED
    if code == 0:
        return max(codes.values())
    how = f"failed with exit code {code}"
    if code < 0:
        how = f"was killed by {signal.Signals(-code).name}"
    print(f"red_mcore: error: rank {rank} {how}; the other ranks were stopped", file=sys.stderr)
    return FAILED


class _Team:
    """The processes of all ranks; passes the first signal on to them, and kills them on the
    second."""

    def __init__(self, on_signal: str) -> None:
        self.received = 0
        self._on_signal = on_signal
        self._processes: list[BaseProcess] = []
        self._before: dict[int, Any] = {}

    def start(self, context, work: Callable[..., int], arguments: tuple, ranks: int) -> None:
        """A signal has to wait until there is everybody to pass it on to, and nobody has a copy of
        its handler."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {*signals.STOP, signals.SAVE})
        try:
            for rank in range(ranks):
                process = context.Process(
                    target=_rank, args=(rank, os.getpid(), work, arguments), name=f"rank {rank}"
                )
                process.start()
                self._processes.append(process)
            self._before = {number: signal.signal(number, self._stop) for number in signals.stops()}
            self._before[signals.SAVE] = signal.signal(
                signals.SAVE, lambda number, frame: self._send(number)
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signals.SAVE})

    def wait(self) -> dict[int, int]:
        """Exit codes by rank, in the order of the ends. Once one has failed, the others are
        stopped."""
        codes: dict[int, int] = {}
        deadline, stopped = None, False
        while len(codes) < len(self._processes):
            left: dict[Any, int] = {
                p.sentinel: rank for rank, p in enumerate(self._processes) if rank not in codes
            }
            seconds = None  # as long as it takes
            if deadline is not None:
                seconds = max(0.0, deadline - time.monotonic())
            ended = [left[sentinel] for sentinel in wait(list(left), seconds)]
            for rank in ended:
                self._processes[rank].join()
                codes[rank] = self._processes[rank].exitcode or 0
            if not ended:
                self._kill()
            failed = {code for code in codes.values() if code not in _IN_GOOD_ORDER}
            if failed and deadline is None:
                deadline = time.monotonic() + GRACE_SECONDS
            # Who left did so because of another, which is about to end by itself.
            if failed - {LEFT} and not stopped:
                stopped = True
                self._send(signal.SIGTERM)
        return codes

    def end(self) -> None:
        """Nobody is left, and signals are again what they were."""
        self._kill()
        signals.hold()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame) -> None:
        self.received += 1
        if self.received > 1:
            self._kill()
            return
        self._send(number)
        message = f"red_mcore: {self._on_signal}; press Ctrl-C again to kill the run at once"
        # Not by print, which is not safe where a signal may have cut into one.
        with suppress(OSError):  # whoever read it may be gone
            os.write(2, f"\n{message}\n".encode())

    def _send(self, number: int) -> None:
        for process in self._processes:
            if process.exitcode is None and process.pid is not None:
                os.kill(process.pid, number)

    def _kill(self) -> None:
        """The ranks and their children, for every rank leads a group."""
        for process in self._processes:
            if process.exitcode is None and process.pid is not None:
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:  # it leads no group yet
                    process.kill()


def _rank(rank: int, launcher: int, work: Callable[..., int], arguments: tuple) -> None:
    """Life of one rank."""
    os.setsid()  # Ctrl-C reaches the launcher alone
    die_with_parent(launcher)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.STOP)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    sys.exit(work(*arguments))


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when the one that launched it, ``parent``, ends however it
    may (Linux)."""
    if sys.platform != "linux":
        return
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call above
        os._exit(INTERRUPTED)


def join() -> bool:
    """Whether torchrun or srun started this process as one of the ranks; srun's variables are
    turned into torchrun's.

    MASTER_ADDR and MASTER_PORT, where set, are left as they are; else they are the step's first
    node and a port made of the numbers of job, restart and step, which every task computes alike.
    """
    environment = os.environ
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return True
    # Those of the step: a batch script's own shell has none.
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks == 1:
        return False
    job = int(environment["SLURM_JOB_ID"]) + 1000 * int(environment.get("SLURM_RESTART_COUNT", "0"))
    port = 20000 + (job + int(environment["SLURM_STEP_ID"])) % 10000
    environment.setdefault("MASTER_ADDR", first_node(environment["SLURM_STEP_NODELIST"]))
    environment.setdefault("MASTER_PORT", str(port))
    environment.setdefault("OMP_NUM_THREADS", "1")
    environment["RANK"] = environment["SLURM_PROCID"]
    environment["LOCAL_RANK"] = environment["SLURM_LOCALID"]
    environment["WORLD_SIZE"] = str(tasks)
    return True


def first_node(nodes: str) -> str:
    """First name of SLURM's compressed list: ``gpu[03-05,9],login1`` -> ``gpu03``."""
    if first := re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes):
        nodes = first[0]
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", nodes)


def check_world(ranks: int) -> None:
    """RecipeError where the launcher started more or fewer processes than the recipe's
    ``ranks``."""
    world = int(os.environ["WORLD_SIZE"])
    if world != ranks:
        raise RecipeError(
            f"parallel.ranks={ranks}, but the launcher started {world}:"
            f" set parallel.ranks={world} or start {ranks}"
        )
