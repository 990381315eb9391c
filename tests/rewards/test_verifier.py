import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from red_mcore.data.problems import load_problems
from red_mcore.recipe import Data, Reward
from red_mcore.rewards.verifier import Verifier

BOMB = "\\boxed{9^{9^{9^{9}}}}"
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def verifier():
    with Verifier(Reward(timeout_seconds=20)) as verifier:
        yield verifier


def children() -> list[int]:
    return [child.pid for child in multiprocessing.active_children()]


def wait_until(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_verdicts_keep_their_order(verifier):
    pairs = {
        ("7", "so \\boxed{7}"): "correct",
        ("7", "so \\boxed{8}"): "wrong",
        ("7", "first \\boxed{7}, no: \\boxed{8}"): "wrong",
        ("\\frac{1}{2}", "\\boxed{0.5}"): "correct",
        ("1000", "\\boxed{\\$1,000}"): "correct",
        ("7", "the answer is 7"): "unparsable",
        ("7", "\\boxed{7"): "unparsable",
        ("7", "\\boxed{}"): "unparsable",
        ("E_{1},E_{2}", "\\boxed{E_{1},E_{2}}"): "unparsable",  # math-verify cannot read this gold
        ("", "\\boxed{}"): "unparsable",
    }
    assert verifier.grade(list(pairs)) == list(pairs.values())
    assert verifier.grade([]) == []


def test_gold_and_answer_are_not_swapped(verifier):
    # math-verify unwraps an assignment for a plain gold number, but takes no plain pair for a gold equation.
    assert verifier.grade([("5", "\\boxed{2x+1=5}"), ("2x+1=5", "\\boxed{5}")]) == ["correct", "wrong"]


def test_teacher_traces_verify(verifier):
    problems = load_problems(Data(problems=200, held_out=0), seed=0)[0]
    assert set(verifier.grade([(p.gold, p.trace) for p in problems])) == {"correct"}


def test_whole_text_is_searched_without_boxed_only():
    with Verifier(Reward(boxed_only=False, timeout_seconds=20)) as verifier:
        pairs = [("7", "The final answer is $7$."), ("7", "It is 8"), ("7", "no number at all"), ("7", "\\boxed{7}")]
        assert verifier.grade(pairs) == ["correct", "wrong", "unparsable", "correct"]


def test_a_bomb_times_out_and_its_neighbours_do_not():
    with Verifier(Reward(timeout_seconds=1)) as verifier:
        verdicts = verifier.grade([("7", BOMB), ("7", "\\boxed{7}"), ("7", "again " + BOMB)])
        assert verdicts == ["timeout", "correct", "timeout"]


def test_a_killed_child_is_a_crash_and_is_replaced():
    others = children()
    with Verifier(Reward(timeout_seconds=60)) as verifier:
        assert verifier.grade([("7", "\\boxed{7}")]) == ["correct"]
        (child,) = set(children()) - set(others)
        threading.Timer(1.0, os.kill, (child, signal.SIGKILL)).start()
        assert verifier.grade([("7", BOMB), ("7", "\\boxed{8}")]) == ["crash", "wrong"]


def test_a_child_killed_while_idle_costs_no_verdict():
    others = children()
    with Verifier(Reward(timeout_seconds=20)) as verifier:
        assert verifier.grade([("7", "\\boxed{7}")]) == ["correct"]
        (child,) = set(children()) - set(others)
        os.kill(child, signal.SIGKILL)
        wait_until(lambda: child not in children())
        assert verifier.grade([("7", "\\boxed{8}")]) == ["wrong"]


@linux
def test_children_hold_no_torch_and_ignore_ctrl_c(verifier):
    import torch  # noqa: F401  what a rank has, its children must not have

    assert verifier.grade([("3", "\\boxed{3}")]) == ["correct"]
    for child in children():
        assert "libtorch" not in Path(f"/proc/{child}/maps").read_text()
        os.kill(child, signal.SIGINT)
    assert verifier.grade([("4", "\\boxed{4}")]) == ["correct"]


@linux
def test_children_die_with_a_killed_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import multiprocessing, threading\n"
        "from red_mcore.recipe import Reward\n"
        "from red_mcore.rewards.verifier import Verifier\n"
        "if __name__ == '__main__':\n"
        "    verifier = Verifier(Reward(timeout_seconds=600))\n"
        "    verifier.grade([('7', '\\\\boxed{7}')])\n"
        f"    threading.Thread(target=verifier.grade, args=([('7', {BOMB!r})],), daemon=True).start()\n"
        "    threading.Event().wait(1.0)\n"
        "    print(*[child.pid for child in multiprocessing.active_children()], flush=True)\n"
        "    threading.Event().wait()\n"
    )
    found_from = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=found_from)
    try:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 1
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not Path(f"/proc/{pids[0]}").exists())
