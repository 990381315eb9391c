"""The page of rollouts: what it shows of which steps, hostile texts, and what is refused."""

import json
from pathlib import Path

import pytest

from red_mcore.cli import rollouts

HOSTILE = "</pre><script>alert(1)</script>"


def answer(problem: str, verdict: str, **more: object) -> dict:
    found = {
        "problem": problem,
        "gold": "7",
        "prompt": f"<|im_start|>user\n{problem}",
        "response": f"it is {verdict}",
    }
    return found | {"verdict": verdict, "reward": 1.0, "tokens": 9, "truncated": False} | more


def write(folder: Path, name: str, rows: list[dict]) -> None:
    (folder / "rollouts").mkdir(parents=True, exist_ok=True)
    (folder / "rollouts" / f"{name}.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows)
    )


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    for step in (0, 10, 20, 30, 40, 50):
        write(
            folder,
            f"evaluation-{step:06d}",
            [answer("held", "wrong" if step < 20 else "correct"), answer("b", "wrong")],
        )
    for step in (1, 25, 50):
        group = [answer(f"train {step}", "correct", group=0, trace=True)]
        group += [
            answer(
                f"train {step}", "wrong", group=0, trace=False, advantage=-0.5, truncated=step == 50
            )
        ]
        write(
            folder,
            f"training-{step:06d}",
            [*group, answer(HOSTILE, "timeout", group=1, trace=False)],
        )
    return folder


def page_of(run: Path, *arguments: str) -> str:
    assert rollouts.main([str(run), *arguments]) == 0
    return (run / "rollouts.html").read_text()


def test_steps_stand_side_by_side_with_prompts_as_the_model_got_them(run):
    text = page_of(run)
    held_out, training = text.split("<h2>Training</h2>")
    assert [f"<h4>step {step}</h4>" in held_out for step in (0, 10, 20, 30, 40, 50)] == [
        1,
        0,
        1,
        1,
        0,
        1,
    ]
    assert held_out.count("<h3>held</h3>") == 1
    assert [f"<h4>step {step}</h4>" in training for step in (1, 25, 50)] == [1, 1, 1]
    assert "&lt;|im_start|&gt;user\ntrain 25" in training
    assert "correct, a trace" in training
    assert "advantage -0.50" in training
    assert "cut off" in training
    assert "0 of 1 right" in training, "a trace is no rollout"
    assert "<td>training 50</td><td>2</td><td>0.0%</td>" in text
    assert "<script" not in text


def test_steps_and_problems_are_chosen(run):
    text = page_of(run, "--steps", "10,25", "--groups", "1")
    assert "step 10" in text
    assert "step 25 (1 of 2 problems)" in text
    assert "<h4>step 50" not in text


def test_a_long_text_is_cut_in_its_midst(run):
    write(run, "training-000099", [answer("p", "wrong", response="a" * 50_000 + "end", group=0)])
    text = page_of(run, "--steps", "99")
    assert "[... 40,003 characters left out ...]" in text
    assert "end</pre>" in text


def test_a_run_without_training_rollouts_has_its_evaluations(run):
    for file in (run / "rollouts").glob("training-*"):
        file.unlink()
    assert "<h2>Training</h2>" not in page_of(run)


def test_what_is_refused(run, tmp_path, capsys):
    for arguments, message in (
        (
            [str(tmp_path / "nosuch")],
            "has no rollouts: is it a run, and tracking.rollouts_every above 0?",
        ),
        ([str(run), "--steps", "7"], "no rollouts of step 7 are kept"),
        ([str(run), "--steps", "x"], "--steps x: 'x' is no step"),
        ([str(run), "--groups", "0"], "--groups 0: use 1 or more"),
    ):
        assert rollouts.main(arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    write(run, "training-000099", [answer("p", "wrong")])
    file = run / "rollouts" / "training-000099.jsonl"
    file.write_text("{broken\n" + file.read_text())
    assert rollouts.main([str(run)]) == 2
    assert f"{file} has a line that is no JSON" in capsys.readouterr().err
