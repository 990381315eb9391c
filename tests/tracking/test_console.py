"""Progress in a log file and on a terminal."""

from __future__ import annotations

import io
import re
import sys

import pytest
from rich.console import Console as Screen

from red_mcore.tracking import console
from red_mcore.tracking.console import Console, Watched


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the console reads; a test moves them."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(console, "TICK_SECONDS", 1e6)  # ``tick`` is called by the test alone
    return now


@pytest.fixture
def terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def terminal(columns: int) -> Terminal:
        monkeypatch.setattr(sys, "stdout", Terminal())
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(columns))
        return sys.stdout

    return terminal


def test_a_log_gets_periodic_lines_with_the_time_left(capsys, clock):
    with Console("RED", total=10, done=4) as progress:
        for step in (5, 6, 7):
            clock[0] += 6.0
            progress.update(step, {"loss": 0.123456})
        progress.print("note")
        clock[0] += 2.0
        progress.update(8, {"loss": 0.0})
    assert capsys.readouterr().out.splitlines() == [
        "RED 5/10  0:00:06  left 0:00:30  loss 0.1235",
        "RED 7/10  0:00:18  left 0:00:18  loss 0.1235",
        "note",
        "RED 8/10  0:00:20  left 0:00:10  loss 0",  # and was stopped
    ]


def test_a_long_step_always_prints_its_result(capsys, clock):
    with Console("RED", total=9) as progress:
        for step in range(1, 4):
            for phase in ("sample", "update"):
                progress.phase(phase)
                for _ in range(12):
                    clock[0] += 1.0
                    progress.tick()
            progress.update(step, {"loss": 0.5})
    assert [line.split("  ")[::3] for line in capsys.readouterr().out.splitlines()] == [
        line
        for step in range(3)
        for line in (
            [f"RED {step}/9", "sample for 0:00:10"],
            [f"RED {step}/9", "update for 0:00:10"],
            [f"RED {step + 1}/9", "loss 0.5"],
        )
    ]


def test_a_phase_shows_only_where_it_lasts_and_then_ever_more_seldom(capsys, clock):
    with Console("RED", total=3) as progress:
        progress.update(1, {})
        for phase, seconds in {"sample": 9, "publish": 1, "evaluate": 100, "save": 5}.items():
            progress.phase(phase)
            for second in range(seconds):
                clock[0] += 1.0
                if phase == "evaluate":
                    progress.part(second + 1, 100)
                progress.tick()
        clock[0] += 100.0
        progress.phase("")
        progress.tick()
    assert [line.rpartition("  ")[2] for line in capsys.readouterr().out.splitlines()[1:]] == [
        "evaluate 10/100, left 0:01:30",
        "evaluate 20/100, left 0:01:20",
        "evaluate 40/100, left 0:01:00",
        "evaluate 80/100, left 0:00:20",
    ]


def test_the_last_step_is_shown(capsys, clock):
    with Console("RED", total=3) as progress:
        for step in (1, 2, 3):
            clock[0] += 1.0
            progress.update(step, {})
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()] == [
        "RED 1/3",
        "RED 3/3",
    ]


def test_time_left_is_unknown_before_the_first_step_and_falls_while_one_goes_on(capsys, clock):
    with Console("RED", total=3, done=1) as progress:
        progress.phase("sample")
        clock[0] += 30.0
        progress.tick()
        progress.update(2, {})
        for _ in range(3):
            progress.phase("sample")
            clock[0] += 20.0
            progress.tick()
    assert [line.split("  ")[2] for line in capsys.readouterr().out.splitlines()] == [
        "left -:--:--",
        "left 0:00:30",
        "left 0:00:10",
        "left 0:00:01",  # it takes longer than the first
        "left 0:00:01",
    ]


def test_what_is_shown_from_its_first_part_on_knows_how_long_that_took(capsys, clock):
    with Watched("responses") as watch:
        clock[0] += 30.0
        watch(1, 4)
    assert capsys.readouterr().out == "responses 1/4  0:00:30  left 0:01:30\n"
    with Watched("nothing to do"):
        pass
    assert capsys.readouterr().out == ""


def test_who_is_not_shown_prints_nothing(capsys, clock):
    with Console("RED", total=3, show=False) as progress:
        progress.phase("sample")
        clock[0] += 100.0
        progress.tick()
        progress.print("note")
        progress.update(3, {})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("columns", [160, 80, 44])
def test_a_terminal_never_cuts_steps_and_times(clock, terminal, columns):
    terminal(columns)
    progress = Console("sft_then_grpo", total=15000)
    clock[0] += 5 * 3600
    progress.update(12000, {"accuracy": 0.123456, "tokens": 8123.4, "loss": -0.000123456})
    progress.phase("benchmarks")
    clock[0] += 60.0
    progress.part(100, 4096)
    screen = Screen(width=columns, file=io.StringIO(), force_terminal=True, color_system=None)
    screen.print(progress)
    first, second = screen.file.getvalue().splitlines()
    assert re.search(r"  12000/15000  5:01:00  left 1:14:59$", first.rstrip())
    assert all(len(line) <= columns for line in (first, second))
    assert (first.startswith("sft_then_grpo  ━"), first.startswith("sft_the…  ")) == (
        columns > 44,
        columns == 44,
    )
    assert second.startswith("accuracy 0.1235  tokens 8123  loss -0.0001")
    assert second.rstrip().endswith("  benchmarks 100/4096, left 0:39:58" if columns > 44 else "…")


def test_a_phase_on_a_terminal_shows_only_where_it_lasts(clock, terminal):
    terminal(80)
    progress = Console("RED", total=3)

    def shown() -> str:
        screen = Screen(width=80, file=io.StringIO())
        screen.print(progress)
        return screen.file.getvalue()

    progress.phase("publish")
    clock[0] += 0.5
    assert "publish" not in shown()
    clock[0] += 1.0
    assert "publish for 0:00:01" in shown()


def test_a_terminal_gets_both_lines_and_notes(terminal):
    screen = terminal(160)
    with Console("RED", total=3) as progress:
        progress.phase("sampling")
        progress.update(2, {"loss": 0.5})
        progress.print("saved [1]")
    for part in ("RED", "2/3", "loss 0.5", "saved [1]"):
        assert part in screen.getvalue()
