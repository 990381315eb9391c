"""The report of a run: its sections, what is missing, what is hostile, and what is refused."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from red_mcore.cli import report
from red_mcore.config.loading import load
from red_mcore.config.tree import to_yaml
from red_mcore.reports import plots
from red_mcore.reports.run.folder import read_run

ROOT = Path(__file__).parent.parent.parent

HOSTILE = "<script>alert(1)</script>"
STEPS = 6


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Folder of a written run of a tiny recipe, evaluated at every third step."""
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))

    def make(name: str = "red", *overrides: str, rollouts: bool = True, done: bool = True) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        recipe = load(f"recipes/tiny/{name}.py", [f"steps={STEPS}", *overrides])
        (folder / "recipe.yaml").write_text(to_yaml(recipe))
        lines = [row(step, rollouts=rollouts) for step in range(STEPS + 1)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        base = [
            {"step": step, "base/loss": 2.5 / step, "base/grad_norm": None} for step in (1, 2, 5)
        ]
        (folder / "base.jsonl").write_text("".join(json.dumps(line) + "\n" for line in base))
        if done:
            (folder / "summary.json").write_text(
                json.dumps({"steps": STEPS, "seconds": 4000, "held_out_problems": 8})
            )
        for step in (0, 3, 6):
            write_samples(
                folder, step, [sample(f"problem {step}", "correct"), sample("problem", "wrong")]
            )
        return folder

    return make


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are made but not drawn, which takes most of a report's time."""
    monkeypatch.setattr(plots, "svg", lambda figure: "<svg></svg>")


def row(step: int, *, rollouts: bool = True) -> dict:
    found: dict = {"step": step}
    if step % 3 == 0:
        found |= {
            "evaluation/pass1": 0.2 + 0.1 * step,
            "evaluation/pass1_stderr": 0.05,
            "evaluation/pass8": 0.9,
        }
        found |= {"evaluation/length_tokens": 30.0, "evaluation/truncated": 0.0}
    if step == 0:
        return found
    found |= {"loss/total": 0.1 * step, "loss/sft": 0.1, "update/grad_norm": 1.0, "update/lr": 1e-3}
    found |= {
        "update/tokens": 1000.0,
        "groups/kept": 4.0,
        "groups/dropped": float(step),
        "update/skipped": 0.0,
    }
    found |= {
        "time/sample_seconds": 1.0,
        "time/update_seconds": 2.0,
        "time/evaluate_seconds": 3.0,
        "memory/rank0_mib": 9,
    }
    found |= {"new/thing_tokens": 1.0 * step, "time/publish_engine_seconds": 99.0}
    if rollouts:
        found |= {
            "rollout/accuracy": 0.5,
            "rollout/reward_mean": 0.4,
            "rollout/length_tokens": 20.0,
        }
        found |= {
            "rollout/truncated": 0.1,
            "rollout/generated_tokens": 100.0,
            "trace/accuracy": 1.0,
        }
        found |= {
            "groups/all_wrong": 0.25,
            "groups/all_right": 0.25,
            "rollout/logprob_gap_max_nats": 1e-5,
        }
        found |= {
            "reward/correct": 4.0,
            "reward/wrong": 3.0,
            "reward/unparsable": 1.0,
            "reward/timeout": 0.0,
        }
        found |= {
            "entropy/rollout_nats": 0.3,
            "entropy/offline_nats": None,
            "red/weight": 1.0,
            "red/weight_raw": -0.5,
        }
        found |= {"red/beta_mean": 0.5, "loss/rl": -0.1}
    return found


def sample(
    problem: str, verdict: str, response: str = r"so $x^2$ is \boxed{\frac{1}{2}}", **more
) -> dict:
    found = {
        "problem": problem,
        "gold": r"\frac{1}{2}",
        "response": response,
        "verdict": verdict,
        "reward": 1.0,
    }
    return found | {"tokens": 1234, "truncated": False} | more


def write_samples(folder: Path, step: int, rows: list[dict]) -> None:
    (folder / "rollouts").mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "rollouts" / f"evaluation-{step:06d}.jsonl").write_text(text)


class Page(HTMLParser):
    """A page that is whole, needs nothing from elsewhere, and runs nothing."""

    VOID = frozenset({"meta", "br", "hr", "path", "use"})

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.elements: list[str] = []
        self.text, self._open = "", []
        source = file.read_text()
        self.feed(source)
        self.close()
        assert self._open == []
        assert not {"script", "link", "img", "iframe", "object"} & set(self.elements)
        assert not re.search(
            r"(src|href)\s*=\s*[\"']?\s*(https?:|//|javascript)",
            source.replace('xlink:href="#', ""),
        )

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self._open and self._open[-1] == "h2":
            self.headings.append(data)


def written(*arguments: object) -> Page:
    assert report.main([str(argument) for argument in arguments]) == 0
    file = Path(arguments[2]) if len(arguments) > 2 else Path(arguments[0]) / "report.html"
    return Page(file)


ALWAYS = [
    "Accuracy on held-out problems",
    "Base training",
    "Rollouts and traces",
    "Optimisation",
    "Time",
    "Speed and memory",
]


def test_every_section(make, capsys):
    folder = make()
    found = written(folder)
    assert capsys.readouterr().out == f"{folder / 'report.html'}\n"
    middle = [
        *ALWAYS[:3],
        "Entropies and imitation",
        "Optimisation",
        "Trainer against engine",
        *ALWAYS[4:],
    ]
    assert found.headings == [*middle, "Everything else", "What it wrote", "Recipe"]
    for words in (
        "0.200 → 0.800",
        "± 0.050",
        "1 h 07 min",
        "8 problems x 8",
        "finished",
        "better",
        "+0.600 ± 0.139 (95 %)",
        "entropy/offline_nats is no finite number in 6 of 6 steps",
        "loss of base training",
        "2.5 → 0.5",
        "rollouts 0.5; traces 1",
        "600",
        "RED - ",
        "weight_max: 7.0",
    ):
        assert words in found.text, words
    assert found.elements.count("article") == 2 + 2 + 2  # the last evaluation, and two before it
    assert found.elements.count("mfrac") == 12  # in each answer and each gold
    assert "$x^2$" not in found.text


def test_a_run_without_rollouts(undrawn, make):
    found = written(make("sft", rollouts=False))
    assert found.headings == [*ALWAYS, "Everything else", "What it wrote", "Recipe"]
    assert "trained tokens" in found.text
    assert "SFT" in found.text


def test_a_run_that_goes_on_with_a_torn_last_line_and_a_step_done_twice(undrawn, make):
    folder = make(done=False)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(row(5) | {"rollout/accuracy": 0.75}) + "\n")
        file.write('{"step": 7, "loss/tot')
    run = read_run(folder)
    assert [line["step"] for line in run.rows] == list(range(7))
    assert run.metric("rollout/accuracy")[1][4] == 0.75
    assert "still going, or stopped, after step 6" in written(folder).text


def test_a_run_at_its_start(make):
    folder = make(done=False)
    (folder / "metrics.jsonl").unlink()
    for file in (folder / "rollouts").iterdir():
        file.unlink()
    found = written(folder)
    assert found.headings == ["Base training", "Recipe"]
    assert "5 of 500 steps of base training" in found.text
    (folder / "base.jsonl").unlink()
    found = written(folder)
    assert found.headings == ["Recipe"]
    assert "Nothing is logged yet" in found.text


def test_metrics_alone_and_another_file(undrawn, make, tmp_path):
    folder = make("grpo")
    for name in ("recipe.yaml", "summary.json"):
        (folder / name).unlink()
    assert written(folder, "--out", tmp_path / "page.html").headings[-1] == "What it wrote"
    assert not (folder / "report.html").exists()


def test_what_a_model_wrote_runs_nothing(undrawn, make):
    folder = make("red", f"data.instruction={HOSTILE}")
    rows = [sample(HOSTILE, "wrong", f"$\\text{{{HOSTILE}}}$ {HOSTILE} \ud800", gold=HOSTILE)]
    rows += [
        sample("long", "correct", "{" * 50_000 + "$" * 50_000),
        sample("none", "timeout", "", truncated=True),
    ]
    rows += [
        sample("odd", HOSTILE, "x", reward=None, tokens="many"),
        {},
        {"problem": None, "verdict": 3},
    ]
    write_samples(folder, 6, rows)
    found = written(folder)
    assert found.text.count("alert(1)") >= 5
    assert "90,000 characters left out" in found.text
    assert "cut off at the limit" in found.text
    assert "(empty)" in found.text


def test_at_most_eight_cards_of_a_kind_and_equal_ones_once(undrawn, make):
    folder = make()
    write_samples(folder, 6, [sample(f"p{i % 12}", "correct") for i in range(24)])
    found = written(folder)
    assert "Right (8 of 12)" in found.text
    assert "Not right (0)" in found.text


def test_what_was_trained_on_and_how_is_told_as_text(undrawn, make):
    folder = make()
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["name"] = HOSTILE
    recipe["data"] |= {
        "mixture": [{"path": HOSTILE, "weight": 2.0}, {"path": "b"}],
        "held_out_path": "c",
    }
    recipe["parallel"] |= {"tensor": 2, "recompute": "full"}
    recipe["model"]["path"] = HOSTILE
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    text = " ".join(written(folder).text.split())
    assert f"{HOSTILE} (weight 2), b (weight 1); held out: c" in text
    assert "2 rank(s), tensor 2, recompute full" in text
    assert (
        f"{HOSTILE} after 500 steps of base training, qwen2, hidden 128, layers 2,"
        " vocabulary 262, float32" in text
    )
    assert (
        "24 prompts x 7 samples, 1 update(s) per step, up to 80 tokens at temperature 1.0" in text
    )


def test_benchmarks(undrawn, make):
    folder = make()
    for step, mean in ((0, 0.25), (6, 0.5)):
        (folder / f"evaluation/step-{step:06d}").mkdir(parents=True)
        scores = {
            "AIME24": {"mean": mean, "stderr": 0.1, "pass": {}},
            "MATH-500": {"mean": mean + 0.1},
        }
        content = {"benchmarks": scores, "average": {"mean": mean + 0.05, "stderr": 0.1}}
        (folder / f"evaluation/step-{step:06d}/summary.json").write_text(json.dumps(content))
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(
            json.dumps(row(3) | {"evaluation/AIME24_mean": 0.3, "evaluation/AIME24_stderr": 0.0})
            + "\n"
        )
    found = written(folder)
    assert "Benchmarks" in found.headings
    assert "AIME24" in found.text
    assert "0.500 ± 0.196" in found.text
    assert read_run(folder).benchmarks["AIME24"].keys() == {0, 3, 6}


@pytest.mark.usefixtures("undrawn")
class TestRefused:
    def line(self, capsys, *arguments: object) -> str:
        assert report.main([str(argument) for argument in arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("report: error: ")
        assert err.count("\n") == 1
        return err

    def test_no_run(self, make, tmp_path, capsys):
        make()
        assert "is no folder" in self.line(capsys, tmp_path / "none")
        assert (
            "is no run, it has neither metrics.jsonl nor recipe.yaml; there are runs in it: red"
            in self.line(capsys, tmp_path)
        )

    def test_broken_files(self, make, capsys):
        folder = make()
        (folder / "recipe.yaml").write_text("a: [\nb: {")
        assert "recipe.yaml cannot be read" in self.line(capsys, folder)

    def test_no_place_for_the_page(self, make, capsys):
        folder = make()
        assert "cannot be written (" in self.line(
            capsys, folder, "--out", folder / "recipe.yaml" / "page.html"
        )


@pytest.mark.usefixtures("undrawn")
def test_a_page_goes_without_what_is_damaged_and_says_so(make, capsys):
    folder = make()
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join([*lines[:2], '{"step"\n', *lines[3:]]))
    (folder / "summary.json").write_text("{")
    (folder / "rollouts" / "evaluation-000003.jsonl").write_text("[\n{}\n")
    assert report.main([str(folder)]) == 0
    told = capsys.readouterr().err.splitlines()
    assert f"warning: {folder / 'metrics.jsonl'} lacks rows (1 of its lines are damaged)" in told[0]
    assert "0 are in the newest checkpoint, 1 are lost" in told[0]
    assert told[1].startswith(f"warning: {folder / 'summary.json'} is damaged")
    assert read_run(folder).steps == STEPS
