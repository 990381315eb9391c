"""What a plausible gold is, told from its text alone.

A gold is compared with itself before it is used, and ``proof`` equals ``proof``. So a gold is also
refused that stands for a missing answer, that is a worked solution, or that a program wrote down as
a list: rewards for what a policy can say to these teach it nothing, or to write ``notfound``. Short
texts (``east``, ``no solution``), tuples and lists are answers, also those that name a thing twice
(``-2, -2``, a double root): of a list where one value is meant, its text tells nothing.
"""

from __future__ import annotations

import re

from red_mcore.rewards.answers import tidy
from red_mcore.rewards.shapes import items

_PLACEHOLDERS = frozenset(
    (
        "proof", "the proof", "not found", "notfound", "answer not found", "no answer",
        "no answer found", "none", "n a", "na", "none given", "not given", "not available",
        "not applicable", "not provided", "no answer provided", "no answer given", "not specified",
        "unspecified", "unknown", "missing", "null", "nil", "nan", "tbd", "todo", "fixme", "error",
        "invalid", "undefined answer", "unanswerable", "empty string", "no final answer", "omitted",
        "proof omitted", "proof required", "proof needed", "see solution", "see the solution",
        "see above", "see below", "see proof", "see the proof", "see explanation", "see figure",
        "solution", "answer", "the answer", "proven", "proved", "qed", "placeholder", "inf or nan",
        "no box found", "parse error", "answers may vary", "answers vary", "answers will vary",
        "various",
    )
)  # fmt: skip
"""Words, without punctuation, that stand where an answer is missing."""
_NO_WORDS = frozenset(("?", "??", "???", "-", "--", "[]", "..."))
"""Placeholders of punctuation alone."""
_PROOFS = re.compile(
    r"(?:the )?(?:proof|see|refer to|prove|show that|it is proved|it is proven|we have proved"
    r"|todo)\b.*",
    re.DOTALL,
)
_LIST = re.compile(r"\[ *(?:(['\"])(.*)\1|([^\[\]'\"]*)) *,? *\]", re.DOTALL)
_QUOTED = re.compile(
    r"b?(['\"`]).*\1|[\[({] *b?(['\"]).*\2 *[\])}]|\{ *(['\"])\w+\3 *:.*\}", re.DOTALL
)
_MARKUP = re.compile(
    r"</?[A-Za-z][A-Za-z0-9_-]*>|####|<<[^<>]*>>|\\(?:boxed|fbox)(?![a-zA-Z])"
    r"|\\begin\{(?:align|proof|itemize|enumerate)|```"
)
_WORD = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{2,}(?![A-Za-z])")
_SENTENCES = re.compile(r"[A-Za-z0-9)}$][.!?;:]\s+[A-Z\\$]?[a-z]*\s")
_COMMAND = re.compile(
    r"\\(?:begin|end|text|mbox|textrm|mathrm|textbf|textit|operatorname)(?![a-zA-Z])"
    r"(?: *\{[a-z]*matrix\})?|\\[A-Za-z]+"
)
MOST_WORDS = 12
"""Words of a text that is an answer: a sentence has more."""
MOST_LETTERS = 600
"""Characters of an answer, formulas included."""


def unwrapped(gold: str) -> str:
    """The one element of ``['71']``, a list as Python or JSON spell it; any other gold as it is."""
    match = _LIST.fullmatch(gold.strip())
    if match is None or not match[1] or match[1] in match[2]:
        return gold  # no list, of bare words, or of several
    return match[2].replace("\\\\", "\\")


def implausible(kind: str, gold: str) -> str | None:
    """Why ``gold`` is no answer to anything, or None."""
    text = unwrapped(gold).strip()
    if not text or not tidy(text):
        return "is empty"
    if _QUOTED.fullmatch(text):
        return "is a list or a string as a program spells it, not an answer"
    if kind == "choice":
        return None
    parts = list(dict.fromkeys((text, *items(tidy(text)))))
    for part in parts:
        if fault := _no_answer(part):
            return fault
    if match := _MARKUP.search(text):
        return f"is a text with {match.group()!r} in it, not an answer"
    said = _COMMAND.sub(" ", text)
    written = len(_WORD.findall(said))
    if written > MOST_WORDS:
        return f"is a text of {written} words, more than {MOST_WORDS}: a solution, not an answer"
    if len(text) > MOST_LETTERS:
        return f"has {len(text)} characters, more than {MOST_LETTERS}: a solution, not an answer"
    if _SENTENCES.search(said) and len(_spoken(parts[-1])) > 2:
        return "is a text of more than one sentence: a solution, not an answer"
    calculations = sum("=" in line for line in text.splitlines())
    if calculations > 1 and r"\begin" not in text:  # else a system of equations
        return "is a calculation of several lines, not an answer"
    return None


def _no_answer(part: str) -> str | None:
    """Why what a gold lists is no answer: it stands for a missing one, or speaks of a proof."""
    spoken = _spoken(part)
    is_placeholder = spoken in _PLACEHOLDERS or part.strip() in _NO_WORDS
    if is_placeholder and not re.search("[0-9]", part):
        return f"is a placeholder ({part[:40]!r}), not an answer"
    if " " in spoken and _PROOFS.match(spoken):
        return f"speaks of a proof or a solution ({part[:40]!r}), and gives no answer"
    return None


def _spoken(part: str) -> str:
    """The words of a text in small letters, without commands, numbers and punctuation."""
    return " ".join(re.findall("[a-z]+", _COMMAND.sub(" ", part).casefold()))
