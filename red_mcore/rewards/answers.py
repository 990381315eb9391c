"""Answers as text: which part of a response is its answer, and that answer without the noise of its
typesetting.

All of this runs in the rank, on whatever a policy wrote: every function is one or a few passes over
the text, without recursion and without patterns that try again, so that a response of megabytes
costs milliseconds. What an answer *means* is the business of ``grading.py``, which runs in a child
process.
"""

from __future__ import annotations

import re
from collections import deque

from red_mcore.rewards.tables import Rules

_BRACES = re.compile(
    r"\\(?:boxed|fbox)(?![a-zA-Z])(?:(?P<box>\s*\{)"
    r"|\s*(?P<bare>(?=[-+0-9.(\\]|[A-Za-z](?![A-Za-z]))"
    r"(?:\\[a-zA-Z]+(?: ?\{[^{}]{0,100}\}){0,3}|[^\s$\\{}])+)|\s*(?P<cut>\Z))|\\[{}]|[{}]"
)
"""The start of a box, one without braces, one that the text ends in, an escaped brace (which is
text), a brace."""

_SIGNS = str.maketrans(
    {
        "−": "-", "–": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "∕": "/",
        "π": r"\pi ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "∪": r"\cup ",
        "∈": r"\in ", "∉": r"\notin ", "°": r"^\circ ", "±": r"\pm ", "²": "^2", "³": "^3",
        "√": r"\sqrt ", "≈": r"\approx ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ",
        "λ": r"\lambda ", "ω": r"\omega ", "ℝ": r"\mathbb{R} ", "ℤ": r"\mathbb{Z} ",
        "ℕ": r"\mathbb{N} ", "∅": r"\emptyset ", "½": r"\frac12 ", "¼": r"\frac14 ",
        "¾": r"\frac34 ", "（": "(", "）": ")", "，": ",", "：": ":", "；": ";", "≡": r"\equiv ",
        "∩": r"\cap ", "∖": r"\setminus ", "∧": r"\land ", "∨": r"\lor ", "…": r"\ldots ",
        "∠": r"\angle ", "’": "'", "′": "'", "\u00a0": " ", "\u2009": " ", "\u202f": " ",
    }
)  # fmt: skip
"""Typed signs that have a LaTeX spelling. Look-alikes of digits and letters are left: they are no
mathematics."""

_SPELLING = Rules(
    # Of a number's commas only these are certain to part thousands; a bare one may be a list's, so
    # that ``_thousands`` decides on it when the rest is tidy.
    (r"(?<=[0-9])(?:\{,\}| ?, ?\\! ?)(?=[0-9]{3})", ""),
    (r"\{,\}", ","),
    (r"\{:\}|\\colon(?![a-zA-Z])", ":"),
    # What only sets the text; white and transparent colours stay, for grading refuses hidden text.
    (
        r"\\(?:left|right|[bB]igg?[lrm]?|(?:display|text|script|scriptscript)style|(?:no)?limits"
        r"|mathbf|boldsymbol|mathit|bm|bf|bfseries|it|itshape|tiny|scriptsize|footnotesize|small"
        r"|normalsize|[lL]arge|LARGE|[hH]uge)(?![a-zA-Z])\.?"
        r"|\\(?:color|textcolor|colorbox) ?(?:\[[A-Za-z]*\])? ?"
        r"\{(?! ?(?:white|transparent))[^{}]*\}|(?<!\\)\\[!/()\[\]]|\\?\$",
        "",
    ),
    (
        r"(?<!\\)\\(?:[,;:> ]|(?:q?quad|enspace|thinspace)(?![a-zA-Z])|hspace ?\{[^{}]*\}"
        r"|[hv]?phantom(?![a-zA-Z]) ?(?:\{[^{}]*\}|.))|~|[\t\r\n]",
        " ",
    ),
    (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
    # Upright e, i and d are what they are in italics; behind a letter only with a space between.
    (
        r"(?<=[A-Za-z])\\(?:mathrm|operatorname) ?(?:\{ ?([ei]) ?\}|([ei])(?![A-Za-z]))",
        r" \1\2",
    ),
    (r"\\(?:mathrm|operatorname) ?(?:\{ ?([ei]) ?\}|([ei])(?![A-Za-z]))", r"\1\2"),
    (r"\\mathrm ?(?:\{ ?d ?\}|d(?![A-Za-z])) ?(?=[A-Za-z\\])", "d"),
    # Every other word in a formula is a \text.
    (
        r"\\(?:mathrm|mathsf|textrm|textsf|mbox|hbox|textbf|textit|textnormal|emph"
        r"|operatorname\*?)(?= ?\{)",
        r"\\text",
    ),
    (r"\{ ?\\rm(?![a-zA-Z]) ?([^{}]*)\}", r"\\text{\1}"),
    (r"\\text +\{", r"\\text{"),
    (r"\^ ?\{ ?\\circ ?\}|\^ ?\\circ(?![a-zA-Z])|\\degree(?![a-zA-Z])", r"^\\circ"),
    (r"\\%", "%"),
    (r"\\leq(?:slant)?(?![a-zA-Z])", r"\\le"),
    (r"\\geq(?:slant)?(?![a-zA-Z])", r"\\ge"),
    (r"\\neq(?![a-zA-Z])", r"\\ne"),
    (r"\\not ?(?:=|\\eq(?![a-zA-Z]))", r"\\ne "),
    (r"\\not ?\\in(?![a-zA-Z])", r"\\notin "),
    (r"\\bigcup(?![a-zA-Z])", r"\\cup"),
    (r"\\bigcap(?![a-zA-Z])", r"\\cap"),
    (r"\\(?:smallsetminus|backslash)(?![a-zA-Z])", r"\\setminus"),
    (r"\\mathbb ?(?:\{ ?([A-Z]) ?\}|([A-Z]))", r"\\mathbb{\1\2}"),
    (r"\\varnothing(?![a-zA-Z])|\\\{ *\\\}", r"\\emptyset"),
    (r"\\[lc]?dots[cb]?(?![a-zA-Z])|\.\.\.", r"\\ldots "),
    (r"\\lbrace(?![a-zA-Z])", r"\\{"),
    (r"\\rbrace(?![a-zA-Z])", r"\\}"),
    (r"[(\[] ?\\begin\{array\} ?\{[lcr| ]*\}", r"\\begin{pmatrix}"),
    (r"\\end\{array\} ?[)\]]", r"\\end{pmatrix}"),
    (r"(?<![0-9])\.(?=[0-9])", "0."),
    (r"(?<![A-Za-z\\])infinity(?![A-Za-z])", r"\\infty"),
)
"""One spelling for each thing."""
_SHORTEST = Rules(
    # A space between letters or digits stays: 1 1/2 is not 11/2.
    (r"(?<![^\W_]) | (?![^\W_]|\.)", ""),
    (r"([\^_])\{([0-9A-Za-z])\}", r"\1\2"),
    (r"\\frac\{([0-9])\}\{([0-9])\}", r"\\frac\1\2"),
)

_THOUSANDS = re.compile(
    r"([+-]? ?)([1-9][0-9]{0,2}(?:,[0-9]{3})+)(?= ?(?:\.[0-9]|\\text|\^|%|[A-Za-z]|$))"
)
TEXT = re.compile(r"\\text\{([^{}]*)\}")
_GAP = re.compile(r" +")
_BRACED = re.compile(r"(?:\\underline *)?\{")
_OUTER = re.compile(r"\\?[{}]|[][(),]")

_PLAIN = re.compile(r"-?(?:0|[1-9][0-9]{0,14})")
_LETTER = re.compile(r"[A-J]")

_MARK = re.compile(
    r"\banswer\b(?: *[:=]| is\b| would be\b)[ *:]*"
    r"|^####[ \t]+(?=(?:[-+$]*[0-9.]|\\)[^\n]*$)(?![^\n]*(?<![\\{A-Za-z])[A-Za-z]{2})",
    re.IGNORECASE | re.MULTILINE,
)
"""What stands before an answer; four hashes (GSM8K's) before a line without words only, for they
are headings, too."""
_SPANS = re.compile(r"\\\(|\\\)|\\\[|\\\]|\$\$|\\\$|\$")
_CLOSING = {r"\(": r"\)", r"\[": r"\]", "$$": "$$", "$": "$"}
_LINK = re.compile(r"[ ,;]*(?:and|or)?[ ,]*")
_VALUE = re.compile(
    r"(?<![\w.^\\{}])[+-]?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?(?![\w^\\{}])%?"
)


def last_boxed(text: str) -> str | None:
    """Content of the ``\\boxed{...}`` or ``\\fbox{...}`` that starts last (``\\boxed 6`` is one,
    too); None where there is none, or where the last is never closed: who opens another box takes
    back the one before.
    """
    return _boxes(text)[1]


def _boxes(text: str) -> tuple[bool, str | None]:
    """Whether ``text`` has a box, and the content of the last one if that is closed.

    One pass over the text: a policy stuck in a loop writes thousands of boxes that it never closes.
    """
    opened: list[int | None] = []  # content start of each open box, None for other open braces
    last, answer = -1, None
    for match in _BRACES.finditer(text):
        if match["box"]:
            last, answer = match.end(), None
            opened.append(last)
        elif match["bare"] or match["cut"] is not None:
            last, answer = match.end(), match["bare"] and match["bare"].rstrip(".,;:")
        elif match.group() == "{":
            opened.append(None)
        elif match.group() == "}" and opened:
            start = opened.pop()
            if start == last:
                answer = text[start : match.start()]
    return last >= 0, answer


def answer_part(text: str) -> str:
    """What follows the last ``</think>``, or the last ``<answer>...</answer>`` in there."""
    text = text.rpartition("</think>")[2]
    before, closed, _ = text.rpartition("</answer>")
    _, opened, inside = before.rpartition("<answer>")
    if closed and opened:
        return inside
    return text


def stated(text: str) -> str | None:
    """The answer that a response without a box ends in, as text; None where it seems to end in
    none.

    After the last "answer is" or "answer:" the first formula (with those that ``,``, ``and`` or
    ``or`` tie to it), else the first number, else the sentence. Without these words the formula
    that ends the text, else the last number of its last line. A number further up is no answer:
    most responses without one were cut off.
    """
    if last := deque(_MARK.finditer(text), maxlen=1):
        return _stated_after(text[last[0].end() :].lstrip())
    text = text.rstrip(" \n\t.*")
    spans = _spans(text)
    if spans and spans[-1][1] == len(text):
        return text[spans[-1][0] :]
    numbers = _VALUE.findall(text[text.rfind("\n") + 1 :])
    if not numbers:
        return None
    return numbers[-1].rstrip(",")


def _stated_after(rest: str) -> str | None:
    """The answer at the beginning of ``rest``, which follows an "answer is"."""
    line = rest.partition("\n")[0]
    spans = _spans(rest)
    # A displayed formula may begin on the line behind an empty one.
    if spans and spans[0][0] < max(len(line), 1):
        start, end = spans[0]
        for first, last in spans[1:]:
            if not _LINK.fullmatch(rest, end, first) or first == end:
                break
            end = last
        return rest[start:end]
    if number := _VALUE.search(line):
        return number.group()
    return re.split(r"\.(?: |$)", line, maxsplit=1)[0].strip(" *") or None


def tidy(answer: str) -> str:
    """``answer`` in one spelling and without what only sets it: ``$``, ``\\left``, thin spaces."""
    answer = _SPELLING(answer.translate(_SIGNS)).strip(" *")
    if answer.endswith(".") and not answer.endswith(".."):
        answer = answer[:-1].rstrip(" ")
    return _thousands(_grouped(_GAP.sub(" ", answer)))


def normal(answer: str) -> str:
    """The text of an answer to compare with others and to count votes for: tidy, without wrappers
    and idle spaces.

    A space between letters or digits stays: ``1 1/2`` is not ``11/2``. Equal normal texts mean the
    same; different ones need not differ in meaning (``1/2`` and ``0.5``).
    """
    return _SHORTEST(tidy(TEXT.sub(r" \1 ", tidy(answer))))


def final_answer(text: str, boxed_only: bool) -> str | None:
    """The answer of a whole response: the last box in its ``answer_part``, else, unless
    ``boxed_only``, the ``stated`` one; None where there is none, or where the last box is still
    open."""
    part = answer_part(text)
    boxed, answer = _boxes(part)
    if boxed or boxed_only:
        return answer
    return stated(part)


def verdict_of(correct: bool) -> str:
    """The verdict on an answer that was understood."""
    return "correct" if correct else "wrong"


def certain(kind: str, gold: str, answer: str) -> str | None:
    """``judge``'s verdict where no parser is needed to know it, else None.

    That is for plain integers of up to 15 digits on both sides, and for bare letters in a multiple
    choice: most of what a policy answers to most problems, which so never leaves the process.
    """
    gold, answer = gold.strip(" "), answer.strip(" ")
    if kind == "choice":
        if _LETTER.fullmatch(gold) and _LETTER.fullmatch(answer):
            return verdict_of(gold == answer)
    elif _PLAIN.fullmatch(gold) and _PLAIN.fullmatch(answer):
        return verdict_of(int(gold) == int(answer))  # -0 is 0
    return None


def _grouped(text: str) -> str:
    """The text without braces around it; with a comma within, they are a set's."""
    for _ in range(4):  # more braces than anybody means, and each costs a pass
        opening = _BRACED.match(text)
        if opening is None or not text.endswith("}") or text.endswith("\\}"):
            return text
        depth, comma = 0, False
        for match in _OUTER.finditer(text, opening.end() - 1):
            mark = match.group()
            if mark[-1] in "{([":
                depth += 1
            elif mark[-1] in "})]":
                depth -= 1
            comma = comma or (mark == "," and depth == 1)
            if depth == 0 and match.end() < len(text):
                return text  # the first brace is closed before the end: {1}+{2}
        inside = text[opening.end() : -1].strip(" ")
        if comma and not _THOUSANDS.match(inside):
            return rf"\{{{inside}\}}"
        text = inside
    return text


def _thousands(text: str) -> str:
    """``1,000`` without commas, where it is all but a unit; else they may be a list's."""
    if match := _THOUSANDS.match(text):
        return match[1] + match[2].replace(",", "") + text[match.end() :]
    return text


def _spans(text: str) -> list[tuple[int, int]]:
    """Start and end (delimiters included) of each closed formula in ``text``."""
    spans, opened, start = [], None, 0
    for match in _SPANS.finditer(text):
        mark = match.group()
        if opened is None:
            if mark in _CLOSING:
                opened, start = mark, match.start()
        elif mark == _CLOSING[opened]:
            spans.append((start, match.end()))
            opened = None
        elif mark in (r"\(", r"\[") and opened != "$$":
            # What was open is a dollar that was money, or a formula that was cut off.
            opened, start = mark, match.start()
    return spans
