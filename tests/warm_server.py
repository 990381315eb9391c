"""Forks programs from a process that has imported torch, Megatron, vLLM and MLflow; ``warm`` starts
and asks it.

python warm_server.py LISTENER: the number of an open socket. It ends with its standard input, and
its programs with it.
"""

from __future__ import annotations

import atexit
import io
import json
import multiprocessing
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
import types
from contextlib import suppress
from pathlib import Path

from warm_python import PASSED_ON


class Server:
    """``files``: descriptors of standard input and output;
    a program's ``talk`` is with who asked for it."""

    def __init__(self, listener: socket.socket) -> None:
        self._programs: dict[int, socket.socket] = {}
        self._woken, self._wake = socket.socketpair()
        self._wake.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(self._wake.fileno())
        self._listener, self._selector = listener, selectors.DefaultSelector()
        for source in (listener, sys.stdin, self._woken):
            self._selector.register(source, selectors.EVENT_READ)

    def serve(self) -> tuple[dict, list[int]]:
        """Returns in the forks alone: what is asked of each, and its files."""
        while True:
            for source in [key.fileobj for key, _ in self._selector.select()]:
                if source is self._listener:
                    if asked := self._accept():
                        return asked
                elif source is self._woken:
                    self._woken.recv(4096)
                    self._reap()
                elif source is sys.stdin:
                    for pid in self._programs:
                        _kill(pid)
                    os._exit(0)
                else:  # whoever asked for it is gone; it may be so, too, since a moment
                    for pid in [pid for pid, talk in self._programs.items() if talk is source]:
                        self._selector.unregister(source)
                        _kill(pid)

    def _accept(self) -> tuple[dict, list[int]] | None:
        talk, _ = self._listener.accept()
        if (asked := _receive(talk)) is None:
            talk.close()
            return None
        if (pid := os.fork()) == 0:
            signal.set_wakeup_fd(-1)
            self._selector.close()
            for other in (self._listener, self._woken, self._wake, talk, *self._programs.values()):
                other.close()
            return asked
        for number in asked[1]:
            os.close(number)
        self._programs[pid] = talk
        self._selector.register(talk, selectors.EVENT_READ)
        _tell(talk, pid)
        return None

    def _reap(self) -> None:
        for pid, talk in list(self._programs.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._programs[pid]
                if talk in self._selector.get_map():
                    self._selector.unregister(talk)
                _tell(talk, os.waitstatus_to_exitcode(status))
                talk.close()


def _receive(talk: socket.socket) -> tuple[dict, list[int]] | None:
    """None where who asked ends before he has."""
    with talk.makefile("rb") as rest:
        _, files, _, _ = socket.recv_fds(talk, 1, 3)
        text = rest.readline()
    if not text.endswith(b"\n"):
        for number in files:
            os.close(number)
        return None
    return json.loads(text), files


def _tell(talk: socket.socket, number: int) -> None:
    with suppress(OSError):  # nobody listens any more
        talk.sendall(b"%d\n" % number)


def _kill(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # it has no session yet
        os.kill(pid, signal.SIGKILL)


def become(request: dict, files: list[int]) -> list[str]:
    """Make this fork what a process of the real interpreter would be; its arguments."""
    os.setsid()
    _be_nice(request["nice"])
    for number, file in enumerate(files):
        os.dup2(file, number)
    for file in files:
        os.close(file)
    if "umask" in request:  # else this process's
        os.umask(request["umask"])
    os.chdir(request["cwd"])
    for number in (*PASSED_ON, signal.SIGCHLD):
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else usual)
    signal.pthread_sigmask(signal.SIG_SETMASK, request["blocked"])
    os.environ.clear()
    os.environ |= request["environment"] | warm_imports.SETTINGS
    if "parent" in request:
        _has_parent(request["parent"])
    multiprocessing.process.ORIGINAL_DIR = request["cwd"]  # as when it was imported there
    sys.executable, *arguments = request["command"]
    sys.orig_argv = [sys.executable, *arguments]
    if arguments[0] == "-u":
        del arguments[0]
        sys.stdout = io.TextIOWrapper(
            io.FileIO(1, "w", closefd=False), encoding="utf-8", write_through=True
        )
    own = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    is_file = arguments[0] not in ("-m", "-c")
    sys.path[:0] = [str(Path(arguments[0]).resolve().parent) if is_file else request["cwd"], *own]
    return arguments


def _be_nice(nice: int) -> None:
    """Linux weighs sessions against one another, and within them processes."""
    os.setpriority(os.PRIO_PROCESS, 0, nice)
    with suppress(OSError):  # of a kernel without groups; or they may not be set so often
        Path("/proc/self/autogroup").write_text(str(nice))


def _has_parent(pid: int) -> None:
    """It may ask whether who started it still lives; its own forks have it for a parent."""
    real, os.getppid = os.getppid, lambda: pid
    os.register_at_fork(after_in_child=lambda: setattr(os, "getppid", real))


def run(arguments: list[str]) -> int:
    """As ``__main__``; the exit code."""
    try:
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.modules["__main__"] = main = types.ModuleType("__main__")
            if arguments[0] == "-c":
                sys.argv = ["-c", *arguments[2:]]
                exec(arguments[1], vars(main))
            else:
                sys.argv = arguments
                main.__file__ = os.path.abspath(arguments[0])
                exec(compile(Path(main.__file__).read_bytes(), main.__file__, "exec"), vars(main))
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)
        return 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    return 0


def end(code: int) -> None:
    """As the interpreter ends, but for taking the imported modules to pieces."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    begin = sys.path[:]
    import warm_imports

    sys.path[:] = begin[2:]  # without this folder and the one that ``warm`` has named
    end(run(become(*Server(socket.socket(fileno=int(sys.argv[1]))).serve())))
