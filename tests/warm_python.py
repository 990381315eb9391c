"""In the place of ``python``: the program starts warm, as a fork of ``warm_server``, and this
process stands for it.

    python -I -S warm_python.py SOCKET EXECUTABLE ARGUMENTS...

Arguments, environment, folder, umask, signals that are ignored or blocked, and standard input and
output are this process's. Signals are passed on, its end is mirrored, and where this process is
killed, so is the program's session. Only what no other process can tell differs: the program leads
a session of its own. ``EXECUTABLE`` is its ``sys.executable``: what it starts by that is warm, too.
"""

import json
import os
import signal
import socket
import sys
from contextlib import suppress

COLD = ("red_mcore.checkpoints.identity", "red_mcore.planning.rehearsal")
"""Modules that do without torch, which a warm program cannot."""
PASSED_ON = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def ask(address: str, files: tuple[int, ...], **request) -> socket.socket:
    """Start a program with ``files``, descriptors, as standard input and output; ``answer`` is to
    be asked twice.

    ``command``, ``cwd`` and ``environment`` as for subprocess; where given, ``umask``, and
    ``parent``, the process that it is told to have been started by. It is as nice as the thread
    that asks, and dies with the connection.
    """
    request["nice"] = os.getpriority(os.PRIO_PROCESS, 0)
    request["ignored"] = [
        number for number in PASSED_ON if signal.getsignal(number) == signal.SIG_IGN
    ]
    request["blocked"] = list(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    talk = socket.socket(socket.AF_UNIX)
    talk.connect(address)
    socket.send_fds(talk, [b"\n"], files)
    talk.sendall(json.dumps(request).encode() + b"\n")
    return talk


def answer(talk: socket.socket) -> int:
    """At first the number of the program's process, then its end as ``subprocess`` has it:
    a code, or -SIGNAL."""
    text = b""
    while not text.endswith(b"\n"):
        if not (byte := talk.recv(1)):
            raise EOFError("the server of warm programs has ended")
        text += byte
    return int(text)


def is_cold(arguments: list[str]) -> bool:
    """Whether only the real interpreter can do it."""
    first, *more = arguments[arguments[:1] == ["-u"] :] or [""]
    if first == "-m":
        return not more or more[0] in COLD
    return first != "-c" and not first.endswith(".py")


def main(address: str, executable: str, *arguments: str) -> None:
    if is_cold([*arguments]):
        os.execv(sys.executable, [sys.executable, *arguments])
    talk = ask(
        address,
        (0, 1, 2),
        command=[executable, *arguments],
        cwd=os.getcwd(),
        environment=dict(os.environ),
        umask=os.umask(0),
        parent=os.getppid(),
    )
    pid = answer(talk)
    for number in PASSED_ON:
        signal.signal(number, lambda number, frame: pass_on(number, pid))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    code = answer(talk)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def pass_on(number: int, pid: int) -> None:
    with suppress(ProcessLookupError):  # it has ended, and this process is about to
        os.kill(pid, number)


if __name__ == "__main__":
    main(*sys.argv[1:])
