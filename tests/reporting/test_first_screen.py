"""Better, healthy, finished: what the first screen of a report says of runs that ended in all sorts
of ways."""

from __future__ import annotations

import json
import re

import pytest

from red_mcore.checkpoints import manifests
from red_mcore.reports import page
from red_mcore.reports.run import first_screen
from red_mcore.reports.run.folder import read_run


@pytest.fixture
def run(tmp_path):
    """A run folder: (step, pass@1, standard error) of its evaluations, ``more`` in each row, and
    its summary."""

    def make(scores=(), *, steps=4, done=None, summary=None, base=(), **more):
        rows = [{"step": step} | more for step in range(1, (steps if done is None else done) + 1)]
        rows = ([{"step": 0}] if rows or scores else []) + rows
        for row in rows:
            for step, mean, error in scores:
                if row["step"] == step:
                    row |= {"evaluation/pass1": mean, "evaluation/pass1_stderr": error}
        (tmp_path / "recipe.yaml").write_text(
            json.dumps({"name": "r", "steps": steps, "base": {"steps": 90}})
        )
        for name, lines in (("metrics", rows), ("base", base)):
            (tmp_path / f"{name}.jsonl").write_text(
                "".join(json.dumps(line) + "\n" for line in lines)
            )
        if summary is not None:
            (tmp_path / "summary.json").write_text(json.dumps(summary))
        return read_run(tmp_path)

    return make


@pytest.mark.parametrize(
    ("scores", "kind", "word", "difference"),
    [
        ([(0, 0.25, 0.03), (4, 0.5, 0.04)], "good", "better", "+0.250 ± 0.098 (95 %)"),
        ([(0, 0.5, 0.03), (4, 0.25, 0.04)], "bad", "worse", "-0.250 ± 0.098 (95 %)"),
        (
            [(0, 0.25, 0.03), (4, 0.34, 0.04)],
            "open",
            "no clear difference",
            "+0.090 ± 0.098 (95 %)",
        ),
        ([(0, 0.0, 0.0), (4, 0.0, 0.0)], "open", "unchanged", "+0.000 ± 0.000"),
        ([(0, 0.0, 0.0), (4, 1.0, 0.0)], "good", "better", "+1.000 ± 0.000"),
        (
            [(0, 0.0, None), (4, 1.0, None)],
            "open",
            "higher, but is it certain?",
            "+1.000, with an unknown error",
        ),
        ([(2, 0.25, 0.03), (4, 0.5, 0.04)], "good", "better", "since step 2"),
        (
            [(0, 0.2, 0.01), (2, 0.8, 0.01), (4, 0.5, 0.01)],
            "good",
            "better",
            "highest on the way: 0.800 after step 2",
        ),
    ],
)
def test_better_by_more_than_its_error(run, scores, kind, word, difference):
    answer = first_screen.better(run(scores))
    assert (answer.kind, answer.word) == (kind, word)
    assert answer.number == f"{scores[0][1]:.3f} → {scores[-1][1]:.3f}"
    assert difference in "\n".join(answer.lines)


def test_one_evaluation_tells_no_difference(run):
    answer = first_screen.better(run([(0, 0.25, 0.03)]))
    assert (answer.kind, answer.word, answer.number) == (
        "open",
        "not known yet",
        "0.250 before training",
    )
    assert first_screen.better(run()).lines == ["no evaluation so far"]


def test_lost_metrics_leave_what_the_summary_has(run):
    ends = {
        "accuracy_before": 0.25,
        "accuracy_after": 0.5,
        "accuracy_after_stderr": 0.01,
        "steps": 4,
        "seconds": 9,
    }
    answers = first_screen.answers(run(done=0, summary=ends))
    assert [answer.word for answer in answers] == [
        "higher, but is it certain?",
        "1 reason for doubt",
        "finished",
    ]
    assert "4 steps have no row" in answers[1].reasons[0]


def test_warnings_are_reasons_for_doubt(run):
    found = [
        {"code": "no_update", "text": "nothing was learnt", "step": 3},
        {"code": "bare"},
        "a line",
    ]
    answer = first_screen.healthy(run(summary={"steps": 4, "warnings": found}))
    assert (answer.kind, answer.word) == ("bad", "3 reasons for doubt")
    assert answer.reasons == ["nothing was learnt (step 3)", "bare", "a line"]
    for nothing in ({}, {"warnings": []}, {"warnings": None}):
        assert first_screen.healthy(run(summary={"steps": 4} | nothing)).kind == "good"


def test_what_holds_at_the_last_checkpoint_is_told_before_the_end(run, tmp_path):
    made = run(steps=9, done=6)
    assert first_screen.healthy(made).word == "nothing odd so far"
    seen = {"text": "nothing was learnt", "step": 5, "on": True}
    state = {"health": {"no_update": seen, "no_trace": {"text": "mended", "step": 2, "on": False}}}
    manifests.write(
        tmp_path / "checkpoints/main-000006", {"tag": "main-000006", "state": state, "files": {}}
    )
    (tmp_path / "checkpoints/latest").write_text("main-000006")
    assert first_screen.healthy(run(steps=9, done=6)).reasons == ["nothing was learnt (step 5)"]


def test_what_is_no_number_and_what_is_missing_are_reasons_too(run):
    made = run(
        [(0, 0.5, None), (4, 0.5, None)],
        summary={"steps": 4},
        **{"loss/total": None, "update/lr": 1e-3},
    )
    assert first_screen.healthy(made).reasons == ["loss/total is no finite number in 4 of 4 steps"]
    made.rows.pop(2)
    assert "1 steps have no row in metrics.jsonl" in first_screen.healthy(made).reasons[0]


def test_finished_is_what_has_done_all_its_steps(run):
    times = {"time/sample_seconds": 2.0, "time/update_seconds": 3.0}
    answer = first_screen.finished(run(summary={"steps": 4, "seconds": 4000}, **times))
    assert (answer.kind, answer.word, answer.number) == ("good", "finished", "4 of 4 steps")
    assert answer.lines == ["1 h 07 min, 20 s training"]
    answer = first_screen.finished(
        run(steps=9, done=6, summary={"steps": 4, "seconds": 4000}, **times)
    )
    assert (answer.kind, answer.number) == (
        "open",
        "6 of 9 steps",
    )  # it was asked for more, and has not done it
    assert "still going, or stopped, after step 6" in answer.lines
    assert "the last steps took 5 s each" in answer.lines


def test_a_run_that_went_on_until_a_budget_was_spent_is_finished(run):
    assert first_screen.finished(run(steps=4, done=7, summary={"steps": 7})).number == "7 steps"


def test_base_training_is_told_apart_from_nothing(run):
    answer = first_screen.finished(
        run(done=0, base=[{"step": 10, "base/loss": 2.0}, {"step": 20, "base/loss": 1.0}])
    )
    assert answer.number == "20 of 90 steps of base training"
    assert "Nothing is logged yet" in first_screen.finished(run(done=0)).lines[0]


def test_the_answers_are_text_and_the_first_reasons_show_at_once():
    hostile = "<script>alert(1)</script>"
    found = first_screen.Answer(hostile, "bad", hostile, hostile, [hostile], [hostile] * 5)
    made = page.environment().get_template("parts.html").module.answers([found])
    assert "<script" not in made
    shown, hidden = made.split("<details>")
    assert (shown.count("<li>"), hidden.count("<li>")) == (3, 2)
    assert "and 2 more" in hidden
    assert re.search(r"class=word>✗ ", made)  # a mark beside the colour
