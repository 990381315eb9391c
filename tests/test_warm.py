"""What stands for ``python`` in the tests is to its starter as the program itself would be."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest
import warm

from red_mcore.system.devices import has_gpu

pytestmark = pytest.mark.skipif(
    has_gpu(),
    reason="this machine has an NVIDIA GPU, which a fork could not use: programs start cold",
)

TELLS = """
import json, os, signal, sys
umask = os.umask(0)
names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGPIPE")
print(json.dumps({
    "main": __name__,
    "argv": sys.argv,
    "orig_argv": sys.orig_argv[1:],
    "path": sys.path[0],
    "cwd": os.getcwd(),
    "umask": umask,
    "variables": [os.environ.get("GIVEN"), "HOME" in os.environ],
    "handlers": [repr(signal.getsignal(getattr(signal, name))) for name in names],
    "blocked": list(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
    "input": sys.stdin.read(),
}))
print("an error", file=sys.stderr)
sys.exit(7)
"""


def told(python, folder, *arguments: str) -> tuple:
    def prepare():
        os.umask(0o027)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

    environment = {"GIVEN": "a=b\nc", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [python, *arguments],
        cwd=folder,
        input="given",
        env=environment,
        preexec_fn=prepare,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr, json.loads(done.stdout)


@pytest.mark.parametrize("how", [["tells.py"], ["-u", "-m", "tells"], ["-c", TELLS]])
def test_a_program_is_as_of_the_real_interpreter(tmp_path, how):
    (tmp_path / "tells.py").write_text(TELLS)
    found = told(warm.python(), tmp_path, *how, "one", "--two=3 4")
    assert found[:2] == (7, "an error\n")
    real = told(sys.executable, tmp_path, *how, "one", "--two=3 4")
    real[2]["path"] = real[2]["path"] or str(tmp_path)  # of -c
    assert found == real


def test_torch_is_there_and_descendants_are_warm_too(tmp_path):
    asks = "import subprocess, sys; print('torch' in sys.modules, flush=True)"
    again = f"{asks}; subprocess.run([sys.executable, '-c', {asks!r}])"
    assert (
        subprocess.run([warm.python(), "-c", again], capture_output=True, text=True).stdout
        == "True\nTrue\n"
    )
    assert (
        subprocess.run([warm.python(), "-"], input=asks, capture_output=True, text=True).stdout
        == "False\n"
    )


@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("", 0),
        ("import sys; sys.exit('why')", 1),
        ("raise ValueError", 1),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("import os; os.abort()", -signal.SIGABRT),
        ("import atexit, os; atexit.register(os._exit, 5)", 5),
        ("import threading; threading.Timer(0.1, print, ['late']).start()", 0),
    ],
)
def test_its_end_is_mirrored(program, code):
    done = subprocess.run([warm.python(), "-c", program], capture_output=True, text=True)
    assert done.returncode == code
    assert ("Traceback" in done.stderr) == program.startswith("raise")
    assert ("why" in done.stderr, "late" in done.stdout) == ("why" in program, "late" in program)


WAITS = """
import os, signal, sys, time
for number in map(int, sys.argv[1:]):
    signal.signal(number, lambda number, frame: print(number, flush=True))
if os.fork() == 0:
    time.sleep(1000)
print(os.getpid(), flush=True)
while True:
    time.sleep(1000)
"""


@pytest.fixture
def waiting():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    command = [warm.python(), "-c", WAITS, *(str(int(number)) for number in numbers)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        program = psutil.Process(int(process.stdout.readline()))
        everybody = [program, *program.children()]
        assert len(everybody) == 2
        try:
            yield process, everybody, numbers
        finally:
            process.kill()
            for one in everybody:
                with suppress(psutil.NoSuchProcess):
                    one.kill()


def test_signals_are_passed_on(waiting):
    process, (program, _), numbers = waiting
    for number in numbers:
        process.send_signal(number)
        assert int(process.stdout.readline()) == number
    os.killpg(process.pid, signal.SIGTERM)
    assert int(process.stdout.readline()) == signal.SIGTERM
    program.send_signal(signal.SIGSEGV)
    assert process.wait() == -signal.SIGSEGV


def test_it_is_killed_with_its_session(waiting):
    process, everybody, _ = waiting
    process.kill()
    process.wait()
    while any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in everybody):
        time.sleep(0.02)
