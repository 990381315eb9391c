"""Progress in a log file and on a terminal."""

import io
import sys

import pytest

from red_mcore.tracking import console
from red_mcore.tracking.console import Console


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the console reads; a test moves them."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_periodic_lines_with_the_time_left(capsys, clock):
    with Console("RED", total=10, done=4) as progress:
        for step in (5, 6, 7):
            clock[0] += 6.0
            progress.update(step, {"loss": 0.123456})
        progress.print("note")
    assert capsys.readouterr().out.splitlines() == [
        "RED 5/10  left 0:00:30  loss 0.1235",
        "RED 7/10  left 0:00:18  loss 0.1235",
        "note",
    ]


def test_a_log_shows_the_last_step_and_the_phase_of_a_long_one(capsys, clock):
    with Console("RED", total=3) as progress:
        progress.update(1, {})
        clock[0] += 6.0
        progress.phase("sampling")
        clock[0] += 6.0
        progress.phase("update")
        progress.update(2, {})
        progress.update(3, {})
    assert [line.split("  ")[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["RED 1/3", "left 0:00:00"],
        ["RED 1/3", "update"],
        ["RED 3/3", "left 0:00:00"],
    ]


def test_phases_of_short_steps_do_not_crowd_out_the_metrics(capsys, clock):
    with Console("RED", total=100) as progress:
        for step in range(1, 5):
            progress.phase("sampling")
            clock[0] += 6.0
            progress.update(step, {"loss": 0.5})
    assert capsys.readouterr().out.splitlines() == [
        "RED 0/100  sampling",
        "RED 2/100  left 0:09:48  loss 0.5",
        "RED 4/100  left 0:09:36  loss 0.5",
    ]


def test_a_terminal_gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    with Console("RED", total=3) as progress:
        progress.phase("sampling")
        progress.update(2, {"loss": 0.5})
        progress.print("saved [1]")
    for part in ("RED", "2/3", "loss 0.5", "sampling", "saved [1]"):
        assert part in screen.getvalue()
