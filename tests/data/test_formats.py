"""Column layouts that are about, as their publishers name the columns; every refusal's advice is
followed."""

import json

import pytest

from red_mcore.config.recipe import Data, RecipeError
from red_mcore.data import choosing, files, formats
from red_mcore.samples.records import Problem


def content(row, **fields):
    """(problem, gold, trace) of the row."""
    data = Data(**fields)
    columns = [
        name
        for key, value in row.items()
        for name in (key, *(f"{key}.{sub}" for sub in subs(value)))
    ]
    found = formats.read(formats.find(columns, data, "x.jsonl"), row, "x.jsonl line 1")
    traces = tuple(one.trace for one in found.traces)
    problem = choosing.chosen(Problem(0, "", "", traces=traces), data)
    return found.text, found.gold and found.gold.text, problem.trace


def subs(value):
    return list(value) if isinstance(value, dict) else []


def user(text, *before):
    return [*before, {"role": "user", "content": text}]


def assistant(text):
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "be kind"}
WORKED = "We add: $1+2=\\boxed{3}$."
LAYOUTS = {
    "plain": ({"problem": "q", "answer": "3"}, None),
    "capitals": ({"Problem": "q", "Answer": 3, "Trace": "t"}, "t"),
    "GSM8K": ({"question": "q", "answer": "1+2=<<1+2=3>>3\n#### 3"}, "1+2=3\n\\boxed{3}"),
    "MATH": ({"problem": "q", "level": "Level 1", "type": "Algebra", "solution": WORKED}, WORKED),
    "MATH levels 3-5": (
        {"input": "<chat>", "solution": "$3$", "gt_answer": "3", "problem": "q", "target": "3"},
        None,
    ),
    "LUFFY": ({"problem": "q", "answer": "3", "distill": "t"}, "t"),
    "verl": (
        {
            "data_source": "d",
            "prompt": user("q", SYSTEM),
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": "3"},
            "extra_info": {"index": 0, "split": "train"},
        },
        None,
    ),
    "Skywork": (
        {"prompt": user("q"), "reward_model": {"ground_truth": '["3"]', "style": "rule"}},
        None,
    ),
    "verl, number": ({"prompt": user("q"), "reward_model": {"ground_truth": 3.0}}, None),
    "DAPO": ({"prompt": "q", "solution": "3", "reward_model": {"ground_truth": "3"}}, None),
    "label": ({"prompt": user("q"), "label": "3"}, None),
    "OpenR1 chats": (
        {
            "prompt": user("q", SYSTEM),
            "target": [assistant("t")],
            "reward_model": {"ground_truth": "3"},
        },
        "t",
    ),
    "no target": (
        {"prompt": user("q"), "target": None, "reward_model": {"ground_truth": "3"}},
        None,
    ),
    "OpenR1-Math": (
        {
            "problem": "q",
            "solution": WORKED,
            "answer": "3",
            "generations": ["wrong", "cut", "right"],
            "correctness_math_verify": [False, True, False],
            "correctness_llama": [False, False, True],
            "is_reasoning_complete": [True, False, True],
            "messages": [*user("q"), assistant("wrong")],
        },
        "right",
    ),
    "OpenR1-Math without marks": (
        {"problem": "q", "answer": "3", "generations": ["first", "second"]},
        "first",
    ),
    "Big-Math": ({"problem": "q", "answer": "3", "source": "x", "llama8b_solve_rate": 0.5}, None),
    "NuminaMath": (
        {
            "source": "x",
            "problem": "q",
            "solution": WORKED,
            "messages": [*user("q"), assistant(WORKED)],
        },
        WORKED,
    ),
    "DeepMath": (
        {
            "question": "q",
            "final_answer": "3",
            "r1_solution_1": None,
            "r1_solution_2": "t",
            "r1_solution_3": "u",
        },
        "t",
    ),
    "OpenMathReasoning": ({"problem": "q", "generated_solution": "t", "expected_answer": "3"}, "t"),
    "s1K": (
        {"question": "q", "solution": "3", "attempt": "It is 3.", "thinking_trajectories": ["hm"]},
        "<think>\nhm\n</think>\n\nIt is 3.",
    ),
    "messages": ({"messages": [SYSTEM, *user("q"), assistant("so \\boxed{3}")]}, "so \\boxed{3}"),
    "messages, answer": ({"messages": [*user("q"), assistant("t")], "answer": "3"}, "t"),
    "OpenThoughts": (
        {
            "system": "s",
            "conversations": [
                {"from": "user", "value": "q"},
                {"from": "assistant", "value": "\\boxed{3}"},
            ],
        },
        "\\boxed{3}",
    ),
    "prompt, completion": (
        {"prompt": user("q"), "completion": [assistant("\\boxed{3}")]},
        "\\boxed{3}",
    ),
    "query": ({"query": "q", "response": "t", "answer": "3"}, "t"),
    "input": ({"input": "q", "output": "3"}, None),
    "Alpaca": ({"instruction": "q", "input": "", "output": WORKED}, WORKED),
    "solution": ({"prompt": "q", "solution": "3"}, None),
    "OlympiadBench": ({"question": "q", "final_answer": ["3"], "is_multiple_answer": False}, None),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_known_layouts(name):
    row, trace = LAYOUTS[name]
    assert content(row) == ("q", "3", trace)


@pytest.mark.parametrize("name", LAYOUTS)
def test_known_layouts_as_csv_that_holds_json(name, tmp_path):
    """Where a file can hold text alone, lists and objects are spelled in it."""
    row, trace = LAYOUTS[name]
    text = {
        k: v if isinstance(v, str) else "" if v is None else json.dumps(v) for k, v in row.items()
    }
    if (
        "reward_model" in row
    ):  # an object's fields are no columns of a CSV file: they have to be named
        assert content(text, gold_field="reward_model.ground_truth") == ("q", "3", trace)
    else:
        assert content(text) == ("q", "3", trace)


def test_named_columns_go_before_recognised_ones_and_into_objects():
    row = {
        "problem": "no",
        "answer": "0",
        "Q": "q",
        "info": {"gold": "3", "traces": ["first", "second"]},
        "messages": [*user("other"), assistant("t")],
        "a.b": "4",
    }
    assert content(row, problem_field="q", gold_field="info.gold", trace_field="info.traces.1") == (
        "q",
        "3",
        "second",
    )
    assert content(row, problem_field="messages.0.content", gold_field="INFO.Gold")[:2] == (
        "other",
        "3",
    )
    assert content(row, problem_field="messages", gold_field="a.b", trace_field="messages") == (
        "other",
        "4",
        "t",
    )
    gsm8k = {"q": "q", "a": "1+2=<<1+2=3>>3\n#### 3"}
    assert content(gsm8k, problem_field="q", gold_field="a", trace_field="a") == (
        "q",
        "3",
        "1+2=3\n\\boxed{3}",
    )


def test_a_solution_whose_marks_are_all_wrong_is_no_trace():
    row = {
        "problem": "q",
        "answer": "3",
        "generations": ["a", "b"],
        "correctness_math_verify": [False, False],
    }
    assert content(row)[2] is None
    assert content(row, trace_field="generations")[2] is None


@pytest.mark.parametrize(
    ("row", "advice"),
    [
        ({"frage": "q", "loesung": "3"}, {"problem_field": "frage", "gold_field": "loesung"}),
        (
            {"item": {"text": "q", "key": "3"}},
            {"problem_field": "item.text", "gold_field": "item.key"},
        ),
        ({"problem": "q", "key": 3}, {"gold_field": "key"}),
        ({"text": "q", "answer": "3"}, {"problem_field": "text"}),
    ],
)
def test_the_advice_for_unknown_columns_works(row, advice):
    with pytest.raises(RecipeError, match="are of no known format; set") as error:
        content(row)
    for field in ("problem_field", "gold_field"):
        assert (f"data.{field}" in str(error.value)) == (field in advice)
    assert content(row, **advice) == ("q", "3", None)


def test_a_named_column_that_is_not_there_is_told_with_the_nearest():
    with pytest.raises(
        RecipeError,
        match=r"no column 'anser' \(data.gold_field\); columns: problem, answer;"
        " nearest is 'answer'",
    ):
        content({"problem": "q", "answer": "3"}, gold_field="anser")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"problem": 5, "answer": "3"},
            "x.jsonl line 1: column 'problem' is the int 5, want text; columns: problem",
        ),
        (
            {"problem": "q", "answer": {"value": "3"}},
            "column 'answer' is an object with value.*with a dot",
        ),
        ({"problem": "q", "answer": "3", "trace": 7}, "column 'trace' is the int 7"),
        (
            {"messages": [*user("a"), assistant("b"), *user("c"), assistant("3")]},
            "column 'messages' has 2 user turns",
        ),
        (
            {"prompt": [*user("q"), assistant("Let me see:")], "answer": "3"},
            "column 'prompt' has 1 assistant turns",
        ),
        ({"prompt": [SYSTEM], "answer": "3"}, "column 'prompt' has 0 user turns"),
    ],
)
def test_a_cell_that_is_not_understood_is_named(row, message):
    with pytest.raises(RecipeError, match=message):
        content(row)


def test_the_advice_for_an_object_works():
    row = {"problem": "q", "answer": "3", "generations": [{"text": "t"}]}
    with pytest.raises(
        RecipeError, match=r"column 'generations' is an object with text, .*with a dot"
    ):
        content(row)
    assert content(row, trace_field="generations.0.text") == ("q", "3", "t")
    assert content({"problem": "q", "answer": {"value": "3"}}, gold_field="answer.value") == (
        "q",
        "3",
        None,
    )


def test_only_the_columns_that_are_used_are_read(tmp_path):
    import pyarrow
    import pyarrow.parquet

    row = LAYOUTS["verl"][0] | {"embedding": [0.5] * 8}
    file = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), file)
    data = Data(path=str(file))
    layout = formats.find(files.columns(data), data, "x")
    ((where, found),) = files.rows(data, layout.used())
    assert where.endswith("x.parquet row 1")
    assert set(found) == {"prompt", "reward_model"}
    assert formats.read(layout, found, where)[0] == "q"
