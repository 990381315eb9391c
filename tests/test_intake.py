"""What a run refuses once it has read its data."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from red_mcore.algorithms.bread import BREAD
from red_mcore.algorithms.grpo import GRPO
from red_mcore.algorithms.red import RED
from red_mcore.config.recipe import Data, Model, Recipe, RecipeError, Rollout
from red_mcore.data.duplicates import Note
from red_mcore.data.problems import Loaded
from red_mcore.data.seams import encode_trace
from red_mcore.data.tokenizer import EOS, build_tokenizer
from red_mcore.planning import intake
from red_mcore.samples.records import Problem


@pytest.mark.parametrize("algorithm", [RED(), BREAD()])
def test_methods_that_learn_from_traces_need_one_that_fits(algorithm):
    recipe = Recipe(
        name="x", model=Model(), algorithm=algorithm, rollout=Rollout(max_response_tokens=8)
    )
    tokenizer = build_tokenizer()
    useless = [
        Problem(0, "1+1", "2"),
        Problem(1, "1+1", "2", trace=""),
        Problem(2, "1+1", "2", trace="12345678"),
    ]
    message = (
        r"none of the 3 problems has one of at most rollout.max_response_tokens=8 tokens "
        r"\(2 are missing, 1 are longer"
    )
    with pytest.raises(RecipeError, match=message):
        intake.check_traces(recipe, tokenizer, useless)
    (note,) = intake.check_traces(
        recipe, tokenizer, [*useless, Problem(3, "1+1", "2", trace="1234567")]
    )
    assert (note.name, note.count) == ("usable_traces", 1)
    assert note.line == (
        "1 of 4 training problems have a trace that can be used; of the others' traces 2 are"
        " missing, 1 are longer than rollout.max_response_tokens=8"
    )


def test_which_traces_can_be_used_is_as_they_are_encoded():
    """At lengths about the limit, far from it, and for any number at once."""
    tokenizer = build_tokenizer()
    problems = [Problem(n, "1+1", "2", trace="x" * n) for n in range(300)]
    for limit in (2, 9, 40, 250):
        faults = intake.trace_faults(tokenizer, problems, limit, Data())
        assert [fault is None for fault in faults] == [
            encode_trace(tokenizer, p, limit, Data()) is not None for p in problems
        ]
        assert set(faults[1:]) == {None, f"are longer than rollout.max_response_tokens={limit}"}
        assert faults[0] == "are missing"
    assert intake.trace_faults(tokenizer, [Problem(0, "1+1", "2", trace=EOS)], 9, Data()) == [
        "are empty"
    ]
    assert intake.trace_faults(tokenizer, [], 9, Data()) == []


def test_grpo_needs_none():
    recipe = Recipe(name="x", model=Model(), algorithm=GRPO())
    assert intake.check_traces(recipe, build_tokenizer(), [Problem(0, "1+1", "2")]) == []


class Judge:
    asked = 0

    def gold_faults(self, problems):
        self.asked += 1
        return ["is empty" if not p.gold else None for p in problems]


def test_problems_of_bad_golds_are_left_out_told_and_remembered(tmp_path):
    recipe = Recipe(name="x", model=Model(), algorithm=GRPO(), runs=str(tmp_path))
    recipe.folder.mkdir()
    problems = [Problem(0, "1+1", "2"), Problem(1, "2+2", ""), Problem(2, "3+3", "6")]
    judge, said = Judge(), []
    assert intake.bad_golds(recipe, judge, problems, said.append) == {1}
    assert "left out 1 of 3 problems whose gold cannot be used" in said[0]
    assert "bad_golds.json: 1 is empty; the first: ''" in said[0]
    assert (
        "that is 33% of all golds: does data.gold_field=null name the column of the answers?"
        in said[1]
    )
    (row,) = json.loads((recipe.folder / "bad_golds.json").read_text())["rows"]
    assert row == {"id": 1, "problem": "2+2", "gold": "", "fault": "is empty"}
    assert intake.bad_golds(recipe, judge, problems, said.append) == {1}
    assert (judge.asked, len(said)) == (1, 4)  # told again, judged once
    assert intake.bad_golds(recipe, judge, problems[2:], said.append) == set()
    assert (judge.asked, len(said)) == (2, 4)
    many = [*problems, *(Problem(n, "1+1", "2") for n in range(3, 40))]
    assert intake.bad_golds(recipe, judge, many, said.append) == {1}
    assert len(said) == 5  # one of forty may be an accident


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-9],
        lambda text: "[]",
        lambda text: text.replace('"id": 1', '"id": 2'),
        lambda text: json.dumps(json.loads(text) | {"rows": []}),
        lambda text: json.dumps(json.loads(text) | {"rows": 7}),
    ],
)
def test_a_damaged_list_of_bad_golds_is_made_anew(tmp_path, damage):
    recipe = Recipe(name="x", model=Model(), algorithm=GRPO(), runs=str(tmp_path))
    problems = [Problem(0, "1+1", "2"), Problem(1, "2+2", ""), Problem(2, "3+3", "6")]
    judge, said = Judge(), []
    intake.bad_golds(recipe, judge, problems, said.append)
    file = recipe.folder / "bad_golds.json"
    whole = file.read_text()
    file.write_text(damage(whole))
    said.clear()
    assert intake.bad_golds(recipe, judge, problems, said.append) == {1}
    assert judge.asked == 2
    assert file.read_text() == whole
    assert said[0].startswith(f"red_mcore: warning: {file} is damaged (")
    assert said[0].endswith("): the golds are judged anew")


def test_what_a_run_takes_in(tmp_path):
    rollout = Rollout(max_prompt_tokens=12, max_response_tokens=8)
    recipe = Recipe(name="x", model=Model(), algorithm=RED(), runs=str(tmp_path), rollout=rollout)
    recipe.folder.mkdir()
    texts = ["1+1", "asked", "far too long a prompt", "2+2", "3+3", "4+4"]
    golds = ["2", "1", "1", "", "6", "8"]
    problems = [
        Problem(n, t, g, trace="123") for n, (t, g) in enumerate(zip(texts, golds, strict=True))
    ]
    loaded = Loaded(
        problems[:5], problems[5:], [Note("without_gold", 3, "left out 3 rows whose gold is empty")]
    )
    said = []
    asked = {"mine": [Problem(0, "Asked?", "7")]}
    assert intake.usable(recipe, loaded, asked, build_tokenizer(), Judge(), said.append) == {
        0,
        4,
        5,
    }
    assert [line for line in said if line.startswith("data: ")] == [
        "data: left out 3 rows whose gold is empty",
        "data: left out 1 training problems that are problems of mine",
        "data: left out 1 of 4 training problems: longer than rollout.max_prompt_tokens=12",
        "data: 2 of 2 training problems have a trace that can be used",
    ]
    assert json.loads((recipe.folder / "intake.json").read_text()) == {
        "training": 2,
        "held_out": 1,
        "bad_golds": 1,
        "without_gold": 3,
        "benchmark_in_training": 1,
        "training_too_long": 1,
        "usable_traces": 2,
    }


@pytest.mark.parametrize(
    ("training", "held_out", "message"),
    [
        (
            [("asked", "1")],
            [("1", "1")],
            "no training problem is left: left out 1 training problems that are problems",
        ),
        (
            [("far too long a prompt", "1")],
            [("1", "1")],
            "none of the 1 training problems fits; raise it",
        ),
        (
            [("1", "1")],
            [("far too long a prompt", "1")],
            "none of the 1 held-out problems fits; raise it",
        ),
        ([("1", "")], [("2", "1")], "no training problem has a gold that can be used"),
        ([("1", "1")], [("2", "")], "no held-out problem has a gold that can be used"),
    ],
)
def test_a_run_without_problems_is_refused(tmp_path, training, held_out, message):
    recipe = Recipe(
        name="x",
        model=Model(),
        algorithm=GRPO(),
        runs=str(tmp_path),
        rollout=Rollout(max_prompt_tokens=12),
    )
    recipe.folder.mkdir()
    loaded = Loaded([Problem(0, *row) for row in training], [Problem(1, *row) for row in held_out])
    asked = {"mine": [Problem(0, "Asked?", "7")]}
    with pytest.raises(RecipeError, match=message):
        intake.usable(recipe, loaded, asked, build_tokenizer(), Judge(), lambda line: None)


def test_ranks_that_have_read_other_problems_do_not_train_together(monkeypatch):
    from red_mcore.megatron import ranks

    monkeypatch.setattr(ranks, "from_main", lambda value: "another digest")
    monkeypatch.setattr(ranks, "together", nullcontext)
    recipe = Recipe(name="x", model=Model(), algorithm=GRPO(), data=Data(path="my.module:rows"))
    message = (
        r"rank 1 has read other problems than rank 0: "
        r"the sources \(my\.module:rows\) have to be the same on every"
    )
    with pytest.raises(RecipeError, match=message):
        intake.take_in(
            recipe,
            Loaded([Problem(0, "1", "1")], []),
            {},
            None,
            None,
            SimpleNamespace(rank=1),
            print,
        )
