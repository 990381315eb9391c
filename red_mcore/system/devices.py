"""What the machine has, told without torch."""

from __future__ import annotations

import os
import re
import subprocess
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

CONTROL_GROUPS = (Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
"""Linux's: which ones this process belongs to, and where they are."""
_LIMITS = ("memory.max", "memory.limit_in_bytes")
"""The files of a control group's limit, in the kernel's versions 2 and 1."""


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def has_transformer_engine() -> bool:
    """Whether Transformer Engine is installed."""
    return find_spec("transformer_engine") is not None


def host_memory() -> int:
    """Bytes of memory that processes here may have in all: the machine's, or what a container or a
    job is allowed."""
    import psutil

    found = [psutil.virtual_memory().total]
    mine, tree = CONTROL_GROUPS
    for line in _lines(mine):  # 4:memory:/job_5 of version 1, 0::/job_5 of version 2
        _, controllers, place = line.split(":", 2)
        if controllers in ("", "memory"):
            root = tree / controllers
            for folder in (root / place.strip("/"), *(root / place.strip("/")).parents):
                limits = [text for name in _LIMITS for text in _lines(folder / name)]
                found += [int(text) for text in limits if text.isdigit()]  # or "max"
                if folder == root:
                    break
    return min(found)


@lru_cache(maxsize=1)
def gpu_memory() -> int | None:
    """Bytes of the smallest GPU here; None where no driver tells."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    sizes = [int(line) for line in done.stdout.split() if line.isdigit()]
    if not sizes:
        return None
    return min(sizes) * 2**20


def ranks_here(ranks: int) -> int:
    """How many of a run's ranks this machine has: what a launcher has said, else all."""
    told = ""
    if {"RANK", "SLURM_PROCID"} & os.environ.keys():
        told = os.environ.get("SLURM_STEP_TASKS_PER_NODE", "")  # such as 4(x2),3
        told = os.environ.get("LOCAL_WORLD_SIZE") or told
    if (found := re.match(r"\d+", told)) is None:
        return ranks
    return min(ranks, int(found[0]))


def hands_jobs_on() -> bool:
    """Whether this is a login node of SLURM, from which runs start on other machines."""
    configured = (Path(os.environ.get("SLURM_CONF", "")), Path("/etc/slurm/slurm.conf"))
    is_set_up = any(map(Path.is_file, configured))
    return is_set_up and "SLURM_JOB_ID" not in os.environ


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except (OSError, ValueError):
        return []
