"""The letter that an answer to a multiple choice comes to."""

from __future__ import annotations

import re

from red_mcore.rewards.answers import TEXT, answer_part, final_answer, stated, tidy

_LETTER = re.compile(r"(?<![A-Za-z])[A-J](?![A-Za-z])")
_CHOSEN = re.compile(
    r"\(([A-J])\)|([A-J])(?:\)|\.(?![A-Za-z])|:"
    r"| +[-–—] +(?=\w)(?![A-J](?:\W*$|[,.)/]| (?:and|or)\b)))"
)
"""A letter that something marks as a choice: brackets, a full stop, a colon, or a dash before what
it stands for, which is no letter itself."""
_SAID = re.compile(
    r"(?:the |final |correct )*(?:answer|option|choice)(?: is| ?:)? *(?:option |choice )?(.*)", re.I
)


def letter(text: str) -> str | None:
    """The letter that an answer comes to; None where it names none, or more than one."""
    text = TEXT.sub(r"\1", tidy(text)).replace("*", "").strip(" .")
    if said := _SAID.fullmatch(text):
        text = said[1].strip(" .")
    if re.fullmatch(r"\(?[a-j]\)?", text):
        return text.strip("()").upper()
    marked = _CHOSEN.match(text)
    if marked is None:
        # A bare letter; "A is right" may be the name of a quantity.
        return text if _LETTER.fullmatch(text) else None
    chosen = _letter_of(marked)
    joined = re.match(r" *(?:[,/&]|or\b|and\b)", text[marked.end() :])
    if joined or any(_letter_of(other) != chosen for other in _CHOSEN.finditer(text)):
        return None
    return chosen


def _letter_of(marked: re.Match[str]) -> str:
    return marked[1] or marked[2]


def final_choice(text: str, boxed_only: bool) -> str | None:
    """``final_answer`` to a multiple choice: unless ``boxed_only``, a box without a letter is a
    formula on the way, and the ``stated`` letter counts."""
    answer = final_answer(text, boxed_only)
    if boxed_only or answer is None or letter(answer):
        return answer
    said = stated(answer_part(text))
    if said and letter(said):
        return said
    return answer
