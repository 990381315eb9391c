import json

import pytest

from red_mcore.config.recipe import RecipeError
from red_mcore.evaluation import benchmarks


def write(folder, name, rows):
    lines = name.endswith("l")
    text = "\n".join(json.dumps(row) for row in rows) if lines else json.dumps(rows)
    (folder / name).write_text(text + "\n")


def test_files_are_found_by_any_spelling_of_the_name(tmp_path):
    write(
        tmp_path,
        "AIME24.json",
        [{"prompt": "a?", "answer": "\\boxed{204}"}, {"prompt": "b?", "answer": "25"}],
    )
    write(tmp_path, "gsm8k_test.jsonl", [{"question": "c?", "answer": "so <<1+1=2>>2\n#### 1,200"}])
    write(tmp_path, "Olympiad-Bench.json", [{"question": "d?", "final_answer": ["1", "2"]}])
    write(tmp_path, "amc.jsonl", [{"problem": "e?", "answer": 142.0}])
    write(tmp_path, "mine.jsonl", [{"problem": "f?", "answer": "x"}])
    found = {
        name: [(p.id, p.text, p.gold, p.kind) for p in benchmarks.load(name, str(tmp_path), 0)]
        for name in ("AIME24", "GSM8K", "OlympiadBench", "AMC", "mine")
    }
    assert found == {
        "AIME24": [(0, "a?", "204", "math"), (1, "b?", "25", "math")],
        "GSM8K": [(0, "c?", "1200", "math")],
        "OlympiadBench": [(0, "d?", "1, 2", "math")],
        "AMC": [(0, "e?", "142", "math")],
        "mine": [(0, "f?", "x", "math")],
    }
    assert len(benchmarks.load("AIME24", str(tmp_path), 0, limit=1)) == 1


CHOICES = {
    "ARC-c": {
        "question": "q?",
        "choices": {"text": ["w", "x", "y", "z"], "label": list("1234")},
        "answerKey": "3",
    },
    "GPQA-D": {
        "Question": "q?",
        "Correct Answer": "y ",
        **{f"Incorrect Answer {number}": text for number, text in enumerate("wxz", 1)},
    },
    "MMLU-Pro": {"question": "q?", "options": list("wxyz"), "answer": "C", "answer_index": 2},
    "own": {"question": "q?", "options": list("wxyz"), "answer": 2},
}


@pytest.mark.parametrize("name", CHOICES)
def test_choices_are_shuffled_and_the_gold_goes_along(tmp_path, name):
    write(tmp_path, f"{name}.jsonl", [CHOICES[name]] * 40)
    problems = benchmarks.load(name, str(tmp_path), 0)
    for problem in problems:
        question, *options = problem.text.splitlines()
        assert question == "q?"
        assert sorted(option.partition(". ")[2] for option in options) == list("wxyz")
        assert f"{problem.gold}. y" in options
    assert {p.gold for p in problems} == set("ABCD")
    again = benchmarks.load(name, str(tmp_path), 0)
    assert again == problems != benchmarks.load(name, str(tmp_path), 1)


def test_another_number_of_problems_is_told(tmp_path):
    write(tmp_path, "AIME24.json", [{"prompt": "a?", "answer": "1"}])
    write(tmp_path, "AMC23.json", [{"prompt": "a?", "answer": "1"}] * 40)
    problems = {name: benchmarks.load(name, str(tmp_path), 0) for name in ("AIME24", "AMC23")}
    told = benchmarks.unusual_sizes(problems)
    assert told == ["AIME24 has 1 problems here, 30 as it is usually reported"]


@pytest.mark.parametrize(
    ("names", "files", "message"),
    [
        ([], {}, "no benchmarks are named: use some of MATH-500"),
        (["AIME24", "AIME24"], {"AIME24.json": []}, "one is named twice"),
        (["my bench!"], {"mybench.json": []}, "'my bench!' becomes part of a metric's name"),
        (["average"], {"average.json": []}, "'average' becomes part of a metric's name"),
        (
            ["AIME24"],
            {"AMC23.json": []},
            "no file for benchmark AIME24: want AIME24.json.*there are AMC23.json",
        ),
        (["AIME24"], {"AIME24.json": [], "aime_24.jsonl": []}, "has 2 files for benchmark AIME24"),
        (["AIME24"], None, "the folder of benchmarks .* does not exist"),
    ],
)
def test_names_and_files_are_checked_first(tmp_path, names, files, message):
    for name, rows in (files or {}).items():
        write(tmp_path, name, rows)
    with pytest.raises(RecipeError, match=message):
        benchmarks.check(names, str(tmp_path if files is not None else tmp_path / "none"))


def test_every_row_of_a_file_is_checked_first(tmp_path):
    write(
        tmp_path,
        "x.jsonl",
        [{"problem": "a?", "answer": "1"}, {"problem": "b?", "answer": [["2"]]}],
    )
    with pytest.raises(
        RecipeError,
        match=r"x\.jsonl line 2: column 'answer' is the list \[\['2'\]\], want one answer",
    ):
        benchmarks.check(["x"], str(tmp_path))
    write(tmp_path, "x.jsonl", [{"problem": "a?", "answer": ["1", "2"]}])
    benchmarks.check(["x"], str(tmp_path))
    assert benchmarks.load("x", str(tmp_path), 0)[0].gold == "1, 2"


def test_unknown_names_are_refused_on_the_hub():
    benchmarks.check(["MATH-500", "MMLU-Pro"], None)
    with pytest.raises(RecipeError, match="benchmark AIME1924 is unknown: use MATH-500"):
        benchmarks.check(["AIME1924"], None)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"problem": "a?", "answer": " "}, r"x.jsonl line 1: the gold answer is empty"),
        ({"problem": "a?", "answer": None}, r"x.jsonl line 1: the gold answer is empty"),
        ({"problem": None, "answer": "1"}, r"x.jsonl line 1: the problem is empty"),
        (
            {"question": "a?", "options": ["1", "2"], "answer": "C"},
            "line 1: its choices cannot be read",
        ),
        (
            {"question": "a?", "options": ["1", "2"], "answer": "AB"},
            "line 1: its choices cannot be read",
        ),
        (
            {"question": "a?", "options": ["1", "2"], "answer": -1},
            "line 1: its choices cannot be read",
        ),
        ({"question": "a?", "options": list("abcdefghijk"), "answer": 1}, "has 11 choices"),
        ({"text": "a?"}, "columns text are of no known format"),
    ],
)
def test_bad_rows_are_named(tmp_path, row, message):
    write(tmp_path, "x.jsonl", [row])
    with pytest.raises(RecipeError, match=message):
        benchmarks.load("x", str(tmp_path), 0)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "x.jsonl").write_text("\n")
    with pytest.raises(RecipeError, match=r"x\.jsonl is empty"):
        benchmarks.load("x", str(tmp_path), 0)


def test_a_function_is_a_benchmark_by_its_import_path(tmp_path, monkeypatch):
    (tmp_path / "own_problems.py").write_text(
        "def sums():\n    return [{'problem': f'{n} + 1?', 'answer': n + 1} for n in range(3)]\n"
        "def broken():\n"
        "    return [{'problem': '?', 'answer': 1}, {'problem': '?', 'answer': None}]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    benchmarks.check(["own_problems:sums", "MATH-500"], None)
    found = benchmarks.load("own_problems:sums", None, 0, limit=2)
    assert [(p.text, p.gold) for p in found] == [("0 + 1?", "1"), ("1 + 1?", "2")]
    with pytest.raises(RecipeError, match="the gold answer is empty"):
        benchmarks.check(["own_problems:broken"], None)
    with pytest.raises(RecipeError, match="own_problems:nothing cannot be called"):
        benchmarks.check(["own_problems:nothing"], str(tmp_path))
