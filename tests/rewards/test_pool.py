import multiprocessing
import os
import random
import signal
import sys
import threading
import time

import pytest

from red_mcore.rewards.pool import TRIES, Pool


def work(what, value=None):
    """The children's task."""
    if what == "sleep":
        time.sleep(value)
    elif what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "raise":
        raise ValueError("no such thing")
    elif what == "deep":
        work("deep")
    elif what == "fill":
        return len(bytearray(value))
    return value


def fail():
    sys.exit(3)


def children() -> list[int]:
    return [child.pid for child in multiprocessing.active_children()]


@pytest.fixture
def killer():
    """Kills every child, or one, each time it has waited as long as it is told; until the test is over."""
    over = threading.Event()
    threads = []

    def start(pids, waits: list[float], everyone: bool) -> None:
        def kill():
            for seconds in waits:
                if over.wait(seconds):
                    return
                there = pids()
                for pid in there if everyone else random.sample(there, min(1, len(there))):
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        continue

        threads.append(threading.Thread(target=kill))
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
        bad = {3: ("sleep", 60), 10: ("die",), 11: ("raise",), 12: ("deep",), 20: ("fill", 5 << 30)}
        results = pool.run([bad.get(i, ("echo", i)) for i in range(40)])
        assert [results.pop(i)[0] for i in (20, 12, 11, 10, 3)] == ["crash", "crash", "crash", "crash", "timeout"]
        assert results == [("done", i) for i in range(40) if i not in bad]
        assert pool.run([("raise",)]) == [("crash", "ValueError: no such thing")]


@pytest.mark.parametrize("everyone", [False, True])
def test_killed_children_lose_no_result(killer, everyone):
    others = set(children())
    with Pool(work, 3, 60) as pool:
        pool.run([("echo", 0)] * 6)  # all have started
        # Fewer kills than a task has tries, however they fall.
        killer(lambda: list(set(children()) - others), [0.3, 3.0], everyone)
        tasks = [("sleep", 0.02 + i / 1e6) for i in range(300)]
        assert pool.run(tasks) == [("done", value) for _, value in tasks]


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


def test_an_interrupted_batch_leaves_nothing_behind():
    with Pool(work, 2, 30) as pool:
        assert pool.run([("echo", 0)]) == [("done", 0)]
        interrupt = threading.Timer(0.5, signal.raise_signal, (signal.SIGINT,))
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            pool.run([("sleep", 0.2)] * 40)
        assert pool.run([("echo", i) for i in range(10)]) == [("done", i) for i in range(10)]
