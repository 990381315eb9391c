"""The real engine on two gloo ranks: one launch, its checks reported one by one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import engine_checks
import pytest

ROOT = Path(__file__).resolve().parents[2]
RANKS = 2


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """[{check: traceback or ""}] of each rank."""
    out = tmp_path_factory.mktemp("engine")
    script = [str(Path(engine_checks.__file__)), str(out)]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(launcher + script, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return [json.loads((out / f"rank{rank}.json").read_text()) for rank in range(RANKS)]


@pytest.mark.parametrize("check", [name for names in engine_checks.PHASES.values() for name in names])
def test_engine(outcomes, check):
    for rank, results in enumerate(outcomes):
        assert not results[check], f"rank {rank}:\n{results[check]}"
