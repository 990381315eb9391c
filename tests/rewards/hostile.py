"""(gold, response) of what a policy may write and must get nothing for: bombs, junk, tricks.

Whoever grades them may run out of time or memory in a child process, but may neither hang nor say
``correct``.
"""


def _box(answer: str) -> str:
    return f"\\boxed{{{answer}}}"


BOMBS = [
    ("7", _box("9^{9^{9^9}}")),
    ("7", _box("9^{9^{9^{9^{9^{9}}}}}")),
    ("7", _box("9**9**9**9")),
    ("7", _box("(((9!)!)!)!")),
    ("7", _box("10000000000!")),
    ("7", _box("\\binom{10^9}{5*10^8}")),
    ("7", _box("\\binom{1000000000}{500000000}")),
    ("7", _box("(x+1)^{100000}")),
    ("x+1", _box("((x+1)^{1000}+1)^{1000}")),
    ("7", _box("\\sum_{k=1}^{10^{12}} \\frac{1}{k^2}")),
    ("7", _box("\\prod_{k=1}^{10000000} k")),
    ("7", _box("\\int_0^1 e^{e^{e^{x^{x^x}}}} dx")),
    ("7", _box("\\lim_{x \\to 0} \\frac{\\sin(\\tan(x^{x}))}{x^{x^{x}}}")),
    ("7", _box("\\sqrt[10^9]{10^{10^9}}")),
    ("7", _box("e^{e^{e^{e^{e^{e}}}}}")),
    ("7", _box("\\gcd(10^{10^8}, 10^{10^8}+1)")),
    ("7", _box("1e999999999")),
    ("7", _box("7.0e-99999999999")),
    ("7", _box("\\lfloor 10^{10^{10}} \\rfloor")),
    ("2^{2008}", _box("2^{2008}+1")),
]

LENGTHS = [
    ("7", _box("{" * 10_000 + "7" + "}" * 10_000)),
    ("7", _box("(" * 20_000 + "8" + ")" * 20_000)),
    ("7", _box("\\frac{1}{" * 10_000 + "2" + "}" * 10_000)),
    ("7", _box("\\sqrt{" * 15_000 + "8" + "}" * 15_000)),
    ("7", _box("7" * 100_000)),
    ("7", _box("1+" * 50_000 + "1")),
    ("7", _box("x^" * 50_000 + "x")),
    ("7", _box("7" + " " * 100_000 + "8")),
    ("7", _box("7," * 50_000 + "7")),
    ("7", _box("-" * 1_000 + "7,")[:-2] + "8}"),
    ("7", "\\boxed{7" * 100_000),
    ("7", "\\boxed{7} " * 100_000 + _box("8")),
    ("7", "\\boxed{" * 10_000 + "8" + "}" * 10_000),
    ("7", "7" * 1_000_000),
    ("7", "$" * 500_001),
    ("7", "answer is " * 100_000),
    ("7", "<answer>7</answer>" * 50_000 + "<answer>" + _box("8") + "</answer>"),
]

CHARACTERS = [
    ("7", _box("７")),  # full width
    ("7", _box("٧")),  # Arabic
    ("7", _box("७")),  # Devanagari
    ("7", _box("⑦")),
    ("7", _box("𝟕")),
    ("17", _box("l7")),  # the letter
    ("10", _box("1O")),
    ("x", _box("х")),  # Cyrillic
    ("12", _box("\u202e21")),  # right to left
    ("7", _box("7\u200b")),
    ("7", _box("7\x00")),
    ("7", _box("\x007")),
    ("7", _box("7\ud800")),  # half of a surrogate pair
    ("7", _box("\udfff")),
    ("7", _box("7̶")),  # struck through
]

INJECTIONS = [
    ("0", _box("__import__('os').system('true')")),
    ("0", _box("exec('0')")),
    ("0", _box("eval(0)")),
    ("7", _box("(lambda: 7)()")),
    ("7", _box("[7 for _ in range(10**9)]")),
    ("7", _box("open('/etc/passwd')")),
    ("7", _box("\\input{/etc/passwd}")),
    ("7", _box("\\def\\x{\\x}\\x")),
    ("7", _box("\\newcommand{\\a}{7}\\a")),
    ("7", _box("\\write18{echo 7}")),
    ("7", _box("%7\n8")),
]

NO_NUMBERS = [
    ("7", _box("\\infty")),
    ("7", _box("nan")),
    ("nan", _box("nan")),
    ("7", _box("\\frac{0}{0}")),
    ("7", _box("\\frac{7}{0}")),
    ("0", _box("\\frac{1}{\\infty}+1")),
    ("\\infty", _box("-\\infty")),
    ("\\infty", _box("10^{100}")),
    ("7", _box("")),
    ("", _box("")),
    ("", "\\boxed{\\boxed{}}"),
    ("7", "\\boxed{7}\\boxed{}"),
    ("7", "\\boxed{7 \\boxed{}}"),
    ("7", _box("$$")),
    ("7", _box("\\text{}")),
    ("7", _box("?")),
    ("None", _box("None")),
]

TRICKS = [
    ("7", "\\boxed{7"),
    ("7", "\\boxed{7} or rather \\boxed{8}"),
    ("7", _box("7 \\text{ or } 8")),
    ("7", _box("1,2,3,4,5,6,7,8,9")),
    ("7", _box("1 or 2 or 3 or 4 or 5 or 6 or 7")),
    ("7", _box("\\{1,2,3,4,5,6,7\\}")),
    ("7", _box("7 \\pm 1")),
    ("7", _box("[6,8]")),
    ("7", _box("6 < x < 8")),
    ("7", _box("x")),
    ("7", _box("x = x")),
    ("7", _box("7 = 8")),
    ("7", _box("\\text{not } x = 7")),
    ("7", _box("7 \\text{ million}")),
    ("7", _box("7 \\text{ thousand}")),
    ("7", _box("7 \\text{ wrong}")),
    ("7", _box("7 \\text{ at least}")),
    ("7", _box("7\\text{8}")),
    ("7", _box("7\\text{i}")),
    ("0", _box("0.\\overline{3}")),
    ("0", _box("2^{-1000}")),
    ("0", _box("e^{-10^{10}}")),
    ("1", _box("1-2^{-2020}")),
    ("x+y=2", _box("2")),
    ("f(x)=x", _box("f(y)=x")),
    ("A", _box("\\text{the}")),
    ("7", _box("8 = 7")),
    ("7", _box("\\ne 7")),
    ("7", _box("x \\neq 7")),
    ("7", _box("\\text{not } 7")),
    ("7", _box("\\neg 7")),
    ("7", _box("\\text{the answer is not } 7")),
    ("7", _box("\\text{the same as the gold, which is 7}")),
    ("7", _box("7 \\text{ if } x > 0, 8 \\text{ if } x < 0")),
    ("7", _box("\\begin{cases} 7 \\\\ 8 \\end{cases}")),
    ("7", _box("\\approx 7")),
    ("7", _box("7...")),
    ("7", _box("7!")),
    ("7", _box("7'")),
    ("7", _box("7_{10}8")),
    ("7", _box("\\phantom{8}")),
    ("7", _box("0 \\cdot x")),
    ("7", _box("7 + 0 \\cdot \\infty")),
    ("7", _box("\\color{white}{8} 7 8")),
    ("(1,2)", _box("(x,y)")),
    ("\\frac{1}{2}", _box("\\frac{1}{2}, \\frac{1}{3}")),
    ("\\frac{1}{2}", _box("1, 2")),
    ("x=5", _box("x")),
    ("x=5", _box("x=x")),
    ("f(x)=2x", _box("f(x)=f(x)")),
    ("f(x)=2x", _box("f(x)")),
    ("y = 2x + 3", _box("0 = 0")),
    ("(2,\\infty)", _box("(-\\infty,\\infty)")),
    ("\\text{Evelyn}", _box("\\text{Evelyn, Carla, Angela, Debra or Briana}")),
    ("\\text{even}", _box("\\text{even or odd}")),
    ("1,2", _box("1,2,3")),
    ("1000", _box("1,0,0,0")),
    ("12", _box("1, 2")),
    ("12", _box("1 2")),
    ("5", _box("500")),
    ("7", "<think>\\boxed{7}</think> I do not know."),
]

HOSTILE = [*BOMBS, *LENGTHS, *CHARACTERS, *INJECTIONS, *NO_NUMBERS, *TRICKS]
