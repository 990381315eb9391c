"""What this machine has, and what a run would use of it; each line that is not ok says what to do.

    red-mcore doctor [--runs FOLDER] [--tracking ADDRESS] [--hub]

Nothing heavy is imported, and nothing but a free port is taken. Exit code: 0 nothing fails, 1 something does.
"""

from __future__ import annotations

import argparse
import ctypes.util
import os
import platform
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from red_mcore.config.recipe import RecipeError, Tracking
from red_mcore.system import devices
from red_mcore.system.exit_codes import FAILED
from red_mcore.tracking import addresses

GIB = 2**30
ENOUGH_MEMORY = 8 * GIB
"""Bytes that the demo takes with the imports of two ranks, twice."""
ENOUGH_DISK = 10 * GIB
"""Bytes of a few checkpoints of a small model."""
ENOUGH_SHARED = GIB
"""Bytes by which the processes of one engine, and NCCL's ranks, exchange tensors; containers have 64 MiB."""
HUB = "https://huggingface.co"
PATIENCE_SECONDS = 5.0


class GPU(NamedTuple):
    """A GPU as its driver describes it."""

    name: str
    mib: int
    driver: str


class Requirement(NamedTuple):
    """A library that the package asks for, and the versions that were tried."""

    name: str
    tried: str
    """A range such as ``>=2,<3``."""
    found: str | None
    fits: bool


@dataclass(frozen=True)
class Machine:
    """What there is to judge. Sizes are in bytes; None stands for what cannot be told or is not there."""

    python: tuple[int, int, int]
    requirements: Sequence[Requirement]
    gpus: Sequence[GPU]
    cores: int
    memory: int
    runs: Path
    free: int | None
    """Bytes that are free where the runs go; None where nothing can be written there."""
    shared: int | None
    has_numa: bool
    is_linux: bool
    slurm: str | None
    loopback: str | None
    """Why ranks could not meet there; None where they can."""
    tracker: str | None
    """Why the tracker's address cannot be used; None where it can, or none is given."""
    hub: str | None
    """Why the hub does not answer, or the empty text where it does; None where nobody asked."""


class Finding(NamedTuple):
    """A line of the report."""

    level: Literal["ok", "warn", "fail"]
    what: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.level:<5} {self.what}{': ' if self.fix else ''}{self.fix}"


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="red-mcore doctor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--runs", metavar="FOLDER", type=Path, default=Path("runs"), help="where runs go (runs)"
    )
    parser.add_argument(
        "--tracking", metavar="ADDRESS", help="ask whether a server of MLflow answers"
    )
    parser.add_argument(
        "--hub", action="store_true", help="ask whether the Hugging Face hub answers"
    )
    options = parser.parse_args(arguments)
    findings = list(judge(look(options.runs, options.tracking, options.hub)))
    for finding in findings:
        print(finding, flush=True)
    failed = sum(finding.level == "fail" for finding in findings)
    warned = sum(finding.level == "warn" for finding in findings)
    print(f"{failed} fail, {warned} warn")
    return FAILED if failed else 0


def look(runs: Path, tracking: str | None = None, asks_hub: bool = False) -> Machine:
    """This machine."""
    gpus = _gpus()
    return Machine(
        python=sys.version_info[:3],
        requirements=_requirements("gpu" if gpus else "cpu"),
        gpus=gpus,
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        memory=devices.host_memory(),
        runs=runs,
        free=_free(runs),
        shared=shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else None,
        has_numa=ctypes.util.find_library("numa") is not None,
        is_linux=platform.system() == "Linux",
        slurm=_output(["sinfo", "--version"]),
        loopback=_loopback(),
        tracker=_tracker(tracking),
        hub=_hub(os.environ.get("HF_ENDPOINT", HUB)) if asks_hub else None,
    )


def judge(machine: Machine) -> Iterator[Finding]:
    """What is to be said of the machine, line by line."""
    version = ".".join(map(str, machine.python))
    if machine.python < (3, 11):
        yield Finding(
            "fail", f"Python {version}", "use 3.11 or newer, as in make PYTHON=python3.11"
        )
    else:
        yield Finding("ok", f"Python {version}")
    for requirement in machine.requirements:
        yield _of_requirement(requirement)
    yield from _of_gpus(machine)
    memory = f"{machine.cores} cores, {machine.memory / GIB:.1f} GiB of memory"
    if machine.memory < ENOUGH_MEMORY:
        fix = f"two ranks with their engines want {ENOUGH_MEMORY // GIB} GiB: set parallel.ranks=1"
        yield Finding("warn", memory, fix)
    else:
        yield Finding("ok", memory)
    yield _of_disk(machine)
    if machine.shared is not None:
        shared = f"/dev/shm of {machine.shared / GIB:.2f} GiB"
        if machine.shared < ENOUGH_SHARED:
            yield Finding(
                "warn", shared, "start the container with --shm-size=8g, or with --ipc=host"
            )
        else:
            yield Finding("ok", shared)
    if machine.loopback is not None:
        fix = "let processes of this machine connect to each other on 127.0.0.1"
        yield Finding("fail", f"loopback ({machine.loopback})", fix)
    else:
        yield Finding("ok", "loopback, where the ranks of one machine meet")
    if machine.slurm is None:
        yield Finding("ok", "no SLURM: runs start their ranks here")
    else:
        yield Finding(
            "ok", f"{machine.slurm}: sbatch slurm/red_qwen.sh RECIPE starts runs on nodes"
        )
    if machine.tracker is not None:
        yield Finding("fail", "MLflow", machine.tracker)
    if machine.hub:
        fix = "models and data have to be folders and files here: set HF_HUB_OFFLINE=1, or HF_ENDPOINT to a mirror"
        yield Finding("warn", f"the hub does not answer ({machine.hub})", fix)
    elif machine.hub is not None:
        yield Finding("ok", "the hub answers")
    yield Finding("ok", f"a run would use {_used(machine)}")


def _of_requirement(requirement: Requirement) -> Finding:
    if requirement.found is None:
        fix = f"install {requirement.name}{requirement.tried}, as make venv does"
        return Finding("fail", f"{requirement.name} is not installed", fix)
    line = f"{requirement.name} {requirement.found}"
    if not requirement.fits:
        return Finding("warn", line, f"tried were {requirement.tried}: install one of these")
    return Finding("ok", line)


def _of_gpus(machine: Machine) -> Iterator[Finding]:
    torch = next((r.found or "" for r in machine.requirements if r.name == "torch"), "")
    if not machine.gpus:
        yield Finding("ok", "no NVIDIA GPU: runs use CPUs")
        if machine.is_linux and not machine.has_numa:
            yield Finding("fail", "libnuma, which vLLM loads on CPUs", "apt-get install libnuma1")
        return
    kinds: dict[GPU, int] = {}
    for gpu in machine.gpus:
        kinds[gpu] = kinds.get(gpu, 0) + 1
    for gpu, count in kinds.items():
        yield Finding("ok", f"{count} x {gpu.name}, {gpu.mib} MiB, driver {gpu.driver}")
    if len(kinds) > 1:
        fix = "all ranks have the same share of the work: choose equal ones by CUDA_VISIBLE_DEVICES"
        yield Finding("warn", "GPUs of different kinds", fix)
    if torch.endswith("+cpu"):
        fix = "install the gpu extra in another environment: pip install 'red-mcore[gpu]'"
        yield Finding("fail", f"torch {torch} uses no GPU", fix)


def _of_disk(machine: Machine) -> Finding:
    if machine.free is None:
        return Finding(
            "fail", f"{machine.runs} cannot be written", "choose another place by runs=FOLDER"
        )
    line = f"{machine.free / GIB:.1f} GiB free for {machine.runs}"
    if machine.free < ENOUGH_DISK:
        return Finding(
            "warn",
            line,
            "checkpoints take 18 bytes a parameter: choose another place by runs=FOLDER",
        )
    return Finding("ok", line)


def _used(machine: Machine) -> str:
    if not machine.gpus:
        return "CPU ranks with Megatron-Core's own layers, in float32 or bfloat16"
    installed = {requirement.name for requirement in machine.requirements if requirement.found}
    layers = "Transformer Engine's" if "transformer-engine" in installed else "Megatron-Core's own"
    return f"up to {len(machine.gpus)} GPU ranks (parallel.ranks={len(machine.gpus)}) with {layers} layers"


def _requirements(kind: str) -> list[Requirement]:
    """What the package's own metadata asks for, with the extra for this ``kind`` of machine."""
    from packaging.requirements import Requirement as Wanted

    found = []
    for text in metadata.requires("red-mcore") or []:
        wanted = Wanted(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": kind}):
            continue
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            version = None
        fits = version is not None and wanted.specifier.contains(version, prereleases=True)
        found.append(Requirement(wanted.name, str(wanted.specifier), version, fits))
    return sorted(found)


def _gpus() -> list[GPU]:
    query = [
        "nvidia-smi",
        "--query-gpu=name,memory.total,driver_version",
        "--format=csv,noheader,nounits",
    ]
    found = []
    for line in (_output(query) or "").splitlines():
        name, mib, driver = (part.strip() for part in line.rsplit(",", 2))
        found.append(GPU(name, int(mib) if mib.isdigit() else 0, driver))
    return found


def _output(command: list[str]) -> str | None:
    """What a program prints; None where there is none of that name, or it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _free(folder: Path) -> int | None:
    """Bytes free in the folder, or where it would be made."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        return None
    return shutil.disk_usage(place).free


def _loopback() -> str | None:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=PATIENCE_SECONDS).close()
    except OSError as error:
        return str(error)
    return None


def _tracker(address: str | None) -> str | None:
    tracking = Tracking(uri=address)
    try:
        addresses.check(tracking)
        addresses.reach(tracking)
    except RecipeError as error:
        return str(error)
    return None


def _hub(address: str) -> str:
    try:
        urllib.request.urlopen(address, timeout=PATIENCE_SECONDS).close()
    except (OSError, ValueError) as error:
        return str(error)
    return ""
