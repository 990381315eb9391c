"""The command line of tools/analyse.py on a made-up evaluation, with small models in this
process."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from layout_samples import config

from red_mcore.analysis.judge import Judgements
from red_mcore.cli import analyse
from red_mcore.convert.hf import make_fresh
from red_mcore.data.tokenizer import build_tokenizer

ROOT = Path(__file__).parent.parent.parent

TEXTS = ("wait so 2", "so it is 3", "but wait 2", "")


def write(folder: Path, texts=TEXTS, *, ids: bool = False) -> None:
    tokenizer, rows = build_tokenizer(), []
    tokenizer.add_tokens(["wait", " so"])
    for item in range(3):
        responses = []
        for text in texts:
            recorded = tokenizer.encode(f"{text} {item}")
            known = (
                {"tokens": len(recorded), "finish": "stop", "token_ids": recorded} if ids else {}
            )
            verdict = "correct" if "2" in text else "wrong"
            responses.append(
                {
                    "text": f"{text} {item}" if text or ids else "",
                    "verdict": verdict,
                    "answer": None,
                    **known,
                }
            )
        fields = {
            "benchmark": "B",
            "item": item,
            "problem": f"{item} + 1?",
            "gold": "2",
            "kind": "math",
        }
        rows.append({**fields, "prompt_ids": [3, 4] if ids else None, "responses": responses})
    folder.mkdir()
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two evaluations, and two models that both know ``wait`` as a token."""
    folder = tmp_path_factory.mktemp("analyse")
    write(folder / "base")
    write(folder / "tuned", ids=True)
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(["wait", " so"])
    for seed in (0, 1):
        shape = config(True) | {"vocab_size": len(tokenizer)}
        make_fresh(shape, tokenizer, folder / f"model-{seed}", seed=seed, dtype=torch.float32)
    return folder


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    """Its settings come before the first import of torch, which is long past here."""
    monkeypatch.setattr("red_mcore.rollout.environment.set_environment", lambda **_: None)


class Page(HTMLParser):
    """Open elements, and how many of each there were."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.count = [], {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in ("meta", "path", "use", "rect", "image", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            assert self.open.pop() == tag


def test_the_whole_command_and_the_same_again(made, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    arguments = [
        f"{made}/base",
        f"RED={made}/tuned",
        "--out",
        str(out),
        "--model",
        f"{made}/model-0",
    ]
    arguments += [
        "--model",
        f"RED={made}/model-1",
        "--original",
        f"{made}/model-0",
        "--gap",
        "S",
        "RED",
        "base",
    ]
    assert analyse.main(arguments) == 0
    found = json.loads((out / "analysis.json").read_text())
    base, red = (found["evaluations"][name] for name in ("base", "RED"))
    assert (
        base["benchmarks"]["B"]["accuracy"]["mean"]
        == red["benchmarks"]["B"]["accuracy"]["mean"]
        == 0.5
    )
    assert (base["benchmarks"]["B"]["truncated"], red["benchmarks"]["B"]["truncated"]) == (
        None,
        0.0,
    )
    assert base["unit"] == "tokens"  # those of the first are counted here
    assert base["lengths"]["correct"]["mean"]["n"] == 6
    assert base["words"]["all"]["anthropomorphic"]["wait"]["per_response"]["mean"] == 0.5
    assert base["likelihood"]["left_out"] == {"empty": 3}
    assert (base["likelihood"]["tokenized_here"], red["likelihood"]["tokenized_here"]) == (12, 0)
    assert red["likelihood"]["thinking_tokens"] == {"anthropomorphic": 1, "connectors": 1}
    assert (
        red["likelihood"]["own"]["all"]["probability"]["anthropomorphic"]["thirds"][0]["n"] == 6 - 3
    )
    # The model of the first is the original: nothing changed, and ranks are the same.
    assert base["likelihood"]["shift"]["mean_shift"]["mean"] == 0
    assert {
        e["mean"] for e in base["likelihood"]["change"]["all"]["probability"]["all"]["thirds"]
    } == {0}
    assert red["likelihood"]["shift"]["mean_shift"]["mean"] != 0
    assert sum(
        share["mean"] for share in red["likelihood"]["shift"]["original"].values()
    ) == pytest.approx(1)
    assert found["gaps"]["S"]["average"]["mean"] == 0
    text = (out / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    figures = sorted(file.name for file in (out / "figures").iterdir())
    assert page.count["svg"] == len(figures) >= 20
    assert all((out / "figures" / name).read_bytes().startswith(b"\x89PNG") for name in figures)
    assert "nan" not in text.lower()
    assert f"{out}/report.html" in capsys.readouterr().out

    monkeypatch.setattr("red_mcore.analysis.scoring.scorer", None)  # nothing is left to compute
    monkeypatch.setattr(
        "red_mcore.reports.analysis.report._plots", lambda *_: {}
    )  # which takes most of the time
    assert analyse.main(arguments) == 0
    again = json.loads((out / "analysis.json").read_text())
    assert {**again, "made": None} == {**found, "made": None}


def test_without_models_words_are_the_unit_and_the_judge_is_asked(made, tmp_path, monkeypatch):
    asked = []

    def judge_all(judge, responses, cache, *, watch):
        asked.append((judge.url, judge.model, len(responses), cache.name))
        counts = {"multi_perspective": 1, "metacognitive": 2}
        return Judgements([counts] * (len(responses) - 1) + [None], {"status 400": 1})

    monkeypatch.setattr("red_mcore.analysis.judge.judge_all", judge_all)
    arguments = ["--judge-url", "http://host/v1", "--judge-model", "judge", "--limit", "4"]
    assert analyse.main([f"{made}/base/items.jsonl", "--out", str(tmp_path), *arguments]) == 0
    assert asked == [("http://host/v1", "judge", 4, "judgements.jsonl")]
    found = json.loads((tmp_path / "analysis.json").read_text())
    base = found["evaluations"]["base"]
    assert base["unit"] == "words"
    assert base["likelihood"] is None
    assert base["words"]["all"]["connectors"]["all"]["per_thousand_tokens"] is None
    assert base["behaviours"]["per_response"]["all"]["metacognitive"]["mean"] == 2
    assert base["behaviours"]["failures"] == {"status 400": 1}
    assert found["made"]["judge"] == "judge at http://host/v1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "{made}/gone",
            "gone is not there: name a folder that tools/evaluate.py wrote, or its items.jsonl",
        ),
        ("{made}", "items.jsonl is not there"),
        ("{made}/base {made}/base", "are both called base: name one, for example base2="),
        (
            "a={made}/base b={made}/tuned --gap S a c",
            "--gap: no evaluation is called c: there are a, b",
        ),
        (
            "grpo={made}/base red={made}/tuned --gap S grop red",
            "--gap: no evaluation is called grop: did you mean grpo?",
        ),
        ("{made}/base --gap S base base --gap S base base", "--gap: S, S: name each student once"),
        ("{made}/base --model x={made}/model-0", "--model: no evaluation is called x"),
        ("{made}/base --model a --model b", "--model a and b: name the evaluation of one"),
        ("{made}/base --model {made}/gone", "gone is no folder"),
        ("{made}/base --model {made}/model-0 --original {made}/base", "has no manifest.json"),
        ("{made}/base --original {made}/model-0", "--original compares with --model"),
        ("{made}/base --judge-url http://x", "--judge-url and --judge-model belong together"),
        ("{made}/base --limit 0", "--limit 0: use 1 or more"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(made, tmp_path, capsys, arguments, message):
    assert analyse.main([*arguments.format(made=made).split(), "--out", str(tmp_path / "new")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("analyse: error: ")
    assert said.count("\n") == 1
    assert message in said


def test_a_stopped_command_says_how_to_go_on(made, tmp_path, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("red_mcore.analysis.scoring.score_all", stop)
    arguments = [f"{made}/base", "--out", str(tmp_path), "--model", f"{made}/model-0"]
    assert analyse.main(arguments) == 130
    assert "run the same command to go on" in capsys.readouterr().err
