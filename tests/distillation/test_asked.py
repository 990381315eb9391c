"""Which problems are asked, by which ids; and options that are refused before anything starts."""

import json

import pytest

from red_mcore.cli import distill
from red_mcore.config.recipe import Arithmetic, Data, RecipeError
from red_mcore.distillation import problems

TRACES = [{"text": "so 7", "source": "first"}]


def write(folder, rows):
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Data(path=str(file))


def ids(tasks):
    return [task.entry.id for task in tasks]


def test_rows_of_the_own_schema_keep_what_they_have(tmp_path):
    rows = [
        {"id": f"r{i}", "problem": f"{i}?", "gold": "7", "traces": TRACES, "meta": {"level": i}}
        for i in (5, 3, 4)
    ]
    tasks, notes = problems.read(write(tmp_path, rows))
    assert [task.entry.row() for task in tasks] == [
        {
            **row,
            "traces": ({**TRACES[0], "verified": None, "tokens": None, "finish_reason": None},),
        }
        for row in rows
    ]
    assert [task.problem.text for task in tasks] == ["5?", "3?", "4?"]
    assert notes == []
    data = write(tmp_path, rows)
    data.problems = 2
    assert ids(problems.read(data)[0]) == ["r5", "r3"]
    with pytest.raises(RecipeError, match=r"line 4: id 'r5' is that of .*line 1, too"):
        problems.read(write(tmp_path, [*rows, rows[0]]))


@pytest.mark.parametrize(
    ("names", "expected"),
    [(("x", "y"), ["x", "y"]), (("x", "x"), ["0", "1"]), ((4, 9), ["4", "9"])],
)
def test_other_rows_go_by_their_id_where_all_differ_in_it(tmp_path, names, expected):
    rows = [{"id": n, "question": f"{i}?", "answer": "7"} for i, n in enumerate(names)]
    data = write(tmp_path, rows)
    tasks, _ = problems.read(data)
    assert ids(tasks) == expected
    assert [task.entry.meta for task in tasks] == [{"origin": data.path}] * 2
    assert all(task.entry.traces == () for task in tasks)


def test_the_built_in_arithmetic():
    data = Data(problems=5, arithmetic=Arithmetic(operations=2))
    tasks, _ = problems.read(data)
    assert ids(tasks) == ids(problems.read(data)[0])
    assert len(set(ids(tasks))) == 5
    assert tasks[0].entry.meta == {"origin": "arithmetic"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--extra", "[1]"], '--extra [1]: want a JSON object, {"name": value}'),
        (["--template-arguments", "{a"], "--template-arguments is not JSON"),
        (["system_prompt=Think."], "system_prompt=Think.: use --system-prompt"),
        (["instruction=Box it."], "instruction=Box it.: use --suffix"),
        (["problem=x"], "has no field 'problem'; nearest is 'problems'"),
        (["--tensor", "2"], "--tensor is for a teacher in this process: give it to the server"),
        (["--tensor", "0"], "--tensor 0: use 1 or more"),
        (["--temperature", "-1"], "--temperature -1.0: use 0 to 10"),
        (["--workers", "0"], "--workers 0: use 1 or more"),
        (["--expected-tokens", "0"], "--expected-tokens 0: use a number above 0"),
        (["--verdict", "no"], "--verdict: 'no' is no import path"),
        (["--data", "none.jsonl"], "none.jsonl does not exist"),
    ],
)
def test_bad_input_is_refused_in_one_line(tmp_path, capsys, arguments, message):
    common = ["--teacher", "http://127.0.0.1:9/v1", "--out", str(tmp_path / "out")]
    assert distill.main([*common, *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("distill: error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
