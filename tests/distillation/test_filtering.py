"""The rules of SERT, each against texts that keep to all others."""

from dataclasses import replace

import pytest

from red_mcore.config.recipe import RecipeError
from red_mcore.data.schema import Entry
from red_mcore.distillation import filtering
from red_mcore.distillation.filtering import Rules, choose, fault, repetition, words
from red_mcore.samples.records import Trace

GOOD = (
    "Ann has three apples and buys two more, so she has five of them now. Bob takes one away"
    " because he is hungry, and therefore four are left."
)


def trace(text: str = GOOD, **more) -> Trace:
    return Trace(text, "student", **more)


def test_repetition_is_the_share_of_2_grams_that_were_there_before():
    assert repetition(words("a b c a b c")) == pytest.approx(0.4)
    assert repetition(words("a b c")) == 0
    assert repetition(["one"]) == 0
    rules = Rules(min_words=1, connectives=())
    assert fault(trace("a b c a b c."), rules) == "repetition"
    assert fault(trace("a b c a b c."), replace(rules, max_repetition=0.5)) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD, None),
        ("So it is four.", "words"),
        (GOOD + " and" * 200, "words"),
        (GOOD.replace(" so ", " ").replace("because", "as").replace("therefore", ""), "connective"),
        # A word within another one is none.
        ("Also " + GOOD.replace(" so ", " ").replace("because", "as").replace("therefore", ""),
         "connective"),
        (f"{GOOD} It is four. It is, four!", "repeated_sentence"),
        (GOOD[:-1], "ending"),
        (GOOD[:-1] + " and", "ending"),
        (GOOD[:-1] + ", \\boxed{4}", None),
        (GOOD[:-1] + " (4).\n", None),
    ],
)  # fmt: skip
def test_a_text_breaks_the_first_rule_that_it_does_not_keep(text, reason):
    assert fault(trace(text), Rules()) == reason


def test_what_was_cut_or_must_be_right():
    assert fault(trace(finish_reason="length"), Rules()) == "ending"
    strict = Rules(require_correct=True)
    assert fault(trace(verified=True), strict) is None
    assert fault(trace(verified=False), strict) == fault(trace(), strict) == "not_correct"


def variants(count: int) -> list[Trace]:
    return [trace(GOOD.replace("five", str(number))) for number in range(count)]


def test_likely_is_below_the_median_of_all_answers_of_the_question():
    traces = [*variants(4), trace("No.")]
    # The short answer is left out by another rule, and still counts: the median is 2.
    found = choose(traces, Rules(), [1.0, 2.0, 3.0, 0.5, 9.0])
    assert found.kept == [0, 3]
    assert found.dropped == {"unlikely": 2, "words": 1}
    # One that has no NLL is not likely, and a single answer is not below itself.
    assert choose(variants(3), Rules(), [None, 1.0, 2.0]).kept == [1]
    assert choose(variants(1), Rules(), [1.0]).kept == []
    with pytest.raises(ValueError, match="NLL"):
        choose(traces, Rules())


def test_at_most_so_many_of_a_question_the_likeliest():
    # Their median is 5.
    nll = [5.0, 1.0, 4.0, 2.0, 3.0, 0.0, 9.0, 9.0, 9.0, 9.0, 9.0]
    found = choose(variants(11), Rules(most=4), nll)
    assert found.kept == [1, 3, 4, 5]
    assert found.dropped == {"unlikely": 6, "most": 1}
    first = choose([*variants(2), *variants(6)], Rules(likely=False))
    assert first.kept == [0, 1, 4, 5]
    assert first.dropped == {"same_text": 2, "most": 2}


def test_a_wrong_path_that_is_kept_may_be_learned_from():
    traces = (trace(verified=False), *variants(1), trace("No.", verified=True))
    entry = Entry("1", "How many?", "3", traces, {"origin": "x"})
    left = filtering.kept(entry, choose(traces, Rules(likely=False)))
    assert [t.verified for t in left.traces] == [None, None]
    assert left.meta == {"origin": "x", "filter": {"verdicts": [False, None]}}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"min_words": 9, "max_words": 8}, "--min-words 9 and --max-words 8"),
        ({"max_repetition": 0.0}, "--max-repetition"),
        ({"most": 0}, "--most 0"),
        ({"word": "("}, r"--word \("),
    ],
)
def test_rules_that_cannot_work(fields, named):
    with pytest.raises(RecipeError, match=named):
        Rules(**fields).check()
