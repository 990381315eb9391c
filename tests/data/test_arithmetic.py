import random
import re

import pytest

from red_mcore.config.recipe import Arithmetic, Data, RecipeError
from red_mcore.data import arithmetic
from red_mcore.data.problems import load_problems


def value_of(text: str) -> int:
    """The task's rule, written once more: left to right, modulo 10."""
    value = int(text[0])
    for symbol, operand in re.findall(r"[a-v]([-+*@])(\d)", text):
        b = int(operand)
        value = {"+": value + b, "-": value - b, "*": value * b, "@": 3 * value + b * b + 1}[
            symbol
        ] % 10
    return value


def steps_of(trace: str) -> list[tuple[str, int]]:
    """(expression, stated value) of each step and re-check."""
    return [(e, int(v)) for e, v in re.findall(r"[a-w](\d(?:[-+*@]\d)+)=(\d)", trace)]


def expression_value(expression: str) -> int:
    return value_of(
        expression[0] + "".join(f"a{expression[i : i + 2]}" for i in range(1, len(expression), 2))
    )


def test_gold_is_the_value_of_the_text():
    assert value_of("9a*8b@4c-3d-2e@6?") == 1
    problems = arithmetic.make_problems(Arithmetic(), 300, seed=1)
    assert all(problem.gold == str(value_of(problem.text)) for problem in problems)
    assert [problem.id for problem in problems] == list(range(300))


def test_teacher_repairs_every_slip_and_is_wordier_than_the_corpus():
    problems = arithmetic.make_problems(Arithmetic(slip=0.5, leap=0.5), 200, seed=2)
    slips = leaps = rechecks = 0
    for problem in problems:
        steps = steps_of(problem.trace)
        for (expression, value), following in zip(steps, steps[1:] + [None], strict=True):
            if value != expression_value(expression):
                slips += 1
                assert following == (expression, expression_value(expression))
        leaps += sum(len(expression) > 3 for expression, _ in steps)
        rechecks += problem.trace.count("w")
        assert problem.trace.endswith(f"\\boxed{{{problem.gold}}}")
    assert min(slips, leaps, rechecks) > 50


def test_same_seed_same_problems():
    first, again = (arithmetic.make_problems(Arithmetic(), 50, seed=3) for _ in range(2))
    assert first == again != arithmetic.make_problems(Arithmetic(), 50, seed=4)


def test_corpus_is_right_about_addition_and_often_wrong_about_its_own_operation():
    rng = random.Random(0)
    right = {symbol: [] for symbol in "+-*@"}
    for _ in range(3000):
        text, response = arithmetic.corpus(Arithmetic(), rng)
        assert len(text) <= 17
        assert response.endswith("}")
        for expression, value in steps_of(response):
            right[expression[1]].append(value == expression_value(expression))
    share = {symbol: sum(hits) / len(hits) for symbol, hits in right.items()}
    assert share["+"] == share["-"] == 1.0
    assert 0.5 < share["*"] < 0.9
    assert 0.1 < share["@"] < 0.5


def test_worlds_hold_different_misconceptions():
    def response(world: int) -> list[str]:
        rng = random.Random(5)
        return [arithmetic.corpus(Arithmetic(world=world), rng)[1] for _ in range(50)]

    assert response(0) == response(0) != response(1)


def test_held_out_texts_are_disjoint_from_training_and_independent_of_its_size():
    train, held_out = load_problems(Data(problems=3000, held_out=512), seed=0)
    assert (len(train), len(held_out)) == (3000, 512)
    assert not {p.text for p in train} & {p.text for p in held_out}
    assert len({p.id for p in train + held_out}) == 3512
    assert load_problems(Data(problems=10, held_out=512), seed=0)[1] == held_out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Arithmetic(operations=0), "operations=0: want 1 to 22"),
        (Arithmetic(recheck=1.0), "recheck=1.0: want 0 to 0.8"),
        (Arithmetic(operations=1), "300 problems asked for.*operations=1 has only 400"),
    ],
)
def test_impossible_settings_are_named(settings, message):
    with pytest.raises(RecipeError, match=message):
        arithmetic.make_problems(settings, 300, seed=0)
