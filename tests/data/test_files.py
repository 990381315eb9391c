"""Rows of files in every encoding and packing."""

import gzip
import json
import re

import pytest

from red_mcore.config.recipe import Data, RecipeError
from red_mcore.data import files

ROWS = [
    {"problem": "a \u2028 b\x85?", "answer": "1"},
    {"problem": 'caf\u00e9, "x"\ny', "answer": "2"},
]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in ROWS)
TABLE = 'problem,answer\r\n"a \u2028 b\x85?",1\r\n"caf\u00e9, ""x""\ny",2\r\n'
CONTENTS = {
    "x.jsonl": LINES.encode(),
    "bom.jsonl": LINES.encode("utf-8-sig"),
    "utf16.jsonl": LINES.encode("utf-16"),
    "utf32.jsonl": LINES.encode("utf-32"),
    "X.JSONL": LINES.encode(),
    "x.jsonl.gz": gzip.compress(LINES.encode()),
    "lines.json": LINES.encode(),
    "list.json": json.dumps(ROWS, indent=1).encode("utf-8-sig"),
    "list.json.gz": gzip.compress(json.dumps(ROWS).encode()),
    "x.csv": TABLE.encode(),
    "x.csv.gz": gzip.compress(TABLE.encode("utf-8-sig")),
    "utf16.tsv": TABLE.replace(",", "\t").replace("caf\u00e9\t", "caf\u00e9,").encode("utf-16"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_text_files(tmp_path, name):
    file = tmp_path / name
    file.write_bytes(CONTENTS[name])
    found = list(files.rows(Data(path=str(file))))
    assert [row for _, row in found] == ROWS
    assert [where.rpartition(" ")[2] for where, _ in found] == (
        ["2", "3"] if "sv" in name else ["1", "2"]
    )
    assert all(where.startswith(f"{file} ") for where, _ in found)


def test_csv_cells_are_text_as_typed(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text("a,b, c\n007,1e3,nan\n\nyes\n" + "x" * 200_000 + ",,\n")
    rows = [row for _, row in files.rows(Data(path=str(file)))]
    assert rows == [
        {"a": "007", "b": "1e3", "c": ""},
        {"a": "yes"},
        {"a": "x" * 200_000, "b": "", "c": ""},
    ]


def test_columns_are_those_of_all_rows_and_of_their_objects(tmp_path):
    file = tmp_path / "x.jsonl"
    file.write_text(
        '{"a": 1, "o": null}\n{"b": 2, "o": {"x": 1}}\n{"c": 2, "o": {"y": {"z": 1}}}\n'
    )
    data = Data(path=str(file))
    assert files.columns(data) == ["a", "o", "o.x", "o.y", "b", "c"]
    assert files.columns(data, most=2) == ["a", "o", "o.x", "b"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "x.jsonl",
            b'{"a": 1}\n{"a": "caf\xe9"}\n',
            "x.jsonl line 2 is not UTF-8 \\(byte 0xe9\\): convert the file",
        ),
        ("x.jsonl", b'{"a": 1}\nnot json\n', "x.jsonl line 2 is not JSON"),
        (
            "x.jsonl",
            b'["a"]\n',
            "x.jsonl line 1: want a JSON object with named columns, found list",
        ),
        (
            "x.json",
            b'{"a":\n 1}',
            "x.json: want a list of objects, or an object on each line; it is one object",
        ),
        ("x.json", b'["a"]', "x.json entry 1: want a JSON object with named columns, found text"),
        ("x.jsonl.gz", b"no gzip", "x.jsonl.gz is not a whole gzip file"),
        (
            "x.jsonl.gz",
            gzip.compress(b'{"a": 1}\n' * 9)[:-9],
            "x.jsonl.gz is not a whole gzip file",
        ),
        ("x.csv", b"a,b\n1,2,3\n", "x.csv line 2: 3 cells for 2 columns: a, b"),
        ("x.csv", b"a,a\n1,2\n", "x.csv line 1: there are two columns 'a'"),
        ("x.csv", b'a,b\n"1"x,2\n', "x.csv line 2: ',' expected after"),
        ("x.parquet", b"no parquet", "x.parquet is not parquet"),
        ("x.utf16.jsonl", b"\xff\xfea\x00b", "has a byte order mark, but cannot be read so"),
        (
            "x.txt",
            b"",
            "suffix '.txt' is unknown; supported: .jsonl, .json, .csv, .tsv, .parquet, .jsonl.gz",
        ),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, message):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(RecipeError, match=message):
        list(files.rows(Data(path=str(file))))


def test_a_cut_off_parquet_file(tmp_path):
    import pyarrow
    import pyarrow.parquet

    file = tmp_path / "x.parquet"
    table = pyarrow.table({"problem": [f"{n}?" * 50 for n in range(4000)], "answer": ["1"] * 4000})
    pyarrow.parquet.write_table(
        table, file, row_group_size=1000, use_dictionary=False, compression="none"
    )
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20000] = b"\xff" * 20000
    file.write_bytes(content)
    with pytest.raises(RecipeError, match=r"x\.parquet cannot be read after row [0-9]+"):
        list(files.rows(Data(path=str(file))))


def test_a_folder_goes_through_the_datasets_library(tmp_path):
    for shard in (0, 1):
        (tmp_path / f"train-0000{shard}-of-00002.jsonl").write_text(
            json.dumps({"problem": f"{shard}?", "answer": "1", "info": {"x": shard}}) + "\n"
        )
    data = Data(path=str(tmp_path))
    assert files.columns(data) == ["problem", "answer", "info", "info.x"]
    assert [(where.rpartition(" ")[2], row["problem"]) for where, row in files.rows(data)] == [
        ("1", "0?"),
        ("2", "1?"),
    ]
    assert [list(row) for _, row in files.rows(data, {"answer"})] == [["answer"]] * 2
    with pytest.raises(RecipeError, match="split 'nosuch'"):
        list(files.rows(Data(path=str(tmp_path), split="nosuch")))
    (tmp_path / "train-0000x-of-00002.jsonl").write_text("{broken\n")
    with pytest.raises(RecipeError, match="datasets cannot load its split 'train'"):
        list(files.rows(data))


@pytest.mark.parametrize("name", ["a b", "50%25", "a#b", "why?"])
@pytest.mark.parametrize("kind", ["x.jsonl", "x.csv", "x.parquet", "folder"])
def test_a_path_may_have_any_name(tmp_path, name, kind, monkeypatch):
    folder = tmp_path / name
    folder.mkdir()
    file = folder / (kind if kind != "folder" else "x.jsonl")
    if kind == "x.parquet":
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({"problem": ["1?"], "answer": ["1"]}), file)
    else:
        file.write_text(
            "problem,answer\n1?,1\n" if kind == "x.csv" else '{"problem": "1?", "answer": "1"}\n'
        )
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    path = folder if kind == "folder" else file
    (row,) = [row for _, row in files.rows(Data(path=str(path)))]
    assert row == {"problem": "1?", "answer": "1"}


def test_a_folder_that_would_be_taken_for_others_is_refused(tmp_path):
    for name in ("why?", "whys", "list[1]"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jsonl").write_text('{"problem": "1?", "answer": "1"}\n')
    for name, found in {"why?": f"{tmp_path}/whys", "list[1]": "nothing"}.items():
        with pytest.raises(
            RecipeError, match=re.escape("*, ? and [ in a folder's name") + ".*" + re.escape(found)
        ):
            list(files.rows(Data(path=str(tmp_path / name))))
