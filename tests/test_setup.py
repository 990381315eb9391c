"""What all ranks agree on after a step."""

import os
import signal
from types import SimpleNamespace

import pytest

from red_mcore.system import signals
from red_mcore.train.setup import Run, State

pytestmark = pytest.mark.usefixtures("one_rank")


@pytest.fixture
def run():
    before = {number: signal.getsignal(number) for number in (*signals.STOP, signals.SAVE)}
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where nohup started the tests
    said: list[str] = []
    found = SimpleNamespace(asked=signals.Asked(), state=State(step=7), said=said, say=said.append)
    found.asked.heed()
    yield found
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_run_saves_once_and_goes_on_and_stops_for_good(run):
    Run.agree(run)
    assert (run.stopping, run.saving, run.said) == (False, False, [])
    os.kill(os.getpid(), signal.SIGUSR1)
    Run.agree(run)
    assert (run.stopping, run.saving) == (False, True)
    assert run.said == ["saving after main step 7, as SIGUSR1 asked"]
    Run.agree(run)
    assert (run.stopping, run.saving) == (False, False)
    os.kill(os.getpid(), signal.SIGHUP)
    for _ in range(2):
        Run.agree(run)
        assert (run.stopping, run.saving) == (True, False)
