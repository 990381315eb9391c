"""Limits per minute, by a clock of the test's own; and what is told before a start."""

import pytest

from red_mcore.distillation.estimate import estimate
from red_mcore.distillation.ledger import Line
from red_mcore.distillation.pace import Pace
from red_mcore.distillation.settings import Limits, Prices


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_no_minute_has_more_than_its_limit():
    clock = Clock()
    pace = Pace(120, clock, clock.sleep)
    begins = []
    for count in range(500):
        pace.take()
        begins.append(clock.now)
        if count == 100:
            clock.now += 30  # an idle time is not saved up
    for begin in begins:
        assert sum(begin <= other < begin + 60 for other in begins) <= 120
    assert begins[-1] == pytest.approx(0.5 * 499 + 29.5)


def test_tokens_are_corrected_once_they_are_known():
    clock = Clock()
    pace = Pace(600, clock, clock.sleep)  # ten a second
    pace.take(100)
    pace.correct(-50)
    pace.take(10)
    assert clock.now == 5
    pace.correct(20)
    pace.take()
    assert clock.now == 8
    Pace(None, clock, clock.sleep).take(1e9)
    assert clock.now == 8


def line(tokens=200, seconds=4.0):
    return Line("q", 0, tokens, 50, "stop", seconds, has_tokens=True, is_empty=False)


def test_cost_and_time_before_the_first_answer():
    found = estimate(1000, 100, [], most_tokens=4000)
    assert (found.answer_tokens, found.is_measured) == (2000, False)
    assert found.cost(Prices(1.0, 10.0)) == pytest.approx((0.1 + 20, 0.1 + 40))
    assert found.seconds(Limits(concurrency=10)) == 1000 * 2000 / 40 / 10
    slow = Limits(concurrency=10, requests_per_minute=10, tokens_per_minute=1e6)
    assert found.seconds(slow) == 6000
    assert found.seconds(Limits(tokens_per_minute=21_000)) == 6000
    assert estimate(9, 9, [], 4000, expected_tokens=100).answer_tokens == 100
    told = found.lines(slow, Prices(1.0, 10.0))
    assert told[0].startswith("estimate: 1,000 requests, 100,000 tokens of prompts, 2,000,000 of")
    assert told[1].startswith("cost: about 20.10, 40.10 at most, at 1 per million tokens of prompt")
    assert "time: about 1:40:00, 10 at once, 40 tokens per second each, 10 requests" in told[2]


def test_cost_and_time_by_the_answers_that_are_there():
    found = estimate(10, 1, [line(), line(400, 8.0)], most_tokens=4000)
    assert (found.prompt_tokens, found.answer_tokens, found.speed) == (50, 300, 50)
    assert "300 each, as the answers that are there" in found.lines(Limits(), Prices())[0]
