import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from hostile import HOSTILE

from red_mcore.config.recipe import Data, Reward
from red_mcore.data.problems import load_problems
from red_mcore.rewards.verifier import Verifier
from red_mcore.samples.records import Problem

BOMB = "\\boxed{9^{9^{9^{9}}}}"
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which Linux alone has")


@pytest.fixture(scope="module")
def verifier():
    with Verifier(Reward(timeout_seconds=20)) as verifier:
        yield verifier


def children() -> list[int]:
    """Programs that were started warm are children of another process."""
    below = {child.pid for child in psutil.Process().children()}
    return [child.pid for child in multiprocessing.active_children() if child.pid in below]


def wait_until(condition) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def verdicts(verifier, questions) -> list[str]:
    return [grade.verdict for grade in verifier.grade(questions)]


def test_grades_keep_their_order(verifier):
    asked = {
        ("7", "so \\boxed{7}"): ("correct", "7"),
        ("7", "so \\boxed{8}"): ("wrong", "8"),
        ("7", "first \\boxed{7}, no: \\boxed{8}"): ("wrong", "8"),
        ("\\frac{1}{2}", "\\boxed{0.5}"): ("correct", "0.5"),
        ("1000", "\\boxed{\\$1,000}"): ("correct", "\\$1,000"),
        ("7", "the answer is 7"): ("unparsable", None),
        ("7", "\\boxed{7"): ("unparsable", None),
        ("7", "\\boxed{}"): ("unparsable", ""),
        ("7", "<think>\\boxed{7}</think> so \\boxed{8}"): ("wrong", "8"),
        ("7", "<think>\\boxed{7}</think> hm"): ("unparsable", None),
        ("7", "<answer>\\boxed{7}</answer>, not \\boxed{8}"): ("correct", "7"),
        ("", "\\boxed{}"): ("unparsable", ""),
        ("B", "\\boxed{(B)}", "choice"): ("correct", "(B)"),
        ("B", "\\boxed{A}", "choice"): ("wrong", "A"),
    }
    assert [tuple(grade) for grade in verifier.grade(asked)] == list(asked.values())
    assert verifier.grade([]) == []


def test_teacher_traces_verify(verifier):
    problems = load_problems(Data(problems=200, held_out=0), seed=0)[0]
    assert set(verdicts(verifier, [(p.gold, p.trace) for p in problems])) == {"correct"}


def test_whole_text_is_searched_without_boxed_only(verifier):
    asked = [
        ("7", "The final answer is $7$."),
        ("7", "It is 8"),
        ("7", "no number at all"),
        ("7", "\\boxed{7}"),
    ]
    found = [grade.verdict for grade in verifier.grade(asked, boxed_only=False)]
    assert found == ["correct", "wrong", "unparsable", "correct"]
    assert verdicts(verifier, asked) == ["unparsable", "unparsable", "unparsable", "correct"]


def test_golds_that_nothing_can_equal_are_told(verifier):
    golds = {"7": True, "\\frac{1}{2}": True, "Evelyn": True, "": False, "\\boxed{": False}
    faults = verifier.gold_faults([Problem(i, "?", gold) for i, gold in enumerate(golds)])
    assert [fault is None for fault in faults] == list(golds.values())
    assert (
        verifier.gold_faults(
            [Problem(0, "?", "B", kind="choice"), Problem(1, "?", "42", kind="choice")]
        )[0]
        is None
    )


def halved(problem, gold, response, tokens):
    """A user's reward function."""
    if response == "bad":
        raise ValueError(response)
    return tokens / 2


def test_users_functions_run_in_the_children(verifier):
    path = f"{__name__}:halved"
    asked = [("?", "7", "good", 3), ("?", "7", "bad", 3), ("?", "7", "good", 4)]
    assert verifier.call(path, asked) == [1.5, None, 2.0]


def test_nothing_hostile_hangs_crashes_or_scores():
    """A small time limit: it is the pool that has to survive, and what is slow must not count as
    right."""
    with Verifier(Reward(workers=4, timeout_seconds=1.0)) as verifier:
        found = verifier.grade(HOSTILE, boxed_only=False)
        assert len(HOSTILE) >= 40
        assert [
            row for row, grade in zip(HOSTILE, found, strict=True) if grade.verdict == "correct"
        ] == []
        # Beside load on the machine nothing brings a child down for good: those left answer at
        # once.
        verifier.grade([("1/3", "\\boxed{2/6}")] * 8)
        asked = [
            (f"\\frac{{1}}{{{i}}}", f"\\boxed{{\\frac{{2}}{{{2 * i}}}}}") for i in range(3, 40)
        ]
        assert set(verdicts(verifier, asked)) == {"correct"}


@pytest.mark.parametrize("everyone", [False, True])
def test_killed_children_lose_no_verdict(everyone):
    others = children()
    with Verifier(Reward(workers=3, timeout_seconds=60)) as verifier:
        assert verdicts(verifier, [("1/2", "\\boxed{2/4}")] * 6) == ["correct"] * 6
        asked = [
            (f"\\sqrt{{{i}}}+x", f"\\boxed{{x+\\sqrt{{{4 * i + i % 2}}}/2}}") for i in range(3, 60)
        ]
        victims = sorted(set(children()) - set(others))[: None if everyone else 1]

        def kill():
            wait_until(lambda: not any(child.idle for child in stopped))
            for pid in victims:
                os.kill(pid, signal.SIGKILL)

        stopped = [child for child in verifier._pool._children if child.process.pid in victims]
        for child in stopped:
            os.kill(
                child._worker, signal.SIGSTOP
            )  # so that the batch cannot be over before they are killed
        killer = threading.Thread(target=kill)
        killer.start()
        found = verdicts(verifier, asked)
        killer.join()
        assert not set(victims) & set(children())
        assert found == ["wrong" if i % 2 else "correct" for i in range(3, 60)]


def test_verdicts_are_the_same_on_a_busy_machine(busy):
    """A limit that none of these comes near by its own work, and most would if others' work
    counted."""
    asked = [
        (f"\\sqrt{{{i}}}+\\ln({i}x)", f"\\boxed{{\\ln(x)+\\ln{i}+\\sqrt{{{i + i % 2}}}}}")
        for i in range(3, 15)
    ]
    with Verifier(Reward(workers=2, timeout_seconds=0.5)) as verifier:
        idle = verdicts(verifier, [*asked, ("7", BOMB)])
        assert idle == ["wrong" if i % 2 else "correct" for i in range(3, 15)] + ["timeout"]
        verifier._known.clear()
        with busy():
            assert verdicts(verifier, [*asked, ("7", BOMB)]) == idle


def test_a_bomb_times_out_and_its_neighbours_do_not():
    with Verifier(Reward(timeout_seconds=1)) as verifier:
        assert verdicts(verifier, [("7", "\\boxed{1/2}")]) == ["wrong"]  # it has started
        asked = [("7", BOMB), ("7", "\\boxed{7}"), ("7", "again " + BOMB)]
        assert verdicts(verifier, asked) == ["timeout", "correct", "timeout"]


@linux
def test_children_hold_no_torch_and_ignore_ctrl_c(verifier):
    import torch  # noqa: F401  what a rank has, its children must not have

    assert verdicts(verifier, [("1/3", "\\boxed{2/6}")]) == ["correct"]
    for child in children():
        assert "libtorch" not in Path(f"/proc/{child}/maps").read_text()
        os.kill(child, signal.SIGINT)
    assert verdicts(verifier, [("1/4", "\\boxed{2/8}")]) == ["correct"]


@linux
def test_children_die_with_a_killed_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import multiprocessing, threading\n"
        "from red_mcore.config.recipe import Reward\n"
        "from red_mcore.rewards.verifier import Verifier\n"
        "if __name__ == '__main__':\n"
        "    verifier = Verifier(Reward(timeout_seconds=600))\n"
        "    verifier.grade([('7', '\\\\boxed{1/2}')])\n"
        f"    asked = [('7', {BOMB!r})]\n"
        "    threading.Thread(target=verifier.grade, args=(asked,), daemon=True).start()\n"
        "    threading.Event().wait(1.0)\n"
        "    print(*[child.pid for child in multiprocessing.active_children()], flush=True)\n"
        "    threading.Event().wait()\n"
    )
    found_from = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=found_from
    )
    try:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 1
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not Path(f"/proc/{pids[0]}").exists())
