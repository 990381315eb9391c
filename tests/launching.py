"""Starts a script as the ranks of one process group on this machine, as a launcher would."""

import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import warm

_SHOWN = 3000
"""Characters of a failing rank's output that the error shows."""


def launch(
    script: Path,
    ranks: int,
    *arguments: object,
    timeout: float = 3600.0,
    on_gpu: bool = False,
    cancel: threading.Event | None = None,
) -> None:
    """Run ``script`` as ranks 0..ranks-1 to their end, or until ``cancel`` is set; ``timeout`` in
    seconds.

    Without ``on_gpu`` they are gloo ranks on the CPU, also where there are fewer GPUs than ranks.

    AssertionError with the output of the failing ranks if one fails, of all if time is up; no rank
    outlives the call.
    """
    from torch.distributed import TCPStore

    # The ranks meet at a store of this process: a port
    # that is free when it is chosen may be taken when it is bound.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder) / f"rank{rank}.log" for rank in range(ranks)]
        programs = []
        try:
            for rank, log in enumerate(logs):
                log.touch()
                programs.append(
                    _start(
                        [sys.executable, script, *arguments], log, rank, ranks, on_gpu, store.port
                    )
                )
            codes = _wait(programs, time.monotonic() + timeout, cancel or threading.Event())
        finally:
            for program in programs:
                program.kill()
                program.wait()
        for rank, code in enumerate(codes):
            if code:
                shown = [
                    f"-- rank {r} --\n{logs[r].read_text()[-_SHOWN:]}"
                    for r, c in enumerate(codes)
                    if c
                ]
                raise AssertionError(
                    f"{script.name}: rank {rank} failed with exit code {code}\n" + "\n".join(shown)
                )
        if None in codes:
            shown = [f"-- rank {r} --\n{log.read_text()[-_SHOWN:]}" for r, log in enumerate(logs)]
            raise AssertionError(
                f"{script.name}: not done after {timeout} seconds\n" + "\n".join(shown)
            )


def _start(
    command: list, log: Path, rank: int, ranks: int, on_gpu: bool, port: int
) -> warm.Program:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, (warm.ROOT, warm.TESTS, warm.TESTS / "parallel"))),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "OMP_NUM_THREADS": "1",
    }
    if not on_gpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return warm.start(command, log, env=environment)


def _wait(
    programs: list[warm.Program], deadline: float, cancel: threading.Event
) -> list[int | None]:
    """Exit codes once all have ended, one has failed (and those
    that it took along), or time is up."""
    while time.monotonic() < deadline and not cancel.is_set():
        codes = [program.poll() for program in programs]
        if None not in codes or any(codes):
            break
        time.sleep(0.05)
    time.sleep(0.5 if any(codes) else 0)
    return [program.poll() for program in programs]
