"""Rows of an evaluation in a file, whole or damaged."""

import json

import pytest

from red_mcore.config.recipe import RecipeError
from red_mcore.evaluation import items


def row(item: int, benchmark: str = "A") -> dict:
    response = {
        "text": "7",
        "answer": "7",
        "verdict": "correct",
        "tokens": 3,
        "finish": "stop",
        "token_ids": [1, 2, 3],
    }
    about = {"problem": f"{item}?", "gold": "7", "kind": "math", "prompt_ids": [2, 3]}
    return {"benchmark": benchmark, "item": item, **about, "responses": [response]}


CUT = [[("A", 0), ("A", 1)], [("A", 2)], [("A", 3)]]
EMPTY = json.dumps(row(2) | {"responses": []})
BAD = ['{"benchmark": "A", "it', "[1]", json.dumps({"benchmark": "A", "item": 2}), EMPTY]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("name", [items.ITEMS, "items.part-1.jsonl"])
def test_a_damaged_line_is_told_and_its_problem_asked_again(tmp_path, bad, name):
    lines = [json.dumps(row(0)), json.dumps(row(1)), bad, json.dumps(row(3))]
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    assert items.damage(tmp_path) == [
        f"{tmp_path / name}: 1 damaged lines, the first is line 3: their problems are asked again"
    ]
    assert items.merge(tmp_path, CUT).keys() == {("A", 0), ("A", 1), ("A", 3)}
    assert items.damage(tmp_path) == []
    items.append(tmp_path, 0, items.parse(row(2)))
    assert items.merge(tmp_path, CUT).keys() == {place for chunk in CUT for place in chunk}
    lines = (tmp_path / items.ITEMS).read_text().splitlines()
    assert [json.loads(line) for line in lines] == [row(i) for i in range(4)]
    assert [response.item for response in items.read(tmp_path)] == [0, 1, 2, 3]


def test_a_line_torn_by_a_kill_is_no_damage(tmp_path):
    items.append(tmp_path, 0, [*items.parse(row(0)), *items.parse(row(1))])
    with (tmp_path / "items.part-0.jsonl").open("a") as file:
        file.write('{"benchmark": "A", "it')
    assert items.damage(tmp_path) == []
    assert items.gather(tmp_path).keys() == {("A", 0), ("A", 1)}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            [json.dumps(row(0)), BAD[0], json.dumps(row(1))],
            r"items\.jsonl:2 is not JSON \(.*\): run the command that made it",
        ),
        (
            [json.dumps(row(i)) for i in (0, 1, 0)],
            r"items\.jsonl:3 repeats item 0 of A: run the command that made it",
        ),
        ([], r"items\.jsonl holds no responses as tools/evaluate\.py writes it"),
    ],
)
def test_what_is_read_to_compare_is_whole(tmp_path, lines, message):
    (tmp_path / items.ITEMS).write_text("".join(line + "\n" for line in lines))
    with pytest.raises(RecipeError, match=message):
        items.read(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"problems": []}'])
def test_a_folder_whose_identity_is_damaged_belongs_to_nobody(tmp_path, content):
    identity = {"weights": "1", "problems": {"A": "x"}}
    items.claim(tmp_path / "new", identity)
    items.claim(tmp_path / "new", identity)
    (tmp_path / "new" / items.IDENTITY).write_text(content)
    with pytest.raises(
        RecipeError, match=r"evaluation\.json is damaged .*: choose another --out, or delete it"
    ):
        items.claim(tmp_path / "new", identity)
