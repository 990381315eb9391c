"""What a cell of a data file means: understood as text, gold, trace or turns of a chat, or refused;
never spelled out.

Nothing here turns a value into text by ``str``: a list as a trace, NaN as a gold or a float's last
binary digit would go into training as they are spelled. ``CellError`` says what a cell is; who
knows file, row and column adds them.
"""

from __future__ import annotations

import ast
import decimal
import json
import math
import re
from contextlib import suppress
from typing import Any, NamedTuple

from red_mcore.rewards.answers import last_boxed

ROLES = {"human": "user"} | dict.fromkeys(("gpt", "model", "bot", "chatgpt"), "assistant")
"""Other names of roles, of ShareGPT and others."""
BARE = 80
"""Characters up to which a text may be a bare answer."""

_SPELLED = re.compile(r"""\s*(\[\s*(["'{]|(true|false|null|True|False|None)\b)|\{\s*["']|")""")
"""How the JSON or Python spelling of a list (but of numbers), of an object or of a text begins.
``[1, 2]`` is an interval."""
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_CALCULATOR = re.compile(r"<<[^<>]*>>")
_TEXT = re.compile(r"\\(?:text|mbox|mathrm)\s*\{[^{}]*\}")
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_WORD = re.compile(r"[^\W\d_]{2,}")
_TWO_WORDS = re.compile(r"[^\W\d_]{2,}[^\w\s]*\s+[^\w\s]*[^\W\d_]{2,}")
_EQUATION = re.compile(r"[^=]*\d[^=]*=")
"""A step that is worked (``3+4=7``), other than ``x=7``."""


class CellError(ValueError):
    """What is wrong with a cell, as the end of a sentence that begins with its column."""


class Gold(NamedTuple):
    """A gold answer."""

    text: str
    is_worked: bool = False
    """Whether it was marked, by ``\\boxed{...}`` or ``####``, in a text that says more."""

    @property
    def is_sentence(self) -> bool:
        """Unmarked, and more likely a worked solution than an answer: not ``bare``."""
        return not self.is_worked and not bare(self.text)


class Turn(NamedTuple):
    """One turn of a chat."""

    role: str
    text: str


def missing(value: Any) -> bool:
    """Whether the cell is empty: null, NaN, or a text of nothing but spaces."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and math.isnan(value))


def plain(value: Any) -> Any:
    """``value`` without numpy, and with lists for tuples."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, tuple):
        return list(value)
    return value


def text(value: Any) -> str | None:
    """The text of a cell as it stands, None for an empty one. CellError for anything but text."""
    value = plain(value)
    return None if missing(value) else written(value)


def written(value: Any) -> str:
    """``value``, if it is text; CellError for anything else."""
    if not isinstance(value, str):
        raise CellError(f"is {described(value)}, want text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise CellError("has half of a surrogate pair, which is no character") from None
    return value


def gold(value: Any) -> Gold | None:
    """The gold as the verifier wants it, None for an empty cell.

    Of a worked solution it is what follows the last ``####``, where that is a line's end and the
    text's (GSM8K), else the content of the last box. A list of texts or numbers is all of them with
    commas between, one alone is itself; JSON of such a list or of a text (``["204"]``) is what it
    stands for. 204.0 is 204, and a float has the digits that were meant. CellError for booleans,
    objects, nested and mixed lists.
    """
    value = unspelled(plain(value))
    if missing(value):
        return None
    if isinstance(value, list):
        return _gold_of_list(value)
    if isinstance(value, str):
        return _gold_text(written(value).strip())
    if _is_number(value):
        return Gold(number(value))
    raise CellError(f"is {described(value)}, want text or a number{_advice(value)}")


def _gold_of_list(value: list[Any]) -> Gold | None:
    items = list(map(plain, value))
    if items == [None]:
        return None
    alike = all(map(_is_number, items)) or all(isinstance(item, str) for item in items)
    if any(map(missing, items)) or not alike:
        raise CellError(f"is {described(value)}, want one answer, or a list of texts or of numbers")
    if len(items) == 1:
        return gold(items[0])
    return Gold(", ".join(one.text for one in map(gold, items) if one))


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):  # which is an int, too
        return False
    return isinstance(value, int | float | decimal.Decimal)


def number(value: float | decimal.Decimal) -> str:
    """The digits that were meant: without ``.0``, exponent or binary noise (0.1 + 0.2 is 0.3).
    CellError for infinity.

    A float64 is meant to 15 digits, one that came from a float32 to as many as that has.
    """
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        raise CellError(f"is {value}, want a finite number")
    if isinstance(value, float):
        value = _meant(value)
    spelled = format(value, "f")
    if "." in spelled:
        spelled = spelled.rstrip("0").rstrip(".")
    return "0" if spelled == "-0" else spelled


def _meant(value: float) -> decimal.Decimal:
    if value.is_integer():
        return decimal.Decimal(int(value))
    digits = format(value, ".15g")
    if (
        len(re.sub(r"e.*|\D", "", digits).strip("0")) == 15
    ):  # more than anybody types: perhaps a float32's
        import numpy as np

        with np.errstate(over="ignore"):
            short = np.float32(value)
        if float(short) == value:
            digits = str(short)
    return decimal.Decimal(digits)


def trace(value: Any) -> str | None:
    """A teacher's response, None for an empty cell. CellError for what is neither text, chat nor a
    list of these.

    GSM8K's worked solution loses its calculator marks and has its gold in a box. Of a chat it is
    the last turn, which has to be the assistant's; of a list the first that is not empty.
    """
    value = unspelled(plain(value))
    if missing(value):
        return None
    if isinstance(value, str):
        solution, answer = _gsm8k(value)
        if not answer or last_boxed(solution) is not None:
            return text(value)
        return f"{_CALCULATOR.sub('', written(solution)).strip()}\n\\boxed{{{answer}}}"
    if (chat := turns(value)) is not None:
        if chat[-1].role != "assistant":
            raise CellError(f"ends in a turn of role {chat[-1].role}, want the assistant's")
        return text(chat[-1].text)
    if not isinstance(value, list):
        raise CellError(
            f"is {described(value)}, want text, a chat or a list of texts{_advice(value)}"
        )
    return next(filter(None, map(trace, value)), None)


def turns(value: Any) -> list[Turn] | None:
    """The turns of a chat, None where ``value`` is none.

    They are ``role``/``content`` or ``from``/``value`` (ShareGPT), also as columns (lists of roles
    and contents). A content may be a list of text parts; a turn's ``reasoning_content`` goes before
    it as ``think`` says. CellError for other roles than system, user and assistant, and for content
    that is no text.
    """
    value = unspelled(plain(value))
    if isinstance(value, dict):
        names = _names_of_turn(value)
        if names is None:
            return None
        roles, contents = plain(value[names[0]]), plain(value[names[1]])
        if not isinstance(roles, list) or not isinstance(contents, list):
            return turns([value])  # a chat of one turn
        both = zip(roles, contents, strict=True)
        value = [{"role": role, "content": content} for role, content in both]
    if not isinstance(value, list) or not value or not all(map(_names_of_turn, value)):
        return None
    return list(map(_turn, value))


def _names_of_turn(turn: Any) -> tuple[str, str] | None:
    """What role and content are called in it; None where it has neither pair."""
    for names in (("role", "content"), ("from", "value")):
        if isinstance(turn, dict) and turn.keys() >= set(names):
            return names
    return None


def think(reasoning: str | None, answer: str | None) -> str | None:
    """A trace of its two parts: the reasoning in ``<think>`` tags, then the answer."""
    if not reasoning or not answer:
        return answer
    return f"<think>\n{reasoning.strip()}\n</think>\n\n{answer.strip()}"


def bare(answer: str) -> bool:
    """Whether a text can be an answer by itself: a short line without two words in a row."""
    if len(answer) > BARE or "\n" in answer:
        return False
    rest = _COMMAND.sub(" ", _TEXT.sub("", answer.strip()))
    return not _TWO_WORDS.search(rest) and not _EQUATION.match(rest)


def unspelled(value: Any) -> Any:
    """What a text stands for that is the JSON (or Python) of a list, of an object or of a text;
    else itself.

    CSV has no other way to hold a list, and some parquet files have their golds so.
    """
    if not isinstance(value, str) or not _SPELLED.match(value):
        return value
    with suppress(ValueError):
        return json.loads(value)
    try:
        found = ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value
    # ['a' 'b'], as numpy spells it, is to Python a list of one.
    if isinstance(found, list | dict) and repr(found) == value.strip():
        return found
    return value


def described(value: Any) -> str:
    """A few words on ``value`` for a message."""
    if isinstance(value, dict):
        return f"an object with {', '.join(map(str, value)) or 'nothing'}"
    if isinstance(value, list):
        shown = repr(value)
        if len(shown) > 60:
            shown = f"{shown[:60]}..."
        return f"the list {shown}"
    return f"the {type(value).__name__} {str(value)[:60]}"


def _advice(value: Any) -> str:
    return "; name one of its fields with a dot" if isinstance(value, dict) else ""


def _gold_text(value: str) -> Gold | None:
    solution, answer = _gsm8k(value)
    if answer is not None:
        return Gold(answer, is_worked=bool(solution.strip())) if answer else None
    box = last_boxed(value)
    if box is None:
        return Gold(value)
    if not box.strip():
        return None
    around = _COMMAND.sub(" ", value.replace(box, " "))
    return Gold(box.strip(), is_worked=_WORD.search(around) is not None)


def _gsm8k(value: str) -> tuple[str, str | None]:
    """(solution, gold without thousands commas), or (value, None) without a ``#### gold``."""
    solution, mark, answer = value.rpartition("####")
    if not mark or "\n" in answer.strip() or solution.endswith("#"):  # else a heading
        return value, None
    return solution, _THOUSANDS.sub("", answer.strip())


def _turn(turn: dict) -> Turn:
    names = _names_of_turn(turn)
    assert names is not None, "turns looks before"
    role, content = str(turn[names[0]]).lower(), plain(turn[names[1]])
    role = ROLES.get(role, role)
    if role not in ("system", "user", "assistant"):
        raise CellError(f"has a turn of role {role}, want system, user and assistant")
    if isinstance(content, list):
        content = "".join(_part(part, content) for part in content)
    try:
        said, reasoning = text(content), text(turn.get("reasoning_content"))
    except CellError as error:
        raise CellError(f"has a turn whose content {error}") from None
    if role == "assistant":
        said = think(reasoning, said)
    return Turn(role, said or "")


def _part(part: Any, content: list[Any]) -> str:
    """The text of a part of a turn's ``content``."""
    is_text = isinstance(part, dict) and part.get("type", "text") == "text"
    if not is_text or "text" not in part:
        raise CellError(f"has a turn whose content is {described(content)}, want text")
    return text(part["text"]) or ""
