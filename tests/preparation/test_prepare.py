"""One whole preparation of a planted source, and what its manifest says."""

import dataclasses
import hashlib
import json

import planted
import pytest

from red_mcore.config.recipe import RecipeError
from red_mcore.data import schema
from red_mcore.preparation.prepare import prepare
from red_mcore.preparation.settings import Rules, Source

GOOD = 60
BENCHMARK = range(900, 920)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A source of 60 good rows, then 30 that are planted, 5 % of broken ones, and odd ones."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "benchmarks").mkdir()
    asked = [{"prompt": planted.problem(n)[0], "answer": "1"} for n in BENCHMARK]
    (folder / "benchmarks" / "bench.json").write_text(json.dumps(asked))
    rows = [planted.row(n) for n in range(GOOD)]
    for n in range(10):  # lines 61 to 70: the same in other letters, with a trace of its own
        text = planted.problem(n)[0].upper().replace(",", " ,  ")
        gold = planted.problem(n)[1]
        rows.append(planted.row(n, problem=text, trace=f"So \\boxed{{{gold}}}"))
    for n in range(10, 20):  # lines 71 to 80: nearly the same
        text = planted.problem(n)[0].replace("finds", "found").replace("stands", "was")
        rows.append(planted.row(n, problem=text))
    for n in BENCHMARK[:10]:  # lines 81 to 90: a benchmark's, in a sentence of one's own
        rows.append(planted.row(n, problem=f"Solve this. {planted.problem(n)[0]} Think first."))
    rows += ["{broken", "[]", '"text"', '{"problem": 3, "answer": "1"}', "{}}"]  # lines 91 to 95
    other = planted.row(30, problem=planted.problem(30)[0].replace("130", "530"))
    rows += [
        planted.row(700, answer="see the proof"),
        planted.row(20, answer="7"),  # another gold than line 21 has
        other | {"trace": "It is \\boxed{1}."},  # a variant; its trace is wrong
        planted.row(
            800, trace=f"First: {planted.problem(915)[0]} \\boxed{{{planted.problem(800)[1]}}}"
        ),
        planted.row(801, trace="No box, though it is " + " ".join(["long"] * 150)),
    ]
    planted.write(folder / "own.jsonl", rows)
    second = [
        {"id": "s1", "problem": planted.problem(600)[0], "gold": str(planted.problem(600)[1])}
        | {"traces": [{"text": f"\\boxed{{{planted.problem(600)[1]}}}", "source": "B"}] * 2}
    ]
    second[0]["traces"].append({"text": "\\boxed{5}", "source": "C", "verified": True})
    planted.write(folder / "second.jsonl", second)
    return folder


@pytest.fixture(scope="module")
def asked(folder) -> tuple[tuple[Source, ...], Rules]:
    sources = (
        Source(str(folder / "own.jsonl"), "own", teacher="A", sampler={"temperature": "0.6"}),
        Source(str(folder / "second.jsonl"), "second"),
    )
    return sources, Rules(benchmarks=(str(folder / "benchmarks"),), max_trace=100)


@pytest.fixture(scope="module")
def made(folder, asked) -> dict:
    return prepare(*asked, folder / "out")


@pytest.fixture(scope="module")
def entries(folder, made) -> list[schema.Entry]:
    return list(schema.read(folder / "out" / "set.jsonl"))


def left(folder, reason: str) -> list[str]:
    lines = (folder / "out" / "dropped.jsonl").read_text().splitlines()
    return [one["where"] for one in map(json.loads, lines) if one["reason"] == reason]


def test_all_that_was_planted_is_found_and_nothing_else(folder, made):
    assert left(folder, "repeat") == [f"line {n}" for n in range(61, 71)]
    assert left(folder, "near duplicate") == [f"line {n}" for n in range(71, 81)]
    assert left(folder, "problem of a benchmark") == [f"line {n}" for n in range(81, 91)]
    assert left(folder, "broken") == [f"line {n}" for n in range(91, 96)]
    assert left(folder, "gold that no answer can meet") == ["line 96"]
    assert left(folder, "repeat with another gold") == ["line 21", "line 97"]
    assert made["counts"]["problems"] == GOOD - 1 + 3 + 1
    assert made["counts"]["worded_like_another"] == 1
    assert {reason: one["count"] for reason, one in made["left_out"].items()}["broken"] == 5


def test_traces_are_judged_one_by_one(folder, made):
    assert left(folder, "trace wrong") == ["line 98 trace 1", "line 1 trace 3"]
    assert left(folder, "repeated trace") == ["line 1 trace 2"]
    assert left(folder, "trace of a benchmark problem") == ["line 99 trace 1"]
    assert left(folder, "trace too long") == ["line 100 trace 1"]
    assert made["verdicts"] == {"correct": GOOD - 1 + 10 + 1, "wrong": 2}


def test_a_repeat_gives_its_trace_to_the_problem(entries):
    first = entries[0]
    assert [trace.verified for trace in first.traces] == [True, True]
    assert first.meta["repeated_in"][0].endswith("own.jsonl line 61")
    assert first.meta["traces"][1] == {
        "set": "own",
        "row": "line 61",
        "sampler": {"temperature": "0.6"},
        "column": "trace",
        "teacher": "A",
        "verdict": "correct",
        "length": {"words": 2},
        "overlap": None,
        "share": round(69 / 70, 6),
    }


def test_the_manifest_says_where_all_is_from(folder, made, entries):
    written = json.loads((folder / "out" / "manifest.json").read_text())
    assert written == made
    for part, name in (("set", "set.jsonl"), ("dropped", "dropped.jsonl")):
        digest = hashlib.sha256((folder / "out" / name).read_bytes()).hexdigest()
        assert made[part]["sha256"] == digest
    assert made["set"]["rows"] == len(entries) == len({entry.id for entry in entries})
    teachers = {one["teacher"]: one["traces"] for one in made["teachers"]}
    assert teachers == {"A": 69, "B": 1}
    bench = made["benchmarks"]["bench"]
    assert (bench["problems"], bench["overlap"]["rows"], bench["overlap"]["problems"]) == (
        20,
        10,
        10,
    )
    assert bench["overlap"]["hits"][0]["share_13"] == 1
    assert bench["overlap"]["traces"] == 1
    assert [one["broken"] for one in made["sources"]] == [5, 0]
    example = made["left_out"]["broken"]["examples"][0]
    assert (example["source"], example["where"]) == ("own", "line 91")
    assert not (folder / "out" / "work").exists()


def test_the_same_again_is_there_already_and_another_is_not_overwritten(folder, asked, made):
    sources, rules = asked
    assert prepare(sources, rules, folder / "out") == made
    with pytest.raises(RecipeError, match="has a set that differs in rules: name another folder"):
        prepare(sources, dataclasses.replace(rules, near=0.9), folder / "out")


def test_parquet_and_traces_that_are_cut(folder, made):
    source = Source(str(folder / "second.jsonl"), "second")
    rules = Rules(max_trace=2, unit="characters", long="cut", traces="all")
    prepare((source,), rules, folder / "cut", "parquet")
    (entry,) = schema.read(folder / "cut" / "set.parquet")
    assert [trace.text for trace in entry.traces] == ["\\b", "\\b"]
    assert [trace.verified for trace in entry.traces] == [True, False]
    assert {trace.finish_reason for trace in entry.traces} == {"length"}
    assert entry.meta["traces"][0]["cut_to"] == 2
    prepare((source,), Rules(traces="all"), folder / "cut", replace=True)
    names = ["dropped.jsonl", "manifest.json", "set.jsonl"]
    assert sorted(file.name for file in (folder / "cut").iterdir()) == names


def test_too_many_broken_rows_stop_it(folder, asked):
    with pytest.raises(RecipeError) as error:
        prepare(asked[0], Rules(max_broken=0.04), folder / "stopped")
    assert "5 of 100 rows are broken, more than --max-broken 0.04 allows: line 91:" in str(
        error.value
    )
