"""A real SLURM of emulated nodes on this machine's loopback, for as long as a ``with`` block lasts.

Every node is a slurmd of its own with a port of its own and eight GPUs that are links to /dev/null,
so that a job script made for a cluster is accepted and counted as it stands. All nodes share the
machine's processes, files and name; neither root nor a change to the system is needed. SLURM must
be built for several slurmd per host, as Debian's is.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol")
PATIENCE = 600.0
"""Seconds that a daemon may take: the last resort against one that hangs."""
FINAL_STATES = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
SBIN = ":/usr/local/sbin:/usr/sbin:/sbin"
"""Where daemons live, and users without root do not look."""

# Tracking by process groups and no cgroups, accounting or task binding: nothing here needs systemd
# or a database. The cgroup plugin is loaded by slurmd in any case; v1 is the one that does nothing
# until it is used.
SLURM_CONF = """
ClusterName=mini
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
PropagateResourceLimits=NONE
KillWait=2
SlurmdParameters=config_overrides
GresTypes=gpu
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = (
    "NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} "
    "CPUs=8 RealMemory=1000000 Gres=gpu:8 State=UNKNOWN"
)


def missing() -> str | None:
    """Why no SLURM can be started here, or None if one can."""
    absent = [
        program
        for program in PROGRAMS
        if shutil.which(program, path=os.environ["PATH"] + SBIN) is None
    ]
    if absent:
        fix = "apt-get install munge slurm-client slurmctld slurmd"
        return f"SLURM is not installed ({', '.join(absent)}): {fix}"
    return None


class MiniSlurm:
    """``with MiniSlurm(nodes=2) as slurm``: starts the daemons; at the end cancels all jobs and
    stops every daemon."""

    def __init__(self, nodes: int) -> None:
        self.names = [f"node{index}" for index in range(1, nodes + 1)]
        self._stack = ExitStack()

    def __enter__(self) -> MiniSlurm:
        with self._stack:
            self.folder = Path(
                self._stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-"))
            )
            self._configure()
            config = self.folder / "slurm.conf"
            self._start("munged", "munged", "--foreground", *self._munge_files())
            _until(
                lambda: (self.folder / "munge.socket").exists(),
                PATIENCE,
                "munged to open its socket",
            )
            self._start("slurmctld", "slurmctld", "-D", "-f", config)
            for node in self.names:
                self._start(node, "slurmd", "-D", "-f", config, "-N", node)
            try:
                _until(lambda: self._states() == ["idle"] * len(self.names), PATIENCE, "idle nodes")
            except TimeoutError as error:
                raise TimeoutError(f"{error}\n{self._logs()}") from None
            self._stack.callback(self._cancel_jobs)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def run(self, *command: str | Path, folder: Path | None = None) -> str:
        """Output of a SLURM command; raises RuntimeError with what it printed if it fails."""
        done = subprocess.run(
            command, cwd=folder, env=self._environment(), capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
        return done.stdout

    def sbatch(self, *arguments: str | Path, folder: Path) -> int:
        """Submits a job from ``folder``; its id."""
        return int(self.run("sbatch", "--parsable", *arguments, folder=folder))

    def wait(self, job: int, seconds: float = 3600.0) -> tuple[str, str]:
        """Final state of a job and its exit code as "code:signal"; TimeoutError if it runs after
        ``seconds``."""

        def state() -> tuple[str, str]:
            shown = self.run("scontrol", "-o", "show", "job", str(job))
            return re.search(r"JobState=(\w+)", shown)[1], re.search(r" ExitCode=([\d:]+)", shown)[
                1
            ]

        _until(lambda: state()[0] in FINAL_STATES, seconds, f"job {job} to end")
        return state()

    def _environment(self) -> dict[str, str]:
        own = {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": os.environ["PATH"] + SBIN}
        return {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("SLURM_", "SBATCH_"))
        } | own

    def _configure(self) -> None:
        self.folder.chmod(0o755)  # munged wants its socket's folder reachable by all
        for name in ("state", "spool", "log", "gpus", "key"):
            (self.folder / name).mkdir(mode=0o700)
        for gpu in range(8):
            (self.folder / f"gpus/nvidia{gpu}").symlink_to("/dev/null")
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpus/nvidia[0-7]\n")
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        (self.folder / "key/munge.key").write_bytes(os.urandom(1024))
        (self.folder / "key/munge.key").chmod(0o600)
        port, *node_ports = _free_ports(1 + len(self.names))
        nodes = "\n".join(
            NODE.format(name=name, port=port)
            for name, port in zip(self.names, node_ports, strict=True)
        )
        text = SLURM_CONF.format(folder=self.folder, user=getpass.getuser(), port=port, nodes=nodes)
        (self.folder / "slurm.conf").write_text(text)

    def _munge_files(self) -> list[str]:
        names = {
            "socket": "munge.socket",
            "key-file": "key/munge.key",
            "pid-file": "key/munged.pid",
        }
        names |= {"log-file": "key/munged.log", "seed-file": "key/munged.seed"}
        return [f"--{option}={self.folder / name}" for option, name in names.items()]

    def _start(self, name: str, *command: str | Path) -> None:
        """Start a daemon in the foreground of a session of its own; daemons are stopped in reverse
        order."""
        log = self._stack.enter_context((self.folder / "log" / name).open("w"))
        daemon = subprocess.Popen(
            command, env=self._environment(), stdout=log, stderr=log, start_new_session=True
        )
        self._stack.callback(daemon.wait, PATIENCE)
        self._stack.callback(daemon.terminate)

    def _states(self) -> list[str]:
        """States of the nodes that slurmctld knows; none while it does not answer yet."""
        try:
            return self.run("sinfo", "-hN", "-o", "%T").split()
        except RuntimeError:
            return []

    def _logs(self) -> str:
        return "\n".join(
            f"{log.name}: {log.read_text()}" for log in sorted((self.folder / "log").iterdir())
        )

    def _cancel_jobs(self) -> None:
        self.run("scancel", f"--user={getpass.getuser()}")
        _until(lambda: not self.run("squeue", "-h").strip(), PATIENCE, "cancelled jobs to end")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.1)
