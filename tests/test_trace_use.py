"""Traces that are too long give way to others of their problems, and what is not used is told."""

from contextlib import nullcontext
from dataclasses import replace

import pytest

from red_mcore.algorithms.grpo import GRPO
from red_mcore.algorithms.red import RED
from red_mcore.config.recipe import Data, Model, Recipe, Rollout
from red_mcore.data import choosing
from red_mcore.data.problems import Loaded
from red_mcore.data.tokenizer import build_tokenizer
from red_mcore.planning import intake, trace_use
from red_mcore.samples.records import Problem, Trace

LONG, LONGER = "1" * 20, "1" * 30
ABLE = (Trace(LONG, verified=True), Trace(LONGER, verified=True), Trace("12", verified=True))
PROBLEMS = [
    Problem(0, "1+1", "2", trace=LONG, traces=(*ABLE, Trace("3", verified=False))),
    Problem(1, "1+1", "2", trace=LONG, traces=ABLE[:2]),
    Problem(2, "1+1", "2", trace="11"),
    Problem(3, "1+1", "2", trace="2", traces=(Trace("2", "small"), Trace("1", "large"))),
]


def recipe(choice="first", algorithm=None, **data):
    return Recipe(
        name="x",
        model=Model(),
        data=Data(trace_choice=choice, **data),
        algorithm=algorithm or RED(),
        rollout=Rollout(max_response_tokens=8),
    )


@pytest.mark.parametrize(
    ("choice", "places", "good", "trace"),
    [
        ("first", {0: {0, 1}}, {0, 3}, "12"),
        ("longest", {0: {0, 1}}, {0, 3}, "12"),
        ("shortest_verified", {}, {0}, "12"),
        ("random", {0: {0, 1}}, {0, 3}, "12"),
    ],
)
def test_too_long_traces_give_way(choice, places, good, trace):
    asked = recipe(choice)
    problems = [choosing.chosen(problem, asked.data) for problem in PROBLEMS]
    found = trace_use.unfit(asked, build_tokenizer(), problems)
    assert (found.places, found.good) == (places, good)
    without = found.places.get(0, ())
    assert choosing.settled(problems[0], asked.data, without).trace == trace


def test_what_is_used_is_told(monkeypatch):
    from red_mcore.megatron import ranks

    monkeypatch.setattr(ranks, "on_main", lambda here, work: work())
    asked = recipe()
    tokenizer = build_tokenizer()
    loaded, known = trace_use.settle(asked, Loaded(PROBLEMS, []), tokenizer, None)
    assert [problem.trace for problem in loaded.training] == ["12", LONG, "11", "2"]
    assert not any(problem.traces for problem in loaded.training)
    assert [note.line for note in loaded.notes] == [
        "2 traces are empty or longer than rollout.max_response_tokens=8: others of their problems"
        " are used"
    ]
    lines = [note.line for note in intake.check_traces(asked, tokenizer, loaded.training, known)]
    assert lines == [
        "3 of 4 training problems have a trace that can be used; of the others' traces 1 are longer"
        " than rollout.max_response_tokens=8"
    ]
    assert lines == [n.line for n in intake.check_traces(asked, tokenizer, loaded.training)]


def test_a_method_without_traces_says_so(monkeypatch):
    from red_mcore.megatron import ranks

    monkeypatch.setattr(ranks, "on_main", lambda here, work: work())
    monkeypatch.setattr(ranks, "together", nullcontext)
    loaded = Loaded([*PROBLEMS, Problem(4, "2+2", "4")], [])
    asked = recipe(algorithm=GRPO(), path="x.jsonl")
    loaded, known = trace_use.settle(asked, loaded, build_tokenizer(), None)
    assert known == set()
    assert [note.line for note in loaded.notes] == [
        "the traces of 4 training problems are not used: GRPO learns from none"
    ]
    built_in = replace(asked, data=Data())
    assert trace_use.unused(built_in, PROBLEMS) == []
