"""Mixes: exact counts, a draw by problem that seed and problem alone decide."""

import json
import random

import pytest

from red_mcore.config.recipe import Arithmetic, RecipeError
from red_mcore.data import arithmetic, schema
from red_mcore.data.arithmetic_teachers import HABITS, entries, unscreened
from red_mcore.data.schema import Entry
from red_mcore.distillation.mixing import joined, mix, share
from red_mcore.samples.records import Trace


def problems(count: int) -> list[Entry]:
    found = []
    for number in range(count):
        traces = (Trace(f"long {number}", "long"), Trace(f"short {number}", "short"))
        found.append(Entry(str(number), f"What is {number}?", str(number), traces))
    return found


@pytest.mark.parametrize(("count", "minor"), [(5000, 1000), (5383, 1077), (4539, 908), (1, 0)])
def test_the_counts_are_exact(count, minor):
    assert share(count, 0.2) == minor
    mixed = mix(problems(count), "long", "short")
    assert mixed.counts == {"long": minor, "short": count - minor}
    assert sum(entry.traces[0].source == "long" for entry in mixed.entries) == minor
    assert [entry.id for entry in mixed.entries] == [str(number) for number in range(count)]
    assert all(len(entry.traces) == 1 for entry in mixed.entries)


def test_the_draw_follows_from_seed_and_problem():
    one = {entry.id: entry.traces for entry in mix(problems(500), "long", "short", seed=3).entries}
    shuffled = problems(500)
    random.Random(0).shuffle(shuffled)
    same = {entry.id: entry.traces for entry in mix(shuffled, "long", "short", seed=3).entries}
    other = {entry.id: entry.traces for entry in mix(shuffled, "long", "short", seed=4).entries}
    assert one == same
    assert one != other
    # More problems move few of those that were there: 500 of 550 stay as they were, but for chance.
    more = {entry.id: entry.traces for entry in mix(problems(550), "long", "short", seed=3).entries}
    assert sum(one[name] != more[name] for name in one) < 30


def test_problems_that_lack_a_usable_trace_of_one_are_left_out():
    found = problems(4)
    bad = (Trace("x", "long", verified=False), Trace("y", "long", finish_reason="length"))
    short = found[0].traces[1:]
    found[0] = Entry("0", "What is 0?", "0", bad + short)
    found[1] = Entry("1", "What is 1?", "1", (*bad, Trace("z", "long", True), *short))
    mixed = mix(found, "long", "short", weight=1)
    assert [entry.id for entry in mixed.entries] == ["1", "2", "3"]
    assert mixed.without_both == 1
    assert mixed.entries[0].traces[0].text == "z"
    assert mixed.entries[0].meta["mix"] == {
        "minor": "long", "major": "short", "weight": 1, "seed": 0
    }  # fmt: skip


def test_sets_are_joined_by_problem():
    one = [Entry("a", "What is  1?", "1", (Trace("long", "long"),))]
    other = [
        Entry("b", "What is 1?", "1", (Trace("short", "short"),)),
        Entry("c", "What is 2?", "2"),
    ]
    found = joined([one, other])
    assert [(entry.id, len(entry.traces)) for entry in found] == [("a", 2), ("c", 0)]
    with pytest.raises(RecipeError, match=r"problem b has the gold '1' .* 'one' in another"):
        joined([[Entry("a", "What is 1?", "one")], other])


def test_what_cannot_be_mixed():
    with pytest.raises(RecipeError, match=r"no trace is of a teacher large: .*long \(2\)"):
        mix(problems(2), "large", "short")
    with pytest.raises(RecipeError, match="both long"):
        mix(problems(2), "long", "long")
    with pytest.raises(RecipeError, match=r"--weight 1\.5"):
        mix(problems(2), "long", "short", weight=1.5)


def test_the_built_in_teachers_are_right_and_differ_in_length(tmp_path):
    drawn = arithmetic.make_problems(Arithmetic(), 200, seed=0)
    found = entries(drawn, Arithmetic(), 0)
    lengths = dict.fromkeys(HABITS, 0)
    for problem, entry in zip(drawn, found, strict=True):
        assert (entry.problem, entry.gold) == (problem.text, problem.gold)
        for trace in entry.traces:
            lengths[trace.source] += len(trace.text)
            assert trace.text.endswith(f"={entry.gold}\\boxed{{{entry.gold}}}")
    assert lengths["large"] < lengths["short"] < lengths["small"] < lengths["long"]
    assert entries(drawn[50:], Arithmetic(), 0) == found[50:]
    rows = list(unscreened())
    wrong = [row for row in rows if not row["traces"][0]["text"].endswith(f"{{{row['gold']}}}")]
    assert len(rows) == 920
    assert 60 < len(wrong) < 130
    assert all(row["traces"][0]["verified"] is False for row in wrong)
    schema.write(tmp_path / "all.jsonl", (schema.entry(row, "") for row in rows))
    assert json.loads((tmp_path / "all.jsonl").read_text().splitlines()[0]) == rows[0]
