"""Two methods for real: a base, the reference killed, the other until it has spent as much;
nothing done twice."""

import json
import signal
import sys
import time

import psutil
import warm

SMALL = [
    "base.steps=30",
    "base.sequences_per_step=48",
    "steps=4",
    "data.held_out=8",
    "evaluation.samples=2",
    "evaluation.every=1",
    "batch.prompts_per_step=8",
    "parallel.ranks=1",
    "reward.timeout_seconds=600",
]


def prepare(folder, over):
    """The comparison's folder, and what the same command printed after a kill and once more."""
    out = folder / "out"
    recipes = ["recipes/tiny/red.py", "recipes/tiny/sft.py"]
    command = ["tools/compare.py", *recipes, *SMALL, "--seeds=1", f"--out={out}"]
    # Its legs are cold: for its own children to die.
    first = warm.start([sys.executable, *command], folder / "first")
    try:
        while not (out / "seed0/red").exists():
            assert first.poll() is None, (out / "seed0/base.log").read_text()
            time.sleep(0.05)
        below = psutil.Process(first.pid).children(recursive=True)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert below
    psutil.wait_procs(below)
    assert not any(
        process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in below
    )
    after_the_kill = finish(command)
    logs = {log: log.read_text() for log in out.glob("seed0/*.log")}
    once_more = finish(command)
    assert logs == {log: log.read_text() for log in logs}
    return out, after_the_kill, once_more


def finish(command):
    done = warm.run([warm.python(), *command])
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_killed_at_any_moment_the_same_command_goes_on(prepared):
    out, after_the_kill, once_more = prepared
    assert "base" not in after_the_kill.replace(str(out), "")  # it was done
    assert "done     seed 0  sft" in after_the_kill
    assert "start" not in once_more
    numbers = json.loads((out / "results.json").read_text())
    sft = numbers["methods"]["sft"]
    last = sft["evaluations"]["0"][-1]
    assert last["steps"] > 4
    assert last["seconds"] >= numbers["budgets"]["0"]["seconds"] or last["steps"] == 800
    start = {name: method["evaluations"]["0"][0] for name, method in numbers["methods"].items()}
    assert start["sft"] == start["red"]  # the same base
    for name in ("red", "sft"):
        assert name in (out / "report.html").read_text()


def test_the_runs_are_nested_in_mlflow(prepared):
    import mlflow

    out = prepared[0]
    client = mlflow.tracking.MlflowClient(f"sqlite:///{out.parent}/mlruns.db")
    runs = client.search_runs([client.get_experiment_by_name("comparison").experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert parent.info.status == "FINISHED"
    assert {run.info.run_name for run in runs} == {"out", "base", "red", "sft"}
    kept = out.parent / "mlartifacts" / parent.info.run_id / "artifacts"
    assert {file.name for file in kept.iterdir()} >= {"report.html", "table.md"}
