import random

import pairs
import pytest

from red_mcore.rewards.answers import certain, final_answer
from red_mcore.rewards.grading import gold_fault, judge, letter

TABLES = [name for name in vars(pairs) if name.isupper() and len(name) > 1 and name not in ("MATH", "CHOICES", "WHOLE")]


def differences(kind, rows):
    """Rows whose verdict is another one, with the verdict."""
    judged = [(gold, answer, verdict, judge(kind, gold, answer)) for gold, answer, verdict in rows]
    return [row for row in judged if row[2] != row[3]]


@pytest.mark.parametrize("table", TABLES)
def test_pairs(table):
    assert differences("math", getattr(pairs, table)) == []


def test_tables_are_whole():
    assert sum(len(getattr(pairs, table)) for table in TABLES) == len(pairs.MATH) >= 170


def test_choices():
    assert differences("choice", pairs.CHOICES) == []


def test_whole_responses():
    found = [(gold, final_answer(text, boxed_only=False) or "", verdict) for gold, text, verdict in pairs.WHOLE]
    assert differences("math", found) == []
    assert judge("choice", "B", final_answer("So the answer is (B).", boxed_only=False)) == "correct"
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
        ("math", "None", "is unparsable when it is judged against itself"),
        ("math", "\\frac{1}{2", "is unparsable when it is judged against itself"),
        ("math", "---", "is wrong when it is judged against itself"),
        ("choice", "12", "is none of the letters A to J"),
        ("choice", "K", "is none of the letters A to J"),
    ],
)
def test_gold_faults(kind, gold, fault):
    assert gold_fault(kind, gold) == fault


def test_certain_is_what_judge_says():
    draw = random.Random(0)
    numbers = [draw.choice((str, "-{}".format))(draw.randrange(10 ** draw.randint(1, 15))) for _ in range(200)]
    asked = [("math", gold, answer) for gold in numbers[:40] for answer in (gold, draw.choice(numbers), f" {gold}")]
    asked += [("math", gold, answer) for gold, answer, _ in pairs.MATH if certain("math", gold, answer)]
    asked += [("choice", gold, answer) for gold in "ABJKab" for answer in "ABJKab"]
    sure = [(case, verdict) for case in asked if (verdict := certain(*case)) is not None]
    assert len(sure) > 120
    assert [case for case, verdict in sure if judge(*case) != verdict] == []


@pytest.mark.parametrize("answer", ["1e5", "0x10", "٣", "７", "1_000", "--1", "+1", "007", "", "-", "1" * 16, "1\n"])
def test_nothing_else_is_certain(answer):
    assert certain("math", "3", answer) is None
    assert certain("math", answer, "3") is None


def test_one_letter_is_chosen_or_none():
    assert [letter(text) for text in ("(D) 7", "**C**", "i", "K", "A/B", "A is right", "")] == ["D", "C", "I"] + 4 * [
        None
    ]
