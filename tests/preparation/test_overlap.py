"""N-grams in common with benchmark problems."""

import json

import pytest

from red_mcore.config.recipe import RecipeError
from red_mcore.preparation import overlap
from red_mcore.preparation.overlap import Index, Item
from red_mcore.preparation.settings import Rules

LONG = "a farmer sells 12 brown eggs and 7 white ducks at the busy market of his small town today"
ENDING = (
    "the answer is a fraction of two relatively prime positive integers so find their whole sum"
)
SHORT = "compute $\\binom{8}{4}$"
ELEVEN = "how many ways are there for choosing five red cards now"


@pytest.fixture
def index() -> Index:
    texts = (f"{LONG}. Then {ENDING}.", SHORT, ELEVEN)
    return Index([Item("bench", number, text) for number, text in enumerate(texts, 1)], Rules())


def shares(hits) -> dict[int, tuple[float, float]]:
    return {hit.item.number: (hit.shares[8], hit.shares[13]) for hit in hits}


def test_a_problem_is_found_whole_and_its_ending_alone_is_too_little(index):
    (whole,) = index.hits(f"Please solve: {LONG.upper()} -- then, {ENDING}!")
    assert (whole.item.number, whole.shares) == (1, {8: 1, 13: 1})
    assert index.is_too_much(whole)
    (part,) = index.hits(f"Another text, 12 and 7, and then {ENDING}")
    assert 0 < part.shares[13] < 0.5
    assert not index.is_too_much(part)


def test_a_problem_shorter_than_the_grams_is_one_gram(index):
    assert shares(index.hits(f"Well, {ELEVEN} and say so"))[3][1] == 1
    # Of eight words and fewer only the whole text tells anything.
    assert shares(index.hits(SHORT)) == {2: (1, 1)}
    assert index.hits(f"First {SHORT}, and then something else of another kind entirely") == []


def test_a_near_duplicate_of_the_same_numbers_is_one_whatever_its_grams(index):
    told = f"{LONG} and {ENDING}".replace("and 7", "or 7")
    hit = index.of_problem(told)[0]
    assert hit.similarity > 0.7
    assert index.is_too_much(hit)
    assert not index.of_problem(told.replace("12", "13"))[0].similarity


def test_grams_are_those_of_a_plain_count(index):
    """Against the definition, written down directly."""
    from red_mcore.preparation.words import words

    text = words(f"{LONG} and so on until {ENDING}")
    item = words(index.items[0].text)
    for n in (8, 13):
        mine = {tuple(text[i : i + n]) for i in range(len(text) - n + 1)}
        theirs = {tuple(item[i : i + n]) for i in range(len(item) - n + 1)}
        hit = next(hit for hit in index.hits(" ".join(text)) if hit.item.number == 1)
        assert hit.shares[n] == len(mine & theirs) / len(theirs)


def test_files_are_read_as_benchmarks_are_and_missing_ones_refused(tmp_path):
    rows = [{"prompt": LONG, "answer": "3"}, {"prompt": SHORT, "answer": "70"}]
    (tmp_path / "Own-Bench.json").write_text(json.dumps(rows))
    rules = Rules(benchmarks=(str(tmp_path),))
    index, seen = overlap.load(rules, {str(tmp_path / "Own-Bench.json"): "digest"})
    assert [item.benchmark for item in index.items] == ["Own-Bench", "Own-Bench"]
    assert (seen["Own-Bench"].problems, seen["Own-Bench"].sha256) == (2, "digest")
    with pytest.raises(RecipeError, match="nowhere: no file of benchmarks is there"):
        overlap.benchmark_files([str(tmp_path / "nowhere")])
