"""What signals ask of a process, and when it is heeded."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from red_mcore.system import signals

ROOT = Path(__file__).parent.parent
HELD = """
import os, signal
from red_mcore.system import signals
signals.hold()
os.kill(os.getpid(), signal.SIGUSR1)  # comes long before the process is ready
print(os.fork() and os.wait()[1], flush=True)  # a child holds it, too
asked = signals.Asked()
asked.heed()
os.kill(os.getpid(), signal.SIGHUP)
print(asked.take(), flush=True)
"""


@pytest.fixture
def asked():
    before = {number: signal.getsignal(number) for number in (*signals.STOP, signals.SAVE)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where nohup started the tests
    found = signals.Asked()
    found.heed()
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


def test_to_save_is_asked_once(asked):
    assert asked.take() == 0
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert [asked.take(), asked.take()] == [signals.SAVING, 0]


@pytest.mark.parametrize("number", signals.STOP)
def test_to_stop_is_asked_for_good(asked, number):
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), number)
    assert [asked.take(), asked.take()] == [signals.STOPPING] * 2
    assert max(signals.SAVING, signals.STOPPING) == signals.STOPPING, (
        "of two ranks' answers the largest counts"
    )


@pytest.mark.parametrize(("words", "after"), [((), signals.STOPPING), (("nohup",), signals.SAVING)])
def test_what_came_too_early_is_kept_and_nohup_lets_no_terminal_stop_a_run(words, after):
    done = subprocess.run(
        [*words, sys.executable, "-c", HELD],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        timeout=300,
    )
    assert done.returncode == 0
    assert done.stdout.split()[-1] == str(after)
