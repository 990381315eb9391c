"""The shape of an answer, read from its tidy text: lists, tuples, intervals, chains of relations,
congruences.

Brackets are counted and nothing is looked inside them, so that every function is a pass or two over
the text.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from red_mcore.rewards.tables import words

BRACKET = r"(?P<open>\\begin|\\langle|\\\{|[({\[])|(?P<close>\\end|\\rangle|\\\}|[)}\]])"
COMMA = re.compile(
    BRACKET + r"|(?P<mark>\\text\{ *,? *(?:and|or) *\}|(?<![A-Za-z])(?:and|or)(?![A-Za-z])|[,;])"
)
_RELATION = re.compile(
    BRACKET + r"|(?P<mark><=|>=|!=|:=|\\(?:approx|le|ge|[lg]t|ne|in)(?![a-z])|[<>=])"
)
FLIPPED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\ne": r"\ne"}
_ASCII = {"<=": r"\le", ">=": r"\ge", "!=": r"\ne", r"\lt": "<", r"\gt": ">", ":=": "="}
_GREEK = words(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi"
    " rho sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi"
    " Omega ell hbar"
)
NAME = re.compile(
    rf"(?:[A-Za-z]|\\(?:{'|'.join(sorted(_GREEK))})(?![A-Za-z]))"
    r"(?:_(?:\{[^{}]*\}|[0-9A-Za-z]|\\[a-z]+))?'*(?: ?\(([^()]*)\))?"
)
_NAMING = _GREEK | words(
    "angle measuredangle triangle square overline overrightarrow widehat hat bar vec arc text max"
    " min cdot times frac dot ddot prime perp parallel circ odot"
)
"""Commands that the name of a quantity may have; others, such as a root, a logarithm or a
``\\not``, change it."""
_OTHER_NAME = words(
    "not no never but except wrong false incorrect minus negative half twice double third quarter"
    " square cube root log inverse reciprocal unless without other than less more rather instead"
    " isn't cannot invalid ruled out"
)
"""Words by which a label names something else than what was asked for, or takes it back."""
_NAMED = re.compile(r"(?!-)[A-Za-z\\{}|+' -]*")
_LABEL = re.compile(r"(?:\\angle ?)?[A-Z][A-Z0-9_{}' ]*|\\text\{[^{}]*\}")
_NOT_NAMED = re.compile(
    r"(?<=[A-Z])\^(?:\{-1\}|T)|_(?:\{[^{}]*\}|[0-9A-Za-z])|\([^()]*\)|\\text\{[^{}]*\}"
)
MATRIX = re.compile(r"\\begin\{[pbB]?matrix\}(.*)\\end\{[pbB]?matrix\}", re.DOTALL)
BUILDER = re.compile(
    r"\\\{ ?([A-Za-z]) ?(?:\\in ?\\mathbb ?\{R\} ?)?(?:\\mid|\\vert|\||:) ?(.*)\\\}", re.DOTALL
)
"""``\\{x : x>3\\}``: variable and condition."""
_CONGRUENCE = re.compile(
    r"(?:(?P<name>[A-Za-z](?:_(?:\{[^{}]*\}|[0-9A-Za-z]))?) ?(?P<sign>\\equiv(?![a-z])|=) ?)?"
    r"(?P<residues>[^=]+?) ?(?P<mark>\(? ?"
    r"(?:\\pmod|\\bmod|\\mod|\\text\{ ?\(? ?mod(?:ulo)? ?\}|(?<![A-Za-z\\])mod(?:ulo)?) ?)"
    r"\{? ?(?P<modulus>[0-9]{1,30}|[a-z]) ?\}? ?(?:\)|\\text\{ ?\) ?\})?"
)
_MODULO = re.compile(r"\\text\{ ?\(? ?mod(?:ulo)? ([0-9]{1,30}|[a-z]) ?\)? ?\}")
_CASES = re.compile(
    r"\\begin\{(?:cases|aligned)\}(.*)\\end\{(?:cases|aligned)\}"
    r"|\\\{ ?\\begin\{(?:array|aligned)\}(?: ?\{[lcr@{}]*\})?(.*)\\end\{(?:array|aligned)\}",
    re.DOTALL,
)
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_ALIGNED = re.compile(r" ?& ?(?=[=<>]|\\[lg]e|\\equiv)")
"""The sign at which the rows of a system are aligned."""
_NEW_ROW = re.compile(r"\\\\(?: ?\[[0-9.]+ ?(?:pt|mm|cm|ex|em)\])?")


class Vector(NamedTuple):
    """A tuple, or a matrix of one row or column."""

    bracket: str
    """``(``, ``[``, ``\\langle``, or ``row`` and ``column`` of a matrix."""
    components: list[str]


class Congruence(NamedTuple):
    """``x \\equiv 3 \\pmod{7}``."""

    name: str | None
    residues: list[str]
    modulus: str


def split(text: str, pattern: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """``text`` cut at the marks of ``pattern`` that are in no bracket, and these marks."""
    parts, marks, depth, start = [], [], 0, 0
    for match in pattern.finditer(text):
        if not match["mark"]:
            depth += 1 if match["open"] else -1
        elif depth == 0:
            parts.append(text[start : match.start()].strip(" "))
            marks.append(match["mark"].strip(" "))
            start = match.end()
    return parts + [text[start:].strip(" ")], marks


def listed(text: str) -> list[str]:
    """What commas (``COMMA``) part."""
    return split(text, COMMA)[0]


def items(text: str) -> list[str]:
    """The answers that ``text`` lists: parts, elements of ``{...}``, both signs of a ``\\pm``."""
    sides, marks = relation(text)
    if marks == [r"\in"] and is_named(sides[0]) and sides[1].startswith(r"\{"):
        text = sides[1]
    elements = inside(text, r"\{", r"\}")
    if elements is not None and BUILDER.fullmatch(text) is None:
        text = elements
    found: list[str] = []
    for part in filter(None, listed(text)):
        if r"\pm" in part or r"\mp" in part:
            found.append(part.replace(r"\pm", "+").replace(r"\mp", "-"))
            found.append(part.replace(r"\pm", "-").replace(r"\mp", "+"))
        else:
            found.append(part)
    return found


def inside(text: str, opening: str, closing: str) -> str | None:
    """What is between two brackets that hold the whole text between them."""
    content = text.removeprefix(opening).removesuffix(closing)
    if len(content) != len(text) - len(opening) - len(closing):
        return None
    depth = 0
    for match in COMMA.finditer(text):
        if match["open"]:
            depth += 1
        elif match["close"]:
            depth -= 1
            if depth == 0 and match.end() < len(text):
                return None  # (1)+(2)
    return content.strip(" ")


def vector(text: str) -> Vector | None:
    """The tuple or the matrix of one row or column that ``text`` is; None where it is neither."""
    if match := MATRIX.fullmatch(text):
        lines = rows(match[1])
        if len(lines) == 1:
            return Vector("row", lines[0])
        if all(len(line) == 1 for line in lines):
            return Vector("column", [line[0] for line in lines])
        return None
    for opening, closing in (("(", ")"), ("[", "]"), (r"\langle", r"\rangle")):
        content = inside(text, opening, closing)
        if content is not None:
            parts = listed(content)
            return Vector(opening, parts) if len(parts) > 1 else None
    return None


def components(answers: list[str]) -> list[str]:
    """Values of ``x=1, y=2`` in the order of their names; other lists as they are."""
    equations = list(map(relation, answers))
    if all(marks == ["="] and NAME.fullmatch(sides[0]) for sides, marks in equations):
        return [sides[1] for sides, _ in sorted(equations)]  # by their names, x before y
    return answers


def rows(body: str) -> list[list[str]]:
    """Entries of a matrix, from what is between its ``\\begin`` and ``\\end``."""
    lines = filter(lambda row: row.strip(" "), _NEW_ROW.split(body))
    return [re.split(" *& *", row.strip(" ")) for row in lines]


def relation(text: str) -> tuple[list[str], list[str]]:
    """Sides and signs of a chain such as ``a<x\\le b``, up to an ``\\approx``, spelled one way."""
    sides, marks = split(text, _RELATION)
    marks = [_ASCII.get(mark, mark) for mark in marks]
    if r"\approx" not in marks:
        return sides, marks
    at = marks.index(r"\approx")
    if at > 0 or not is_named(sides[0]):
        return sides[: at + 1], marks[:at]
    # x\approx 3 says what x is.
    if len(sides) > 2:
        return relation(" = ".join(sides[:2]))
    return sides, ["="]


def is_named(text: str) -> bool:
    """Whether a side only names the other: ``x``, ``f(x)``, ``m+n``, ``\\text{Area}``."""
    if not any(map(str.isalpha, text)) or not _NAMING.issuperset(_COMMAND.findall(text)):
        return False
    if r"\text{" in text and not _OTHER_NAME.isdisjoint(re.findall("[a-z]+", text.lower())):
        return False
    return bool(NAME.fullmatch(text) or _NAMED.fullmatch(_NOT_NAMED.sub("", text)))


def is_label(text: str) -> bool:
    """Whether a gold's left side is only a name, as ``x+y`` of ``x+y=2`` is not."""
    return bool(NAME.fullmatch(text) or _LABEL.fullmatch(text))


def congruence(text: str) -> Congruence | None:
    """The congruence that ``text`` is; None where it is none.

    Without a ``\\equiv`` only where a ``\\pmod`` or brackets say that it is one: ``10 \\bmod 7`` is
    a number.
    """
    match = _CONGRUENCE.fullmatch(_MODULO.sub(r"\\pmod{\1}", text))
    if match is None:
        return None
    if match["sign"] != r"\equiv" and r"\pmod" not in match["mark"] and "(" not in match["mark"]:
        return None
    return Congruence(match["name"], items(match["residues"]), match["modulus"])


def system(text: str) -> str | None:
    """The equations of a ``cases`` as a list; None for other rows, as of a function by cases."""
    match = _CASES.fullmatch(text)
    if match is None:
        return None
    lines = []
    for row in _NEW_ROW.split(match[1] or match[2] or ""):
        line = _ALIGNED.sub("", row.strip(" ,"))
        if not line:
            continue
        if not relation(line)[1] or re.search(r"&|\\text|,", line):
            return None
        lines.append(line)
    return ", ".join(lines) or None
