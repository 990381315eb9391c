"""Whether an answer is the gold: the shape of both (list, tuple, interval, equation, unit, text), then their formulas.

math-verify reads formulas well and answers badly: it takes ``6m`` for 6 metres, ``4.5e33`` for 4.5·e·33, ``f(n)=n``
for something else than ``n``, and a pair for an interval. So the shape of an answer is read here, from its text, and
only what is left, one formula against one, goes through its parser (``expressions.py``). A policy is trained against
these verdicts: where it is open what an answer means, it is wrong.

Runs in a child process that the parent kills when it takes too long: there is no time limit in here.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from red_mcore.rewards.answers import last_boxed, normal, stated, tidy
from red_mcore.rewards.expressions import ratio, same

_BRACKET = r"(?P<open>\\begin|\\langle|\\\{|[({\[])|(?P<close>\\end|\\rangle|\\\}|[)}\]])"
_COMMA = re.compile(_BRACKET + r"|(?P<mark>\\text\{ *,? *(?:and|or) *\}|(?<![A-Za-z])(?:and|or)(?![A-Za-z])|[,;])")
_UNION = re.compile(_BRACKET + r"|(?P<mark>\\cup(?![a-zA-Z])|\\text\{ *or *\}|(?<![A-Za-z])or(?![A-Za-z])|\\lor|\\vee)")
_RELATION = re.compile(
    _BRACKET + r"|(?P<mark><=|>=|!=|:=|\\approx(?![a-z])|\\le(?![a-z])|\\ge(?![a-z])|\\[lg]t(?![a-z])|\\ne(?![a-z])"
    r"|\\in(?![a-z])|[<>=])"
)
_FLIPPED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\ne": r"\ne"}
_ASCII = {"<=": r"\le", ">=": r"\ge", "!=": r"\ne", r"\lt": "<", r"\gt": ">", ":=": "="}

_NAME = re.compile(
    r"(?:[A-Za-z]|\\(?!pi(?![a-z])|infty)[A-Za-z]+)(?:_(?:\{[^{}]*\}|[0-9A-Za-z]|\\[a-z]+))?'*(?: ?\(([^()]*)\))?"
)
_NAMED = re.compile(r"(?!-)[A-Za-z\\{}|+' -]*")
_NOT_NAMED = re.compile(r"_(?:\{[^{}]*\}|[0-9A-Za-z])|\([^()]*\)|\\text\{[^{}]*\}")
_FULL_BRACKET = re.compile(r"\\(?:begin|end)\{[a-z]*\}|\\\\|\\[{}]|[(){}\[\]]")
_MATRIX = re.compile(r"\\begin\{[pbB]?matrix\}(.*)\\end\{[pbB]?matrix\}", re.DOTALL)
_BASE = re.compile(r"\(?([0-9A-F]+(?:\.[0-9A-F]+)?)\)?_(?:\{?([0-9]+)\}?|\{?\\text\{([a-z]+)\}\}?)")
_BUILDER = re.compile(r"\\\{ ?([A-Za-z]) ?(?:\\mid|\||:) ?(.*)\\\}", re.DOTALL)

_WORD = re.compile(r"[A-Za-z]")
_PROSE = re.compile(r"[^\W\d_]{2,}(?:[ '’\-.,]+[^\W\d_]+)*|[^\W\d_]{4,}")
_WRAPPED = re.compile(r"\\text\{([^{}]*)\}")
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)")
_UNIT_TEXT = re.compile(r"\\text\{([A-Za-z%. /^0-9]*)\} ?(?:\^ ?\{? ?-?[0-9] ?\}?)?")
_UNIT_WORDS = re.compile(r"(?<=[0-9}) ])([A-Za-z]+(?: [A-Za-z]+){0,2}) ?(?:\^ ?\{?[0-9]\}?)?$")
_NO_UNIT = frozenset("or and not no if when but maybe is than otherwise except plus minus times".split())
_UNITS = {
    name: canonical
    for canonical, names in {
        "mm": "mm millimeter millimeters", "cm": "cm centimeter centimeters centimetres",
        "km": "km kilometer kilometers", "meter": "meter meters metre metres", "inch": "inch inches",
        "foot": "foot feet ft", "yard": "yard yards", "mile": "mile miles", "second": "second seconds sec",
        "minute": "minute minutes min", "hour": "hour hours hr hrs", "day": "day days", "week": "week weeks",
        "month": "month months", "year": "year years", "cent": "cent cents", "dollar": "dollar dollars usd",
        "kg": "kg kilogram kilograms", "gram": "gram grams", "pound": "pound pounds lb lbs", "liter": "liter liters",
        "ml": "ml milliliter milliliters", "mph": "mph", "unit": "unit units", "degree": "degree degrees deg",
        "percent": "percent percentage pct",
    }.items()
    for name in names.split()
}  # fmt: skip
_POWERS = {"square": "^2", "sq": "^2", "cubic": "^3", "cu": "^3"}

_OPTION = re.compile(r"\\text\{ ?\(?[A-J]\)? ?\}|\([A-J]\)")
_LETTER = re.compile(r"(?<![A-Za-z])[A-J](?![A-Za-z])")
_CHOSEN = re.compile(r"\(([A-J])\)|([A-J])(?:\)|\.(?![A-Za-z])|:)")
_SAID = re.compile(r"(?:the |final |correct )*(?:answer|option|choice)(?: is| ?:)? *(?:option |choice )?(.*)", re.I)
_NONE = frozenset(("", "none", "nan", "null", "n/a", "?"))

LONGEST = 2000
"""Characters beyond twice the gold's that an answer may have: a mathematician would not read on, nor does the parser."""


def judge(kind: str, gold: str, answer: str, boxed: bool) -> str:
    """``correct``, ``wrong``, or ``unparsable`` (gold or answer cannot be understood).

    ``answer`` is the content of a box, or else (``boxed`` false) a response in which the answer is to be found. The
    ``kind`` ``math`` compares what both mean, ``choice`` the letters A to J.
    """
    if not boxed:
        inside = last_boxed(answer)
        answer = inside if inside is not None else (stated(answer) or "")
    if not gold.strip() or not _readable(gold) or not _readable(answer) or len(answer) > LONGEST + 2 * len(gold):
        return "unparsable"
    if kind == "choice":
        wanted, chosen = letter(gold), letter(answer)
        return "unparsable" if wanted is None or chosen is None else _word(wanted == chosen)
    if normal(answer).casefold() in _NONE or normal(gold).casefold() in _NONE or not _balanced(answer):
        return "unparsable"
    verdicts = [_equal(one, other) for one in _readings(gold) for other in _readings(answer)]
    return _word(True in verdicts) if any(verdicts) or None not in verdicts else "unparsable"


def gold_fault(kind: str, gold: str) -> str | None:
    """Why nothing can be graded against this gold, or None: it is empty, cannot be read, or does not equal itself."""
    if not gold.strip():
        return "is empty"
    if kind == "choice" and letter(gold) is None:
        return "is none of the letters A to J"
    verdict = judge(kind, gold, gold, boxed=True)
    return None if verdict == "correct" else f"is {verdict} when it is judged against itself"


def letter(text: str) -> str | None:
    """The letter that an answer to a multiple choice comes to; None where it names none, or more than one."""
    text = _WRAPPED.sub(r"\1", tidy(text)).replace("*", "").strip(" .")
    if said := _SAID.fullmatch(text):
        text = said[1].strip(" .")
    if re.fullmatch(r"\(?[a-j]\)?", text):
        return text.strip("()").upper()
    named = set(_LETTER.findall(text))
    chosen = _CHOSEN.match(text)
    if chosen is None:
        return named.pop() if len(named) == 1 and _LETTER.fullmatch(text) else None
    others = {m[1] or m[2] for m in _CHOSEN.finditer(text)} - {chosen[1] or chosen[2]}
    joined = re.match(r" *(?:[,/&]|or\b|and\b)", text[chosen.end() :])
    return None if others or joined else chosen[1] or chosen[2]


def _word(correct: bool) -> str:
    return "correct" if correct else "wrong"


def _readable(text: str) -> bool:
    """No control or direction marks, no halves of surrogate pairs."""
    return all(c.isprintable() or c in "\n\t\r\u00a0\u2009\u202f" for c in text)


def _readings(answer: str) -> list[str]:
    """``answer``, tidy; where commas may be of thousands or of a list (``70,110``), as both."""
    readings = [tidy(answer)]
    plain = answer.strip(" $")
    if re.fullmatch(r"[1-9][0-9]{0,2}(?:,[1-9][0-9]{2})+", plain):
        readings.append(plain.replace(",", ", "))
    return readings


def _balanced(text: str) -> bool:
    return text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")


# ----------------------------------------------------------------------------------------------- lists


def _split(text: str, pattern: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """``text`` cut at the marks of ``pattern`` that are in no bracket, and these marks."""
    parts, marks, depth, start = [], [], 0, 0
    for match in pattern.finditer(text):
        if match["mark"]:
            if depth == 0:
                parts.append(text[start : match.start()].strip(" "))
                marks.append(match["mark"].strip(" "))
                start = match.end()
        else:
            depth += 1 if match["open"] else -1
    return parts + [text[start:].strip(" ")], marks


def _items(text: str) -> list[str]:
    """The answers that ``text`` lists: at commas, ``and`` and ``or``; both of a ``\\pm``; elements of ``{...}``."""
    inside = _inside(text, r"\{", r"\}")
    if inside is not None and _BUILDER.fullmatch(text) is None:
        text = inside
    parts = [part for part in _split(text, _COMMA)[0] if part]
    items: list[str] = []
    for part in parts:
        if r"\pm" in part or r"\mp" in part:
            items.append(part.replace(r"\pm", "+").replace(r"\mp", "-"))
            items.append(part.replace(r"\pm", "-").replace(r"\mp", "+"))
        else:
            items.append(part)
    return items


def _inside(text: str, opening: str, closing: str) -> str | None:
    """What is between two brackets that hold the whole text between them."""
    if not (text.startswith(opening) and text.endswith(closing)) or len(text) < len(opening) + len(closing):
        return None
    depth = 0
    for match in _COMMA.finditer(text):
        depth += 1 if match["open"] else -1 if match["close"] else 0
        if depth == 0 and match["close"] and match.end() < len(text):
            return None
    return text[len(opening) : -len(closing)].strip(" ")


def _matched(gold: list, answer: list, equal: Callable[[object, object], bool | None]) -> bool | None:
    """Whether each of ``gold`` equals another one of ``answer`` and none is left, whatever their order."""
    if len(gold) != len(answer):
        return False
    left, unread = list(answer), False
    for one in gold:
        for i, other in enumerate(left):
            verdict = equal(one, other)
            unread = unread or verdict is None
            if verdict:
                del left[i]
                break
        else:
            return None if unread else False
    return True


def _ordered(gold: list[str], answer: list[str]) -> bool | None:
    if len(gold) != len(answer):
        return False
    verdicts = [_equal(one, other) for one, other in zip(gold, answer, strict=True)]
    return False if False in verdicts else None if None in verdicts else True


def _equal(gold: str, answer: str) -> bool | None:
    """Whether two answers (tidy) mean the same; None where that cannot be read. Recursion goes a bracket deeper."""
    gold, answer = _unwrapped(gold), _unwrapped(answer)
    texts = normal(gold), normal(answer)
    if texts[0] == texts[1]:
        return any(c.isalnum() for c in texts[0])
    if _OPTION.fullmatch(gold):
        return letter(gold) == letter(answer)
    if not texts[1] or _is_prose(gold) or _is_prose(answer):
        return _is_prose(gold) and _is_prose(answer) and _prose(gold) == _prose(answer)
    sets = _pieces(gold), _pieces(answer)
    if sets[0] and sets[1]:
        return _same_sets(sets[0], sets[1])
    golds, answers = _items(gold), _items(answer)
    vectors = _vector(gold), _vector(answer)
    if vectors[0] and vectors[1]:
        return _same_vectors(vectors[0], vectors[1])
    if vectors[0] and len(answers) > 1 and not answer.startswith(r"\{"):
        return _ordered(vectors[0][1], _components(answers))  # x=1, y=2 for (1,2)
    if vectors[1] and len(golds) > 1 and not gold.startswith(r"\{") and vectors[1][0] == "(":
        return _ordered(_components(golds), vectors[1][1])
    if len(golds) != 1 or len(answers) != 1:
        return _matched(golds, answers, _equal)
    if golds[0] != gold or answers[0] != answer:
        return _equal(golds[0], answers[0])
    return _same_relations(gold, answer, bool(sets[0] or vectors[0]), bool(sets[1] or vectors[1]))


def _unwrapped(text: str) -> str:
    match = _WRAPPED.fullmatch(text)
    return match[1].strip(" ") if match and not (_is_prose(text) or _OPTION.fullmatch(text)) else text


def _is_prose(text: str) -> bool:
    """Whether ``text`` is words: all of it in ``\\text{...}``, or bare and too long a word for a product of letters."""
    words = _WRAPPED.sub(r" \1 ", text).strip(" .,!?") if _WRAPPED.search(text) else text
    if not _PROSE.fullmatch(words):
        return False
    return words is not text or any(len(word) >= 4 for word in words.split(" "))


def _prose(text: str) -> str:
    words = re.sub(r"[^\w ]", " ", _WRAPPED.sub(r" \1 ", text)).casefold().split()
    return " ".join(word for word in words if word not in ("the", "a", "an"))


# ------------------------------------------------------------------------- intervals, vectors, matrices


def _pieces(text: str) -> tuple[str | None, list[tuple]] | None:
    """(variable, intervals) of a set of real numbers that is written with intervals or inequalities; else None.

    An interval is (from, to, whether each of these belongs to it). A pair in round brackets may be one, too.
    """
    if builder := _BUILDER.fullmatch(text):
        text = builder[2].strip(" ")
    name = None
    parts, marks = _relation(text)
    if marks == [r"\in"]:
        name, text = parts
    elif re.match(r"[a-z] ?[(\[]", text) and _half_open(text[1:].strip(" ")):
        name, text = text[0], text[1:].strip(" ")  # t(0,4]
    pieces: list[tuple] = []
    proper = False
    for part in _split(text, _UNION)[0]:
        variable, found = _piece(part)
        if not found or (variable and name and variable != name):
            return None
        name = variable or name
        proper = proper or part[:1] != "\\" or part.startswith("\\mathbb")
        pieces += found
    return (name, pieces) if proper else None


def _half_open(text: str) -> bool:
    return text[:1] + text[-1:] in ("(]", "[)")


def _piece(text: str) -> tuple[str | None, list[tuple]]:
    """Variable and intervals of one member of a union; no intervals where it is none."""
    if text in (r"\mathbb{R}", r"\R") or re.fullmatch(r"(?:\\text\{ *)?all real numbers *\}?", text):
        return None, [(r"-\infty", r"\infty", False, False)]
    if points := _inside(text, r"\{", r"\}"):
        return None, [(point, point, True, True) for point in _split(points, _COMMA)[0]]
    if text[:1] in ("(", "[") and text[-1:] in (")", "]") and (inside := _inside(text, text[0], text[-1])):
        ends = _split(inside, _COMMA)[0]
        return None, [(*ends, text[0] == "[", text[-1] == "]")] if len(ends) == 2 and all(ends) else []
    parts, marks = _relation(text)
    if len(marks) == 1 and marks[0] in _FLIPPED and all(parts):
        (left, right), mark = parts, marks[0]
        if _NAME.fullmatch(right):
            left, right, mark = right, left, _FLIPPED[mark]
        if not _NAME.fullmatch(left) or _NAME.fullmatch(right):
            return None, []
        below, above = (r"-\infty", right, False, mark == r"\le"), (right, r"\infty", mark == r"\ge", False)
        return left, [below, above] if mark == r"\ne" else [below] if mark in ("<", r"\le") else [above]
    if len(marks) == 2 and all(parts) and _NAME.fullmatch(parts[1]):
        if set(marks) <= {">", r"\ge"}:
            parts, marks = parts[::-1], [_FLIPPED[mark] for mark in marks[::-1]]
        if set(marks) <= {"<", r"\le"}:
            return parts[1], [(parts[0], parts[2], marks[0] == r"\le", marks[1] == r"\le")]
    return None, []


def _same_sets(gold: tuple, answer: tuple) -> bool | None:
    if gold[0] and answer[0] and normal(gold[0]) != normal(answer[0]):
        return False

    def equal(one: tuple, other: tuple) -> bool | None:
        return one[2:] == other[2:] and _ordered(list(one[:2]), list(other[:2]))

    return _matched(gold[1], answer[1], equal)


def _vector(text: str) -> tuple[str, list[str]] | None:
    """(bracket, components) of a tuple or of a matrix of one row or column; None where it is neither."""
    if match := _MATRIX.fullmatch(text):
        rows = _rows(match[1])
        if len(rows) == 1 or all(len(row) == 1 for row in rows):
            return ("row" if len(rows) == 1 else "column"), [entry for row in rows for entry in row]
        return None
    for opening, closing in (("(", ")"), ("[", "]"), (r"\langle", r"\rangle")):
        inside = _inside(text, opening, closing)
        if inside is not None:
            parts = _split(inside, _COMMA)[0]
            return (opening, parts) if len(parts) > 1 else None
    return None


def _same_vectors(gold: tuple[str, list[str]], answer: tuple[str, list[str]]) -> bool | None:
    brackets = {gold[0], answer[0]}
    if brackets == {"row", "column"} or (brackets == {"(", "["} and len(gold[1]) == 2):
        return False
    return _ordered(gold[1], answer[1])


def _components(items: list[str]) -> list[str]:
    """Values of ``x=1, y=2`` in the order of their names; other lists as they are."""
    named = [_relation(item) for item in items]
    if all(marks == ["="] and _NAME.fullmatch(parts[0]) for parts, marks in named):
        return [parts[1] for parts, _ in sorted(named)]
    return items


def _rows(inside: str) -> list[list[str]]:
    return [[entry.strip(" ") for entry in row.split("&")] for row in inside.split(r"\\") if row.strip(" ")]


# ------------------------------------------------------------------------------- equations and values


def _relation(text: str) -> tuple[list[str], list[str]]:
    """Sides and signs of a chain such as ``a<x\\le b``, each sign in one spelling; nothing after an ``\\approx``."""
    parts, marks = _split(text, _RELATION)
    marks = [_ASCII.get(mark, mark) for mark in marks]
    if r"\approx" in marks:
        at = marks.index(r"\approx")
        if at == 0 and _is_named(parts[0]):
            marks[0] = "="
            return _relation(" = ".join(parts[:2])) if len(parts) > 2 else (parts, marks)
        return parts[: at + 1], marks[:at]
    return parts, marks


def _is_named(text: str) -> bool:
    """Whether a side of an equation says what the other is: ``x``, ``f(x)``, ``m+n``, ``\\angle ABC``, ``\\text{Area}``."""
    is_name = _NAME.fullmatch(text) or _NAMED.fullmatch(_NOT_NAMED.sub("", text))
    return bool(is_name) and any(c.isalpha() for c in text)


def _same_relations(gold: str, answer: str, *structured: bool) -> bool | None:
    """For what is one item on each side; ``structured``: whether gold, answer are sets or tuples."""
    (golds, gold_marks), (answers, answer_marks) = _relation(gold), _relation(answer)
    if not all(golds) or not all(answers) or len(answers) > 8:
        return None
    if gold_marks and answer_marks and gold_marks[0] == answer_marks[0] == "=" and len(golds) == 2:
        return _same_equations(golds, answers)
    if not gold_marks and not answer_marks:
        return False if any(structured) else _same_values(gold, answer)
    if set(gold_marks + answer_marks) <= {"="}:
        if gold_marks:  # an answer without the gold's left side
            is_definition = _NAME.fullmatch(golds[0]) or (_is_named(golds[0]) and not _is_named(golds[1]))
            return bool(is_definition) and _equal(golds[-1], answer)
        values = answers[1:] if answer_marks and _is_named(answers[0]) else answers
        return _ordered([gold] * len(values), values)
    if len(gold_marks) == len(answer_marks) == 1:
        if gold_marks[0] != answer_marks[0]:
            answers, answer_marks = answers[::-1], [_FLIPPED.get(answer_marks[0], "")]
        if gold_marks == answer_marks:
            return same(_difference(golds), _difference(answers))
    return False


def _same_equations(gold: list[str], answer: list[str]) -> bool | None:
    """``y=2x+3`` and ``y=3+2x`` or ``2x-y+3=0``; ``f(x)=2x`` and ``f(n)=2n``. Not ``2x=10`` for ``x=5``."""
    names = [_NAME.fullmatch(gold[0]), _NAME.fullmatch(answer[0])]
    if all(names):
        variables = [name[1] and name[1].strip(" ") for name in names]
        if all(variables) and variables[0] != variables[1] and re.fullmatch("[a-z]", variables[1]):
            letters = rf"(?<![A-Za-z\\]){variables[1]}(?![A-Za-z])"
            answer = [re.sub(letters, variables[0].replace("\\", r"\\"), side) for side in answer]
    if names[0] and normal(gold[0]) == normal(answer[0]):
        return _ordered([gold[1]] * (len(answer) - 1), answer[1:])
    if len(answer) != 2:
        return False
    sign = ratio(_difference(gold), _difference(answer))
    return None if sign is None else sign != 0


def _difference(sides: list[str]) -> str:
    return f"({sides[0]})-({sides[1]})"


def _same_values(gold: str, answer: str) -> bool | None:
    """Whether two values are the same, with or without their units: ``50\\%`` is .5 and 50, ``5`` is ``5 cm``."""
    bases = _BASE.fullmatch(normal(gold)), _BASE.fullmatch(normal(answer))
    if any(bases):
        return all(bases) and [g for g in bases[0].groups() if g] == [g for g in bases[1].groups() if g]
    matrices = _MATRIX.fullmatch(gold), _MATRIX.fullmatch(answer)
    if all(matrices):
        rows, others = (_rows(match[1]) for match in matrices)
        if [len(row) for row in rows] != [len(row) for row in others]:
            return False
        return _ordered([e for row in rows for e in row], [e for row in others for e in row])
    (left, unit), (right, other) = _quantity(gold), _quantity(answer)
    if unit and other and unit != other and "?" not in (unit, other):
        return False
    verdict = same(left, right)
    if verdict or verdict is None:
        return verdict
    for factor, sign in ((r"/100", "percent"), (r"\cdot\pi/180", "degree")):
        if sign in (unit, other) and unit != other and (sign == "percent" or r"\pi" in left + right):
            scaled = [f"({side}){factor}" if of == sign else side for side, of in ((left, unit), (right, other))]
            return same(*scaled)
    return False


def _quantity(text: str) -> tuple[str, str]:
    """A value and its unit: '' for none, '?' for one that is not in the table."""
    text = text.strip(" ")
    if text.endswith("%"):
        return text[:-1].strip(" "), "percent"
    if text.endswith(r"^\circ") and not _TRIGONOMETRIC.search(text):
        return text[: -len(r"^\circ")].strip(" "), "degree"
    at = text.rfind(r"\text{")
    if at > 0 and (match := _UNIT_TEXT.fullmatch(text, at)):
        words = match[1].lower().strip(" .").split()
        if words and len(words) <= 4 and not _NO_UNIT & set(words):
            value = text[:at].strip(" ")
            before = value.removesuffix(r"^\circ").strip(" ")
            return before, "?" if before != value else _unit(words, text[at + match.end(1) - at :])
    if match := _UNIT_WORDS.search(text):
        words = match[1].lower().split()
        if all(word in _UNITS or word in _POWERS for word in words):
            return text[: match.start()].strip(" "), _unit(words, text[match.end(1) :])
    return text, ""


def _unit(words: list[str], power: str) -> str:
    raised = "".join(_POWERS.get(word, "") for word in words) or "".join(c for c in power if c in "^-0123456789")
    names = [word for word in words if word not in _POWERS]
    return _UNITS[names[0]] + raised if len(names) == 1 and names[0] in _UNITS else "?"
