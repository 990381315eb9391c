"""The real engine on two gloo ranks: one launch, its checks reported one by one."""

import json
from pathlib import Path

import engine_checks
import pytest
from launching import launch

RANKS = 2


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """[{check: traceback or ""}] of each rank."""
    out = tmp_path_factory.mktemp("engine")
    launch(Path(engine_checks.__file__), RANKS, out)
    return [json.loads((out / f"rank{rank}.json").read_text()) for rank in range(RANKS)]


@pytest.mark.parametrize(
    "check", [name for names in engine_checks.PHASES.values() for name in names]
)
def test_engine(outcomes, check):
    for rank, results in enumerate(outcomes):
        assert not results[check], f"rank {rank}:\n{results[check]}"
