"""Text with LaTeX: what becomes a formula, what stays as it is, and that no markup of a model gets
through."""

import time
from html.parser import HTMLParser

import pytest

from red_mcore.reports import maths

ALLOWED = maths._ELEMENTS | {"b", "code", "div"}


class Markup(HTMLParser):
    """Elements and attributes of a text; an element that is not closed, or closed twice, is an
    AssertionError."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements, self.attributes, self.text, self._open = [], [], "", []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs
        self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize(
    "text",
    [
        r"is $x^2$ so",
        r"is \(x^2\) so",
        r"is $$x^2$$ so",
        r"is \[x^2\] so",
        r"is \boxed{x^2} so",
        r"is \boxed {x^2} so",
    ]
    + [r"is \begin{align}x^2\end{align} so", r"is \begin{equation*}x^2\end{equation*} so"],
)
def test_delimiters(text):
    found = Markup(maths.render(text))
    assert "msup" in found.elements
    assert found.text.replace(" ", "").replace("\n", "") == "isx2so"
    assert ("display", "block") in found.attributes or "$$" not in text


@pytest.mark.parametrize(
    "text",
    [
        "from $5 to $10",
        "a$ b $c",
        "$",
        "$$",
        r"\(",
        r"\[ x",
        r"\boxed{",
        r"\begin{align} x",
        "$x\n\ny$",
        "$ x $",
    ],
)
def test_what_is_no_formula_stays(text):
    found = Markup(maths.render(text))
    assert found.elements == []
    assert found.text == text


def test_text_around_is_escaped_and_keeps_its_lines():
    assert (
        maths.render("1 < 2 &amp;\n\n  b \\$3 **so** x")
        == "1 &lt; 2 &amp;amp;\n\n  b $3 <b>so</b> x"
    )
    assert maths.render("## Step 1: $x$\n### End").endswith("\n<b>End</b>")


@pytest.mark.parametrize(
    "latex",
    [r"\frac{", r"\left( x", r"\newcommand{\a}{\a\a}\a", "x" * (maths.LONGEST + 1), "{" * 999],
)
def test_a_formula_that_cannot_be_made_is_shown_as_written(latex):
    found = Markup(maths.render(f"a \\({latex}\\) b"))
    assert found.text == f"a \\({latex}\\) b"
    assert set(found.elements) <= {"code"}


def test_nested_formulas_end_before_browsers_do():
    assert maths.formula(r"\sqrt{" * 20 + "x" + "}" * 20)
    assert maths.formula(r"\sqrt{" * 150 + "x" + "}" * 150) is None


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        r"$\text{<script>alert(1)</script>}$",
        r"$\text{&lt;script&gt;alert(1)&#60;/script&#x3e;}$",
        r"\boxed{\mbox{<img src=x onerror=alert(1)>}}",
        r"$\href{javascript:alert(1)}{x}$",
        r"$\style{background:url(//x)}{y}\class{\" onclick=alert(1) }{z}$",
        r"$\color{red\" onmouseover=\"alert(1)}{x}\colorbox{red}{<b>}$",
        r"$\begin{array}{c\" onclick=\"} x \end{array} \hspace{1em\" id=\"a}"
        r"\rule{99999em}{99999em}$",
        r"$\unicode{x3c}script\unicode{x3e}\operatorname{<script>}\mathrm{<i>}$",
        r"$\frac{<script>$ and **<i>** and # <u>",
        "\\(<math><annotation-xml encoding='text/html'><script>alert(1)</script>\\)",
    ],
)
def test_no_markup_of_the_model_gets_through(text):
    found = Markup(maths.render(text))
    assert set(found.elements) <= ALLOWED
    for name, value in found.attributes:
        assert name in maths._ATTRIBUTES | {"class"}
        assert len(value) < 20
        assert not set(value) & set("()<>:;\"'")


def test_halves_of_characters_and_control_characters_can_be_written():
    assert (
        maths.render("a\ud800\x00\x1b[2Jb $\ud800$")
        .encode()
        .startswith("a?\ufffd\ufffd[2Jb".encode())
    )


@pytest.mark.parametrize(
    "text",
    ["{" * 100_000, "\\boxed{" * 14_000, "\\(" * 50_000, "$" * 100_000, "$x" * 50_000]
    + ["$x$ " * 25_000, "**a" * 33_000, "\\[x\\]" * 20_000, "\\left(" * 16_000]
    + ["$" + "{" * 50_000 + "}" * 50_000 + "$", "\\begin{align}" * 8000]
    + ["# " * 50_000, ("$" + "&" * 3990 + "$ ") * 25],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_a_model_in_a_loop_costs_no_time(text):
    start = time.process_time()
    Markup(maths.render(text))
    assert time.process_time() - start < 5  # a tenth of it here
