"""What the machine has."""

import pytest

from red_mcore.system import devices


def test_a_container_s_limit_counts(tmp_path, monkeypatch):
    whole = devices.host_memory()
    assert whole > 2**28
    (tmp_path / "cgroup").write_text("4:memory:/a/b\n3:cpu:/a\n0::/x/y\n")
    for place, text in (("memory/a", 2**29), ("memory/a/b", 2**62), ("x/y", "max"), ("x", 2**28)):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        name = "memory.limit_in_bytes" if place.startswith("memory") else "memory.max"
        (tmp_path / place / name).write_text(f"{text}\n")
    monkeypatch.setattr(devices, "CONTROL_GROUPS", (tmp_path / "cgroup", tmp_path))
    assert devices.host_memory() == 2**28
    (tmp_path / "x/memory.max").unlink()
    assert devices.host_memory() == 2**29


@pytest.mark.parametrize(
    ("environment", "here"),
    [
        ({}, 8),
        ({"RANK": "3", "LOCAL_WORLD_SIZE": "2"}, 2),
        ({"SLURM_PROCID": "3", "SLURM_STEP_TASKS_PER_NODE": "4(x2)"}, 4),
        ({"SLURM_PROCID": "0", "SLURM_STEP_TASKS_PER_NODE": "9"}, 8),
        ({"SLURM_STEP_TASKS_PER_NODE": "1"}, 8),
    ],
)
def test_a_launcher_says_how_many_ranks_are_here(monkeypatch, environment, here):
    for name in ("RANK", "LOCAL_WORLD_SIZE", "SLURM_PROCID", "SLURM_STEP_TASKS_PER_NODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert devices.ranks_here(8) == here
