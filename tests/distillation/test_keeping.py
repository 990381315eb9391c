"""Which answers are wanted and which are kept, whatever the order in which they come."""

import itertools
import random

import pytest

from red_mcore.config.recipe import RecipeError
from red_mcore.distillation.keeping import Seen, kept, wanted
from red_mcore.distillation.settings import Keeping, Limits, Prices, Sampling
from red_mcore.distillation.teacher import request_seed, whole

RIGHT = (2, 3, 5, 7)
"""The numbers of the right answers."""
TOKENS = (9, 9, 8, 5, 9, 5, 9, 9)


def all_seen(count):
    return {i: Seen(i in RIGHT, TOKENS[i]) for i in range(count)}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("all", [0, 1, 2, 3, 4, 5]),
        ("correct", [2, 3, 5]),
        ("shortest_correct", [3]),
        ("k_correct", [2, 3]),
    ],
)
def test_rules(rule, expected):
    keeping = Keeping(rule, samples=6, count=2)
    assert wanted(keeping, {}) == range(6)
    assert kept(keeping, all_seen(8)) == expected


def test_empty_answers_are_no_traces():
    seen = {0: Seen(True, 1, is_empty=True), 1: Seen(True, 2)}
    assert kept(Keeping("all", samples=2), seen) == [1]
    assert kept(Keeping("correct", samples=2), seen) == [1]


def test_fill_goes_on_by_rounds_up_to_its_bound():
    keeping = Keeping("fill", samples=2, count=3, most=7)
    assert wanted(keeping, all_seen(1)) == range(2)
    assert wanted(keeping, all_seen(2)) == range(5)  # three are missing
    assert wanted(keeping, all_seen(4)) == range(5)
    assert wanted(keeping, all_seen(5)) == range(6)  # one is missing: 2 and 3 are right
    assert wanted(keeping, all_seen(6)) == range(6)
    assert kept(keeping, all_seen(6)) == [2, 3, 5]
    short = Keeping("fill", samples=1, count=3, most=4)
    assert wanted(short, all_seen(4)) == range(4)
    assert kept(short, all_seen(4)) == [2, 3]


def test_what_is_asked_and_kept_does_not_depend_on_the_order_of_arrival():
    keeping = Keeping("fill", samples=3, count=4, most=8)
    found = set()
    for seed in range(30):
        rng, seen = random.Random(seed), {}
        while missing := [i for i in wanted(keeping, seen) if i not in seen]:
            seen[rng.choice(missing)] = None
            index = next(i for i, value in seen.items() if value is None)
            seen[index] = Seen(index in RIGHT, TOKENS[index])
        found.add((tuple(sorted(seen)), tuple(kept(keeping, seen))))
    assert found == {((0, 1, 2, 3, 4, 5, 6, 7), RIGHT)}


def test_every_request_has_a_seed_of_its_own():
    keys = itertools.product((0, 1), ("a", "b", "1", "11"), range(50))
    seeds = [request_seed(seed, id_, index) for seed, id_, index in keys]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert request_seed(0, "a", 3) == request_seed(0, "a", 3)


def test_a_tag_that_the_prompt_opened_is_part_of_the_trace():
    assert whole("hm\n</think>\n\n4") == "<think>\nhm\n</think>\n\n4"
    assert whole("<think>hm</think>4") == "<think>hm</think>4"
    assert whole("4") == "4"
    assert whole("hm, cut", "<think>") == "<think>\nhm, cut"
    assert whole("<think>\nhm", "<think>") == "<think>\nhm"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Sampling(temperature=-1), "--temperature -1: use 0 to 10"),
        (Sampling(top_p=0), "--top-p 0"),
        (Sampling(max_tokens=0), "--max-tokens 0"),
        (Sampling(banned=("wait", " ")), "--ban ''"),
        (Keeping(samples=0), "--samples 0"),
        (Keeping("k_correct", samples=2, count=3), "--count 3 correct answers cannot be among"),
        (Keeping("fill", samples=8, most=4), "--most 4 is below"),
        (Limits(concurrency=0), "--concurrency 0"),
        (Limits(tokens_per_minute=-5), "--tokens-per-minute -5"),
        (Prices(answer=-1), "--answer-price -1"),
    ],
)
def test_what_cannot_be_is_refused_by_its_option(settings, message):
    with pytest.raises(RecipeError, match=message.replace("(", r"\(")):
        settings.check()
