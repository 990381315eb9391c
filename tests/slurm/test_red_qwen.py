"""``sbatch slurm/red_qwen.sh`` on a real SLURM with two emulated nodes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import warm
from mini_slurm import MiniSlurm, missing

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "slurm/red_qwen.sh"

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(missing() is not None, reason=str(missing()))]


@pytest.fixture(scope="module")
def slurm() -> Iterator[MiniSlurm]:
    with MiniSlurm(nodes=2) as slurm:
        yield slurm


@pytest.fixture(autouse=True)
def _this_python_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{warm.python().parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def run_on_cpus(slurm: MiniSlurm, folder: Path, *arguments: str) -> tuple[str, str, list[str]]:
    """State, exit code and log lines of the script with ``arguments``, on two nodes of which it
    asks no GPU."""
    log = folder / "job.log"
    (folder / "recipes").symlink_to(ROOT / "recipes")
    job = slurm.sbatch(
        "--nodes=2", "--gpus-per-node=0", f"--output={log}", SCRIPT, *arguments, folder=folder
    )
    return *slurm.wait(job), log.read_text().splitlines()


def record(slurm: MiniSlurm, folder: Path, *arguments: str | Path) -> list[str]:
    """What a job submitted from ``folder`` starts, one line each, sorted: "PROGRAM on NODE:
    ARGUMENTS".

    The folder's .venv holds a ``python`` and a ``torchrun`` that only print this line.
    """
    programs = folder / ".venv/bin"
    programs.mkdir(parents=True)
    for name in ("python", "torchrun"):
        (programs / name).write_text(f'#!/bin/bash\necho "{name} on $SLURMD_NODENAME: $*"\n')
        (programs / name).chmod(0o755)
    job = slurm.sbatch("--nodes=2", *arguments, folder=folder)
    state = slurm.wait(job)
    log = (folder / f"red_qwen-{job}.log").read_text()
    assert state == ("COMPLETED", "0:0"), log
    return sorted(
        line for line in log.splitlines() if line.startswith(("python on", "torchrun on"))
    )


def test_two_steps_over_two_nodes(slurm: MiniSlurm, tmp_path: Path) -> None:
    short = (
        "steps=2 base.steps=2 base.sequences_per_step=8 batch.prompts_per_step=4 data.held_out=8"
    )
    overrides = [
        *short.split(),
        "reward.timeout_seconds=600",
        "evaluation.samples=2",
        "name=job",
        f"runs={tmp_path}",
    ]
    state, code, log = run_on_cpus(slurm, tmp_path, "recipes/red_tiny.py", *overrides)
    assert (state, code) == ("COMPLETED", "0:0"), "\n".join(log)
    rows = [json.loads(line) for line in (tmp_path / "job/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert json.loads((tmp_path / "job/summary.json").read_text())["steps"] == 2


def test_bad_override_fails_with_one_line_and_starts_no_rank(
    slurm: MiniSlurm, tmp_path: Path
) -> None:
    state, code, log = run_on_cpus(slurm, tmp_path, "recipes/red_tiny.py", "stepz=2")
    assert (state, code) == ("FAILED", "2:0")
    assert log == [
        "red_mcore: error: override stepz: the recipe has no field 'stepz'; nearest is 'steps'"
    ]


def test_ranks_that_do_not_fit_the_nodes_are_refused(slurm: MiniSlurm, tmp_path: Path) -> None:
    state, code, log = run_on_cpus(slurm, tmp_path, "recipes/red_tiny.py", "parallel.ranks=3")
    assert (state, code) == ("FAILED", "2:0")
    assert (
        log[-1] == "parallel.ranks=3 cannot be shared out equally over 2 nodes: use a multiple of 2"
    )


def test_default_header_starts_one_launcher_of_eight_ranks_per_node(
    slurm: MiniSlurm, tmp_path: Path
) -> None:
    dry_run, *launchers = record(slurm, tmp_path, SCRIPT, "steps=100")
    run = "-m red_mcore.run recipes/red_1p5b.py steps=100 parallel.ranks=16"
    assert dry_run == f"python on node1: {run} --dry-run"
    for node, line in enumerate(launchers):
        assert line.startswith(
            f"torchrun on node{node + 1}: --node-rank={node} --nnodes=2 --nproc-per-node=8 "
        )
        assert "--rdzv-backend=static --rdzv-endpoint=127.0.0.1:" in line
        assert line.endswith(run)


def test_ranks_of_an_override_are_shared_out_over_the_nodes(
    slurm: MiniSlurm, tmp_path: Path
) -> None:
    dry_run, *launchers = record(
        slurm, tmp_path, "--gpus-per-node=0", SCRIPT, "recipes/red_tiny.py", "parallel.ranks=4"
    )
    assert (
        dry_run
        == "python on node1: -m red_mcore.run recipes/red_tiny.py parallel.ranks=4 --dry-run"
    )
    assert len(launchers) == 2
    assert all("--nproc-per-node=2 " in line for line in launchers)
