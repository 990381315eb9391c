"""The command line without an engine: recorded responses, and what it refuses; models are in
test_end_to_end.py."""

import json
import sys
from pathlib import Path

import pytest
import warm

from red_mcore.cli import evaluate

ROOT = Path(__file__).parents[2]


def write(folder, name, rows):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


ROWS = [
    {
        "question": "1/2?",
        "gt": "\\frac{1}{2}",
        "code": ["\\boxed{0.5}", "\\boxed{2}"],
        "score": [True, False],
    },
    {"question": "x?", "gt": "7", "code": ["so it is $7$.", "\\boxed{7"], "score": [True, True]},
]


def test_recorded_responses_are_graded_and_compared(tmp_path, capsys):
    file = write(tmp_path, "amc23.jsonl", ROWS)
    assert evaluate.main(["--generations", str(file), "--out", str(tmp_path / "out")]) == 0
    screen = capsys.readouterr().out
    assert "agrees with the recorded verdicts on 3 of 4 responses" in screen
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    found = summary["benchmarks"]["amc23"]
    assert (found["items"], found["samples"], found["mean"], found["pass"]) == (
        2,
        2,
        0.5,
        {"1": 0.5, "2": 1.0},
    )
    assert found["verdicts"] == {
        "correct": 2,
        "wrong": 1,
        "unparsable": 1,
        "timeout": 0,
        "crash": 0,
    }
    assert found["length_tokens"] is found["truncated"] is None
    assert summary["agreement"] == {"responses": 4, "agree": 3}
    (differing,) = [
        json.loads(line) for line in (tmp_path / "out/disagreements.jsonl").read_text().splitlines()
    ]
    assert (differing["item"], differing["sample"], differing["verdict"]) == (1, 1, "unparsable")
    import mlflow

    client = mlflow.tracking.MlflowClient(f"sqlite:///{tmp_path}/mlruns.db")
    logged = client.get_run(summary["mlflow_run"])
    assert logged.data.metrics["evaluation/amc23_mean"] == 0.5
    assert logged.data.params["boxed_only"] == "False"
    kept = tmp_path / "mlartifacts" / summary["mlflow_run"] / "artifacts"
    assert {file.name for file in kept.iterdir()} == {"benchmarks.json", "responses.json"}
    # Another evaluation of the same problems, stricter, against the first.
    arguments = [
        "--generations",
        str(file),
        "--out",
        str(tmp_path / "strict"),
        "boxed_only=true",
        "--no-mlflow",
    ]
    assert evaluate.main([*arguments, "--against", str(tmp_path / "out")]) == 0
    screen = capsys.readouterr().out
    assert "amc23: -25.0 against" in screen
    strict = json.loads((tmp_path / "strict/summary.json").read_text())
    assert strict["against"]["benchmarks"]["amc23"]["difference"] == -0.25
    assert len(client.search_runs([logged.info.experiment_id])) == 1


def ends_in_seven(response):
    """A verdict of the user's own."""
    if response.startswith("so"):
        raise ValueError("not a word")
    return "7" in response


def says_nothing(response):
    if response.startswith(("Let", "\\boxed{7}", "\\boxed{\\frac")):  # what it is tried with
        return False
    raise ValueError("not a word")


def test_recorded_responses_are_graded_by_the_users_own_verdict(tmp_path, capsys):
    file = write(tmp_path, "amc23.jsonl", ROWS)
    arguments = ["--generations", str(file), "--no-mlflow", "--out"]
    assert (
        evaluate.main([*arguments, str(tmp_path / "out"), "--verdict", f"{__name__}:ends_in_seven"])
        == 0
    )
    verdicts = json.loads((tmp_path / "out/summary.json").read_text())["benchmarks"]["amc23"][
        "verdicts"
    ]
    assert verdicts == {"correct": 1, "wrong": 2, "unparsable": 0, "timeout": 0, "crash": 1}
    assert "ValueError: not a word" in capsys.readouterr().err
    assert (
        evaluate.main([*arguments, str(tmp_path / "none"), "--verdict", f"{__name__}:says_nothing"])
        == 2
    )
    assert "says_nothing' failed on all responses of amc23: see above" in capsys.readouterr().err
    assert not (tmp_path / "none/items.jsonl").exists()
    assert (
        evaluate.main([*arguments, str(tmp_path / "bad"), "--verdict", f"{__name__}:ends_in_sevn"])
        == 2
    )
    assert "has no function 'ends_in_sevn'; nearest is 'ends_in_seven'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to evaluate: give --model DIR and --benchmarks, or --generations FILE.jsonl"),
        (["--model", "DIR"], "no benchmarks are named: use some of MATH-500"),
        (["--model", "DIR", "--benchmarks", "AIME1924"], "benchmark AIME1924 is unknown"),
        (
            ["--model", "DIR", "--benchmarks", "AIME24", "--data", "DIR"],
            "the folder of benchmarks DIR does not exist",
        ),
        (
            ["--model", "DIR", "--benchmarks", "AIME24", "--protocol", "lufy"],
            "--protocol lufy is unknown: use default",
        ),
        (
            ["--model", "DIR", "--benchmarks", "AIME24", "max_token=9"],
            "has no field 'max_token'; nearest is 'max_tokens'",
        ),
        (
            ["--model", "DIR", "--benchmarks", "AIME24", "--samples", "0"],
            "samples=0 of the protocol is too small",
        ),
        (
            ["--model", "DIR", "--benchmarks", "AIME24", "temperature=0"],
            "temperature=0 of the protocol gives 32 equal",
        ),
        (["--model", "DIR", "--benchmarks", "AIME24", "--limit", "0"], "--limit 0: use 1 or more"),
        (
            ["--model", "DIR", "--benchmarks", "AIME24", "--ranks", "3", "--tensor", "2"],
            "--tensor 2 does not divide the 3 ranks",
        ),
        (["--generations", "none.jsonl"], "--generations none.jsonl does not exist"),
        (
            ["--generations", "none.jsonl", "--model", "DIR"],
            "are graded without a model: leave out --model",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(capsys, arguments, message):
    assert evaluate.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("evaluate: error: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--chat-template", "gemma.jinja", "--protocol", "red"],
            "system_prompt: the chat template of model.",
        ),
        (
            ["template_arguments={enable_thinking: true}"],
            "template_arguments: the chat template of model.path",
        ),
    ],
)
def test_what_a_template_refuses_is_told_before_anything_is_started(tmp_path, more, message):
    from chat_folders import GEMMA
    from hf_folder import write_hf

    write_hf(tmp_path / "model", tied=True)
    (tmp_path / "gemma.jinja").write_text(GEMMA)
    write(tmp_path, "some.jsonl", [{"problem": "1?", "answer": "1"}])
    command = [
        sys.executable,
        ROOT / "tools/evaluate.py",
        "--model",
        "model",
        "--benchmarks",
        "some",
        "--data",
        ".",
    ]
    done = warm.run([*command, "max_tokens=9", *more], cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("evaluate: error: ")]
    assert message in error
    assert done.stderr.endswith(f"{error}\n")


def test_results_are_not_written_over_those_of_others(tmp_path, capsys):
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        folder.mkdir()
        write(folder, "test.jsonl", ROWS)
    arguments = ["--out", str(tmp_path / "out"), "--no-mlflow", "--generations"]
    assert evaluate.main([*arguments, str(one / "test.jsonl")]) == 0
    assert evaluate.main([*arguments, str(one / "test.jsonl")]) == 0
    assert evaluate.main([*arguments, str(other / "test.jsonl")]) == 2
    assert "holds an evaluation with generations=" in capsys.readouterr().err


def test_what_is_compared_with_has_to_be_an_evaluation(tmp_path, capsys):
    file = write(tmp_path, "some.jsonl", ROWS)
    arguments = [
        "--generations",
        str(file),
        "--out",
        str(tmp_path / "out"),
        "--against",
        str(tmp_path),
    ]
    assert evaluate.main(arguments) == 2
    assert (
        "items.jsonl is not there: name a folder that tools/evaluate.py wrote"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()  # told before any work
