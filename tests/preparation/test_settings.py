"""Sources and rules of a command line."""

import pytest

from red_mcore.config.recipe import RecipeError
from red_mcore.preparation.settings import Rules, Source, check, parse_sources


def test_fields_belong_to_the_source_before_them():
    words = ["a.jsonl", "gold_field=x.y", "teacher=R1", "sampler.temperature=0.6"]
    one, other = parse_sources([*words, "owner/name", "split=test", "name=hub"])
    sampler = {"temperature": "0.6"}
    assert one == Source("a.jsonl", "a", gold_field="x.y", teacher="R1", sampler=sampler)
    assert other == Source("owner/name", "hub", split="test")


def test_a_file_that_is_there_is_a_source_whatever_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "name=x.jsonl").touch()
    assert [one.path for one in parse_sources(["name=x.jsonl"])] == ["name=x.jsonl"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no source is named"),
        (["teacher=R1", "a.jsonl"], "teacher=R1: no source stands before it"),
        (["a.jsonl", "techer=R1"], "techer=R1: a source has no 'techer': use gold_field, name"),
        (["x/a.jsonl", "y/a.parquet"], "two sources are called a: name one, for example"),
    ],
)
def test_what_is_no_source_is_refused(words, message):
    with pytest.raises(RecipeError) as error:
        parse_sources(words)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (Rules(overlap_share=0), "--overlap-share 0: want above 0, to 1"),
        (Rules(overlap_words=9), "--overlap-words 9: use 8 or 13"),
        (Rules(max_broken=2), "--max-broken 2: want 0 to 1"),
        (Rules(max_trace=0), "--max-trace 0: want 1 or more"),
        (Rules(long="shorten"), "--long shorten: use one of drop, cut"),
        (Rules(unit="tokens"), "--tokenizer FOLDER belong together"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(rules, message):
    with pytest.raises(RecipeError) as error:
        check(rules)
    assert message in str(error.value)
