"""Python programs that start warm: as forks of a process that has imported torch, Megatron, vLLM and MLflow.

These imports are most of the time of a short run. Apart from them a program runs as from the command line: as
``__main__``, with its own arguments, environment, session and output.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from red_mcore.system.devices import has_gpu

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
_forks = multiprocessing.get_context("forkserver")


class Program:
    """``[sys.executable, "-m", module, ...]`` or ``[sys.executable, script, ...]`` in a session of its own.

    What it prints goes to the file ``output``, errors too unless they have a file of their own; ``env`` is as for
    subprocess.
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
        python, *arguments = map(str, command)
        assert python == sys.executable
        self.args = [python, *arguments]
        self._output = output
        environment = dict(os.environ if env is None else env)
        place = (str(output), str(errors or output), str(cwd))
        self._process = _forks.Process(target=_run, args=(arguments, *place, environment))
        with _found_by_the_server():
            self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self) -> int:
        self._process.join()
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
                self._process.kill()

    def output(self) -> str:
        """What it has printed so far."""
        return self._output.read_text()


class ColdProgram(subprocess.Popen):
    """The same where there is a GPU, which a fork could not use."""

    def __init__(self, command, output, errors=None, *, cwd=ROOT, env=None) -> None:
        self._output = output
        with output.open("w") as out, (errors or output).open("a") as err:
            super().__init__(list(map(str, command)), stdout=out, stderr=err, cwd=cwd, env=env, start_new_session=True)

    def kill(self) -> None:
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)

    def output(self) -> str:
        return self._output.read_text()


start = ColdProgram if has_gpu() else Program


def run(command: Sequence[object], **options) -> subprocess.CompletedProcess:
    """As subprocess's, with the output as text; it is killed where the caller does not wait for its end."""
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        program = start(command, output, errors, **options)
        try:
            code = program.wait()
        finally:
            program.kill()
        return subprocess.CompletedProcess(program.args, code, output.read_text(), errors.read_text())


@contextmanager
def _found_by_the_server():
    """Variables that the server of forks has to see at its own start, which is the first program's."""
    names = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(TESTS))), "OMP_NUM_THREADS": "1"}
    before = {name: os.environ.get(name) for name in names}
    os.environ |= names
    _forks.set_forkserver_preload(["warm_imports"])
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _run(arguments: list[str], output: str, errors: str, cwd: str, environment: dict[str, str]) -> None:
    import warm_imports

    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, file in ((1, output), (2, errors)):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(cwd)
    os.environ.clear()
    os.environ |= environment | warm_imports.SETTINGS
    own = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    multiprocessing.process.ORIGINAL_DIR = cwd  # as when it was imported there
    is_module = arguments[0] == "-m"
    sys.argv = arguments[1:] if is_module else arguments
    sys.path[:0] = [cwd if is_module else str(Path(arguments[0]).resolve().parent), *own]
    if is_module:
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(str(Path(arguments[0]).resolve()), run_name="__main__")


def wait_for(file: Path, program: Program) -> None:
    """Until something is written to ``file``."""
    while not file.exists() or not file.stat().st_size:
        assert program.poll() is None, "it ended too early: " + program.output()
        time.sleep(0.02)
