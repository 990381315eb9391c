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

from red_mcore.analysis.groups import problem_ids
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

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")


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
    words = _WORD.findall(text.lower().replace("’", "'"))
    singles, found = Counter(words), Counter[str]()
    for entry in entries:
        phrase = entry.split()
        number = singles[phrase[0]]
        if number and len(phrase) > 1:
            number = sum(words[i : i + len(phrase)] == phrase for i in range(len(words)))
        if number:
            found[entry] = number
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
    words = [counts.words for counts in counted]
    tokens = _known_tokens(responses)
    problems = problem_ids(responses)

    def frequency(entries: Iterable[str]) -> Frequency:
        occurrences = np.array([counts.of(entries) for counts in counted], float)
        per_token = ratio(1000 * occurrences, tokens, problems) if tokens is not None else None
        per_word = ratio(1000 * occurrences, words, problems)
        return Frequency(per_word, per_token, mean(occurrences, problems))

    found: dict[str, dict[str, Frequency]] = {}
    for name, words_of_list in LISTS.items():
        found[name] = {"all": frequency(words_of_list.entries)}
        for entry in words_of_list.entries:
            found[name][entry] = frequency((entry,))
    return found


def _known_tokens(responses: Sequence[Response]) -> list[int] | None:
    """The generated tokens of each response; None where one has no count."""
    tokens = []
    for response in responses:
        if response.tokens is None:
            return None
        tokens.append(response.tokens)
    return tokens
