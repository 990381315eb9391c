"""The shape of an answer, read from its tidy text: lists, tuples, intervals, chains of relations, values with units.

Brackets are counted and nothing is looked inside them, so that every function is a pass or two over the text.
"""

from __future__ import annotations

import re

_BRACKET = r"(?P<open>\\begin|\\langle|\\\{|[({\[])|(?P<close>\\end|\\rangle|\\\}|[)}\]])"
COMMA = re.compile(_BRACKET + r"|(?P<mark>\\text\{ *,? *(?:and|or) *\}|(?<![A-Za-z])(?:and|or)(?![A-Za-z])|[,;])")
_UNION = re.compile(
    _BRACKET
    + r"|(?P<mark>\\cup(?![a-zA-Z])|\\text\{ *or *\}|(?<![A-Za-z])or(?![A-Za-z])|\\lor|\\vee|(?<=[)\]]) U (?=[(\[]))"
)
_RELATION = re.compile(
    _BRACKET + r"|(?P<mark><=|>=|!=|:=|\\approx(?![a-z])|\\le(?![a-z])|\\ge(?![a-z])|\\[lg]t(?![a-z])|\\ne(?![a-z])"
    r"|\\in(?![a-z])|[<>=])"
)
FLIPPED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\ne": r"\ne"}
_ASCII = {"<=": r"\le", ">=": r"\ge", "!=": r"\ne", r"\lt": "<", r"\gt": ">", ":=": "="}
NAME = re.compile(
    r"(?:[A-Za-z]|\\(?!pi(?![a-z])|infty)[A-Za-z]+)(?:_(?:\{[^{}]*\}|[0-9A-Za-z]|\\[a-z]+))?'*(?: ?\(([^()]*)\))?"
)
_NAMED = re.compile(r"(?!-)[A-Za-z\\{}|+' -]*")
_LABEL = re.compile(r"(?:\\angle ?)?[A-Z][A-Z0-9_{}' ]*|\\text\{[^{}]*\}")
_NOT_NAMED = re.compile(r"(?<=[A-Z])\^(?:\{-1\}|T)|_(?:\{[^{}]*\}|[0-9A-Za-z])|\([^()]*\)|\\text\{[^{}]*\}")
MATRIX = re.compile(r"\\begin\{[pbB]?matrix\}(.*)\\end\{[pbB]?matrix\}", re.DOTALL)
_BUILDER = re.compile(r"\\\{ ?([A-Za-z]) ?(?:\\in ?\\mathbb ?\{R\} ?)?(?:\\mid|\\vert|\||:) ?(.*)\\\}", re.DOTALL)
_NEW_ROW = re.compile(r"\\\\(?: ?\[[0-9.]+ ?(?:pt|mm|cm|ex|em)\])?")
_WITHOUT = re.compile(
    r"(?:([A-Za-z]) ?\\in ?)?(?:\\mathbb ?\{?R\}?|\\R) ?(?:\\setminus|\\backslash|-) ?\\\{([^{}]*)\\\}"
)
_TRIGONOMETRIC = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)")
_UNIT = r"(?:\\cdot|/|\*)? ?\\text\{[A-Za-zÅΩµμ%. /^0-9-]*\} ?(?:\^ ?\{? ?-?[0-9] ?\}?)? ?"
_UNIT_TAIL = re.compile(rf"(?:{_UNIT}){{1,6}}|\\frac\{{{_UNIT}\}}\{{{_UNIT}\}}")
_TIMES = re.compile(r"(?: ?(?:\\cdot|\\mu(?![a-zA-Z])|\*))+$")
_NO_EXPONENT = re.compile(r"(?<![A-Za-z^-])[0-9]|[0-9][0-9A-Za-z]|(?<![A-Za-z])[\^-]")
_UNIT_WORDS = re.compile(r"(?<=[0-9}) ])([A-Za-z]+(?: [A-Za-z]+){0,2}) ?(?:\^ ?\{?[0-9]\}?)?$")
_TAKEN_BACK = frozenset(("not", "no", "never", "but", "except", "wrong", "false", "incorrect"))
_NO_UNIT = _TAKEN_BACK | {
    "or", "and", "if", "when", "is", "than", "plus", "minus", "times", "mod", "at", "most", "least", "less", "fewer",
    "over", "under", "squared", "cubed", "factorial", "dozen", "dozens", "hundred", "hundreds", "thousand", "thousands",
    "million", "millions", "billion", "billions", "trillion", "trillions", "half", "halves", "third", "thirds",
    "e", "i", "k", "n", "x", "y", "z", "I", "X", "Y", "Z",
}  # fmt: skip
"""Words and letters after a number that make it another one, or take it back."""
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
_SHORT_UNITS = {"m": "meter", "s": "second", "g": "gram", "gm": "gram", "h": "hour", "in": "inch", "mi": "mile"}
"""Units in ``\\text{...}`` only: by themselves they are letters of formulas, or words."""
_POWERS = {"square": "^2", "sq": "^2", "cubic": "^3", "cu": "^3"}


def split(text: str, pattern: re.Pattern[str]) -> tuple[list[str], list[str]]:
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


def items(text: str) -> list[str]:
    """The answers that ``text`` lists: at commas, ``and`` and ``or``; both of a ``\\pm``; elements of ``{...}``."""
    sides, marks = relation(text)
    if marks == [r"\in"] and is_named(sides[0]) and sides[1].startswith(r"\{"):
        text = sides[1]
    elements = inside(text, r"\{", r"\}")
    if elements is not None and _BUILDER.fullmatch(text) is None:
        text = elements
    parts = [part for part in split(text, COMMA)[0] if part]
    found: list[str] = []
    for part in parts:
        if r"\pm" in part or r"\mp" in part:
            found.append(part.replace(r"\pm", "+").replace(r"\mp", "-"))
            found.append(part.replace(r"\pm", "-").replace(r"\mp", "+"))
        else:
            found.append(part)
    return found


def inside(text: str, opening: str, closing: str) -> str | None:
    """What is between two brackets that hold the whole text between them."""
    if not (text.startswith(opening) and text.endswith(closing)) or len(text) < len(opening) + len(closing):
        return None
    depth = 0
    for match in COMMA.finditer(text):
        depth += 1 if match["open"] else -1 if match["close"] else 0
        if depth == 0 and match["close"] and match.end() < len(text):
            return None
    return text[len(opening) : -len(closing)].strip(" ")


def pieces(text: str) -> tuple[str | None, list[tuple]] | None:
    """(variable, intervals) of a set of real numbers that is written with intervals or inequalities; else None.

    An interval is (from, to, whether each of these belongs to it). A pair in round brackets may be one, too.
    """
    if builder := _BUILDER.fullmatch(text):
        text = builder[2].strip(" ")
    name = None
    parts, marks = relation(text)
    if marks == [r"\in"]:
        name, text = parts
    elif re.match(r"[a-z] ?[(\[]", text) and _half_open(text[1:].strip(" ")):
        name, text = text[0], text[1:].strip(" ")  # t(0,4]
    intervals: list[tuple] = []
    proper = False
    for part in split(text, _UNION)[0]:
        variable, found = _piece(part)
        if not found or (variable and name and variable != name):
            return None
        name = variable or name
        proper = proper or part.startswith("\\mathbb") or (part[:1] != "\\" and relation(part)[1] != ["="])
        intervals += found
    return (name, intervals) if proper else None


def holes(text: str) -> tuple[str | None, list[str]] | None:
    """Variable, and the points that a set of all other real numbers leaves out (``x\\ne 1, 2``); else None."""
    if match := _WITHOUT.fullmatch(text):
        return match[1], items(match[2])
    if builder := _BUILDER.fullmatch(text):
        text = builder[2].strip(" ")
    sides, marks = relation(text)
    if marks and set(marks) == {r"\ne"} and NAME.fullmatch(sides[0]):
        cuts = [split(side, COMMA)[0] for side in sides[1:]]  # of x\ne 1, x\ne 2: "1, x" and "2"
        if any(len(cut) < 2 or cut.pop() != sides[0] for cut in cuts[:-1]):
            return None
        points = [point for cut in cuts for part in cut for point in items(part)]
        return None if any(map(NAME.fullmatch, points)) else (sides[0], points)
    name, intervals = pieces(text) or (None, [])
    ends = [piece[0] for piece in intervals[1:]]
    whole = ends and intervals[0][0] == r"-\infty" and intervals[-1][1] in (r"\infty", r"+\infty")
    if not whole or [piece[1] for piece in intervals[:-1]] != ends or any(map(any, (piece[2:] for piece in intervals))):
        return None
    return name, ends


def _half_open(text: str) -> bool:
    return text[:1] + text[-1:] in ("(]", "[)")


def _piece(text: str) -> tuple[str | None, list[tuple]]:
    """Variable and intervals of one member of a union; no intervals where it is none."""
    if text in (r"\mathbb{R}", r"\R") or re.fullmatch(r"(?:\\text\{ *)?all real numbers *\}?", text):
        return None, [(r"-\infty", r"\infty", False, False)]
    if points := inside(text, r"\{", r"\}"):
        return None, [(point, point, True, True) for point in split(points, COMMA)[0]]
    if text[:1] in ("(", "[") and text[-1:] in (")", "]") and (content := inside(text, text[0], text[-1])):
        ends = split(content, COMMA)[0]
        return None, [(*ends, text[0] == "[", text[-1] == "]")] if len(ends) == 2 and all(ends) else []
    parts, marks = relation(text)
    if marks == ["="] and all(parts) and NAME.fullmatch(parts[0]):
        return parts[0], [(parts[1], parts[1], True, True)]
    if len(marks) == 1 and marks[0] in FLIPPED and all(parts):
        (left, right), mark = parts, marks[0]
        if NAME.fullmatch(right):
            left, right, mark = right, left, FLIPPED[mark]
        if not NAME.fullmatch(left) or NAME.fullmatch(right):
            return None, []
        below, above = (r"-\infty", right, False, mark == r"\le"), (right, r"\infty", mark == r"\ge", False)
        return left, [below, above] if mark == r"\ne" else [below] if mark in ("<", r"\le") else [above]
    if len(marks) == 2 and all(parts) and NAME.fullmatch(parts[1]):
        if set(marks) <= {">", r"\ge"}:
            parts, marks = parts[::-1], [FLIPPED[mark] for mark in marks[::-1]]
        if set(marks) <= {"<", r"\le"}:
            return parts[1], [(parts[0], parts[2], marks[0] == r"\le", marks[1] == r"\le")]
    return None, []


def vector(text: str) -> tuple[str, list[str]] | None:
    """(bracket, components) of a tuple or of a matrix of one row or column; None where it is neither."""
    if match := MATRIX.fullmatch(text):
        lines = rows(match[1])
        if len(lines) == 1 or all(len(line) == 1 for line in lines):
            return ("row" if len(lines) == 1 else "column"), [entry for line in lines for entry in line]
        return None
    for opening, closing in (("(", ")"), ("[", "]"), (r"\langle", r"\rangle")):
        content = inside(text, opening, closing)
        if content is not None:
            parts = split(content, COMMA)[0]
            return (opening, parts) if len(parts) > 1 else None
    return None


def components(answers: list[str]) -> list[str]:
    """Values of ``x=1, y=2`` in the order of their names; other lists as they are."""
    named = [relation(item) for item in answers]
    if all(marks == ["="] and NAME.fullmatch(parts[0]) for parts, marks in named):
        return [parts[1] for parts, _ in sorted(named)]
    return answers


def rows(body: str) -> list[list[str]]:
    """Entries of a matrix, from what is between its ``\\begin`` and ``\\end``."""
    return [[entry.strip(" ") for entry in row.split("&")] for row in _NEW_ROW.split(body) if row.strip(" ")]


def relation(text: str) -> tuple[list[str], list[str]]:
    """Sides and signs of a chain such as ``a<x\\le b``, each sign in one spelling; nothing after an ``\\approx``."""
    parts, marks = split(text, _RELATION)
    marks = [_ASCII.get(mark, mark) for mark in marks]
    if r"\approx" in marks:
        at = marks.index(r"\approx")
        if at == 0 and is_named(parts[0]):
            marks[0] = "="
            return relation(" = ".join(parts[:2])) if len(parts) > 2 else (parts, marks)
        return parts[: at + 1], marks[:at]
    return parts, marks


def is_named(text: str) -> bool:
    """Whether an equation's side only names the other: ``x``, ``f(x)``, ``m+n``, ``\\angle ABC``, ``\\text{Area}``."""
    is_name = NAME.fullmatch(text) or _NAMED.fullmatch(_NOT_NAMED.sub("", text))
    taken_back = r"\text{" in text and _TAKEN_BACK & set(re.findall("[a-z]+", text.lower()))
    return bool(is_name) and any(c.isalpha() for c in text) and not taken_back


def is_label(text: str) -> bool:
    """Whether a gold's left side is only a name, so that its right side says it all. ``x+y`` of ``x+y=2`` is not."""
    return bool(NAME.fullmatch(text) or _LABEL.fullmatch(text))


def quantity(text: str) -> tuple[str, str]:
    """A value and its unit: '' for none, '?' for one that is not in the table."""
    text = text.strip(" ")
    if text.endswith("%"):
        return text[:-1].strip(" "), "percent"
    if text.endswith(r"^\circ") and not _TRIGONOMETRIC.search(text):
        return text[: -len(r"^\circ")].strip(" "), "degree"
    if tail := _unit_tail(text):
        value = tail[0].removesuffix(r"^\circ").strip(" ")
        return value, "?" if value != tail[0] else tail[1]
    if match := _UNIT_WORDS.search(text):
        words = match[1].lower().split()
        if all(word in _UNITS or word in _POWERS for word in words):
            return text[: match.start()].strip(" "), _unit(words, text[match.end(1) :])
    return text, ""


def _unit_tail(text: str) -> tuple[str, str] | None:
    """A value with one or a few ``\\text{...}`` behind it that may be its unit, and this; None where they are none."""
    at = text.find(r"\text{")
    at -= len(r"\frac{") if text[:at].endswith(r"\frac{") else 0
    if at <= 0 or not _UNIT_TAIL.fullmatch(text, at):
        return None
    content = " ".join(re.findall(r"\\text\{([^{}]*)\}", text[at:]))
    names = [name.lower() if len(name) > 1 else name for name in re.findall("[A-Za-zÅΩµμ%]+", content)]
    words = [word.strip(".") for word in content.lower().split()]
    if not names or len(names) > 6 or _NO_UNIT & set(names) or any(map(_NO_EXPONENT.search, words)):
        return None
    return _TIMES.sub("", text[:at].strip(" ")), _unit(words, text[text.find("}", at) :])


def _unit(words: list[str], power: str) -> str:
    raised = "".join(_POWERS.get(word, "") for word in words) or "".join(c for c in power if c in "^-0123456789")
    names = [word for word in words if word not in _POWERS]
    canonical = _UNITS.get(names[0]) or _SHORT_UNITS.get(names[0]) if len(names) == 1 else None
    return canonical + raised if canonical else "?"
