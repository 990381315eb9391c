"""The dealing of requests: nothing twice, nothing lost, whoever is faster and whenever it ends."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest

from red_mcore.data.schema import Entry
from red_mcore.distillation.keeping import kept
from red_mcore.distillation.ledger import Ledger, Verdict, digest
from red_mcore.distillation.settings import Keeping
from red_mcore.distillation.teacher import Answer, Task
from red_mcore.distillation.work import HOPELESS, Distilling
from red_mcore.samples.records import Problem

TASKS = [
    Task(Entry(f"p{i}", f"{i}?", str(i % 3)), Problem(i, f"{i}?", str(i % 3))) for i in range(7)
]
FILL = Keeping("fill", samples=2, count=2, most=6)


class Ruler:
    """A judge without processes: an answer is right where it ends in the gold."""

    def __init__(self, name="ruler"):
        self.thread, self.name, self.judged = ThreadPoolExecutor(1), name, 0

    def mark(self, task):
        return digest(self.name, task.problem.gold)

    def submit(self, call):
        return self.thread.submit(call)

    def verdicts(self, asked):
        self.judged += len(asked)
        return [
            Verdict(
                "correct" if text[-1] == task.problem.gold else "wrong", text[-1], self.mark(task)
            )
            for task, text, _ in asked
        ]


def answer(request):
    """What a teacher says that depends on the seed alone."""
    rng = random.Random(request.seed)
    text = "a" * rng.randint(0, 5) + str(rng.randint(0, 2))
    return Answer(text, len(text), 3, "stop" if rng.random() < 0.8 else "length", 0.1)


def serve(work, order, stop_after=10**9):
    """Answer from three threads, in an order by chance, at most so many."""
    rng, lock, left = random.Random(order), threading.Lock(), [stop_after]

    def thread():
        while (request := work.take()) is not None:
            with lock:
                left[0] -= 1
                if left[0] < 0:
                    work.give_up(InterruptedError("killed"))
                    return
                pause = rng.random() / 500
            threading.Event().wait(pause)
            work.tell(request, answer(request))

    threads = [threading.Thread(target=thread) for _ in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def outcome(folder, keeping, order, stops=()):
    """The set that is kept, by id; the run is stopped after so many answers each time."""
    for stop in stops:
        with closing(Ledger(folder)) as ledger, suppress(InterruptedError):
            work = Distilling(TASKS, keeping, 0, ledger, Ruler())
            serve(work, order, stop)
            work.settle()
    with closing(Ledger(folder)) as ledger:
        work = Distilling(TASKS, keeping, 0, ledger, Ruler())
        serve(work, order)
        work.settle()
        assert work.done == work.planned == len(ledger.lines)
        return {
            task.entry.id: [
                ledger.answer((task.entry.id, index)) for index in kept(keeping, work.seen(task))
            ]
            for task in TASKS
        }


@pytest.mark.parametrize(
    "keeping", [Keeping("all", samples=3), FILL, Keeping("shortest_correct", samples=4)]
)
def test_the_set_does_not_depend_on_order_and_stops(tmp_path, keeping):
    undisturbed = outcome(tmp_path / "one", keeping, 0)
    for order in range(1, 6):
        rng = random.Random(order)
        stops = [rng.randint(0, 6) for _ in range(order)]
        assert outcome(tmp_path / str(order), keeping, order, stops) == undisturbed
    assert any(undisturbed.values())


def test_more_samples_later_ask_only_what_is_missing(tmp_path):
    outcome(tmp_path, Keeping("all", samples=2), 0)
    with closing(Ledger(tmp_path)) as ledger:
        work = Distilling(TASKS, Keeping("all", samples=3), 0, ledger, Ruler())
        assert (work.done, work.planned) == (14, 21)
        assert {work.take().index for _ in range(7)} == {2}
        assert work.take(wait=False) is None


def test_verdicts_of_another_judge_are_made_anew_and_those_of_this_one_are_not(tmp_path):
    outcome(tmp_path, Keeping("all", samples=2), 0)
    for name, judged in (("ruler", 0), ("other", 14), ("other", 0)):
        ruler = Ruler(name)
        with closing(Ledger(tmp_path)) as ledger:
            work = Distilling(TASKS, Keeping("all", samples=2), 0, ledger, ruler)
            work.settle()
            assert work.is_over
            assert ruler.judged == judged
            assert sum(work.counts.values()) == 14


def test_refused_requests_are_neither_waited_for_nor_written_down(tmp_path):
    with closing(Ledger(tmp_path)) as ledger:
        work = Distilling(TASKS[:1], FILL, 0, ledger, Ruler())
        while (request := work.take()) is not None:
            work.refuse(request, "too long")
        work.settle()
        assert [key for key, _ in work.refusals] == [("p0", index) for index in range(6)]
        assert not ledger.lines
        assert kept(FILL, work.seen(TASKS[0])) == []


def test_a_teacher_that_refuses_everything_is_given_up(tmp_path):
    with closing(Ledger(tmp_path)) as ledger:
        work = Distilling(TASKS, FILL, 0, ledger, Ruler())
        for _ in range(HOPELESS):
            work.refuse(work.take(), "no such field")
        assert work.take() is None
        with pytest.raises(RuntimeError, match=f"every request, {HOPELESS} so far: no such field"):
            work.settle()
