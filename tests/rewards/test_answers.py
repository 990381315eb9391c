import pytest

from red_mcore.rewards.answers import answer_part, last_boxed, normal, stated, tidy


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so \\boxed{7}", "7"),
        ("\\boxed{\\text{a \\} b}}", "\\text{a \\} b}"),
        ("\\boxed{ 7 }", " 7 "),
        ("\\fbox{7}", "7"),
        ("\\boxed 6", "6"),
        ("$\\boxed 42$.", "42"),
        ("\\boxed {42}", "42"),
        ("\\boxed\n{42}", "42"),
        ("\\boxed \\frac{1}{2} is it.", "\\frac{1}{2}"),
        ("\\boxed{7} in \\boxed notation", "7"),
        ("\\boxed{\\fbox{15}}", "15"),
        ("\\boxed{7} then \\fbox{8}", "8"),
        ("\\boxed{1} \\boxed{", None),
        ("\\boxed{1} \\boxed", None),
        ("\\boxed{1} \\fbox{2", None),
        ("\\boxed{1} \\boxed{2 \\text{a}", None),
        ("\\boxed{1} \\boxed{}", ""),
        ("\\boxed{1 \\boxed{2}", "2"),
        ("\\boxedly{7}", None),
        ("", None),
    ],
)
def test_last_box(text, answer):
    assert last_boxed(text) == answer


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("7", "7"),
        ("<think>6</think> 7", " 7"),
        ("<think>5</think>6</think>7", "7"),
        ("<think>never ends: 7", "<think>never ends: 7"),
        ("<think>6</think><answer>7</answer> bye", "7"),
        ("<answer>6</answer><answer>7</answer>", "7"),
        ("<answer>7", "<answer>7"),
        ("7</answer>", "7</answer>"),
        ("<answer>6</answer></think>7", "7"),
    ],
)
def test_answer_part(text, part):
    assert answer_part(text) == part


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is $7$, not $8$.", "$7$"),
        ("The answer is $1$ or $2$.", "$1$ or $2$"),
        ("The answer is 6. No: the final answer is 7.", "7"),
        ("Answer: \\(x = 7\\)", "\\(x = 7\\)"),
        ("**Answer:** 7 apples", "7"),
        ("The answer is Evelyn. She won.", "Evelyn"),
        ("6\n\\[\n7\n\\]\n", "\\[\n7\n\\]"),
        ("so it costs $50.", "50"),
        ("5 of 6 and 7", "7"),
        ("7 it is.\nThe rest is silence.", None),
        ("2^3 \\cdot 3^3 =", None),
        ("an answer", None),
        ("", None),
    ],
)
def test_stated_answers(text, answer):
    assert stated(text) == answer


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("\\frac{1}{2}", "$\\dfrac12$"),
        ("1,000", "1{,}000"),
        ("1,000", "1,\\!000"),
        ("1,000 \\text{ cm}", "1000 cm"),
        ("\\left( 1, 2 \\right)", "(1,2)"),
        ("x^{2} + 1.", "x^2+1"),
        ("90^{\\circ}", "90°"),
        ("\\text{no  solution}", "no solution"),
        (".5", "0.5"),
        ("\\$5", "5"),
        ("x \\leq 2", "x ≤ 2"),
        ("\\mathrm{cm}", "\\text{cm}"),
        ("50\\%", "50%"),
    ],
)
def test_one_normal_text(one, other):
    assert normal(one) == normal(other) != ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1 1/2", "11/2"),
        ("1, 000", "1000"),
        ("X", "x"),
        ("3 4", "34"),
        ("2^{10}", "2^{1}0x"),
        ("7", "７"),
        ("a b", "ab"),
    ],
)
def test_other_normal_texts(one, other):
    assert normal(one) != normal(other)


def test_normal_is_its_own_normal():
    for text in (
        "\\dfrac{\\sqrt{3}}{2}",
        "1,000",
        "\\text{ in } 5",
        "(1,000)",
        "\\left\\{ 1 \\right\\}",
        "1.",
        "$x$ and $y$",
    ):
        assert normal(normal(text)) == normal(text)
        assert tidy(tidy(text)) == tidy(text)


@pytest.mark.parametrize(
    "unit",
    [
        "\\boxed{",
        "{",
        "}",
        "$",
        " ",
        "answer is ",
        "\\text{",
        "1,",
        "7",
        "-",
        "^ {",
        "\\[",
        "\\(\\)",
        "\n",
        "</think>",
        "\\",
    ],
)
def test_a_megabyte_of_anything_comes_back(unit):
    # Quadratic work on a megabyte takes hours: that this test ends is the assertion.
    text = unit * (1_000_000 // len(unit))
    for read in (last_boxed, answer_part, stated, tidy, normal):
        read(text)
