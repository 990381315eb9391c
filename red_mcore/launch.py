"""Ranks: started here with torch's elastic agent, or joined where torchrun or srun started this process.

The agent by itself stops its workers on the first signal and kills them 30 seconds later. Here a first Ctrl-C or
SIGTERM is only passed on, so that every rank finishes its step and saves, however long that takes; a second one kills.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import uuid

from red_mcore.recipe import RecipeError

BAD_INPUT = 2
"""Exit code for what the user can mend; one line on stderr says how."""
INTERRUPTED = 130
"""Exit code of a run that a signal ended in good order, by the shell's convention for Ctrl-C."""


def launch(command: list[str], ranks: int, on_signal: str = "stopping after this step and saving") -> int:
    """Run ``command`` as ``ranks`` processes on this machine, with torchrun's variables; the run's exit code.

    0: every rank returned 0. 1: a rank failed; one line on stderr names it, and the others are stopped. 2: a rank found
    bad input and said so. 130: a signal was passed on and the ranks ended in good order, or a second one killed them.
    """
    from torch.distributed.elastic.agent.server.api import WorkerSpec
    from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.rendezvous import RendezvousParameters, registry

    from red_mcore.megatron.ranks import LEFT

    # Whatever the agent logs about a failure, the rank's own traceback and our one line say better.
    elastic = logging.getLogger("torch.distributed.elastic")
    elastic.addHandler(logging.NullHandler())
    elastic.propagate = False
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as torchrun does; ranks and vLLM's workers share the cores
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGQUIT"  # the agent leaves SIGINT and SIGTERM to us

    rendezvous = registry.get_rendezvous_handler(
        RendezvousParameters(
            backend="c10d",
            endpoint="localhost:0",  # a free port
            run_id=uuid.uuid4().hex,
            min_nodes=1,
            max_nodes=1,
            local_addr="localhost",
            is_host=True,
        )
    )
    program, *arguments = command
    spec = WorkerSpec(
        role="rank",
        local_world_size=ranks,
        entrypoint=program,
        args=tuple(argument.replace("$", "$$") for argument in arguments),  # the agent expands ${local_rank} in them
        rdzv_handler=rendezvous,
        max_restarts=0,
        local_addr="localhost",
    )
    agent = LocalElasticAgent(spec, DefaultLogsSpecs(log_dir=os.devnull))
    signals = _Signals(agent, on_signal)
    try:
        failures = agent.run().failures
    except KeyboardInterrupt:  # before there was a rank to pass it on to
        return INTERRUPTED
    finally:
        signals.restore()
        rendezvous.shutdown()
    codes = {rank: failure.exitcode for rank, failure in failures.items()}
    if BAD_INPUT in codes.values():
        return BAD_INPUT  # that rank has printed its line; others may have failed for want of it
    # The first one is the cause: those after it were stopped by the agent. Others may have left because of it.
    causes = {rank: code for rank, code in codes.items() if code != LEFT} or codes
    rank, code = next(iter(causes.items()), (None, 0))
    before_first_step = (INTERRUPTED, -signal.SIGINT, -signal.SIGTERM)  # ranks that had no handler yet
    if signals.received > 1 or (signals.received and code in (0, *before_first_step)):
        return INTERRUPTED
    if code == 0:
        return 0
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"failed with exit code {code}"
    print(f"red_mcore: error: rank {rank} {how}; the other ranks were stopped", file=sys.stderr)
    return 1


class _Signals:
    """Passes the first SIGINT or SIGTERM on to the ranks; kills them, with their children, on the second."""

    def __init__(self, agent, on_signal: str) -> None:
        self.received = 0
        self._on_signal = on_signal
        self._agent = agent
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}

    def _handle(self, number: int, frame) -> None:
        self.received += 1
        ranks = [worker.id for worker in self._agent.get_worker_group().workers if isinstance(worker.id, int)]
        if not ranks:
            raise KeyboardInterrupt
        for pid in ranks:
            try:
                if self.received == 1:
                    os.kill(pid, number)
                else:
                    os.killpg(pid, signal.SIGKILL)  # the agent starts every rank as the leader of a group
            except ProcessLookupError:
                continue  # that rank has ended
        if self.received == 1:
            message = f"red_mcore: {self._on_signal}; press Ctrl-C again to kill the run at once"
            os.write(2, f"\n{message}\n".encode())  # print is not safe where a signal may have cut into one

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when the one that launched it, ``parent``, ends however it may (Linux)."""
    if sys.platform != "linux":
        return
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call above
        os._exit(INTERRUPTED)


def join() -> bool:
    """Whether torchrun or srun started this process as one of the ranks; srun's variables are turned into torchrun's.

    MASTER_ADDR and MASTER_PORT, where set, are left as they are; else they are the step's first node and a port made of
    the numbers of job, restart and step, which every task computes alike.
    """
    environment = os.environ
    if "RANK" in environment and "WORLD_SIZE" in environment:
        return True
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))  # of the step: a batch script's own shell has none
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
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes).group()
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first)


def check_world(ranks: int) -> None:
    """RecipeError where the launcher started more or fewer processes than the recipe's ``ranks``."""
    world = int(os.environ["WORLD_SIZE"])
    if world != ranks:
        raise RecipeError(
            f"parallel.ranks={ranks}, but the launcher started {world}: set parallel.ranks={world} or start {ranks}"
        )
