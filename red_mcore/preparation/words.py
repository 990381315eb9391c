"""The words of a problem, the same for spellings of LaTeX that look the same on the page."""

from __future__ import annotations

import re
import unicodedata

_THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\}|\\,|\\!)+(?=\d{3}(?!\d))")
# Letters in a row are a word from three on. Of two, as in ``2xy`` or ``of``, each stands alone: one
# author writes ``kx``, the next ``k x``, and nothing tells a product from a short word.
_WORD = re.compile(r"\\[a-z]+|[^\W\d_]{3,}|[^\W\d_]|\d+|(?<![+-])[+-](?![+-])")
_MINUS = str.maketrans("\u2212\u2010\u2011\u2013", "----")
_IDLE = frozenset(
    (
        *(r"\left", r"\right", r"\big", r"\bigl", r"\bigr", r"\displaystyle", r"\quad", r"\qquad"),
        *(r"\text", r"\mbox", r"\textbf", r"\textit", r"\mathrm", r"\mathbf", r"\mathit", r"\rm"),
    )
)
"""Commands that change how a formula looks, not what it says."""
_SAME = {
    r"\dfrac": r"\frac",
    r"\tfrac": r"\frac",
    r"\cfrac": r"\frac",
    r"\ldots": r"\dots",
    r"\cdots": r"\dots",
    r"\dotsc": r"\dots",
    r"\dotsb": r"\dots",
    r"\le": r"\leq",
    r"\ge": r"\geq",
    r"\ne": r"\neq",
}
Words = list[str]


def words(text: str) -> Words:
    """The words, numbers and signs of a text in order, without capitals and punctuation.

    Thousands lose their commas; the backslash of a command is left out, so that ``\\sin`` is what
    ``sin`` is. Plus and minus stay: they tell ``x^2 + 1`` from ``x^2 - 1``.
    """
    text = unicodedata.normalize("NFKC", text).casefold().translate(_MINUS)
    found = []
    for word in _WORD.findall(_THOUSANDS.sub("", text)):
        if word not in _IDLE:
            found.append(_SAME.get(word, word).lstrip("\\"))
    return found


def numbers(of: Words) -> list[str]:
    """The numbers among the words, in sorted order: two tellings may name them in another."""
    return sorted(word for word in of if word.isdigit())
