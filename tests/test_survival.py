"""One run without a reader or a terminal, in a folder of a hard name, whose side files are damaged
before it goes on.

It is one rank, as torchrun would start it, so that signals reach it as any launcher passes them on.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
import warm

from red_mcore.checkpoints import manifests
from red_mcore.tracking import database

ROOT = Path(__file__).parent.parent
OVERRIDES = [
    "name=run",
    "base=null",
    "parallel.ranks=1",
    "batch.prompts_per_step=4",
    "batch.samples_per_prompt=2",
    "rollout.max_prompt_tokens=128",
    "rollout.max_response_tokens=48",
    "data.held_out=4",
    "evaluation.samples=2",
    "checkpoint.every=0",
    "optimizer.schedule=constant",
    "reward.timeout_seconds=600",  # whatever else the machine has to do, the same verdicts
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("hard") / "50%25 of #1, why?"
    made.mkdir()
    rows = [{"question": f"{i} + {i}?", "answer": f"{i} and {i}.\n#### {2 * i}"} for i in range(40)]
    rows.append({"question": "Is this one?", "answer": "#### unknown"})
    (made / "gsm8k #1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return made


@contextmanager
def started(folder: Path, *overrides: str):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    ranks |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    where = [f"runs={folder}/runs", f"data.path={folder}/gsm8k #1.jsonl"]
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            [
                warm.python(),
                "-m",
                "red_mcore.run",
                "recipes/red_tiny.py",
                *where,
                *OVERRIDES,
                *overrides,
            ],
            cwd=ROOT,
            env={**os.environ, **ranks, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(
                signal.SIGHUP, signal.SIG_DFL
            ),  # also where nohup started the tests
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def wait_for(process: subprocess.Popen, condition: Callable[[], object], folder: Path) -> None:
    while not condition():
        assert process.poll() is None, (folder / "errors").read_text()
        time.sleep(0.05)


def steps(run: Path) -> list[int]:
    file = run / "metrics.jsonl"
    return (
        [json.loads(line)["step"] for line in file.read_text().splitlines()]
        if file.exists()
        else []
    )


def test_a_run_goes_on_without_a_reader_saves_when_asked_and_ends_in_good_order_with_its_terminal(
    folder,
):
    run = folder / "runs" / "run"
    with started(folder, "steps=1000") as process:
        assert process.stdout.readline()
        process.stdout.close()  # as `| head -n 1`
        wait_for(process, lambda: len(steps(run)) > 1, folder)
        process.send_signal(signal.SIGUSR1)
        wait_for(process, lambda: manifests.tags(run / "checkpoints"), folder)
        (saved,) = manifests.tags(run / "checkpoints")
        wait_for(process, lambda: max(steps(run)) > manifests.age(saved)[1], folder)
        process.send_signal(signal.SIGHUP)
        process.wait()
        assert process.returncode == 130, (folder / "errors").read_text()
        assert "Traceback" not in (folder / "errors").read_text()
        manifest, _ = manifests.newest(run / "checkpoints", checksums=True)
        assert manifest["state"]["step"] == max(steps(run)) > manifests.age(saved)[1]
        assert [path.name for path in folder.iterdir()].count("runs") == 1
        assert {path.name for path in folder.parent.iterdir()} == {folder.name}


def test_damaged_side_files_are_made_anew(folder):
    """After the test above, whose run it ends."""
    run = folder / "runs" / "run"
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    last = len(lines) - 1
    (run / "metrics.jsonl").write_text("".join([*lines[1:], lines[-1], '{"st\n']))
    (run / "model" / "config.json").write_text("{")
    (run / "bad_golds.json").write_text("[" * 9)
    (run / "summary.json").write_text('{"steps":')
    (run / "identity.json").write_bytes(b"\0" * 300)
    (run / "identity-problems.jsonl").write_text("no row\n")
    database_file = database.file_of(database.address(run / "mlflow.db"))
    for file in (*run.glob("mlflow.db*"), *run.parent.glob("mlruns.db*")):
        database_file = file
        file.unlink()
    with started(folder, f"steps={last + 1}") as process:
        said, _ = process.communicate()
        errors = (folder / "errors").read_text()
        assert process.returncode == 0, said + errors
    for name, told in {
        "metrics.jsonl": f"is damaged or lacks rows: {len(lines)} rows are written anew"
        " from the checkpoint",
        "model/config.json": "has 1 bytes",
        "bad_golds.json": "is damaged",
        "identity.json": "is damaged",
    }.items():
        assert f"red_mcore: warning: {run / name} {told}" in said
    assert f"red_mcore: warning: {run / 'summary.json'} is damaged" in errors
    assert (run / "metrics.jsonl").read_text().splitlines(keepends=True)[:-1] == lines
    assert steps(run) == list(range(last + 2))
    assert json.loads((run / "summary.json").read_text())["steps"] == last + 1
    for name in ("identity.json", "bad_golds.json", "model/config.json"):
        assert json.loads((run / name).read_text())
    from mlflow.tracking import MlflowClient

    client = MlflowClient(database.address(database_file))
    manifest, _ = manifests.newest(run / "checkpoints")
    history = client.get_metric_history(manifest["state"]["tracker_run"], "rollout/accuracy")
    assert [metric.step for metric in history] == list(range(1, last + 2))
