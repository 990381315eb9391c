import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from red_mcore.rewards import pool as pool_module
from red_mcore.rewards.pool import TRIES, Pool


def work(what, value=None):
    """The children's task."""
    if what == "sleep":
        time.sleep(value)
    elif what == "spin":
        while True:
            pass
    elif what == "touch":
        Path(value).touch()
    elif what == "wait":  # for a file that comes, or never does
        Path(value, "begun").touch()
        while not Path(value, "over").exists():
            time.sleep(0.01)
    elif what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "raise":
        raise ValueError("no such thing")
    elif what == "deep":
        work("deep")
    elif what == "fill":
        return len(bytearray(value))
    return value


def count(seconds):
    """A task that takes this much CPU time; returns something else than a child that is ended."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return seconds


def fail():
    sys.exit(3)


def children() -> list[int]:
    return [child.pid for child in multiprocessing.active_children()]


@pytest.fixture
def once():
    """Calls a function in a thread once a file exists; the test waits for the thread."""
    over, threads = threading.Event(), []

    def start(file: Path, act) -> None:
        def wait():
            while not file.exists():
                if over.wait(0.01):
                    return
            act()

        threads.append(threading.Thread(target=wait))
        threads[-1].start()

    yield start
    over.set()
    for thread in threads:
        thread.join()


def test_results_keep_the_order_of_their_tasks():
    with Pool(work, 2, 30) as pool:
        tasks = [("echo", i) for i in range(100)]
        assert pool.run(tasks) == [("done", i) for i in range(100)]
        assert pool.run([]) == []


def test_failures_cost_their_own_task_alone():
    with Pool(work, 2, 2.0) as pool:
        bad = {3: ("spin",), 10: ("die",), 11: ("raise",), 12: ("deep",), 20: ("fill", 5 << 30)}
        results = pool.run([bad.get(i, ("echo", i)) for i in range(40)])
        assert [results.pop(i)[0] for i in (20, 12, 11, 10, 3)] == ["crash", "crash", "crash", "crash", "timeout"]
        assert results == [("done", i) for i in range(40) if i not in bad]
        assert pool.run([("raise",)]) == [("crash", "ValueError: no such thing")]


def test_a_child_that_only_waits_is_ended_by_the_wall_clock(monkeypatch, tmp_path):
    monkeypatch.setattr(pool_module, "WALL", 0.05)
    with Pool(work, 1, 60) as pool:
        assert pool.run([("wait", tmp_path)]) == [("timeout", None)]
        assert (tmp_path / "begun").exists()


def test_time_that_others_take_is_nobodys(monkeypatch, busy):
    """Every task needs less CPU time than its limit, and beside four busy loops a core more of the wall's than ``WALL``
    allows a child that waits."""
    monkeypatch.setattr(pool_module, "WALL", 1.0)
    with Pool(count, 2, 0.4) as pool:
        pool.run([(0.0,)] * 4)
        with busy():
            assert pool.run([(0.2,), (0.2,), (60.0,), (0.1,)]) == [
                ("done", 0.2),
                ("done", 0.2),
                ("timeout", None),
                ("done", 0.1),
            ]


@pytest.mark.parametrize("everyone", [False, True])
def test_killed_children_lose_no_result(once, everyone, tmp_path):
    others = set(children())

    def kill():
        there = list(set(children()) - others)
        for pid in there if everyone else random.sample(there, min(1, len(there))):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    files = [tmp_path / str(i) for i in range(300)]
    with Pool(work, 3, 60) as pool:
        pool.run([("echo", 0)] * 6)  # all have started
        for at in (20, 200):  # fewer kills than a task has tries, however they fall
            once(files[at], kill)
        assert pool.run([("touch", file) for file in files]) == [("done", file) for file in files]
    assert all(file.exists() for file in files)


def test_children_killed_between_batches_are_replaced():
    others = set(children())
    with Pool(work, 2, 30) as pool:
        for i in range(TRIES + 1):
            assert pool.run([("echo", i)] * 4) == [("done", i)] * 4
            for pid in set(children()) - others:
                os.kill(pid, signal.SIGKILL)


def test_children_that_cannot_start_are_an_error():
    with Pool(work, 1, 30, fail) as pool, pytest.raises(RuntimeError, match=r"do not start .* exit code 3"):
        pool.run([("echo", 1)])


@pytest.fixture
def interruptible():
    """Ctrl-C raises here also where pytest itself is a background job, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_batch_leaves_nothing_behind(once, tmp_path):
    with Pool(work, 2, 30) as pool:
        assert pool.run([("echo", 0)]) == [("done", 0)]
        main = threading.main_thread().ident
        once(tmp_path / "begun", lambda: signal.pthread_kill(main, signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            pool.run([("echo", 1), ("wait", tmp_path)] + [("echo", 2)] * 40)
        assert pool.run([("echo", i) for i in range(10)]) == [("done", i) for i in range(10)]
