"""Held-out problems of their own, mixtures by weight, and functions as sources."""

import json
from collections import Counter

import pytest

from red_mcore.config.recipe import Data, RecipeError, Source
from red_mcore.data import cursor, sources
from red_mcore.data.cursor import Mixture
from red_mcore.data.problems import check_data, read_problems


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def rows(name, count, first=0):
    return [{"problem": f"{name} {i}", "answer": str(i)} for i in range(first, first + count)]


def ids_and_texts(problems):
    return [(problem.id, problem.text) for problem in problems]


def test_held_out_problems_have_a_file_of_their_own_and_training_has_none_of_them(tmp_path):
    train = write(tmp_path / "train.jsonl", [*rows("a", 3), {"problem": "T  1.", "answer": "9"}])
    test = write(tmp_path / "test.jsonl", [*rows("t", 3), *rows("t", 1)])
    data = Data(path=train, held_out_path=test, held_out=1)
    check_data(data)
    loaded = read_problems(data, seed=0)
    assert ids_and_texts(loaded.held_out) == [(0, "t 0")]
    assert ids_and_texts(loaded.training) == [(4, "a 0"), (5, "a 1"), (6, "a 2")]
    assert [(note.name, note.count) for note in loaded.notes] == [
        ("held_out_in_training", 1),
        ("held_out_repeats", 1),
        ("held_out_unused", 2),
    ]
    fewer = read_problems(
        Data(path=write(tmp_path / "few.jsonl", rows("b", 1)), held_out_path=test, held_out=1),
        seed=0,
    )
    assert fewer.held_out == loaded.held_out, "what is asked does not depend on the training data"


def test_columns_that_are_named_count_where_the_held_out_file_has_them(tmp_path):
    train = write(tmp_path / "train.jsonl", [{"frage": "a", "problem": "not this", "answer": "1"}])
    plain = write(tmp_path / "plain.jsonl", rows("t", 1))
    same = write(tmp_path / "same.jsonl", [{"frage": "b", "problem": "nor this", "answer": "1"}])
    for file, text in ((plain, "t 0"), (same, "b")):
        loaded = read_problems(Data(path=train, problem_field="frage", held_out_path=file), seed=0)
        assert ([p.text for p in loaded.training], [p.text for p in loaded.held_out]) == (
            ["a"],
            [text],
        )


def test_the_held_out_hub_set_is_of_the_same_configuration_where_it_is_the_same():
    data = Data(path="owner/set", subset="main", held_out_path="owner/set")
    apart = sources.held_out(data)
    assert (apart.path, apart.subset, apart.split) == ("owner/set", "main", "test")
    data.held_out_path = "owner/other"
    assert sources.held_out(data).subset is None


def mixed(tmp_path, **more):
    parts = [
        Source(path=write(tmp_path / "a.jsonl", rows("a", 8)), weight=3),
        Source(
            path=write(tmp_path / "b.jsonl", [*rows("b", 4), {"problem": "a 1", "answer": "1"}])
        ),
    ]
    return Data(**{"mixture": parts, "held_out": 4, **more})


def test_a_mixture_holds_out_from_the_end_of_each_source_its_share(tmp_path):
    data = mixed(tmp_path)
    check_data(data)
    loaded = read_problems(data, seed=0)
    assert Counter(p.source for p in loaded.held_out) == {0: 3, 1: 1}
    assert {p.text for p in loaded.held_out} == {"a 5", "a 6", "a 7", "a 1"}
    assert [(p.text, p.source) for p in loaded.training] == [
        *((f"a {i}", 0) for i in (0, 2, 3, 4)),
        *((f"b {i}", 1) for i in range(4)),
    ]
    assert len({p.id for p in loaded.training + loaded.held_out}) == 12


def test_a_mixture_deals_by_weight_at_any_moment_and_each_source_in_epochs():
    counts, weights = [50, 7, 20], [3.0, 1.0, 0.5]
    dealt = Mixture(counts, weights, seed=1).next(900)
    of = [0 if i < 50 else 1 if i < 57 else 2 for i in dealt]
    for n in range(1, 901):
        for source, weight in enumerate(weights):
            assert abs(sum(s == source for s in of[:n]) - n * weight / 4.5) < 1.5
        if n > 60:
            break
    assert Counter(of) == {0: 600, 1: 200, 2: 100}
    second = [i for i in dealt if 50 <= i < 57]
    for epoch in range(len(second) // 7):
        assert sorted(second[7 * epoch : 7 * epoch + 7]) == list(range(50, 57))


def test_a_mixture_goes_on_where_it_stopped():
    whole, pieces = (Mixture([9, 4], [2, 1], seed=5) for _ in range(2))
    expected = whole.next(40)
    begun = pieces.next(13)
    resumed = Mixture([9, 4], [2, 1], seed=5)
    resumed.restore(json.loads(json.dumps(pieces.state())))
    assert begun + resumed.next(27) == expected
    with pytest.raises(RecipeError, match="count=4, this recipe gives 5"):
        Mixture([9, 5], [2, 1], seed=5).restore(pieces.state())


def test_the_cursor_of_a_mixture_is_made_of_the_problems_that_are_left(tmp_path):
    data = mixed(tmp_path)
    training = read_problems(data, seed=0).training
    dealt = cursor.over(training, data, 0).next(8)
    assert Counter(training[i].source for i in dealt) == {0: 6, 1: 2}
    with pytest.raises(
        RecipeError, match=r"data.mixture\[1\]: no training problem of it can be used"
    ):
        cursor.over([p for p in training if p.source == 0], data, 0)


def test_a_source_of_a_mixture_may_be_cut(tmp_path):
    data = mixed(tmp_path)
    data.mixture[0].problems = 2
    assert Counter(p.source for p in read_problems(data, seed=0).training) == {0: 2, 1: 4}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "x.jsonl"}, "data.path=x.jsonl and data.mixture exclude each other"),
        ({"problems": 3}, "data.problems=3 does not say of which source"),
        ({"gold_field": "g"}, "data.gold_field=g is of no source of data.mixture"),
        (
            {"mixture": [Source(path="nosuch.jsonl")]},
            r"data.mixture\[0\].path nosuch.jsonl does not exist",
        ),
        ({"mixture": [Source()]}, r"data.mixture\[0\].path is missing"),
        (
            {"mixture": [Source(path="x.jsonl", weight=0)]},
            r"data.mixture\[0\].weight=0 is not a positive number",
        ),
        (
            {"mixture": [Source(path="x.jsonl", weight=float("nan"))]},
            r"data.mixture\[0\].weight=nan",
        ),
        ({"held_out_path": "data.jsonl"}, "data.held_out_path data.jsonl does not exist"),
    ],
)
def test_what_cannot_be_mixed(tmp_path, changes, message):
    with pytest.raises(RecipeError, match=message):
        check_data(mixed(tmp_path, **changes))


def test_faults_are_told_by_the_name_of_the_source(tmp_path):
    strange = write(tmp_path / "strange.jsonl", [{"x": 1}])
    data = mixed(tmp_path)
    data.mixture.append(Source(path=strange))
    with pytest.raises(
        RecipeError, match=r"set data.mixture\[2\].problem_field and data.mixture\[2\].gold_field"
    ):
        check_data(data)
    with pytest.raises(RecipeError, match=r"set data\.problem_field and data\.gold_field"):
        check_data(mixed(tmp_path, held_out_path=strange))
    data.mixture[2] = Source(path=data.mixture[0].path)
    with pytest.raises(
        RecipeError, match=r"data.mixture\[2\].path .*a.jsonl: nothing to train on is left of its 8"
    ):
        check_data(data)
    with pytest.raises(
        RecipeError, match=r"data\.path .*a\.jsonl: nothing to train on is left of its 8"
    ):
        check_data(Data(path=data.mixture[0].path, held_out_path=data.mixture[0].path))
    with pytest.raises(
        RecipeError, match="the built-in arithmetic draws its held-out problems itself"
    ):
        check_data(Data(held_out_path=strange))


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_rows.py").write_text(
        "def good():\n    yield {'question': 'a', 'answer': 'It is 1.\\n#### 1'}\n"
        "    yield {'question': 'b', 'answer': '#### 2'}\n"
        "def breaks():\n    yield {'question': 'a', 'answer': '1'}\n    raise KeyError('column')\n"
        "def texts():\n    return ['a']\n"
        "def nothing():\n    return [{'question': 'a', 'answer': '1'}, None]\n"
        "def needs(what):\n    return []\n"
        "def leaves():\n    raise SystemExit(3)\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_function_gives_rows_as_a_file_has_them(module, tmp_path):
    data = Data(path="my_rows:good", held_out=1)
    check_data(data)
    loaded = read_problems(data, seed=0)
    assert [(p.text, p.gold, p.trace) for p in loaded.training] == [
        ("a", "1", "It is 1.\n\\boxed{1}")
    ]
    assert [p.text for p in loaded.held_out] == ["b"]
    apart = Data(path=write(tmp_path / "x.jsonl", rows("x", 1)), held_out_path="my_rows:good")
    assert [p.text for p in read_problems(apart, seed=0).held_out] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "breaks",
            r"data.path my_rows:breaks failed after row 1: KeyError: 'column'"
            r" \(my_rows.py line 6\)",
        ),
        ("texts", "my_rows:texts row 1: want a JSON object with named columns, found text"),
        ("nothing", "my_rows:nothing row 2: want a JSON object with named columns, found NoneType"),
        ("needs", "data.path my_rows:needs cannot be called: TypeError: .*needs"),
        ("number", "data.path my_rows:number cannot be called: TypeError"),
        ("leaves", "data.path my_rows:leaves cannot be called: SystemExit: 3"),
        ("nosuch", "data.path my_rows:nosuch cannot be called: AttributeError"),
    ],
)
def test_what_a_function_may_do_wrong(module, name, message):
    with pytest.raises(RecipeError, match=message) as caught:
        check_data(Data(path=f"my_rows:{name}"))
    assert "\n" not in str(caught.value)


def test_a_module_that_is_not_there():
    with pytest.raises(
        RecipeError, match="cannot be called: ModuleNotFoundError: No module named 'nosuch_module'"
    ):
        check_data(Data(path="nosuch_module.part:rows"))
