import random

import kinds
import pairs
import pytest

from red_mcore.rewards import grading
from red_mcore.rewards.answers import certain, final_answer
from red_mcore.rewards.choices import final_choice, letter
from red_mcore.rewards.grading import gold_fault, judge

TABLES = [
    name
    for name in vars(pairs)
    if name.isupper() and len(name) > 1 and name not in ("MATH", "CHOICES", "WHOLE")
]


KINDS = [name for name in vars(kinds) if name.isupper() and len(name) > 1]


def differences(kind, rows):
    """Rows whose verdict is another one, with the verdict."""
    judged = [(gold, answer, verdict, judge(kind, gold, answer)) for gold, answer, verdict in rows]
    return [row for row in judged if row[2] != row[3]]


@pytest.mark.parametrize("table", TABLES)
def test_pairs(table):
    assert differences("math", getattr(pairs, table)) == []


@pytest.mark.parametrize("table", KINDS)
def test_kinds(table):
    rows = getattr(kinds, table)
    if table == "RESPONSES":
        rows = [
            (gold, final_answer(text, boxed_only=False) or "", verdict)
            for gold, text, verdict in rows
        ]
    judged = [(gold, answer, wanted, judge("math", gold, answer)) for gold, answer, wanted in rows]
    assert [row for row in judged if (row[2] == kinds.C) != (row[3] == "correct")] == []
    assert len(rows) >= 10
    assert {wanted for _, _, wanted in rows} == {kinds.C, kinds.N}


def test_tables_are_whole():
    assert sum(len(getattr(pairs, table)) for table in TABLES) == len(pairs.MATH) >= 170


def test_choices():
    assert differences("choice", pairs.CHOICES) == []


def test_whole_responses():
    found = [
        (gold, final_answer(text, boxed_only=False) or "", verdict)
        for gold, text, verdict in pairs.WHOLE
    ]
    assert differences("math", found) == []
    assert (
        judge("choice", "B", final_answer("So the answer is (B).", boxed_only=False)) == "correct"
    )
    assert judge("choice", "B", final_answer("So the answer is (C).", boxed_only=False)) == "wrong"
    assert final_answer("So the answer is (C).", boxed_only=True) is None


def test_golds_are_correct_against_themselves():
    golds = dict.fromkeys(gold for gold, _, verdict in pairs.MATH if verdict == "correct")
    assert [gold for gold in golds if gold_fault("math", gold) is not None] == []
    assert all(gold_fault("choice", gold) is None for gold in ("A", "(B)", "\\text{J}"))


@pytest.mark.parametrize(
    ("kind", "gold", "fault"),
    [
        ("math", "", "is empty"),
        ("math", " \n", "is empty"),
        ("math", "\\frac{1}{2", "is unparsable when it is judged against itself"),
        ("math", "---", "is wrong when it is judged against itself"),
        ("choice", "12", "is none of the letters A to J"),
        ("choice", "K", "is none of the letters A to J"),
        ("math", "x=2\ny=3", "is a calculation of several lines, not an answer"),
    ],
)
def test_gold_faults(kind, gold, fault):
    assert gold_fault(kind, gold) == fault


@pytest.mark.parametrize(
    ("fault", "golds"),
    [
        (
            "is a placeholder",
            [
                "proof",
                "Proof.",
                "\\text{proof}",
                "notfound",
                "Not found",
                "none given",
                "N/A",
                "null",
            ],
        ),
        (
            "is a placeholder",
            ["NaN", "None", "see solution", "?", "-", "[]", "unknown", "7, proof", "No answer."],
        ),
        (
            "speaks of a proof",
            ["See the solution above", "prove that x=2", "The proof is left to the reader"],
        ),
        (
            "as a program spells it",
            ["['1', '2']", '["a", "b"]', '{"answer": 7}', '"7"', "('7', '8')"],
        ),
        (
            "solution, not an answer",
            ["He has 16 - 3 = 13 eggs. He sells 9 of them.", "so the total of " * 4 + "7"],
        ),
        ("solution, not an answer", ["1+" * 400 + "1"]),
        ("not an answer", ["2+5=7\n#### 7", "<answer>7</answer>", "\\boxed{7", "5*<<5*2=10>>10"]),
    ],
)
def test_implausible_golds(fault, golds):
    found = [gold_fault("math", gold) for gold in golds]
    assert [
        gold for gold, said in zip(golds, found, strict=True) if said is None or fault not in said
    ] == []


def test_plausible_golds():
    golds = [
        "east",
        "Monday",
        "Yes",
        "no solution",
        "undefined",
        "DNE",
        "A and B are parallel",
        "-2,-2",
        "(1,2)",
        "[0,1]",
    ]
    golds += [
        "['71']",
        '["7"]',
        "\\emptyset",
        "\\mathbb{R}",
        "\\infty",
        "100!",
        "2^{1009}",
        "x \\equiv 3 \\pmod 7",
        "x^2+C",
    ]
    golds += [
        "The answer is 7",
        "\\text{October 30}",
        "3:4",
        "4:30 p.m.",
        "{2,3}",
        "5 apples",
        "1, 2, \\ldots, n",
    ]
    assert [(gold, fault) for gold in golds if (fault := gold_fault("math", gold))] == []


def test_golds_that_cost_too_much_are_refused(monkeypatch):
    gold = "\\int_0^1 \\sin(x^2) dx + \\sum_{k=1}^{50} \\frac{1}{k^2}"
    monkeypatch.setattr(grading, "COSTLY", 0.0)
    assert "of CPU time to compare" in gold_fault("math", gold)


def test_a_letter_is_said_where_the_box_has_none():
    text = "It follows that \\boxed{H \\ll E}.\n\n**Answer: D**"
    assert final_choice(text, boxed_only=False) == "D"
    assert final_choice(text, boxed_only=True) == "H \\ll E"
    assert final_choice("\\boxed{C}. Answer: D", boxed_only=False) == "C"
    assert [letter(text) for text in ("E - A long one", "E - A", "A - B, C")] == ["E", None, None]


def test_certain_is_what_judge_says():
    draw = random.Random(0)
    numbers = [
        draw.choice((str, "-{}".format))(draw.randrange(10 ** draw.randint(1, 15)))
        for _ in range(200)
    ]
    asked = [
        ("math", gold, answer)
        for gold in numbers[:40]
        for answer in (gold, draw.choice(numbers), f" {gold}")
    ]
    asked += [
        ("math", gold, answer) for gold, answer, _ in pairs.MATH if certain("math", gold, answer)
    ]
    asked += [("choice", gold, answer) for gold in "ABJKab" for answer in "ABJKab"]
    sure = [(case, verdict) for case in asked if (verdict := certain(*case)) is not None]
    assert len(sure) > 120
    assert [case for case, verdict in sure if judge(*case) != verdict] == []


@pytest.mark.parametrize(
    "answer", ["1e5", "0x10", "٣", "７", "1_000", "--1", "+1", "007", "", "-", "1" * 16, "1\n"]
)
def test_nothing_else_is_certain(answer):
    assert certain("math", "3", answer) is None
    assert certain("math", answer, "3") is None


def test_one_letter_is_chosen_or_none():
    assert [letter(text) for text in ("(D) 7", "**C**", "i", "K", "A/B", "A is right", "")] == [
        "D",
        "C",
        "I",
    ] + 4 * [None]
