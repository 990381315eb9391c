"""Which of a problem's traces a step uses."""

from collections import Counter
from dataclasses import replace

import pytest

from red_mcore.config.recipe import Data, RecipeError, Source
from red_mcore.data import choosing, cursor
from red_mcore.data.duplicates import split
from red_mcore.samples.records import Problem, Trace

MANY = (
    Trace("wrong", "small", verified=False),
    Trace("unknown", "small"),
    Trace("right, long", "large", verified=True),
    Trace("right, longer, cut", "large", verified=True, finish_reason="length"),
    Trace("right", "medium", verified=True),
    Trace("of nobody, and the longest"),
)
PROBLEM = Problem(7, "q", "3", traces=MANY)


@pytest.mark.parametrize(
    ("choice", "sources", "trace"),
    [
        ("first", [], "right, long"),
        ("first", ["small"], "unknown"),
        ("first", ["medium", "small"], "right"),
        ("first", ["nobody"], None),
        ("random", ["medium"], "right"),
        ("shortest_verified", [], "right"),
        ("shortest_verified", ["large"], "right, long"),
        ("shortest_verified", ["small"], None),
        ("longest", [], "of nobody, and the longest"),
        ("longest", ["large", "small"], "right, long"),
    ],
)
def test_choices(choice, sources, trace):
    data = Data(trace_choice=choice, trace_sources=sources)
    assert choosing.chosen(PROBLEM, data).trace == trace
    assert choosing.settled(PROBLEM, data).trace == trace


def test_lengths_are_tokens_where_all_are_counted():
    counted = (
        Trace("aaaa", verified=True, tokens=1),
        Trace("a", verified=True, tokens=3),
        Trace("aa", verified=True, tokens=2),
    )
    problem = Problem(0, "q", "3", traces=counted)
    for choice, with_tokens, without in (
        ("longest", "a", "aaaa"),
        ("shortest_verified", "aaaa", "a"),
    ):
        data = Data(trace_choice=choice)
        assert choosing.chosen(problem, data).trace == with_tokens
        some = (*counted[:2], replace(counted[2], tokens=None))
        assert choosing.chosen(replace(problem, traces=some), data).trace == without


def test_what_cannot_be_used_gives_way():
    data = Data()
    assert choosing.chosen(PROBLEM, data, without={2}).trace == "right"
    assert choosing.chosen(PROBLEM, data, without={2, 4}).trace == "unknown"


def test_only_what_may_be_drawn_is_kept():
    assert choosing.settled(PROBLEM, Data()).traces == ()
    kept = choosing.settled(PROBLEM, Data(trace_choice="random"), without={4}).traces
    assert [trace.text for trace in kept] == ["unknown", "right, long", MANY[5].text]
    single = Problem(0, "q", "3", trace="t")
    assert choosing.settled(single, Data(trace_choice="random")) is single


def test_random_draws_each_as_often_by_seed_epoch_and_problem_alone():
    data = Data(trace_choice="random")
    able = {MANY[place].text for place in choosing.places(MANY, data)}
    draws = [choosing.drawn(PROBLEM, data, 3, epoch).trace for epoch in range(2000)]
    counts = Counter(draws)
    assert set(counts) == able
    assert all(abs(count - 500) < 100 for count in counts.values())  # 5 standard deviations
    assert draws == [choosing.drawn(PROBLEM, data, 3, epoch).trace for epoch in range(2000)]
    other_seed = [choosing.drawn(PROBLEM, data, 4, epoch).trace for epoch in range(2000)]
    other = [choosing.drawn(replace(PROBLEM, id=8), data, 3, epoch).trace for epoch in range(2000)]
    assert draws != other_seed != other != draws
    settled = choosing.settled(PROBLEM, data)
    assert draws == [choosing.drawn(settled, data, 3, epoch).trace for epoch in range(2000)]


def test_without_any_that_may_be_drawn_nothing_is():
    data = Data(trace_choice="random")
    bad = Problem(0, "q", "3", traces=(MANY[0], MANY[3]))
    assert choosing.chosen(bad, data).trace is None
    assert choosing.drawn(bad, data, 0, 1) is bad


@pytest.mark.parametrize("data", [Data(), Data(mixture=[Source("a", 3.0), Source("b", 1.0)])])
def test_a_run_that_goes_on_draws_what_it_would_have_drawn(data):
    data = replace(data, trace_choice="random")
    problems = [replace(PROBLEM, id=i, source=i % 2 if data.mixture else 0) for i in range(8)]
    problems.sort(key=lambda problem: problem.source)
    whole = cursor.over(problems, data, 5)
    undisturbed = [choosing.deal(problems, whole, 3, data, 5) for _ in range(12)]
    first = cursor.over(problems, data, 5)
    before = [choosing.deal(problems, first, 3, data, 5) for _ in range(7)]
    again = cursor.over(problems, data, 5)
    again.restore(first.state())
    after = [choosing.deal(problems, again, 3, data, 5) for _ in range(5)]
    assert before + after == undisturbed
    drawn: dict[int, set[str | None]] = {}
    for problem in (one for step in undisturbed for one in step):
        drawn.setdefault(problem.id, set()).add(problem.trace)
    assert any(len(traces) > 1 for traces in drawn.values())  # another one in another epoch


def test_repeats_give_their_traces():
    poor = Problem(0, "q", "3", traces=MANY[:1])
    rich = choosing.chosen(replace(PROBLEM, id=1), Data())
    (kept,), _, _ = split([poor, rich], 0)
    assert (kept.id, kept.trace, kept.traces) == (0, rich.trace, MANY)


def test_what_the_data_cannot_give_is_refused():
    problems = [PROBLEM]
    choosing.check(problems, Data(trace_sources=["large"], trace_choice="shortest_verified"))
    message = r"no trace is of huge: there are small \(2\), large \(2\), medium \(1\)"
    with pytest.raises(RecipeError, match=message):
        choosing.check(problems, Data(trace_sources=["large", "huge"]))
    plain = [Problem(0, "q", "3", trace="t")]
    with pytest.raises(RecipeError, match="no trace is of large: no trace says who wrote it"):
        choosing.check(plain, Data(trace_sources=["large"]))
    with pytest.raises(RecipeError, match="none of 1 traces is marked right: verify them with"):
        choosing.check(plain, Data(trace_choice="shortest_verified"))
    choosing.check([Problem(0, "q", "3")], Data(trace_choice="shortest_verified"))


def test_the_choice_is_told():
    assert choosing.told([Problem(0, "q", "3", trace="t")], Data()) == []
    data = Data(trace_choice="longest", trace_sources=["large", "small"])
    (note,) = choosing.told([choosing.chosen(PROBLEM, data)], data)
    assert (note.name, note.count) == ("traces", 6)
    assert note.line == (
        "6 traces of 1 problems (3 marked right, 1 known to be wrong, 1 cut off); 1 have one to"
        " choose by data.trace_choice=longest of data.trace_sources=large, small"
    )
