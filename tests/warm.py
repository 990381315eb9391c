"""Python programs that start warm: as forks of a process that has imported torch, Megatron, vLLM
and MLflow.

These imports are most of the time of a short run. Apart from them a program runs as from the
command line: as ``__main__``, with its own arguments, environment, session and output. ``start``
and ``run`` start such programs, ``python()`` is what other programs are given to start them by.
"""

from __future__ import annotations

import functools
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import warm_python

from red_mcore.system.devices import has_gpu

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
_ENVIRONMENT = dict(os.environ)
"""Before tests change it."""
_lock = threading.Lock()


class Program:
    """``[python, "-m", module, ...]`` or ``[python, script, ...]`` in a session of its own.

    What it prints goes to the file ``output``, errors too unless they have a file of their own;
    ``env`` is as for subprocess.
    """

    def __init__(
        self,
        command: Sequence[object],
        output: Path,
        errors: Path | None = None,
        *,
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.args = list(map(str, command))
        self._output = output
        self.returncode: int | None = None
        environment = dict(os.environ if env is None else env)
        with (
            open(os.devnull) as nothing,
            output.open("a") as out,
            (errors or output).open("a") as err,
        ):
            files = (nothing.fileno(), out.fileno(), err.fileno())
            self._talk = warm_python.ask(
                server().address, files, command=self.args, cwd=str(cwd), environment=environment
            )
        self.pid = warm_python.answer(self._talk)

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._talk], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = warm_python.answer(self._talk)
            self._talk.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """And what it has started in its session."""
        if self.poll() is None:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:  # it has no session yet
                with suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)

    def output(self) -> str:
        """What it has printed so far."""
        return self._output.read_text()


class ColdProgram(subprocess.Popen):
    """The same where there is a GPU, which a fork could not use."""

    def __init__(self, command, output, errors=None, *, cwd=ROOT, env=None) -> None:
        self._output = output
        with output.open("w") as out, (errors or output).open("a") as err:
            super().__init__(
                list(map(str, command)),
                stdout=out,
                stderr=err,
                cwd=cwd,
                env=env,
                start_new_session=True,
            )

    def kill(self) -> None:
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)

    def output(self) -> str:
        return self._output.read_text()


start = ColdProgram if has_gpu() else Program


def run(command: Sequence[object], **options) -> subprocess.CompletedProcess:
    """As subprocess's, with the output as text; it is killed where the caller does not wait for its
    end."""
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        program = start(command, output, errors, **options)
        try:
            code = program.wait()
        finally:
            program.kill()
        return subprocess.CompletedProcess(
            program.args, code, output.read_text(), errors.read_text()
        )


class _Server:
    """The one that forks this process's programs; it ends with this process."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="warm-")
        self.address = f"{self._folder.name}/socket"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen(128)
            self._process = subprocess.Popen(
                [sys.executable, TESTS / "warm_server.py", str(listener.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                env=_ENVIRONMENT | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
        self.python = Path(self._folder.name, "python")
        stand_in = [sys.executable, "-I", "-S", str(TESTS / "warm_python.py"), self.address]
        self._write(self.python, shlex.join(stand_in) + ' "$0"')
        self._write(self.python.with_name("torchrun"), f"{self.python} -m torch.distributed.run")

    @staticmethod
    def _write(file: Path, command: str) -> None:
        file.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        file.chmod(0o755)


_server = functools.cache(_Server)


def server() -> _Server:
    with _lock:
        return _server()


def python() -> Path:
    """An interpreter whose programs are warm, but where there is a GPU; its folder, which has
    torchrun, too, is for the front of PATH."""
    return Path(sys.executable) if has_gpu() else server().python


def wait_for(file: Path, program: Program) -> None:
    """Until something is written to ``file``."""
    while not file.exists() or not file.stat().st_size:
        assert program.poll() is None, "it ended too early: " + program.output()
        time.sleep(0.02)
