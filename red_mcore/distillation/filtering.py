"""Which of a model's own answers are reasoning worth learning from: the rules of SERT
(arXiv 2502.12744), which look at text and likelihood alone, never at the gold.

The paper gives its rules no numbers; the values here are ours, and every one is a field.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from red_mcore.config.recipe import RecipeError
from red_mcore.data.schema import Entry
from red_mcore.samples.records import Trace

CONNECTIVES = ("because", "so", "therefore", "since", "thus", "then")
WORD = r"[^\W_]+(?:['’][^\W_]+)*"
"""A run of letters and digits, apostrophes inside included."""
META = "filter"
"""The key of ``meta`` that has the verdicts on what was kept."""
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_ENDING = re.compile(r"([.!?}]|\$|\\\]|\\\))[\"'”’)\]*]*\s*\Z")
"""A full stop or its like, or the end of a box or of a formula."""


@dataclass(frozen=True)
class Rules:
    """What a path has to be to be kept."""

    min_words: int = 20
    max_words: int = 200
    connectives: tuple[str, ...] = CONNECTIVES
    """It has one of these as a word, in any case; none are asked for where there are none."""
    max_repetition: float = 0.3
    """Its 2-gram repetition is below."""
    likely: bool = True
    """Its mean token NLL under the student is below the median of its question's answers."""
    most: int = 4
    """Paths that a question keeps: where NLLs are known the most likely, else the first."""
    require_correct: bool = False
    """Whether it must have been verified as correct."""
    word: str = WORD
    """Regular expression of a word, for texts that are written otherwise than prose."""

    def check(self) -> None:
        """RecipeError naming the option that cannot work."""
        if not 0 <= self.min_words <= self.max_words:
            raise RecipeError(
                f"--min-words {self.min_words} and --max-words {self.max_words}: use 0 or more, the"
                " second not below the first"
            )
        if not 0 < self.max_repetition <= 1:
            raise RecipeError(f"--max-repetition {self.max_repetition}: use above 0, at most 1")
        if self.most < 1:
            raise RecipeError(f"--most {self.most}: use 1 or more")
        try:
            re.compile(self.word)
        except re.error as error:
            raise RecipeError(f"--word {self.word} is no regular expression: {error}") from None


class Chosen(NamedTuple):
    """What became of a question's answers."""

    kept: list[int]
    """Their places, in order."""
    dropped: Counter[str]
    """By the first rule that each broke: ``words``, ``connective``, ``repetition``,
    ``repeated_sentence``, ``ending``, ``not_correct``, ``same_text``, ``unlikely``, ``most``."""


def words(text: str, word: str = WORD) -> list[str]:
    """The words of a text, in lower case."""
    return [found[0] for found in re.finditer(word, text.lower())]


def repetition(items: Sequence[str]) -> float:
    """Share of the 2-grams that are there more often than once, each counted but for its first
    time: 1 - different ones / all; 0 where there is none."""
    pairs = list(pairwise(items))
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0


def fault(trace: Trace, rules: Rules) -> str | None:
    """The first rule that the path breaks by itself; None for a good one."""
    found = words(trace.text, rules.word)
    if not rules.min_words <= len(found) <= rules.max_words:
        return "words"
    if rules.connectives and not {c.lower() for c in rules.connectives} & set(found):
        return "connective"
    if not repetition(found) < rules.max_repetition:
        return "repetition"
    sentences = [" ".join(words(part)) for part in _SENTENCE_END.split(trace.text)]
    counts = Counter(sentence for sentence in sentences if sentence)
    if any(count > 1 for count in counts.values()):
        return "repeated_sentence"
    if trace.finish_reason == "length" or not _ENDING.search(trace.text):
        return "ending"
    if rules.require_correct and trace.verified is not True:
        return "not_correct"
    return None


def choose(
    traces: Sequence[Trace], rules: Rules, nll: Sequence[float | None] | None = None
) -> Chosen:
    """Which of the answers to one question are kept.

    ``nll``: the mean NLL per token of each under the student, nats; None for one that has none,
    which is not likely. The median is that of all answers of the question that have one. Of equal
    texts the first counts. ValueError where ``rules.likely`` has no ``nll``.
    """
    if rules.likely and nll is None:
        raise ValueError("the NLLs that decide what is likely are missing")
    known = [value for value in nll or () if value is not None]
    bound = median(known) if known else 0.0
    dropped: Counter[str] = Counter()
    able: list[int] = []
    texts: set[str] = set()
    for place, trace in enumerate(traces):
        reason = fault(trace, rules)
        if reason is None and trace.text in texts:
            reason = "same_text"
        if reason is None and rules.likely:
            assert nll is not None, "checked above"
            value = nll[place]
            reason = None if value is not None and value < bound else "unlikely"
        if reason is None:
            texts.add(trace.text)
            able.append(place)
        else:
            dropped[reason] += 1
    if rules.likely and nll is not None:
        values = {place: nll[place] or 0.0 for place in able}
        able.sort(key=lambda place: (values[place], place))
    if len(able) > rules.most:
        dropped["most"] = len(able) - rules.most
    return Chosen(sorted(able[: rules.most]), dropped)


def kept(entry: Entry, chosen: Chosen) -> Entry:
    """The entry with what was chosen of its traces.

    They are kept for how they reason, right or wrong: their verdicts move into ``meta``, for a step
    does not learn from a trace that is known to be wrong.
    """
    traces = [entry.traces[place] for place in chosen.kept]
    about = {"verdicts": [trace.verified for trace in traces]}
    freed = tuple(replace(t, verified=t.verified or None) for t in traces)
    return replace(entry, traces=freed, meta=entry.meta | {META: about})
