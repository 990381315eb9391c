"""What this machine has, and what a run would use of it; each line that is not ok says what to do.

    red-mcore doctor [--runs FOLDER] [--tracking ADDRESS] [--hub]

Nothing heavy is imported, and nothing but a free port is taken. Exit code: 0 nothing fails, 1
something does.
"""

from __future__ import annotations

import ctypes.util
import os
import platform
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal, NamedTuple

from red_mcore.cli import common
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
"""Bytes by which the processes of one engine, and NCCL's ranks, exchange tensors; containers have
64 MiB."""
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
    """What there is to judge. Sizes are in bytes; None stands for what cannot be told or is not
    there."""

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

    @property
    def installed(self) -> dict[str, str]:
        """The version of each requirement that is there."""
        return {each.name: each.found for each in self.requirements if each.found}


Level = Literal["ok", "warn", "fail"]


class Finding(NamedTuple):
    """A line of the report."""

    level: Level
    what: str
    fix: str = ""

    def __str__(self) -> str:
        line = f"{self.level:<5} {self.what}"
        return f"{line}: {self.fix}" if self.fix else line


def main(arguments: list[str]) -> int:
    """The exit code."""
    parser = common.parser("red-mcore doctor", __doc__)
    add = parser.add_argument
    add("--runs", metavar="FOLDER", type=Path, default=Path("runs"), help="where runs go (runs)")
    add("--tracking", metavar="ADDRESS", help="ask whether a server of MLflow answers")
    add("--hub", action="store_true", help="ask whether the Hugging Face hub answers")
    options = parser.parse_args(arguments)
    levels: Counter[Level] = Counter()
    for finding in judge(look(options.runs, options.tracking, options.hub)):
        levels[finding.level] += 1
        print(finding, flush=True)
    print(f"{levels['fail']} fail, {levels['warn']} warn")
    return FAILED if levels["fail"] else 0


def look(runs: Path, tracking: str | None = None, asks_hub: bool = False) -> Machine:
    """This machine."""
    gpus = _gpus()
    shared = Path("/dev/shm")
    return Machine(
        python=sys.version_info[:3],
        requirements=_requirements("gpu" if gpus else "cpu"),
        gpus=gpus,
        cores=_cores(),
        memory=devices.host_memory(),
        runs=runs,
        free=_free(runs),
        shared=shutil.disk_usage(shared).total if shared.is_dir() else None,
        has_numa=ctypes.util.find_library("numa") is not None,
        is_linux=platform.system() == "Linux",
        slurm=_output(["sinfo", "--version"]),
        loopback=_loopback(),
        tracker=_tracker(tracking),
        hub=_hub(os.environ.get("HF_ENDPOINT", HUB)) if asks_hub else None,
    )


def judge(machine: Machine) -> Iterator[Finding]:
    """What is to be said of the machine, line by line."""
    python = f"Python {'.'.join(map(str, machine.python))}"
    fix = "use 3.11 or newer, as in make PYTHON=python3.11"
    yield _ok_unless(machine.python < (3, 11), "fail", python, fix)
    yield from map(_of_requirement, machine.requirements)
    yield from _of_gpus(machine)
    memory = f"{machine.cores} cores, {machine.memory / GIB:.1f} GiB of memory"
    fix = f"two ranks with their engines want {ENOUGH_MEMORY // GIB} GiB: set parallel.ranks=1"
    yield _ok_unless(machine.memory < ENOUGH_MEMORY, "warn", memory, fix)
    yield _of_disk(machine)
    if machine.shared is not None:
        shared = f"/dev/shm of {machine.shared / GIB:.2f} GiB"
        fix = "start the container with --shm-size=8g, or with --ipc=host"
        yield _ok_unless(machine.shared < ENOUGH_SHARED, "warn", shared, fix)
    yield from _of_meeting(machine)
    yield from _of_servers(machine)
    yield Finding("ok", f"a run would use {_used(machine)}")


def _ok_unless(wrong: bool, level: Level, what: str, fix: str) -> Finding:
    """A line that says what to do only where something is wrong."""
    return Finding(level, what, fix) if wrong else Finding("ok", what)


def _of_requirement(requirement: Requirement) -> Finding:
    if requirement.found is None:
        fix = f"install {requirement.name}{requirement.tried}, as make venv does"
        return Finding("fail", f"{requirement.name} is not installed", fix)
    line = f"{requirement.name} {requirement.found}"
    fix = f"tried were {requirement.tried}: install one of these"
    return _ok_unless(not requirement.fits, "warn", line, fix)


def _of_gpus(machine: Machine) -> Iterator[Finding]:
    if not machine.gpus:
        yield Finding("ok", "no NVIDIA GPU: runs use CPUs")
        if machine.is_linux and not machine.has_numa:
            yield Finding("fail", "libnuma, which vLLM loads on CPUs", "apt-get install libnuma1")
        return
    kinds = Counter(machine.gpus)
    for gpu, count in kinds.items():
        yield Finding("ok", f"{count} x {gpu.name}, {gpu.mib} MiB, driver {gpu.driver}")
    if len(kinds) > 1:
        fix = "all ranks have the same share of the work: choose equal ones by CUDA_VISIBLE_DEVICES"
        yield Finding("warn", "GPUs of different kinds", fix)
    torch = machine.installed.get("torch", "")
    if torch.endswith("+cpu"):
        # Not in this one: vLLM has a package for CPUs and another one for GPUs.
        fix = "install the gpu extra in another environment: pip install 'red-mcore[gpu]'"
        yield Finding("fail", f"torch {torch} uses no GPU", fix)


def _of_disk(machine: Machine) -> Finding:
    place = "choose another place by runs=FOLDER"
    if machine.free is None:
        return Finding("fail", f"{machine.runs} cannot be written", place)
    line = f"{machine.free / GIB:.1f} GiB free for {machine.runs}"
    fix = f"checkpoints take 18 bytes a parameter: {place}"
    return _ok_unless(machine.free < ENOUGH_DISK, "warn", line, fix)


def _of_meeting(machine: Machine) -> Iterator[Finding]:
    """Where the ranks of a run can meet."""
    if machine.loopback is not None:
        fix = "let processes of this machine connect to each other on 127.0.0.1"
        yield Finding("fail", f"loopback ({machine.loopback})", fix)
    else:
        yield Finding("ok", "loopback, where the ranks of one machine meet")
    if machine.slurm is not None:
        start = f"{machine.slurm}: sbatch slurm/red_qwen.sh RECIPE starts runs on nodes"
        yield Finding("ok", start)
    else:
        yield Finding("ok", "no SLURM: runs start their ranks here")


def _of_servers(machine: Machine) -> Iterator[Finding]:
    """Those that somebody asked about."""
    if machine.tracker is not None:
        yield Finding("fail", "MLflow", machine.tracker)
    if machine.hub:
        fix = (
            "models and data have to be folders and files here: set HF_HUB_OFFLINE=1, or"
            " HF_ENDPOINT to a mirror"
        )
        yield Finding("warn", f"the hub does not answer ({machine.hub})", fix)
    elif machine.hub is not None:
        yield Finding("ok", "the hub answers")


def _used(machine: Machine) -> str:
    if not machine.gpus:
        return "CPU ranks with Megatron-Core's own layers, in float32 or bfloat16"
    layers, count = "Megatron-Core's own", len(machine.gpus)
    if "transformer-engine" in machine.installed:
        layers = "Transformer Engine's"
    return f"up to {count} GPU ranks (parallel.ranks={count}) with {layers} layers"


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
    query = "nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader,nounits"
    found = []
    for line in (_output(query.split()) or "").splitlines():
        name, mib, driver = map(str.strip, line.rsplit(",", 2))  # a name may hold commas
        # Where the driver cannot tell the memory it writes "[N/A]".
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
    """Bytes free in the folder, or where it would be made; None where nothing can be written."""
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
