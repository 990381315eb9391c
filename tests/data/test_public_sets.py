"""The public sets that people train on load as they are: rows of our own, in exactly the columns
and the nesting of each."""

import json
from typing import Any, NamedTuple

import pytest

from red_mcore.config.recipe import Data, RecipeError
from red_mcore.data.problems import read_problems
from red_mcore.rewards.golds import implausible
from red_mcore.samples.records import Trace

THINKS = "<think>\nOne and two.\n</think>\n\nIt is \\boxed{3}."
WORKED = "We add: $1+2=\\boxed{3}$."


def user(text: str, **more: str) -> dict[str, str]:
    return {"content": text, "role": "user", **more}


def assistant(text: str) -> dict[str, str]:
    return {"content": text, "role": "assistant"}


def right(text: str) -> Trace:
    return Trace(text, verified=True, finish_reason="stop")


class Case(NamedTuple):
    row: dict[str, Any]
    trace: str | None = None
    """The one that is chosen."""
    traces: tuple[Trace, ...] = ()
    """All of them, where there is more to know."""
    problem: str = "What is 1+2?"
    gold: str | None = "3"
    """None where no answer can be the gold."""


OPENR1: dict[str, Any] = {
    "problem": "What is 1+2?",
    "solution": "We add.",
    "answer": "3",
    "problem_type": "Algebra",
    "question_type": "math-word-problem",
    "source": "olympiads",
    "uuid": "8f0b3a",
    "is_reasoning_complete": [True, False, True],
    "generations": ["wrong", "cut", THINKS],
    "correctness_math_verify": [False, True, True],
    "correctness_llama": None,
    "finish_reasons": None,
    "correctness_count": 2,
    "messages": [user("What is 1+2?"), assistant("wrong")],
}
OPENR1_TRACES = (
    Trace("wrong", verified=False, finish_reason="stop"),
    Trace("cut", verified=True, finish_reason="length"),
    right(THINKS),
)
DEEPMATH: dict[str, Any] = {
    "question": "What is 6*7?",
    "final_answer": "42",
    "difficulty": 5.0,
    "topic": "Mathematics -> Algebra",
    "r1_solution_1": "one",
    "r1_solution_2": "two",
    "r1_solution_3": "three",
}
R1 = "deepseek-r1"
S1K: dict[str, Any] = {
    "solution": "3",
    "question": "What is 1+2?",
    "cot_type": "math",
    "source_type": "AI-MO/NuminaMath-CoT/aops_forum",
    "metadata": "{'source': 'aops_forum'}",
}
NUMINA: dict[str, Any] = {
    "problem": "What is 1+2?",
    "solution": WORKED,
    "answer": "3",
    "problem_type": "Algebra",
    "question_type": "math-word-problem",
    "problem_is_valid": "Yes",
    "solution_is_valid": "Yes",
    "source": "olympiads",
    "synthetic": False,
}


def verl(gold: Any, **more: Any) -> dict[str, Any]:
    return {
        "data_source": "math_dapo",
        "prompt": [user("What is 1+2?")],
        "ability": "MATH",
        "reward_model": {"ground_truth": gold, "style": "rule"},
        "extra_info": {"index": "9a9b6eb4"},
        **more,
    }


SETS: dict[str, Case] = {
    "OpenR1-Math-220k": Case(OPENR1, THINKS, OPENR1_TRACES),
    "OpenR1-Math-220k, all wrong": Case(
        OPENR1 | {"solution": WORKED, "correctness_math_verify": [False] * 3},
        None,
        tuple(Trace(t.text, verified=False, finish_reason=t.finish_reason) for t in OPENR1_TRACES),
    ),
    "OpenR1-Math-220k, llama's marks, finish reasons": Case(
        OPENR1
        | {
            "is_reasoning_complete": [True, True, True],
            "correctness_math_verify": [False, False, False],
            "correctness_llama": [True, False, True],
            "finish_reasons": ["length", "stop", "stop"],
        },
        THINKS,
        (
            Trace("wrong", verified=True, finish_reason="length"),
            Trace("cut", verified=False, finish_reason="stop"),
            right(THINKS),
        ),
    ),
    "OpenR1-Math-46k-8192": Case(
        verl(
            "3",
            prompt=[{"content": "Think.", "role": "system"}, user("What is 1+2?")],
            target=[assistant(THINKS)],
            extra_info={"index": -1, "split": "default"},
        ),
        THINKS,
    ),
    "DAPO-Math-17k": Case(verl("3")),
    "verl's GSM8K": Case(
        verl(
            "3",
            data_source="openai/gsm8k",
            extra_info={
                "answer": "1+2=<<1+2=3>>3\n#### 3",
                "index": 0,
                "question": "What is 1+2?",
                "split": "train",
            },
        )
    ),
    "Skywork-OR1": Case(
        verl('["3"]', extra_info={"index": 0, "model_difficulty": {"DeepSeek-R1-7B": 4}})
    ),
    "Skywork-OR1, 42": Case(verl('["42"]'), gold="42"),
    "Skywork-OR1, a fraction": Case(verl('["\\\\frac{1}{2}"]'), gold="\\frac{1}{2}"),
    "DeepMath-103K": Case(
        DEEPMATH,
        "one",
        (Trace("one", R1), Trace("two", R1), Trace("three", R1)),
        "What is 6*7?",
        "42",
    ),
    "s1K": Case(
        S1K
        | {"cot": None, "thinking_trajectories": ["One and two."], "attempt": "It is \\boxed{3}."},
        THINKS,
    ),
    "s1K-1.1": Case(
        S1K
        | {
            "gemini_thinking_trajectory": "One and two.",
            "gemini_attempt": "It is \\boxed{3}.",
            "deepseek_thinking_trajectory": "One and one.",
            "deepseek_attempt": "It is \\boxed{2}.",
            "gemini_grade": "Yes",
            "gemini_grade_reason": "Both say 3.",
            "deepseek_grade": "No",
            "deepseek_grade_reason": "2 is not 3.",
        },
        THINKS,
        (
            Trace("<think>\nOne and one.\n</think>\n\nIt is \\boxed{2}.", "deepseek", False),
            Trace(THINKS, "gemini", True),
        ),
    ),
    "LIMO": Case({"question": "What is 1+2?", "solution": WORKED, "answer": "3"}, WORKED),
    "OpenThoughts-114k, metadata": Case(
        {
            "problem": "What is 1+2?",
            "deepseek_reasoning": "One and two.",
            "deepseek_solution": "It is \\boxed{3}.",
            "ground_truth_solution": WORKED,
            "domain": "math",
            "source": "numina_math",
            "test_cases": None,
            "starter_code": None,
        },
        THINKS,
        (Trace(THINKS, "deepseek"),),
    ),
    "OpenThoughts3": Case(
        {
            "difficulty": None,
            "source": "ai2-adapt-dev/openmath-2-math",
            "domain": "math",
            "conversations": [
                {"from": "human", "value": "What is 1+2?"},
                {"from": "gpt", "value": THINKS},
            ],
        },
        THINKS,
    ),
    "Mixture-of-Thoughts": Case(
        {
            "messages": [user("What is 1+2?"), assistant(THINKS)],
            "num_tokens": 12,
            "source": "open-r1/OpenR1-Math-220k",
        },
        THINKS,
    ),
    "NuminaMath-1.5": Case(NUMINA, WORKED),
    "NuminaMath-1.5, proof": Case(NUMINA | {"answer": "proof", "solution": "Clear."}, gold=None),
    "NuminaMath-1.5, notfound": Case(NUMINA | {"answer": "notfound", "solution": "-"}, gold=None),
    "Big-Math": Case(
        {
            "problem": "What is 1+2?",
            "answer": "3",
            "source": "orca_math",
            "domain": ["Mathematics -> Algebra"],
            "llama8b_solve_rate": 0.7,
        }
    ),
    "DeepScaleR": Case({"problem": "What is 1+2?", "answer": "3", "solution": WORKED}, WORKED),
    "GSM8K": Case(
        {"question": "What is 1+2?", "answer": "It is <<1+2=3>>3.\n#### 3"},
        "It is 3.\n\\boxed{3}",
    ),
    "MATH": Case(
        {
            "problem": "What is 1+2?",
            "level": "Level 1",
            "type": "Prealgebra",
            "solution": WORKED,
        },
        WORKED,
    ),
    "the project's own": Case(
        {
            "id": "set/7",
            "problem": "What is 1+2?",
            "gold": "3",
            "traces": [
                {
                    "text": "2",
                    "source": "small",
                    "verified": False,
                    "tokens": 1,
                    "finish_reason": "stop",
                },
                {"text": "3", "source": "large", "verified": True, "tokens": 1},
            ],
            "meta": {"origin": "x"},
        },
        "3",
        (Trace("2", "small", False, 1, "stop"), Trace("3", "large", True, 1)),
    ),
}


def read(tmp_path, rows: list[dict[str, Any]], kind: str = "jsonl", **fields: Any):
    """(the problems of a file of ``rows``, the lines that are told)"""
    path = tmp_path / f"set.{kind}"
    if kind == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = read_problems(Data(path=str(path), held_out=0, **fields), seed=0)
    return loaded.training, [note.line for note in loaded.notes]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("name", SETS)
def test_public_sets_load_as_they_are(name, kind, tmp_path):
    case = SETS[name]
    (problem,), _ = read(tmp_path, [case.row], kind)
    assert problem.text == case.problem
    if case.gold is None:
        assert implausible("math", problem.gold) is not None
    else:
        assert (problem.gold, implausible("math", problem.gold)) == (case.gold, None)
    assert problem.trace == case.trace
    assert problem.traces == case.traces


def test_ids_of_own_files_are_kept(tmp_path):
    (problem,), _ = read(tmp_path, [SETS["the project's own"].row])
    assert problem.name == "set/7"


@pytest.mark.parametrize(
    ("row", "field", "trace"),
    [
        (OPENR1, "generations", THINKS),
        (OPENR1, "generations[0]", "wrong"),
        (OPENR1, "generations[-1]", THINKS),
        (OPENR1, "generations.1", "cut"),
        (OPENR1, "generations[3]", None),
        (OPENR1, "messages[1].content", "wrong"),
        (OPENR1, "messages", "wrong"),
        (DEEPMATH, "r1_solution_2", "two"),
        (SETS["the project's own"].row, "traces", "3"),
        (SETS["the project's own"].row, "traces[0]", "2"),
        (SETS["the project's own"].row, "traces[0].text", "2"),
        (SETS["verl's GSM8K"].row, "extra_info.answer", "1+2=3\n\\boxed{3}"),
    ],
)
def test_traces_are_named_by_way(row, field, trace, tmp_path):
    """One that is named is taken, whatever is known of it; of a list the marks count."""
    (problem,), _ = read(tmp_path, [row], trace_field=field)
    assert problem.trace == trace


def test_problem_and_gold_are_named_by_way(tmp_path):
    row = {"chat": [user("q"), assistant("a")], "info": {"golds": ["3", "4"]}}
    fields = {"problem_field": "chat[0].content", "gold_field": "info.golds[1]"}
    (problem,), _ = read(tmp_path, [row], **fields)
    assert (problem.text, problem.gold) == ("q", "4")


@pytest.mark.parametrize("name", ["generations[", "generations[x]", "generations[0", "[0]", "a..b"])
def test_a_way_that_leads_nowhere_is_refused(name, tmp_path):
    message = (
        r"data.trace_field=.* leads nowhere: want a column, a.b for what is in an object, a\[0"
    )
    with pytest.raises(RecipeError, match=message):
        read(tmp_path, [OPENR1], trace_field=name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generations": [["a"], [{"b": 1}]]}, "column 'generations' is an object with b, want"),
        ({"generations": {"a": 1}}, "column 'generations' is an object with a, want"),
        ({"generations": 7}, "column 'generations' is the int 7, want"),
        ({"answer": {"value": 3}}, "column 'answer' is an object with value, want"),
        ({"answer": [["3"]]}, "column 'answer' is the list"),
        ({"problem": ["q"]}, "column 'problem' is the list .'q'., want text"),
        ({"problem": {"text": "q"}}, "column 'problem' is an object with text, want text"),
        ({"traces": [{"text": 7}]}, "column 'traces': trace 1: want an object with a text"),
        ({"traces": [{"text": "t", "verified": "yes"}]}, "'verified' is 'yes': want bool or null"),
        ({"traces": [{"answer": "t"}]}, "column 'traces' is an object with answer, want"),
        ({"traces": [{"text": "\ud800"}]}, "half of a surrogate pair"),
    ],
)
def test_lists_and_objects_are_understood_or_refused_by_name(change, message, tmp_path):
    with pytest.raises(RecipeError, match=message):
        read(tmp_path, [OPENR1 | change])


def test_thoughts_that_are_not_understood_are_named(tmp_path):
    row = SETS["s1K"].row | {"thinking_trajectories": 5}
    message = "column 'attempt' goes with the column 'thinking_trajectories', which is the int 5"
    with pytest.raises(RecipeError, match=message):
        read(tmp_path, [row])


def test_what_is_ignored_is_told(tmp_path):
    _, lines = read(tmp_path, [OPENR1, OPENR1 | {"problem": "q", "generations": None}])
    assert (
        "3 traces of 1 problems (2 marked right, 1 known to be wrong, 1 cut off); 1 have one to"
        " choose by data.trace_choice=first" in lines
    )
    unmarked = NUMINA | {"solution": "It is easy to see."}
    _, lines = read(tmp_path, [unmarked])
    assert lines == [
        "1 texts of the column 'solution' are no traces, for they mark no answer by \\boxed{...}"
        " or ####; data.trace_field=solution takes them all the same"
    ]
    (problem,), _ = read(tmp_path, [unmarked], trace_field="solution")
    assert problem.trace == "It is easy to see."
    _, lines = read(tmp_path, [DEEPMATH], trace_field="r1_solution_2")
    assert lines == [
        "the traces of the columns r1_solution_1, r1_solution_3 are not used, for"
        " data.trace_field=r1_solution_2 names others"
    ]
