import json

import pytest

from red_mcore.config.recipe import RecipeError
from red_mcore.evaluation import generations, items
from red_mcore.rewards.verifier import Grade


class Judge:
    def grade(self, questions, boxed_only):
        return [Grade("correct" if gold in text else "wrong", None) for gold, text, _ in questions]


def write(tmp_path, *rows):
    file = tmp_path / "some.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_formats_of_others_are_read(tmp_path):
    ours = {"text": "9", "tokens": 3, "finish": "stop", "token_ids": [1, 2, 3]}
    rows = generations.read(
        write(
            tmp_path,
            {
                "question": "a?",
                "gt": "7",
                "code": ["7", "8"],
                "pred": ["7", "8"],
                "score": [True, True],
            },
            {"problem": "b?", "answer": 8.0, "response": "7", "correct": 0},
            {
                "benchmark": "B",
                "item": 5,
                "problem": "c?",
                "gold": "A",
                "kind": "choice",
                "responses": [ours],
            },
            {"prompt": "d?", "ground_truth": "\\boxed{4}", "completions": ["4"]},
            {
                "problem": None,
                "prompt": [{"role": "user", "content": "e?"}],
                "answer": ["4", "5"],
                "output": "4",
            },
        )
    )
    problems = {(r.benchmark, r.item, r.problem, r.gold, r.kind): None for r, _ in rows}
    assert list(problems) == [
        ("some", 0, "a?", "7", "math"),
        ("some", 1, "b?", "8", "math"),
        ("B", 5, "c?", "A", "choice"),
        ("some", 2, "d?", "4", "math"),
        ("some", 3, "e?", "4, 5", "math"),
    ]
    assert [earlier for _, earlier in rows] == [True, True, False, None, None, None]
    graded = generations.grade([r for r, _ in rows], Judge(), boxed_only=False)
    assert [r.verdict for r in graded] == ["correct", "wrong", "wrong", "wrong", "correct", "wrong"]
    items.write(tmp_path, graded)
    line = json.loads((tmp_path / items.ITEMS).read_text().splitlines()[2])
    assert line["responses"] == [{**ours, "verdict": "wrong", "answer": None}]
    differing, judged = generations.disagreements(rows, graded)
    assert judged == 3
    assert [(d["item"], d["sample"], d["recorded"], d["verdict"]) for d in differing] == [
        (0, 1, "correct", "wrong")
    ]


def test_lines_of_one_problem_are_its_samples(tmp_path):
    rows = generations.read(
        write(
            tmp_path,
            {"problem": "a?", "gold": "7", "response": "7"},
            {"problem": "b?", "gold": "8", "response": "7", "score": False},
            {"problem": "a?", "gold": "7", "response": "6"},
            {"item": "b-1", "problem": "c?", "gold": "7", "response": "5"},
            {"item": "b-1", "problem": "c?", "gold": "7", "responses": ["4", "3"]},
        )
    )
    found = [(r.item, r.problem, r.text) for r, _ in rows]
    assert found == [
        (0, "a?", "7"),
        (0, "a?", "6"),
        (1, "b?", "7"),
        (2, "c?", "5"),
        (2, "c?", "4"),
        (2, "c?", "3"),
    ]
    line = {"item": "b-1", "problem": "c?", "gold": "7", "response": "5"}
    with pytest.raises(
        RecipeError, match="line 2: another problem or gold than an earlier line of item b-1"
    ):
        generations.read(write(tmp_path, line, {**line, "gold": "8"}))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"gt": "7", "question": "a?"}, "line 1: none of the columns responses, response, code"),
        ({"code": ["7"]}, "none of the columns gold, gt, answer, ground_truth; there are code"),
        ({"gt": "7", "code": []}, "the responses are"),
        ({"gt": "7", "code": [3]}, "a response is 3, want text"),
        ({"gt": "7", "code": ["7"], "score": [True, False]}, "2 verdicts for 1 responses"),
        ({"gt": "7", "code": ["7"], "kind": "essay"}, "kind is 'essay'"),
    ],
)
def test_bad_rows_are_named(tmp_path, row, message):
    with pytest.raises(RecipeError, match=message):
        generations.read(write(tmp_path, row))


def test_no_file_and_an_empty_one_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="does not exist"):
        generations.read(tmp_path / "none.jsonl")
    with pytest.raises(RecipeError, match="is empty"):
        generations.read(write(tmp_path))


def test_numbers_that_are_given_to_problems_are_no_other_problem_s(tmp_path):
    rows = generations.read(
        write(
            tmp_path,
            {"problem": "a?", "gold": "7", "response": "7"},
            {"item": 0, "problem": "b?", "gold": "7", "response": "7"},
            {"item": "x", "problem": "c?", "gold": "7", "response": "7"},
        )
    )
    assert [(r.item, r.problem) for r, _ in rows] == [(1, "a?"), (0, "b?"), (2, "c?")]
