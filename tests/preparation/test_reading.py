"""Rows of any source as entries with all their traces."""

import json

import pytest

from red_mcore.config.recipe import RecipeError
from red_mcore.data import schema
from red_mcore.data.schema import Entry
from red_mcore.preparation.reading import Left, read
from red_mcore.preparation.settings import Source
from red_mcore.samples.records import Trace


def source(tmp_path, rows, name="own.jsonl", **fields) -> Source:
    file = tmp_path / name
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.write_text("\n".join(lines) + "\n")
    return Source(str(file), "own", **fields)


def test_all_solutions_of_a_list_are_traces_whatever_their_marks(tmp_path):
    row = {
        "problem": "1+1?",
        "answer": "2",
        "solution": "It is \\boxed{2}.",
        "generations": ["a \\boxed{2}", "b \\boxed{3}"],
        "correctness_math_verify": [True, False],
        "finish_reasons": ["stop", "length"],
        "uuid": "u1",
        "level": 3,
    }
    ((where, entry),) = read(source(tmp_path, [row], teacher="R1", sampler={"top_p": "0.9"}))
    assert (where, entry.id, entry.gold) == ("line 1", "own/u1", "2")
    assert entry.traces == (
        Trace("a \\boxed{2}", "R1", finish_reason="stop"),
        Trace("b \\boxed{3}", "R1", finish_reason="length"),
    )
    known = {"set": "own", "row": "line 1", "sampler": {"top_p": "0.9"}, "column": "generations"}
    assert entry.meta["traces"] == [known, known]
    assert entry.meta["difficulty"] == 3


def test_traces_of_several_columns_are_all_there(tmp_path):
    row = {"question": "1+1?", "final_answer": "2", "r1_solution_1": "a", "r1_solution_3": "c"}
    ((_, entry),) = read(source(tmp_path, [row]))
    assert [trace.text for trace in entry.traces] == ["a", "c"]
    columns = [one["column"] for one in entry.meta["traces"]]
    assert columns == ["r1_solution_1", "r1_solution_3"]


def test_a_column_that_is_named_is_the_only_one(tmp_path):
    row = {"question": "1+1?", "answer": "2", "x": {"y": ["a", "b"]}, "trace": "t"}
    ((_, entry),) = read(source(tmp_path, [row], trace_field="x.y"))
    assert [trace.text for trace in entry.traces] == ["a", "b"]


def test_the_project_s_own_rows_keep_what_they_say_of_themselves(tmp_path):
    meta = {"origin": "elsewhere", "traces": [{"sampler": {"seed": 1}, "set": "first"}]}
    own = Entry("x", "1+1?", "2", (Trace("2", "R1", False, 7, "stop"),), meta)
    schema.write(tmp_path / "own.jsonl", [own])
    ((_, entry),) = read(Source(str(tmp_path / "own.jsonl"), "own", teacher="other"))
    assert (entry.id, entry.traces, entry.meta["origin"]) == ("x", own.traces, "elsewhere")
    (lineage,) = entry.meta["traces"]
    assert lineage == {"set": "first", "row": "line 1", "sampler": {"seed": 1}}


def test_half_a_character_is_found_before_anything_is_judged(tmp_path):
    rows = ['{"id": "a", "problem": "\\ud800?", "gold": "1", "traces": []}']
    (left,) = read(source(tmp_path, rows))
    assert (left.where, left.reason) == ("line 1", "broken")
    assert left.detail.startswith("has half of a surrogate pair")


def test_broken_rows_are_told_with_their_place_and_the_others_read(tmp_path):
    good = {"question": "1+1?", "answer": "2"}
    rows = [
        "{half of",
        good,
        "[1]",
        {"question": ["1", "2"], "answer": "2"},
        {"question": "1+1?", "answer": {"a": 1}},
        {"question": "", "answer": "2"},
        {"question": "1+1?", "answer": None},
        good,
    ]
    given = source(tmp_path, rows)
    with open(given.path, "ab") as file:
        file.write(b"\xff\xfe{}\n")
    found = list(read(given))
    left = {one.where: one for one in found if isinstance(one, Left)}
    assert [one[0] for one in found if not isinstance(one, Left)] == ["line 2", "line 8"]
    assert {where: one.reason for where, one in left.items()} == {
        **{f"line {number}": "broken" for number in (1, 3, 4, 5, 9)},
        "line 6": "without problem",
        "line 7": "without gold",
    }
    assert left["line 1"].detail.startswith("is not JSON")
    assert "column 'answer' is an object with a" in left["line 5"].detail


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("own.csv", "question,answer\n1+1?,2\n1+2?,3,4\n2+2?,4\n", "line 3"),
        ("own.json", '[{"question": "1+1?", "answer": "2"}, 7]', "entry 2"),
    ],
)
def test_broken_rows_of_other_files(tmp_path, name, content, where):
    (tmp_path / name).write_text(content)
    found = list(read(Source(str(tmp_path / name), "own")))
    assert [(one.where, one.reason) for one in found if isinstance(one, Left)] == [
        (where, "broken")
    ]


def test_a_column_that_is_not_there_is_named(tmp_path):
    given = source(tmp_path, [{"question": "1+1?", "answer": "2"}], trace_field="traces")
    with pytest.raises(RecipeError, match=r"no column 'traces' \(trace_field\)"):
        list(read(given))
