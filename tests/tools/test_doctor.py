"""What is said of machines: of this one, and of such as there are none here."""

from dataclasses import replace
from pathlib import Path

import pytest

from red_mcore.cli import doctor
from red_mcore.cli.doctor import GIB, GPU, Machine, Requirement, judge, look, main

TORCH = Requirement("torch", "==2.13.0", "2.13.0", True)
SOUND = Machine(
    python=(3, 12, 1),
    requirements=[TORCH],
    gpus=[],
    cores=8,
    memory=64 * GIB,
    runs=Path("runs"),
    free=500 * GIB,
    shared=16 * GIB,
    has_numa=True,
    is_linux=True,
    slurm=None,
    loopback=None,
    tracker=None,
    hub=None,
)
H100 = GPU("NVIDIA H100", 81559, "580.1")


def said(machine: Machine, level: str) -> list[str]:
    return [str(finding) for finding in judge(machine) if finding.level == level]


def test_a_sound_machine():
    assert said(SOUND, "fail") == said(SOUND, "warn") == []
    with_gpus = replace(SOUND, gpus=[H100] * 8, has_numa=False, slurm="slurm 25.11")
    assert said(with_gpus, "fail") == said(with_gpus, "warn") == []
    lines = said(with_gpus, "ok")
    assert "ok    8 x NVIDIA H100, 81559 MiB, driver 580.1" in lines
    assert "Megatron-Core's own layers" in lines[-1]


@pytest.mark.parametrize(
    ("change", "level", "line"),
    [
        ({"python": (3, 10, 4)}, "fail", "Python 3.10.4: use 3.11 or newer"),
        (
            {"requirements": [TORCH._replace(found=None, fits=False)]},
            "fail",
            "install torch==2.13.0",
        ),
        (
            {"requirements": [TORCH._replace(found="2.9.0", fits=False)]},
            "warn",
            "torch 2.9.0: tried were ==2.13.0",
        ),
        ({"gpus": [H100, H100._replace(name="NVIDIA A100")]}, "warn", "GPUs of different kinds"),
        (
            {"gpus": [H100], "requirements": [TORCH._replace(found="2.13.0+cpu")]},
            "fail",
            "uses no GPU",
        ),
        ({"memory": 4 * GIB}, "warn", "8 cores, 4.0 GiB of memory: two ranks"),
        ({"free": None}, "fail", "runs cannot be written: choose another place"),
        ({"free": GIB}, "warn", "1.0 GiB free for runs: checkpoints"),
        ({"shared": 2**26}, "warn", "/dev/shm of 0.06 GiB: start the container with --shm-size"),
        (
            {"has_numa": False},
            "fail",
            "libnuma, which vLLM loads on CPUs: apt-get install libnuma1",
        ),
        ({"loopback": "no route"}, "fail", "loopback (no route): let processes"),
        (
            {"tracker": "tracking.uri=http://x does not answer"},
            "fail",
            "MLflow: tracking.uri=http://x",
        ),
        ({"hub": "timed out"}, "warn", "the hub does not answer (timed out)"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_is_said_with_what_to_do(change, level, line):
    lines = said(replace(SOUND, **change), level)
    assert len(lines) == 1
    assert line in lines[0]
    assert ": " in lines[0]


def test_this_machine(tmp_path):
    machine = look(tmp_path / "not" / "yet")
    names = {requirement.name: requirement for requirement in machine.requirements}
    assert names["megatron-core"].fits
    assert names["torch"].found is not None
    assert "pytest" not in names, "extras of developers are none of a run"
    assert machine.memory > 0
    assert machine.free is not None
    assert machine.loopback is None


def test_the_exit_code_counts_what_fails(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(doctor, "look", lambda *asked: SOUND)
    assert main([]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 fail, 0 warn"
    monkeypatch.setattr(doctor, "look", lambda *asked: replace(SOUND, free=None, memory=GIB))
    assert main(["--runs", str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 fail, 1 warn"


def test_a_tracker_that_does_not_answer(tmp_path):
    machine = look(tmp_path, tracking="http://127.0.0.1:1")
    assert "does not answer" in str(machine.tracker)
