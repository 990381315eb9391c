"""Anthropomorphic tokens and logical connectors in the text of responses (arXiv 2505.21067).

The paper's exact lists are not published. ``seen`` are the words that accounts of it name,
``extended`` are those added here; both count. A word is a run of letters, apostrophes inside
included, in lower case: numbers and signs are none, the letters of LaTeX commands and of variables
are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from red_mcore.samples.responses import Response
from red_mcore.stats import Estimate, mean, ratio


class WordList(NamedTuple):
    """Entries in lower case; one of several words counts as one occurrence."""

    seen: tuple[str, ...]
    extended: tuple[str, ...]

    @property
    def entries(self) -> tuple[str, ...]:
        return self.seen + self.extended


ANTHROPOMORPHIC = WordList(
    ("wait", "maybe"), ("hmm", "perhaps", "let me", "i think", "actually", "oh")
)
CONNECTORS = WordList(
    ("but", "alternatively"),
    ("however", "therefore", "since", "so", "thus", "if", "because", "then"),
)
LISTS = {"anthropomorphic": ANTHROPOMORPHIC, "connectors": CONNECTORS}

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


@dataclass(frozen=True)
class Counts:
    """What one text holds."""

    words: int
    found: Counter[str]
    """Occurrences of each entry that occurs."""

    def of(self, entries: Iterable[str]) -> int:
        return sum(self.found[entry] for entry in entries)

    def per_thousand_words(self, entries: Iterable[str]) -> float:
        """Occurrences per 1000 words, 0 in a text without words."""
        return 1000 * self.of(entries) / self.words if self.words else 0.0


def count(
    text: str, entries: Iterable[str] = ANTHROPOMORPHIC.entries + CONNECTORS.entries
) -> Counts:
    """Words of ``text``, and occurrences of the ``entries``, each counted on its own where two
    share words."""
    words = [word.replace("’", "'") for word in _WORD.findall(text.lower())]
    found: Counter[str] = Counter()
    singles, phrases = Counter(words), [tuple(entry.split()) for entry in entries]
    for phrase in phrases:
        number = singles[phrase[0]]
        if len(phrase) > 1:  # words at the same places, each one further on
            shifted = (words[i:] for i in range(len(phrase)))
            number = Counter(zip(*shifted, strict=False))[phrase]
        if number:
            found[" ".join(phrase)] = number
    return Counts(len(words), found)


@dataclass(frozen=True)
class Frequency:
    """How often entries occur in a set of responses."""

    per_thousand_words: Estimate
    per_thousand_tokens: Estimate | None
    """None where the generated tokens of a response are not known."""
    per_response: Estimate


def frequencies(responses: Sequence[Response]) -> dict[str, dict[str, Frequency]]:
    """list -> entry, or ``all`` for its entries together -> frequency."""
    counted = [count(response.text) for response in responses]
    found: dict[str, dict[str, Frequency]] = {}
    for name, words in LISTS.items():
        found[name] = {"all": _frequency(responses, counted, words.entries)}
        for entry in words.entries:
            found[name][entry] = _frequency(responses, counted, (entry,))
    return found


def _frequency(
    responses: Sequence[Response], counted: Sequence[Counts], entries: tuple[str, ...]
) -> Frequency:
    problems = [response.problem_id for response in responses]
    found = np.array([counts.of(entries) for counts in counted], float)
    tokens = [response.tokens for response in responses]
    return Frequency(
        ratio(1000 * found, [counts.words for counts in counted], problems),
        None if None in tokens else ratio(1000 * found, tokens, problems),
        mean(found, problems),
    )
