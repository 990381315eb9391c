"""The same problem twice."""

import pytest

from red_mcore.data import duplicates
from red_mcore.samples.records import Problem


def problems(*rows):
    return [Problem(i, *row) for i, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 1+1?", "what is  1 + 1 ?"),
        ("Find $x$.", " Find\t$x$\n"),
        (r"$\int x\,dx$", r"$\int x dx$"),
        (r"a\quad b~c", "a b c"),
        ("Solve:", "Solve"),
        ("caf\u00e9", "cafe\u0301"),
    ],
)
def test_what_makes_no_difference(one, other):
    assert duplicates.key(one) == duplicates.key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1 1/2", "11/2"),
        ("Compute 5!", "Compute 5"),
        ("x^2", "x2"),
        ("x\u00b2", "x2"),
        ("gcd of 12, 345", "gcd of 12,345"),
        (r"\quadratic", "ratic"),
        (r"1 \\ 2", "1 2"),
        ("-1", "1"),
    ],
)
def test_what_makes_a_difference(one, other):
    assert duplicates.key(one) != duplicates.key(other)


def test_held_out_problems_are_different_ones_and_not_in_training():
    rows = problems(
        ("a?", "1"),
        ("b", "2"),
        ("A", "1"),
        ("c", "3"),
        ("d", "4"),
        ("c?", "3"),
        ("d", "4"),
        ("b", "9"),
        ("d", "4"),
    )
    training, held_out, notes = duplicates.split(rows, 2)
    assert [(p.id, p.text) for p in training] == [(0, "a?"), (3, "c")]
    assert [(p.id, p.text) for p in held_out] == [(7, "b"), (8, "d")]
    assert {note.name: note.count for note in notes} == {
        "held_out_in_training": 3,
        "training_repeats": 2,
        "several_golds": 1,
    }
    assert [note.line for note in notes] == [
        "left out 3 training problems that are held out as well",
        "left out 2 training problems that are there before, with the same gold",
        "1 problems have more than one gold; the first: 'b' has '2' and '9'",
    ]


def test_repeats_among_the_held_out_do_not_count():
    training, held_out, notes = duplicates.split(
        problems(("a", "1"), ("b", "2"), ("c", "3"), ("c", "3")), 2
    )
    assert [p.id for p in training] == [0]
    assert [p.id for p in held_out] == [1, 3]
    assert [(note.name, note.count) for note in notes] == [("held_out_repeats", 1)]


def test_two_golds_stay_in_training_and_a_repeat_gives_its_trace():
    rows = problems(("a", "\\frac{1}{2}"), ("a", "\\frac12", "t"), ("a", "2", "u"), ("b", "3"))
    training, held_out, notes = duplicates.split(rows, 1)
    assert [(p.id, p.gold, p.trace) for p in training] == [(0, "\\frac{1}{2}", "t"), (2, "2", "u")]
    assert [p.id for p in held_out] == [3]
    assert [(note.name, note.count) for note in notes] == [
        ("training_repeats", 1),
        ("several_golds", 1),
    ]


def test_without_repeats_nothing_changes():
    rows = problems(("a", "1"), ("b", "2"), ("c", "3"))
    assert duplicates.split(rows, 1) == (rows[:2], rows[2:], [])
    assert duplicates.split(rows, 0) == (rows, [], [])
    assert duplicates.apart(rows, [Problem(9, "B.", "7")]) == [rows[0], rows[2]]
