"""``red-mcore traces`` and ``red-mcore chain``: what they print, write and refuse."""

import json
from pathlib import Path

import pytest

from red_mcore.cli import chain, traces
from red_mcore.data import schema
from red_mcore.data.schema import Entry
from red_mcore.samples.records import Trace

ROOT = Path(__file__).resolve().parent.parent


def test_mix_and_its_manifest(tmp_path, capsys):
    data = tmp_path / "data"
    assert traces.main(["arithmetic", "--out", str(data), "--problems", "50"]) == 0
    assert len((data / "held_out.jsonl").read_text().splitlines()) == 512
    teachers = ["--minor", "long", "--major", "short"]
    source, out = data / "problems.jsonl", tmp_path / "mixed/set.jsonl"
    command = ["mix", "--data", str(source), *teachers, "--out", str(out)]
    assert traces.main(command) == 0
    assert (
        "50 problems with a trace each, 10 of long + 40 of short; 0 lack" in capsys.readouterr().out
    )
    manifest = json.loads((tmp_path / "mixed/set.manifest.json").read_text())
    assert manifest["traces"] == {"long": 10, "short": 40}
    before = out.read_bytes()
    assert traces.main(command) == 0
    assert out.read_bytes() == before
    assert traces.main([*command[:-1], str(source)]) == 2
    assert "would replace --data" in capsys.readouterr().err


def test_filter_without_a_student(tmp_path, capsys):
    texts = ["a0*1=0b0+2=2c2+3=5\\boxed{5}", "a0*1=0b0+2=2c2+3=5\\boxed{5}", "\\boxed{5}"]
    found = tuple(Trace(text, "student", verified=False) for text in texts)
    data, out = tmp_path / "all.jsonl", tmp_path / "kept.jsonl"
    schema.write(data, [Entry("1", "0a*1b+2c+3?", "4", found)])
    step = ["--word", r"[a-w]\d[-+*@]\d=\d", "--min-words", "2", "--connectives", ""]
    command = ["filter", "--data", str(data), "--out", str(out)]
    assert traces.main([*command, *step]) == 0
    assert "1 of 3 traces, for 1 of 1 problems" in capsys.readouterr().out
    (entry,) = schema.read(out)
    assert [(t.text, t.verified) for t in entry.traces] == [(texts[0], None)]
    manifest = json.loads((tmp_path / "kept.manifest.json").read_text())
    assert manifest["dropped"] == {"same_text": 1, "words": 1}
    assert manifest["rules"]["likely"] is False
    assert traces.main([*command, "--word", "("]) == 2
    assert traces.main(command) == 2
    assert "no trace keeps to the rules: words 3" in capsys.readouterr().err


def write_chain(folder: Path, *stages: list[str]) -> Path:
    file = folder / "chained.py"
    file.write_text(f"CHAIN = {list(stages)!r}\n")
    return file


def test_a_chain_goes_through_its_stages_and_ends_at_the_first_that_fails(tmp_path, capfd):
    make = ["traces", "arithmetic", "--out", "{out}/data", "--problems", "5", "--held-out", "2"]
    fail = ["traces", "mix", "--data", "{out}/data/problems.jsonl", "--minor", "nobody"]
    fail += ["--major", "short", "--out", "{out}/mixed.jsonl"]
    file = write_chain(tmp_path, make, fail, make)
    assert chain.main([str(file), "--out", str(tmp_path / "out")]) == 2
    told = capfd.readouterr()
    assert f"stage 1 of 3: red-mcore traces arithmetic --out {tmp_path}/out/data" in told.out
    assert "no trace is of a teacher nobody" in told.err
    assert "chain: stage 2 failed with exit code 2" in told.err
    assert "stage 3" not in told.out


def test_overrides_go_to_trainings_before_their_own(tmp_path):
    train = ["run", "{recipe}", "name=x", "runs={out}"]
    file = write_chain(tmp_path, ["traces", "mix"], train)
    assert chain.stages(file, Path("there"), ["seed=1"]) == [
        ["traces", "mix"],
        ["run", str(file), "seed=1", "name=x", "runs=there"],
    ]


@pytest.mark.parametrize(
    ("text", "fault"), [("", "has no CHAIN"), ("CHAIN = [['run']]", "stage 1 is ['run']")]
)
def test_a_file_without_a_chain(tmp_path, capsys, text, fault):
    file = tmp_path / "none.py"
    file.write_text(text)
    assert chain.main([str(file), "--out", str(tmp_path)]) == 2
    assert fault in capsys.readouterr().err
