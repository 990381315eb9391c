import json

import pytest

from red_mcore.data.problems import check_data, load_problems
from red_mcore.recipe import Data, RecipeError

GSM8K = [
    {"question": "How many clips?", "answer": "May: 48/2 = <<48/2=24>>24\nAll: <<48+24=72>>72\n#### 72"},
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


def only(path, **settings):
    """The problem of a file that holds one."""
    data = Data(path=path, held_out=0, **settings)
    check_data(data)
    return load_problems(data, seed=0)[0][0]


def test_gsm8k_marks_are_stripped_and_the_answer_is_boxed(tmp_path):
    data = Data(path=write_lines(tmp_path / "gsm8k.jsonl", GSM8K), held_out=1)
    check_data(data)
    train, held_out = load_problems(data, seed=0)
    assert train[0].trace == "May: 48/2 = 24\nAll: 72\n\\boxed{72}"
    assert [(p.id, p.gold) for p in train] == [(0, "72"), (1, "2000")]
    assert [(p.id, p.text, p.gold) for p in held_out] == [(2, "How old?", "5")]


def test_known_formats(tmp_path):
    chat = {
        "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}],
        "target": [{"role": "assistant", "content": "because \\boxed{3}"}],
        "reward_model": {"ground_truth": "3", "style": "rule"},
    }
    found = {
        "math": only(write_parquet(tmp_path / "a.parquet", [{"problem": "q", "gt_answer": "3", "solution": "$3$"}])),
        "luffy": only(write_parquet(tmp_path / "b.parquet", [{"problem": "q", "answer": "3", "distill": "t"}])),
        "chats": only(write_parquet(tmp_path / "c.parquet", [chat])),
        "plain": only(write_lines(tmp_path / "d.jsonl", [{"problem": "q", "answer": 3, "trace": "t"}])),
    }
    benchmark = tmp_path / "e.json"
    benchmark.write_text(json.dumps([{"prompt": "q", "answer": "\\boxed{3}"}]))
    found["benchmark"] = only(str(benchmark))
    assert {(p.text, p.gold) for p in found.values()} == {("q", "3")}
    traces = {name: p.trace for name, p in found.items()}
    assert traces == {"math": None, "luffy": "t", "chats": "because \\boxed{3}", "plain": "t", "benchmark": None}


def test_named_columns_win(tmp_path):
    path = write_lines(tmp_path / "x.jsonl", [{"problem": "no", "answer": "0", "q": "q", "a": "3", "t": "t"}])
    problem = only(path, problem_field="q", gold_field="a", trace_field="t")
    assert (problem.text, problem.gold, problem.trace) == ("q", "3", "t")
    assert only(path, trace_field="t").text == "no"


def test_folder_goes_through_the_datasets_library(tmp_path):
    write_lines(tmp_path / "train.jsonl", GSM8K)
    assert [p.gold for p in load_problems(Data(path=str(tmp_path), held_out=0), seed=0)[0]] == ["72", "2000", "5"]
    with pytest.raises(RecipeError, match="split 'nosuch'"):
        load_problems(Data(path=str(tmp_path), split="nosuch"), seed=0)


def test_data_problems_limits_training_only(tmp_path):
    train, held_out = load_problems(Data(path=write_lines(tmp_path / "x.jsonl", GSM8K), held_out=1, problems=1), seed=0)
    assert [p.id for p in train + held_out] == [0, 2]


def test_rows_without_gold_are_left_out_and_counted(tmp_path, caplog):
    path = write_lines(tmp_path / "x.jsonl", [{"problem": "a", "answer": "1"}, {"problem": "b", "answer": " "}])
    assert len(load_problems(Data(path=path, held_out=0), seed=0)[0]) == 1
    assert "left out 1 rows" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"foo": 1, "bar": 2}\n', "x.jsonl line 1: columns foo, bar are of no known format; set data.problem_field"),
        ("not json\n", "x.jsonl line 1 is not JSON"),
        ("[1]\n", "line 1: want a JSON object"),
        ('{"problem": "a", "answer": null}\n', "line 1: the gold is None"),
        ("", "is empty"),
    ],
)
def test_check_data_names_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "x.jsonl"
    path.write_text(content)
    with pytest.raises(RecipeError, match=message):
        check_data(Data(path=str(path)))


@pytest.mark.parametrize("line", ['{"problem": "a"}', "{", '"text"'])
def test_a_bad_line_is_named_by_number(tmp_path, line):
    path = tmp_path / "x.jsonl"
    path.write_text('{"problem": "a", "answer": "1"}\n' + line + "\n")
    with pytest.raises(RecipeError, match=r"x\.jsonl line 2"):
        load_problems(Data(path=str(path), held_out=0), seed=0)


def test_paths_and_counts_that_cannot_work(tmp_path):
    text = tmp_path / "x.txt"
    text.write_text("hello")
    lines = write_lines(tmp_path / "x.jsonl", GSM8K)
    broken = tmp_path / "x.parquet"
    broken.write_bytes(b"no parquet")
    for data, message in (
        (Data(path="nosuch/x.parquet"), "nosuch/x.parquet does not exist"),
        (Data(path=str(text)), "suffix '.txt' is unknown; supported: .jsonl"),
        (Data(path="../no/such/name"), "neither a file, a folder nor a hub name"),
        (Data(path=lines, gold_field="gold"), r"no column 'gold' \(data.gold_field\); columns: question, answer"),
        (Data(path=lines, problems=0), "data.problems=0"),
        (Data(held_out=-1), "data.held_out=-1"),
    ):
        with pytest.raises(RecipeError, match=message):
            check_data(data)
    with pytest.raises(RecipeError, match=r"data\.held_out=3 leaves nothing.*has 3 problems"):
        load_problems(Data(path=lines, held_out=3), seed=0)
    with pytest.raises(RecipeError, match="is not parquet"):
        load_problems(Data(path=str(broken)), seed=0)
