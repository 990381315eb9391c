from dataclasses import replace

import pytest

from red_mcore.config.recipe import RecipeError
from red_mcore.evaluation.items import parse
from red_mcore.evaluation.summary import against, metrics, summarise
from red_mcore.samples.responses import Response


def row(
    benchmark, item, *verdicts, answers=None, tokens=10, finish="stop", problem=None
) -> list[Response]:
    answers = answers or ["7" if verdict == "correct" else "8" for verdict in verdicts]
    responses = [
        {"text": "", "answer": a, "verdict": v, "tokens": tokens, "finish": finish}
        for v, a in zip(verdicts, answers, strict=True)
    ]
    return parse(
        {
            "benchmark": benchmark,
            "item": item,
            "problem": problem or f"{item}?",
            "responses": responses,
        }
    )


RIGHT, WRONG = "correct", "wrong"
ROWS = [
    *row("A", 0, RIGHT, RIGHT, WRONG, WRONG, tokens=20),
    *row("A", 1, WRONG, WRONG, WRONG, "unparsable", answers=["1", "2", "2", None], finish="length"),
    *row("A", 2, RIGHT, RIGHT, RIGHT, "timeout"),
    *row("B", 0, RIGHT, tokens=None, finish=None),
]


def test_numbers_of_a_benchmark():
    found = summarise(ROWS)
    a = found["benchmarks"]["A"]
    assert (a["items"], a["samples"]) == (3, 4)
    assert a["mean"] == pytest.approx(1.25 / 3)
    assert a["stderr"] == pytest.approx(0.2204793)  # of .5, 0, .75
    assert a["pass"] == pytest.approx({"1": 1.25 / 3, "2": (5 / 6 + 0 + 1) / 3, "4": 2 / 3})
    assert a["majority"] == pytest.approx((0.5 + 0 + 1) / 3)
    assert a["length_tokens"] == pytest.approx(40 / 3)
    assert a["length_correct_tokens"] == pytest.approx((2 * 20 + 3 * 10) / 5)
    assert a["truncated"] == pytest.approx(1 / 3)
    assert a["verdicts"] == {"correct": 5, "wrong": 5, "unparsable": 1, "timeout": 1, "crash": 0}
    b = found["benchmarks"]["B"]
    assert (b["mean"], b["stderr"], b["pass"], b["pass_stderr"]) == (
        1.0,
        None,
        {"1": 1.0},
        {"1": None},
    )
    assert b["length_tokens"] is b["truncated"] is b["length_wrong_tokens"] is None
    assert found["average"] == {"mean": pytest.approx((1.25 / 3 + 1) / 2), "stderr": None}
    twice = summarise([*ROWS[:12], *(replace(r, benchmark="C") for r in ROWS[:12])])
    assert twice["average"]["stderr"] == pytest.approx(0.2204793 / 2**0.5)


def test_correct_answers_are_one_vote_however_they_are_written():
    answers = ["1/2", "0.5", "\\frac{1}{2}", "3", "3", "3 "]
    votes = row("A", 0, RIGHT, RIGHT, RIGHT, WRONG, WRONG, WRONG, answers=answers)
    assert summarise(votes)["benchmarks"]["A"]["majority"] == 0.5


def test_metrics_have_names_that_trackers_take():
    found = metrics(summarise(ROWS))
    assert found["evaluation/A_mean"] == pytest.approx(1.25 / 3)
    assert found["evaluation/A_pass4"] == pytest.approx(2 / 3)
    assert "evaluation/B_length_tokens" not in found
    assert found["evaluation/average_mean"] == pytest.approx((1.25 / 3 + 1) / 2)
    assert "evaluation/average_stderr" not in found


def test_two_evaluations_are_compared_on_the_same_problems():
    better = [response for i in range(3) for response in row("A", i, RIGHT, RIGHT)]
    found = against(better, ROWS)
    assert list(found) == ["A"]
    assert found["A"]["difference"] == pytest.approx(1.75 / 3)
    assert 0.25 <= found["A"]["low"] < 1.75 / 3 < found["A"]["high"] <= 1.0


def test_other_problems_are_not_compared():
    with pytest.raises(
        RecipeError, match=r"problems of A are others there \(1 here, 3 there, 0 the same\)"
    ):
        against(row("A", 0, RIGHT, problem="with its choices in another order"), ROWS)
    with pytest.raises(RecipeError, match="no benchmark in common, C here and A, B there"):
        against(row("C", 0, RIGHT), ROWS)
