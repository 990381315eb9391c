"""Counting words of reasoning."""

import pytest

from red_mcore.analysis.words import ANTHROPOMORPHIC, CONNECTORS, LISTS, count, frequencies
from red_mcore.samples.responses import Response


def response(text: str, item: int = 0, tokens: int | None = None) -> Response:
    return Response("B", item, 0, "", text, "correct", tokens, None, None, None)


def test_the_golden_response():
    """Section 10 of the specification."""
    found = count("wait but maybe so wait")
    assert found.words == 5
    assert found.of(ANTHROPOMORPHIC.entries) == 3
    assert found.per_thousand_words(ANTHROPOMORPHIC.entries) == 600
    assert found.per_thousand_words(CONNECTORS.entries) == 400


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("Let me see. LET\nME, let us, let meet", 9, {"let me": 2}),
        (
            "I think, therefore I'm. I  think so; i thinking",
            9,
            {"i think": 2, "therefore": 1, "so": 1},
        ),
        ("Wait... wait! await waits wait-and-see", 7, {"wait": 3}),
        ("let let me me", 4, {"let me": 1}),
        (
            "so $x_1 = 12$, \\frac{1}{2}",
            3,
            {"so": 1},
        ),  # so, x_ is split at neither letter nor digit: x, frac
        ("It’s however", 2, {"however": 1}),
        ("", 0, {}),
        ("12 + 3", 0, {}),
    ],
)
def test_words_and_phrases(text, words, expected):
    found = count(text)
    assert found.words == words
    assert dict(found.found) == expected


def test_a_text_without_words_has_a_rate_of_zero():
    assert count("1 2 3").per_thousand_words(("wait",)) == 0


def test_no_entry_is_in_both_lists():
    entries = [entry for words in LISTS.values() for entry in words.entries]
    assert len(set(entries)) == len(entries)
    assert all(entry == entry.lower() for entry in entries)


def test_frequencies_are_of_all_words_together_and_know_tokens_or_not():
    texts = [response("wait but maybe so wait", 0, 10), response("one two three four five", 1, 30)]
    found = frequencies(texts)["anthropomorphic"]
    assert found["all"].per_thousand_words.mean == pytest.approx(
        300
    )  # not the mean of 600 and 0 weighted by responses
    assert found["all"].per_thousand_tokens.mean == pytest.approx(75)
    assert found["all"].per_response.mean == pytest.approx(1.5)
    assert found["wait"].per_response.mean == pytest.approx(1)
    assert found["hmm"].per_thousand_words.mean == 0
    assert frequencies([*texts, response("so", 2)])["connectors"]["all"].per_thousand_tokens is None
