"""The tool against a real server and with vLLM in process: kills of either change nothing."""

import json
import time

import warm
from bigrams import write_teacher
from serving import KEY, PROBLEMS, Server, command, environment, keys, write_problems

FILL = ("--samples", 3, "--keep", "fill", "--count", 3, "--most", 9)
SLOW = ("--requests-per-minute", 1500, "--concurrency", 6)
"""So that there is a middle."""


def prepare(folder, over):
    """A folder of what the tool made: killed and undisturbed, of a server and in process."""
    write_teacher(folder / "bigrams")
    write_problems(folder / "sums.jsonl")
    server = Server(folder / "bigrams", folder / "server.log")
    server.start()
    try:
        server.wait()
        kill_tool_and_server(folder, server)
        sample_both_kinds(folder, server)
    finally:
        server.kill()
    return folder


def finish(*arguments):
    done = warm.run(command(*arguments), env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(out):
    return [json.loads(line) for line in (out / "traces.jsonl").read_text().splitlines()]


def until(out, count, program):
    """The answers in the ledger, once there are so many."""
    while len(keys(out / "ledger.jsonl")) < count:
        assert program.poll() is None, "it ended too early: " + program.output()
        time.sleep(0.01)


def kill_tool_and_server(place, server):
    one, other = place / "one", place / "other"
    data = place / "sums.jsonl"
    told = finish(server.url, data, one, *FILL, "--answer-price", 2)
    assert "10 problems of" in told
    assert f"for bigrams at {server.url}, filled up to 3 correct answers each; 0 of 30" in told
    assert "estimate: 30 requests" in told
    assert "cost: about" in told
    again = command(server.url, data, other, *FILL, *SLOW, "--answer-price", 2)
    before = b""
    for count in (7, 25):
        program = warm.start(again, place / "tool.log", env=environment())
        until(other, count, program)
        program.kill()
        program.wait()
        now = (other / "ledger.jsonl").read_bytes()
        assert now.startswith(before[: before.rfind(b"\n") + 1])  # nothing is lost or changed
        before = now
        assert not (other / "traces.jsonl").exists()
    program = warm.start(again, place / "tool.log", env=environment())
    until(other, 40, program)
    server.kill()
    server.start()
    assert program.wait() == 0, program.output()
    assert "trying again" in program.output()
    assert (other / "ledger.jsonl").read_bytes().startswith(before[: before.rfind(b"\n") + 1])


def test_the_set_is_the_same_however_often_tool_and_server_are_killed(prepared):
    place, one, other = prepared, prepared / "one", prepared / "other"
    sampled = keys(other / "ledger.jsonl")
    assert len(set(sampled)) == len(sampled)
    assert set(sampled) == set(keys(one / "ledger.jsonl"))
    for name in ("traces.jsonl", "manifest.json"):
        assert (other / name).read_bytes() == (one / name).read_bytes()
    for file in place.rglob("*"):
        # The server's own log is not the tool's.
        if file.is_file() and file.name != "server.log":
            assert KEY.encode() not in file.read_bytes(), file
    check_set(one)


def check_set(out):
    """What is in the set and its manifest, against the ledger."""
    found, manifest = rows(out), json.loads((out / "manifest.json").read_text())
    lines = [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]
    answers = {(line["id"], line["index"]): line for line in lines if "text" in line}
    verdicts = {(line["id"], line["index"]): line for line in lines if "verdict" in line}
    assert answers.keys() == verdicts.keys()
    assert len({line["seed"] for line in answers.values()}) == len(answers)
    kept = 0
    for number, row in enumerate(found):
        assert row["id"] == f"sum-{number}"
        mine = [key for key in sorted(answers) if key[0] == row["id"]]
        assert [index for _, index in mine] == list(range(len(mine)))
        right = [
            key
            for key in mine
            if verdicts[key]["verdict"] == "correct" and answers[key]["finish_reason"] == "stop"
        ]
        assert [trace["text"] for trace in row["traces"]] == [
            answers[key]["text"] for key in right[:3]
        ]
        for trace in row["traces"]:
            assert trace["text"].endswith(f"\\boxed{{{row['gold']}}}")
            assert (trace["source"], trace["verified"]) == ("bigrams", True)
            assert trace["finish_reason"] == "stop"
            # A token for each letter, one for the box, and the end.
            assert trace["tokens"] == len(trace["text"].replace("\\boxed{", "#")) + 1
        about = row["meta"]["teachers"]["bigrams"]
        assert (about["asked"], about["correct"]) == (len(mine), len(right))
        assert (about["temperature"], about["max_tokens"], about["seed"]) == (1.0, 24, 3)
        kept += len(row["traces"])
    assert manifest["written"]["traces"] == manifest["written"]["verified"] == kept
    assert manifest["written"]["problems_with_traces"] == len(found)
    assert manifest["asked"]["answers"] == len(answers)
    tokens = sum(line["tokens"] for line in answers.values())
    assert manifest["asked"]["answer_tokens"] == tokens
    assert manifest["asked"]["cost"] == round(2 * tokens / 1e6, 6)
    assert len(found) > PROBLEMS / 2


def sample_both_kinds(place, server):
    data, options = place / "sums.jsonl", ("--samples", 4, "--ban", "w", "--suffix", "Box it.")
    server.wait()
    finish(server.url, data, place / "there", *options)
    told = finish(place / "bigrams", data, place / "here", *options, "--format", "parquet")
    assert "for bigrams, 4 answers each, of which it keeps all; 0 of 40" in told
    # A second teacher's traces join those that are there; the key is asked for.
    source = place / "there/traces.jsonl"
    finish(place / "bigrams", source, place / "both", "--add", "--source", "second")
    done = warm.run(
        command(server.url, data, place / "locked"), env=environment() | {"OPENAI_API_KEY": ""}
    )
    assert done.returncode == 2
    assert "the key in the environment variable OPENAI_API_KEY is not set" in done.stderr


def test_both_kinds_of_teacher_sample_the_same_and_keep_to_what_is_banned(prepared):
    from red_mcore.data import schema

    place = prepared
    entries = schema.read(place / "here/traces.parquet")
    here = [json.loads(schema.line(entry)) for entry in entries]
    assert len(here) == PROBLEMS
    for mine, theirs in zip(here, rows(place / "there"), strict=True):
        assert mine["traces"] == theirs["traces"]
        assert len(mine["traces"]) == 4
        assert not any("w" in trace["text"] for trace in mine["traces"])
        assert mine["meta"]["teachers"]["bigrams"]["banned"] == ["w"]
    for before, row in zip(rows(place / "there"), rows(place / "both"), strict=True):
        assert row["id"] == before["id"]
        assert row["traces"][:-1] == before["traces"]
        assert row["traces"][-1]["source"] == "second"
        assert row["meta"]["teachers"].keys() == {"bigrams", "second"}
    assert not (place / "locked/traces.jsonl").exists()
