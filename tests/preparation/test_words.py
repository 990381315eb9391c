"""Words that are the same however a formula is spelled."""

import pytest

from red_mcore.preparation.words import numbers, words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Compute \\[\\cos^3 \\frac{2 \\pi}{7}.\\]", "compute $\\cos ^{3} \\dfrac{2\\pi}{7}$"),
        ("x^4 + jx^2 + kx", "$x^{4}+j x^{2}+k x$"),
        ("1,000,000 apples", "1000000 apples"),
        ("a \u2212 b", "$a - b$"),
        ("so it is -- and remains -- true", "So it is, and remains, true."),
        ("1 + \\dots + 9", "1+\\ldots+9"),
        ("\\left( 3, \\text{m} \\right)", "(3, m)"),
    ],
)
def test_spellings_that_look_the_same_are_the_same(one, other):
    assert words(one) == words(other)


@pytest.mark.parametrize(
    ("one", "other"), [("x + 1", "x - 1"), ("12 apples", "1 2 apples"), ("sin x", "cos x")]
)
def test_what_says_something_else_is_not(one, other):
    assert words(one) != words(other)


def test_numbers_have_no_order():
    assert numbers(words("7 of 12")) == numbers(words("12, then 7")) == ["12", "7"]
