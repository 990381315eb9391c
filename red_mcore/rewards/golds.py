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
        "proof", "the proof", "not found", "notfound", "answer not found", "no answer", "no answer found", "none",
        "n a", "na", "none given", "not given", "not available", "not applicable", "not provided", "no answer provided",
        "no answer given", "not specified", "unspecified", "unknown", "missing", "null", "nil", "nan", "tbd", "todo",
        "fixme", "error", "invalid", "undefined answer", "unanswerable", "empty string", "no final answer", "omitted",
        "proof omitted", "proof required", "proof needed", "see solution", "see the solution", "see above", "see below",
        "see proof", "see the proof", "see explanation", "see figure", "solution", "answer", "the answer", "proven",
        "proved", "qed", "placeholder", "inf or nan", "no box found", "parse error", "answers may vary", "answers vary",
        "answers will vary", "various",
    )
)  # fmt: skip
"""Words, without punctuation, that stand where an answer is missing."""
_PROOFS = re.compile(
    r"(?:the )?(?:proof|see|refer to|prove|show that|it is proved|it is proven|we have proved|todo)\b.*",
    re.DOTALL,
)
_LIST = re.compile(r"\[ *(?:(['\"])(.*)\1|([^\[\]'\"]*)) *,? *\]", re.DOTALL)
_QUOTED = re.compile(
    r"b?(['\"`]).*\1|[\[({] *b?(['\"]).*\2 *[\])}]|\{ *(['\"])\w+\3 *:.*\}", re.DOTALL
)
_MARKUP = re.compile(
    r"</?[A-Za-z][A-Za-z0-9_-]*>|####|<<[^<>]*>>|\\(?:boxed|fbox)(?![a-zA-Z])|\\begin\{(?:align|proof|itemize|enumerate)|```"
)
_WORD = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{2,}(?![A-Za-z])")
_SENTENCES = re.compile(r"[A-Za-z0-9)}$][.!?;:]\s+[A-Z\\$]?[a-z]*\s")
_COMMAND = re.compile(
    r"\\(?:begin|end|text|mbox|textrm|mathrm|textbf|textit|operatorname)(?![a-zA-Z])(?: *\{[a-z]*matrix\})?|\\[A-Za-z]+"
)
MOST_WORDS = 12
"""Words of a text that is an answer: a sentence has more."""
MOST_LETTERS = 600
"""Characters of an answer, formulas included."""


def unwrapped(gold: str) -> str:
    """The one element of ``['71']``, a list as Python or JSON spell it; any other gold as it is."""
    match = _LIST.fullmatch(gold.strip())
    return (
        match[2].replace("\\\\", "\\") if match and match[1] and match[1] not in match[2] else gold
    )


def implausible(kind: str, gold: str) -> str | None:
    """Why ``gold`` is no answer to anything, or None."""
    text = unwrapped(gold).strip()
    if not text or not tidy(text):
        return "is empty"
    if _QUOTED.fullmatch(text):
        return "is a list or a string as a program spells it, not an answer"
    if kind == "choice":
        return None
    for part in dict.fromkeys((text, *items(tidy(text)))):
        words = " ".join(re.sub(r"[^a-z]+", " ", _COMMAND.sub(" ", part).casefold()).split())
        alone = not re.search(r"[0-9]", part)
        if alone and (
            words in _PLACEHOLDERS or part.strip() in ("?", "??", "???", "-", "--", "[]", "...")
        ):
            return f"is a placeholder ({part[:40]!r}), not an answer"
        if _PROOFS.match(words) and len(words.split()) > 1:
            return f"speaks of a proof or a solution ({part[:40]!r}), and gives no answer"
    if match := _MARKUP.search(text):
        return f"is a text with {match.group()!r} in it, not an answer"
    written = _WORD.findall(_COMMAND.sub(" ", text))
    if len(written) > MOST_WORDS:
        return (
            f"is a text of {len(written)} words, more than {MOST_WORDS}: a solution, not an answer"
        )
    if len(text) > MOST_LETTERS:
        return f"has {len(text)} characters, more than {MOST_LETTERS}: a solution, not an answer"
    if _SENTENCES.search(_COMMAND.sub(" ", text)) and len(words) > 2:
        return "is a text of more than one sentence: a solution, not an answer"
    if len([line for line in text.splitlines() if "=" in line]) > 1 and r"\begin" not in text:
        return "is a calculation of several lines, not an answer"
    return None
