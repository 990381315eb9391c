"""A worked solution in episodes, so that a policy can be given the first few of them."""

from __future__ import annotations

import re
from itertools import pairwise

from red_mcore.rewards.answers import last_boxed

_LINE = r"\n(?:\s*\n)?"
_ABBREVIATIONS = (
    "vs", "cf", "approx", "resp", "Eq", "Eqs", "Fig", "Mr", "Mrs", "Ms", "Dr", "Prof", "St",
)  # fmt: skip
_NO_END = r"(?<!\b[A-Za-z])(?<!^\d)(?<!^\d\d)(?<!\.)(?<!\\left)(?<!\\right)" + "".join(
    rf"(?<!\b{word})" for word in _ABBREVIATIONS
)
"""What a full stop does not end: single letters (so also ``i.e.``), list numbers, dots, delimiters,
abbreviations."""
_SENTENCE = rf"{_LINE}|{_NO_END}[.!?][\"'”’)\]}}$*]*(?=[ \t]+(?:[^\W\d_a-z]|[$(\"'“‘*]|\\[(\[]))"
_WORD = rf"{_LINE}|\S(?=[ \t])"
_STEP = r"\d(?=[A-Za-z])"
_PIECE = r"\\(?:[A-Za-z]+\{?|.)|\d+(?:[.,]\d+)*|[^\W\d_]+|."
_UNITS = [re.compile(unit, re.M | re.S) for unit in (_SENTENCE, _WORD, _STEP, _PIECE)]
"""A cut is where a match ends: after lines, but before spaces, as tokenizers put a word's space in
front of it. Steps are those of compact notations (``a9*8=2b2@4=3``); a piece is a LaTeX command, a
number, a word or any other character.
"""


def split(trace: str, count: int) -> list[str]:
    """``trace`` in at most ``count`` consecutive episodes of about as many units each; joined they
    are ``trace``.

    Units are sentences (lines and paragraphs, too) where there are enough of them, which is half as
    many as episodes are wanted; else words, else steps, else pieces. The last episode holds
    everything from the first ``\\boxed`` with the final answer on, or, where nothing is boxed, the
    last sentence, so that no other holds the box; prose before it may still tell the answer. A
    trace that begins with its box, or is a single sentence without one, is one episode.
    """
    last = _answer_start(trace)
    for unit in _UNITS:
        cuts = [m.end() for m in unit.finditer(trace) if m.end() <= last]
        if 2 * (len(cuts) + 1) >= count:  # enough; else the next smaller unit
            break
    units = len(cuts) + 1
    episodes = min(count, units)
    ends = [0, *(cuts[units * i // episodes - 1] for i in range(1, episodes)), len(trace)]
    return [trace[start:end] for start, end in pairwise(ends)]


def _answer_start(trace: str) -> int:
    """Where the last episode begins at the latest."""
    answer = last_boxed(trace)
    if answer is not None:  # as last_boxed reads boxes: a data set may have \fbox{5} or \boxed 5
        spelled = rf"\\(?:boxed|fbox)(?: *\{{{re.escape(answer)}\}}| +{re.escape(answer)}(?!\w))"
        if found := re.search(spelled, trace):
            return found.start()
    if "\\boxed" in trace:
        return trace.rindex("\\boxed")
    ends = [match.end() for match in _UNITS[0].finditer(trace.rstrip())]
    return max(ends, default=0)
