import json

import pytest

from red_mcore.config.recipe import Data, RecipeError
from red_mcore.data.problems import check_data, first, load_problems, read_problems

GSM8K = [
    {
        "question": "How many clips?",
        "answer": "May: 48/2 = <<48/2=24>>24\nAll: <<48+24=72>>72\n#### 72",
    },
    {"question": "How much?", "answer": "It is <<1000*2=2000>>2,000.\n#### 2,000"},
    {"question": "How old?", "answer": "He is 5.\n#### 5"},
]


def write_lines(path, entries):
    path.write_text("\n".join(json.dumps(entry) for entry in entries) + "\n\n")
    return str(path)


def write_parquet(path, entries):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(entries), path)
    return str(path)


def test_gsm8k_marks_are_stripped_and_the_answer_is_boxed(tmp_path):
    data = Data(path=write_lines(tmp_path / "gsm8k.jsonl", GSM8K), held_out=1)
    check_data(data)
    train, held_out = load_problems(data, seed=0)
    assert train[0].trace == "May: 48/2 = 24\nAll: 72\n\\boxed{72}"
    assert [(p.id, p.gold) for p in train] == [(0, "72"), (1, "2000")]
    assert [(p.id, p.text, p.gold) for p in held_out] == [(2, "How old?", "5")]


def test_folder_goes_through_the_datasets_library(tmp_path):
    write_lines(tmp_path / "train.jsonl", GSM8K)
    assert [p.gold for p in load_problems(Data(path=str(tmp_path), held_out=0), seed=0)[0]] == [
        "72",
        "2000",
        "5",
    ]
    with pytest.raises(RecipeError, match="split 'nosuch'"):
        load_problems(Data(path=str(tmp_path), split="nosuch"), seed=0)


def test_data_problems_limits_training_only(tmp_path):
    train, held_out = load_problems(
        Data(path=write_lines(tmp_path / "x.jsonl", GSM8K), held_out=1, problems=1), seed=0
    )
    assert [p.id for p in train + held_out] == [0, 2]


@pytest.mark.parametrize("write", [write_lines, write_parquet])
def test_rows_without_problem_or_gold_are_left_out_and_counted(tmp_path, write, caplog):
    rows = [
        {"problem": "a", "answer": "1", "trace": "t"},
        {"problem": "b", "answer": " "},
        {"problem": "c", "answer": None},
        {"problem": "d"},
        {"problem": None, "answer": "5"},
        {"problem": "f", "answer": "6", "trace": None},
    ]
    path = write(tmp_path / ("x.jsonl" if write is write_lines else "x.parquet"), rows)
    data = Data(path=path, held_out=1)
    check_data(data)
    loaded = read_problems(data, seed=0)
    assert [(p.id, p.text, p.gold, p.trace) for p in loaded.training + loaded.held_out] == [
        (0, "a", "1", "t"),
        (1, "f", "6", None),
    ]
    place = "line" if write is write_lines else "row"
    assert [(note.name, note.count, note.line) for note in loaded.notes] == [
        (
            "without_problem",
            1,
            "left out 1 rows whose problem (column 'problem') is empty;"
            f" the first: {path} {place} 5",
        ),
        (
            "without_gold",
            3,
            f"left out 3 rows whose gold (column 'answer') is empty; the first: {path} {place} 2",
        ),
    ]
    load_problems(data, seed=0)
    assert "left out 3 rows" in caplog.text


def test_nan_is_an_empty_cell(tmp_path):
    nan = float("nan")
    rows = [
        {"problem": "a", "answer": 1.0, "trace": "t"},
        {"problem": "b", "answer": nan, "trace": "t"},
    ]
    path = write_parquet(
        tmp_path / "x.parquet", [*rows, {"problem": "c", "answer": 0.1 + 0.2, "trace": None}]
    )
    problems = load_problems(Data(path=path, held_out=0), seed=0)[0]
    assert [(p.text, p.gold, p.trace) for p in problems] == [("a", "1", "t"), ("c", "0.3", None)]


def test_where_golds_are_marked_a_sentence_is_none(tmp_path):
    """Whichever row comes first."""
    unmarked = [
        {"question": "Who?", "answer": "It must be 9 of them"},
        {"question": "2+2?", "answer": "4"},
    ]
    for rows in ([*unmarked, *GSM8K], [*GSM8K, *unmarked]):
        loaded = read_problems(
            Data(path=write_lines(tmp_path / "x.jsonl", rows), held_out=0), seed=0
        )
        assert sorted(p.gold for p in loaded.training) == ["2000", "4", "5", "72"]
        assert [note.name for note in loaded.notes] == ["without_mark"]
    loaded = read_problems(
        Data(path=write_lines(tmp_path / "x.jsonl", unmarked), held_out=0), seed=0
    )
    assert [p.gold for p in loaded.training] == ["It must be 9 of them", "4"]


def test_a_solution_without_box_holds_no_gold(tmp_path):
    texts = ["So $1+1=\\boxed{2}$.", "So it is seven.", "Thus $\\fbox{3}$.", "4"]
    path = write_lines(tmp_path / "x.jsonl", [{"problem": t, "solution": t} for t in texts])
    for data in (Data(path=path, held_out=0), Data(path=path, held_out=0, gold_field="solution")):
        loaded = read_problems(data, seed=0)
        assert [(p.gold, p.trace) for p in loaded.training] == [
            ("2", texts[0]),
            ("3", texts[2]),
            ("4", None),
        ]
        (note,) = loaded.notes
        assert (
            "whose gold (column 'solution') is empty: neither \\boxed{...}, nor ####" in note.line
        )


def test_the_advice_for_a_file_without_golds_works(tmp_path):
    rows = [{"problem": f"{n}?", "solution": "It is clear.", "key": str(n)} for n in range(3)]
    path = write_lines(tmp_path / "x.jsonl", rows)
    with pytest.raises(
        RecipeError,
        match=r"none of its 3 rows can be used: 3 whose gold .*; set data.problem_field and",
    ):
        check_data(Data(path=path, held_out=0))
    assert [
        p.gold for p in load_problems(Data(path=path, held_out=0, gold_field="key"), seed=0)[0]
    ] == ["0", "1", "2"]


def test_system_turns_are_left_out_and_told(tmp_path):
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    rows = [
        {"prompt": chat, "answer": "1"},
        {"prompt": [chat[1] | {"content": "r"}], "answer": "1", "system": "s"},
    ]
    (note,) = read_problems(
        Data(path=write_lines(tmp_path / "x.jsonl", rows), held_out=0), seed=0
    ).notes
    assert note.line == "left out the system turns of 2 rows; data.system_prompt sets one for all"


def test_repeats_are_told_and_nothing_is_held_out_and_trained_on(tmp_path):
    rows = [{"problem": f"{n} + 1?", "answer": str(n + 1)} for n in range(4)] * 3
    data = Data(path=write_lines(tmp_path / "x.jsonl", rows), held_out=2)
    check_data(data)
    loaded = read_problems(data, seed=0)
    assert [(p.id, p.text) for p in loaded.training] == [(0, "0 + 1?"), (1, "1 + 1?")]
    assert [(p.id, p.text) for p in loaded.held_out] == [(10, "2 + 1?"), (11, "3 + 1?")]
    assert {note.name: note.count for note in loaded.notes} == {
        "held_out_in_training": 4,
        "training_repeats": 4,
    }
    with pytest.raises(
        RecipeError, match=r"data.held_out=4 leaves nothing.*has 4 different problems in 12 rows"
    ):
        check_data(Data(path=data.path, held_out=4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"foo": 1, "bar": 2}\n',
            "x.jsonl: columns foo, bar are of no known format; set data.problem_field",
        ),
        ("not json\n", "x.jsonl line 1 is not JSON"),
        ("[1]\n", "line 1: want a JSON object"),
        (
            '{"problem": "a", "answer": null}\n' * 2,
            "none of its 2 rows can be used: 2 whose gold .column 'answer'. is",
        ),
        (
            '{"problem": "a", "answer": "1"}\n{"problem": "b", "answer": [["1"]]}\n',
            "line 2: column 'answer' is the list",
        ),
        (
            '{"problem": "a", "answer": "1"}\n{"problem": "b", "answer": true}\n',
            "line 2: column 'answer' is the bool",
        ),
        ("", "is empty"),
    ],
)
def test_check_data_names_what_is_wrong_in_any_row(tmp_path, content, message):
    path = tmp_path / "x.jsonl"
    path.write_text(content)
    with pytest.raises(RecipeError, match=message):
        check_data(Data(path=str(path), held_out=0))


def test_check_data_stops_after_so_many_rows(tmp_path, monkeypatch):
    rows = [
        {"problem": "a", "answer": "1"},
        {"problem": "b", "answer": "2"},
        {"problem": "c", "answer": True},
    ]
    data = Data(path=write_lines(tmp_path / "x.jsonl", rows), held_out=2)
    monkeypatch.setattr("red_mcore.data.problems.CHECKED_ROWS", 2)
    check_data(data)
    monkeypatch.setattr("red_mcore.data.problems.CHECKED_ROWS", 3)
    with pytest.raises(RecipeError, match="line 3"):
        check_data(data)


@pytest.mark.parametrize("line", ["{", '"text"'])
def test_a_bad_line_is_named_by_number(tmp_path, line):
    path = tmp_path / "x.jsonl"
    path.write_text('{"problem": "a", "answer": "1"}\n' + line + "\n")
    with pytest.raises(RecipeError, match=r"x\.jsonl line 2"):
        load_problems(Data(path=str(path), held_out=0), seed=0)


def test_paths_and_counts_that_cannot_work(tmp_path):
    text = tmp_path / "x.txt"
    text.write_text("hello")
    lines = write_lines(tmp_path / "x.jsonl", GSM8K)
    for data, message in (
        (Data(path="nosuch/x.parquet"), "nosuch/x.parquet does not exist"),
        (Data(path=str(text)), "suffix '.txt' is unknown; supported: .jsonl"),
        (Data(path="../no/such/name"), "neither a file, a folder nor a hub name"),
        (
            Data(path=lines, gold_field="gold"),
            r"no column 'gold' \(data.gold_field\); columns: question, answer",
        ),
        (Data(path=lines, problems=0), "data.problems=0"),
        (Data(held_out=-1), "data.held_out=-1"),
        (
            Data(path=lines, held_out=3),
            r"data\.held_out=3 leaves nothing.*has 3 different problems in 3 rows",
        ),
    ):
        with pytest.raises(RecipeError, match=message):
            check_data(data)


ROWS = [
    {
        "Question": "a?",
        "answer": "1",
        "level": 3,
        "meta": {"source": "x", "tags": ["u"]},
        "score": 0.5,
    },
    {
        "Question": "b?",
        "answer": "2",
        "level": None,
        "meta": {"source": "y", "tags": []},
        "score": 1.5,
    },
    {
        "Question": "c?",
        "answer": "3",
        "level": 5,
        "meta": {"source": "z", "tags": ["v", "w"]},
        "score": 2.5,
    },
]


@pytest.mark.parametrize("write", [write_lines, write_parquet])
def test_problems_keep_the_columns_that_are_asked_for(tmp_path, write):
    data = Data(
        path=write(tmp_path / ("x.jsonl" if write is write_lines else "x.parquet"), ROWS),
        held_out=1,
    )
    loaded = read_problems(data, 0, frozenset({"level", "Meta", "no_such"}))
    found = [p.columns for p in loaded.training + loaded.held_out]
    assert found == [{"level": row["level"], "Meta": row["meta"]} for row in ROWS]
    everything = read_problems(data, 0, None)
    assert [p.columns for p in everything.training + everything.held_out] == ROWS
    assert [p.columns for p in read_problems(data, 0).training] == [None, None]
    assert [p.columns for p in first(data, 2, frozenset({"level"}))] == [
        {"level": 3},
        {"level": None},
    ]
    assert len({*loaded.training, *loaded.held_out}) == 3  # a problem can still be hashed


def test_a_row_that_lacks_a_column_has_none_in_it(tmp_path):
    rows = [{"problem": "a?", "answer": "1"}, {"problem": "b?", "answer": "2", "level": 4}]
    data = Data(path=write_lines(tmp_path / "x.jsonl", rows), held_out=1)
    loaded = read_problems(data, 0, frozenset({"level"}))
    assert [p.columns for p in loaded.training + loaded.held_out] == [{"level": None}, {"level": 4}]


def test_a_csv_column_is_text_and_a_hub_folder_has_columns_too(tmp_path):
    (tmp_path / "x.csv").write_text("problem,answer,level\na?,1,3\nb?,2,\n")
    loaded = read_problems(Data(path=str(tmp_path / "x.csv"), held_out=1), 0, frozenset({"level"}))
    assert [p.columns for p in loaded.training + loaded.held_out] == [{"level": "3"}, {"level": ""}]
    folder = tmp_path / "folder"
    folder.mkdir()
    write_lines(folder / "train.jsonl", ROWS)
    data = Data(path=str(folder), held_out=1)
    assert [p.columns for p in read_problems(data, 0, frozenset({"score"})).training] == [
        {"score": 0.5},
        {"score": 1.5},
    ]
    assert first(data, 2) == []


def test_a_column_without_a_word_in_json_is_refused_where_it_is_named(tmp_path):
    rows = [{"problem": f"{i}?", "answer": "1", "image": b"\0", "level": i} for i in range(3)]
    data = Data(path=write_parquet(tmp_path / "x.parquet", rows), held_out=1)
    with pytest.raises(
        RecipeError,
        match=r"x\.parquet row 1: column 'image', which a reward function asks for, holds byt",
    ):
        read_problems(data, 0, frozenset({"image"}))
    assert read_problems(data, 0, None).training[1].columns == {
        "problem": "1?",
        "answer": "1",
        "level": 1,
    }


def test_the_first_problems_of_the_built_in_task():
    assert [p.columns for p in first(Data(), 3)] == [None] * 3
