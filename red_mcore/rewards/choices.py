"""The letter that an answer to a multiple choice comes to."""

from __future__ import annotations

import re

from red_mcore.rewards.answers import answer_part, final_answer, stated, tidy

_WRAPPED = re.compile(r"\\text\{([^{}]*)\}")
_LETTER = re.compile(r"(?<![A-Za-z])[A-J](?![A-Za-z])")
_CHOSEN = re.compile(
    r"\(([A-J])\)|([A-J])(?:\)|\.(?![A-Za-z])|:| +[-–—] +(?=\w)(?![A-J](?:\W*$|[,.)/]| (?:and|or)\b)))"
)
_SAID = re.compile(
    r"(?:the |final |correct )*(?:answer|option|choice)(?: is| ?:)? *(?:option |choice )?(.*)", re.I
)


def letter(text: str) -> str | None:
    """The letter that an answer to a multiple choice comes to; None where it names none, or more
    than one."""
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


def final_choice(text: str, boxed_only: bool) -> str | None:
    """``final_answer`` to a multiple choice: unless ``boxed_only``, a box without a letter is a
    formula on the way, and the ``stated`` letter counts."""
    answer = final_answer(text, boxed_only)
    if boxed_only or answer is None or letter(answer):
        return answer
    said = stated(answer_part(text))
    return said if said and letter(said) else answer
