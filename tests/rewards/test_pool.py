import functools
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing import resource_tracker
from pathlib import Path

import psutil
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
    elif what == "start":
        start(value)
    elif what == "start and spin":
        start(value)
        work("spin")
    elif what == "multiply":
        while True:
            os.fork()
    elif what == "scatter":  # none stays a child of the one that started it
        while True:
            if not os.fork():
                os.fork() and os._exit(0)
                time.sleep(1000)
            os.wait()
    elif what == "draw":
        return random.random(), sys.modules["numpy.random"].random()
    elif what == "write":
        with open(value, "wb") as file:
            file.truncate(2 << 30)
    elif what == "open":
        return [os.dup(0) for _ in range(value)]
    return value


DAEMON = (
    "import os, sys, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0);"
    " open(sys.argv[1], 'a')"
)


def start(file) -> None:
    """A process, and one that is nobody's child any more, in a session of its own; their ids go
    into ``file``."""
    tell = f"{DAEMON}.write(f'{{os.getpid()}}\\n'); time.sleep(1000)"
    subprocess.run([sys.executable, "-c", tell, file], check=True)
    sleeper = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    with open(file, "a") as output:
        output.write(f"{sleeper.pid}\n")
    while len(started(file)) < 2:
        time.sleep(0.01)


def started(file) -> list[int]:
    return [int(line) for line in Path(file).read_text().splitlines()]


def count(seconds):
    """A task that takes this much CPU time; returns something else than a child that is ended."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return seconds


def fail():
    sys.exit(3)


def prepare(file):
    import numpy.random  # noqa: F401

    note(file)


def note(file):
    with open(file, "a") as output:
        output.write(f"{os.getpid()}\n")


def children() -> list[int]:
    """Programs that were started warm are children of another process."""
    below = {child.pid for child in psutil.Process().children()}
    return [child.pid for child in multiprocessing.active_children() if child.pid in below]


@pytest.fixture
def patient(monkeypatch):
    """A keeper gets the time that it needs on a loaded machine; else it would be replaced, too."""
    monkeypatch.setattr(pool_module, "GRACE_SECONDS", 200.0)


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
        assert [results.pop(i)[0] for i in (20, 12, 11, 10, 3)] == [
            "crash",
            "crash",
            "crash",
            "crash",
            "timeout",
        ]
        assert results == [("done", i) for i in range(40) if i not in bad]
        assert pool.run([("raise",)]) == [("crash", "ValueError: no such thing")]


def test_a_child_that_only_waits_is_ended_by_the_wall_clock(monkeypatch, tmp_path):
    monkeypatch.setattr(pool_module, "WALL", 0.05)
    with Pool(work, 1, 60) as pool:
        assert pool.run([("wait", tmp_path)]) == [("timeout", None)]
        assert (tmp_path / "begun").exists()


def test_time_that_others_take_is_nobodys(monkeypatch, busy):
    """Every task needs less CPU time than its limit, and beside four busy loops a core more of the
    wall's than ``WALL`` allows a child that waits."""
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


@pytest.mark.parametrize("who", ["one keeper", "all keepers", "all workers"])
def test_killed_children_lose_no_result(once, who, tmp_path):
    others = set(children())

    def kill():
        there = list(set(children()) - others)
        for pid in random.sample(there, min(1, len(there))) if who == "one keeper" else there:
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                for victim in (
                    [w.pid for w in psutil.Process(pid).children()]
                    if who == "all workers"
                    else [pid]
                ):
                    os.kill(victim, signal.SIGKILL)

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


def test_the_next_child_is_a_fork_of_one_that_is_prepared(patient, tmp_path):
    prepared, begun = tmp_path / "prepared", tmp_path / "begun"
    with Pool(
        work, 1, 1.0, functools.partial(prepare, prepared), functools.partial(note, begun)
    ) as pool:
        results = pool.run(
            [("draw",), ("spin",), ("draw",), ("die",), ("echo", 1), ("spin",), ("draw",)]
        )
        draws = [value for how, value in results if how == "done" and value != 1]
        assert [how for how, _ in results] == [
            "done",
            "timeout",
            "done",
            "crash",
            "done",
            "timeout",
            "done",
        ]
        assert results[3] == ("crash", "the child ended with exit code -9")
        assert len(set(zip(*draws, strict=True))) == 2
        assert all(len(set(numbers)) == len(draws) == 3 for numbers in zip(*draws, strict=True))
        (keeper,) = started(prepared)
        assert keeper in children()
        assert len(set(started(begun)) - {keeper}) == 1 + 2 + TRIES
        os.kill(keeper, signal.SIGKILL)
        assert soon_dead([keeper])
        assert pool.run([("echo", i) for i in range(10)]) == [("done", i) for i in range(10)]
        assert started(prepared)[0] == keeper
        assert len(set(started(prepared))) == 2


@pytest.mark.parametrize("first", [{"prepare": fail}, {"begin": fail}], ids=str)
def test_children_that_cannot_start_are_an_error(first):
    with (
        Pool(work, 1, 30, **first) as pool,
        pytest.raises(RuntimeError, match=r"do not start .* exit code 3"),
    ):
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


def live(pids) -> list[int]:
    return [
        pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"
    ]


def soon_dead(pids) -> bool:
    """Within as long as a loaded machine may need."""
    end = time.monotonic() + 120
    while live(pids) and time.monotonic() < end:
        time.sleep(0.05)
    return not live(pids)


@pytest.mark.parametrize("end", ["close", "timeout", "death"])
def test_what_a_task_starts_dies_with_its_child(end, patient, tmp_path):
    """Also what is nobody's child any more and has a session of its own; the keeper lives on."""
    file, others = tmp_path / "started", set(children())
    with Pool(work, 1, 2.0) as pool:
        keepers = set(children()) - others
        what = "start and spin" if end == "timeout" else "start"
        assert pool.run([(what, file)]) == [
            ("timeout", None) if end == "timeout" else ("done", file)
        ]
        pids = started(file)
        assert len(pids) == 2
        if end != "timeout":
            assert len(live(pids)) == 2  # a function may keep a helper from one call to the next
        if end == "death":
            assert pool.run([("die",)])[0][0] == "crash"
        if end != "close":
            assert soon_dead(pids)
            assert pool.run([("echo", 1)]) == [("done", 1)]
        assert set(children()) - others == keepers
    assert soon_dead(pids)


def test_what_a_task_starts_dies_with_the_caller(tmp_path):
    """Which gets no chance to close anything, and whose group is killed at once with it."""
    file, script = tmp_path / "started", tmp_path / "caller.py"
    script.write_text(
        "import os, signal, sys\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "import test_pool\n"
        "if __name__ == '__main__':\n"
        "    test_pool.Pool(test_pool.work, 1, 60).run([('start', sys.argv[1])])\n"
        "    os.killpg(0, signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, script, file, Path(__file__).parent], start_new_session=True
    )
    assert done.returncode == -signal.SIGKILL
    assert len(started(file)) == 2
    assert soon_dead(started(file))


def test_a_child_has_limits(tmp_path, capfd, monkeypatch):
    """On files and on processes; that on memory is above."""
    resource_tracker.ensure_running()  # which stays
    monkeypatch.setenv("RED_MCORE_TEST", str(tmp_path))  # all that comes of the children has it
    with Pool(work, 1, 60) as pool:
        results = pool.run(
            [("write", tmp_path / "big"), ("open", 3000), ("multiply",), ("scatter",), ("echo", 1)]
        )
    assert results[0] == ("crash", "OSError: [Errno 27] File too large")
    assert results[1][0] == "crash"
    assert "Too many open files" in results[1][1]
    assert [how for how, _ in results[2:]] == ["crash", "crash", "done"]
    assert capfd.readouterr().err.count("a task of the verifier had") == 2 * TRIES
    found = psutil.process_iter(["pid", "environ"])
    assert soon_dead(
        [p.pid for p in found if (p.info["environ"] or {}).get("RED_MCORE_TEST") == str(tmp_path)]
    )
