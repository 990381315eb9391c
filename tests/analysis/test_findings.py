"""From rows to numbers, without a model."""

import json
import math
import statistics

import numpy as np
import pytest

from red_mcore.analysis.findings import as_json
from red_mcore.analysis.groups import groups
from red_mcore.analysis.lengths import learnability_gap, lengths, longer_when_incorrect
from red_mcore.analysis.likelihood import TokenScores
from red_mcore.analysis.positions import Scored, positions, rank_shift, thinking_ids
from red_mcore.analysis.recorded import read_evaluation, spread
from red_mcore.config.recipe import RecipeError
from red_mcore.data.tokenizer import build_tokenizer
from red_mcore.samples.responses import Response
from red_mcore.stats import mean, ratio


def response(
    item: int = 0, *, sample: int = 0, correct: bool = True, benchmark: str = "B", tokens: int = 1
) -> Response:
    verdict = "correct" if correct else "wrong"
    return Response(benchmark, item, sample, "", "", verdict, tokens, None, None, None)


def row(item: int, *verdicts: str, benchmark: str = "B", **more: object) -> dict:
    answers = [
        {"text": f"answer {i}", "verdict": verdict, **more} for i, verdict in enumerate(verdicts)
    ]
    return {
        "benchmark": benchmark,
        "item": item,
        "problem": "p",
        "gold": "1",
        "kind": "math",
        "responses": answers,
    }


@pytest.fixture
def evaluation(tmp_path):
    def write(*rows: dict, name: str = "e"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "items.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        return read_evaluation(tmp_path / name, name)

    return write


def test_a_mean_over_problems_has_the_usual_error():
    found = mean([1.0, 2.0, 4.0], "abc")
    assert found.mean == pytest.approx(7 / 3)
    assert found.stderr == pytest.approx(statistics.stdev([1, 2, 4]) / math.sqrt(3))
    assert (found.n, found.problems) == (3, 3)


def test_repeating_a_problem_s_response_adds_nothing_to_what_is_known():
    once, often = mean([1.0, 2.0, 4.0], "abc"), mean([1.0, 2.0, 4.0] * 9, "abc" * 9)
    assert often.stderr == pytest.approx(once.stderr)


def test_a_ratio_s_error_is_that_of_repeated_draws():
    generator = np.random.default_rng(0)

    def draw():
        words = generator.integers(50, 500, 200)
        return ratio(generator.poisson(0.02 * words), words, range(200))

    found = [draw() for _ in range(300)]
    assert np.std([e.mean for e in found]) == pytest.approx(
        np.mean([e.stderr for e in found]), rel=0.1
    )


def test_estimates_of_nothing_and_of_one_problem():
    assert math.isnan(mean([], []).mean)
    assert math.isnan(ratio([0], [0], "a").mean)
    one = mean([1.0, 3.0], "aa")
    assert (one.mean, one.problems, one.half) == (2, 1, 0)
    assert as_json(one) == {"mean": 2.0, "stderr": None, "n": 2.0, "problems": 1}


def test_lengths_and_groups():
    parts = groups([response(0), response(1, correct=False), response(1)])
    assert [len(parts[name]) for name in ("all", "correct", "incorrect")] == [3, 2, 1]
    found = lengths([1, 2, 3, 4], [("B", i) for i in range(4)])
    assert found.quartiles == (1.75, 2.5, 3.25)
    assert lengths([], []).quartiles is None


def test_length_within_problems_ignores_how_hard_they_are():
    hard = [
        response(0, correct=False, tokens=900),
        response(0, correct=False, tokens=920),
        response(0, tokens=900),
    ]
    easy = [response(1, tokens=10), response(1, correct=False, tokens=20), response(2, tokens=5)]
    found = longer_when_incorrect(hard + easy, [r.tokens for r in hard + easy])
    assert found.mean == pytest.approx(10)  # 910 - 900 and 20 - 10
    assert found.problems == 2


def scored(
    item: int, ids: list[int], p: list[float], rank: list[int] | None = None, correct: bool = True
) -> Scored:
    logp, entropy = np.log(np.array(p, np.float32)), np.arange(len(ids), dtype=np.float32)
    ranks = np.array(rank or [0] * len(ids), np.int32)
    watched = np.full((1, len(ids)), 0.25, np.float32)
    return Scored(
        response(item, correct=correct), np.array(ids), TokenScores(logp, entropy, ranks, watched)
    )


def test_thirds_of_all_tokens_count_responses_and_those_of_words_occurrences():
    long = scored(0, [7, 1, 1, 1, 1, 7], [0.2, 0.4, 0.5, 0.5, 0.6, 0.8])
    short = scored(1, [7, 1, 7], [1.0, 0.1, 0.4])
    found = positions([long, short], {"anthropomorphic": [7]})
    thirds = found.probability["all"].thirds
    assert [e.mean for e in thirds] == pytest.approx(
        [(0.3 + 1) / 2, (0.5 + 0.1) / 2, (0.7 + 0.4) / 2]
    )
    words = found.probability["anthropomorphic"].thirds
    assert [e.mean for e in words] == pytest.approx([0.6, math.nan, 0.6], nan_ok=True)
    assert [e.n for e in words] == [2, 0, 2]
    assert [e.mean for e in found.entropy["all"].thirds] == pytest.approx([0.25, 1.75, 3.25])
    assert [e.mean for e in found.watched["anthropomorphic"].thirds] == pytest.approx([0.25] * 3)
    assert [e.n for e in found.probability["all"].tenths] == [
        2,
        1,
        0,
        2,
        0,
        1,
        2,
        0,
        1,
        0,
    ]  # short ones have no such part


def test_differences_to_another_model():
    ours, theirs = scored(0, [7, 1, 7], [0.9, 0.5, 0.2]), scored(0, [7, 1, 7], [0.5, 0.5, 0.3])
    found = positions([ours], {"anthropomorphic": [7]}, [theirs])
    assert [e.mean for e in found.probability["all"].thirds] == pytest.approx(
        [0.4, 0, -0.1], abs=1e-6
    )
    assert [e.mean for e in found.entropy["all"].thirds] == [0, 0, 0]
    assert positions([], {"anthropomorphic": [7]}).probability["all"].thirds[0].n == 0


def test_rank_shift():
    tuned = [scored(0, [7, 1, 7], [1, 1, 1], [0, 0, 2]), scored(1, [7, 3], [1, 1], [0, 1])]
    original = [scored(0, [7, 1, 7], [1, 1, 1], [9, 0, 2]), scored(1, [7, 3], [1, 1], [4, 1])]
    found = rank_shift(tuned, original, least=2)
    assert [(t.token, t.count, t.original_rank, t.rank) for t in found.tokens] == [
        (7, 3, 5.0, pytest.approx(2 / 3))
    ]
    assert {name: e.mean for name, e in found.original.items()} == pytest.approx(
        {"unshifted": 0.2, "marginal": 0.4, "shifted": 0.4}
    )
    assert found.tuned["unshifted"].mean == pytest.approx(0.6)
    assert found.mean_shift.mean == pytest.approx(13 / 5)
    assert [t.token for t in rank_shift(tuned, original, least=1).tokens] == [7, 1, 3]


def test_thinking_tokens_are_whole_words_whatever_their_case_and_space():
    tokenizer = build_tokenizer()
    tokenizer.add_tokens([" Wait", "wait", "waiting", " so", "I think"])
    found = thinking_ids(tokenizer, len(tokenizer))
    assert {name: [tokenizer.decode([i]) for i in ids] for name, ids in found.items()} == {
        "anthropomorphic": [" Wait", "wait", "I think"],
        "connectors": [" so"],
    }
    assert thinking_ids(tokenizer, 256) == {"anthropomorphic": [], "connectors": []}


def test_learnability_gap_is_paired_over_items(evaluation):
    right, wrong = "correct", "wrong"
    strong = evaluation(
        row(0, right, wrong),
        row(1, wrong, wrong),
        row(0, right, right, benchmark="C"),
        name="strong",
    )
    weak = evaluation(
        row(1, right, wrong),
        row(0, right, right),
        row(0, wrong, "timeout", benchmark="C"),
        name="weak",
    )
    found = learnability_gap(strong, weak)
    assert found["B"].mean == pytest.approx(-50)  # both items: -50
    assert found["B"].stderr == pytest.approx(0)
    assert found["C"].mean == pytest.approx(100)
    assert found["average"].mean == pytest.approx(25)
    assert found["average"].items == 3


def test_a_gap_between_different_items_is_refused(evaluation):
    one, other = (
        evaluation(row(0, "correct"), name="one"),
        evaluation(row(1, "correct"), name="other"),
    )
    with pytest.raises(RecipeError, match="one and other have different items of B"):
        learnability_gap(one, other)
    third = evaluation(row(0, "correct", benchmark="C"), name="third")
    with pytest.raises(RecipeError, match="no benchmark in common"):
        learnability_gap(one, third)


def test_reading(evaluation):
    found = evaluation(
        {**row(3, "correct", tokens=9, finish="length", token_ids=[1, 2]), "prompt_ids": [5]},
        row(4, "wrong"),
    )
    first, second = found.responses
    assert (first.tokens, first.truncated, first.token_ids.tolist(), first.prompt_ids.tolist()) == (
        2,
        True,
        [1, 2],
        [5],
    )
    assert (second.tokens, second.truncated, second.token_ids, second.prompt_ids) == (
        None,
        None,
        None,
        None,
    )
    assert found.accuracies() == {"B": {3: 1.0, 4: 0.0}}


def test_a_line_ends_only_where_json_ends(tmp_path):
    line = json.dumps({**row(0, "wrong"), "problem": "a\u2028b\x85c"}, ensure_ascii=False)
    (tmp_path / "items.jsonl").write_text(line + "\n")
    assert read_evaluation(tmp_path, "e").responses[0].problem == "a\u2028b\x85c"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "items.jsonl:1 is not JSON"),
        ("[]", "items.jsonl:1 is not as tools/evaluate.py writes it"),
        ("{}", "items.jsonl:1 has no 'benchmark'"),
        (json.dumps(row(0, "maybe")), "verdict 'maybe' is not known"),
        (json.dumps(row(0, "correct", token_ids="abc")), "items.jsonl:1 is not as"),
        (
            json.dumps(row(0, "wrong")) + "\n" + json.dumps(row(0, "wrong")),
            "items.jsonl:2 repeats item 0 of B",
        ),
        (json.dumps(row(0)), "holds no responses"),
    ],
)
def test_bad_rows_are_named(tmp_path, line, message):
    (tmp_path / "items.jsonl").write_text(line + "\n")
    with pytest.raises(RecipeError, match=message):
        read_evaluation(tmp_path, "e")


def test_a_limit_takes_first_samples_first_and_spreads_over_problems():
    rows = [response(item, sample=sample) for item in range(6) for sample in range(2)]
    taken = [(r.item, r.sample) for r in spread(rows, 3)]
    assert taken == [(0, 0), (2, 0), (4, 0)]
    assert [(r.item, r.sample) for r in spread(rows, 8)] == [
        (0, 0), (0, 1), (1, 0), (2, 0), (3, 0), (3, 1), (4, 0), (5, 0),
    ]  # fmt: skip
    assert spread(rows, None) == spread(rows, 12) == rows
