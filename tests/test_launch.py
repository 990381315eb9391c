"""Ranks that really start: their variables, failures, Ctrl-C, and what is left when the launcher is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from red_mcore import launch

REPOSITORY = Path(__file__).parent.parent
LAUNCH = "import sys; from red_mcore.launch import launch; sys.exit(launch(sys.argv[2:], int(sys.argv[1])))"
SAVES_WHEN_STOPPED = """
import os, signal, sys, time
stop = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: stop.append(number))
open(f"ready{os.environ['RANK']}", "w").close()
while not stop:
    time.sleep(0.01)
if sys.argv[1] == "saves":
    time.sleep(0.5 * int(os.environ["RANK"]))
    open(f"saved{os.environ['RANK']}", "w").write(signal.Signals(stop[0]).name)
elif sys.argv[1] == "fails":
    sys.exit(5)
else:
    time.sleep(600)
"""
FAILS_FOR_WANT_OF_RANK_0 = """
import os, signal, sys, time
if os.environ["RANK"] == "0":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(2))
    open("ready0", "w").close()
    time.sleep(600)
while not os.path.exists("ready0"):
    time.sleep(0.01)
sys.exit(1)
"""
DIES_WITH_PARENT = """
import os, sys, time
from red_mcore.launch import die_with_parent
die_with_parent(os.getppid())
open(f"ready{os.environ['RANK']}", "w").close()
time.sleep(600)
"""


@pytest.fixture
def start(tmp_path):
    """Starts two ranks of a script in ``tmp_path``; what a test leaves running is killed."""
    started = []

    def begin(script: str, *arguments: str) -> subprocess.Popen:
        (tmp_path / "rank.py").write_text(script)
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, "2", sys.executable, "rank.py", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen, *files: Path) -> None:
    while not all(file.exists() for file in files):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def test_ranks_get_torchrun_s_variables_and_their_arguments_as_they_are(start):
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR")
    # One write a rank, so that the lines of two ranks cannot mix.
    script = (
        f"import os, sys; os.write(1, ' '.join([os.environ[n] for n in {names}] + sys.argv[1:] + ['\\n']).encode())"
    )
    output, errors = (process := start(script, "a=$$x$$", "${local_rank}")).communicate()
    assert process.returncode == 0
    assert sorted(output.splitlines()) == [f"{r} {r} 2 localhost a=$$x$$ ${{local_rank}} " for r in (0, 1)]
    assert errors == ""


def test_a_failed_rank_is_named_after_its_own_traceback(start):
    script = "import os, time\nif os.environ['RANK'] == '1': raise ValueError('boom')\ntime.sleep(600)"
    _, errors = (process := start(script)).communicate()
    assert process.returncode == 1
    assert errors.count("Traceback") == 1
    assert errors.splitlines()[-2:] == [
        "ValueError: boom",
        "red_mcore: error: rank 1 failed with exit code 1; the other ranks were stopped",
    ]


def test_a_killed_rank_is_named_with_its_signal(start):
    _, errors = (process := start("import os; os.kill(os.getpid(), 9)")).communicate()
    assert process.returncode == 1
    assert "was killed by SIGKILL" in errors


def test_bad_input_found_by_a_rank_keeps_its_code(start):
    _, errors = (process := start(FAILS_FOR_WANT_OF_RANK_0)).communicate()
    assert (process.returncode, errors) == (2, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_every_rank_save(start, tmp_path, number):
    process = start(SAVES_WHEN_STOPPED, "saves")
    wait_for(process, tmp_path / "ready0", tmp_path / "ready1")
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == launch.INTERRUPTED
    assert "Traceback" not in errors
    assert [(tmp_path / f"saved{rank}").read_text() for rank in (0, 1)] == [number.name] * 2


def test_a_rank_that_fails_to_save_is_a_failure(start, tmp_path):
    process = start(SAVES_WHEN_STOPPED, "fails")
    wait_for(process, tmp_path / "ready0", tmp_path / "ready1")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "failed with exit code 5" in errors


def test_the_second_signal_kills(start, tmp_path):
    process = start(SAVES_WHEN_STOPPED, "hangs")
    wait_for(process, tmp_path / "ready0", tmp_path / "ready1")
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "\n"
    assert "press Ctrl-C again" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (launch.INTERRUPTED, "")


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_ranks_die_with_a_killed_launcher(start, tmp_path):
    process = start(DIES_WITH_PARENT)
    wait_for(process, tmp_path / "ready0", tmp_path / "ready1")
    process.kill()
    process.communicate()  # the pipes end when their last holders have: the ranks


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node1", "node1"),
        ("node[1-4]", "node1"),
        ("gpu[03-05,9],login1", "gpu03"),
        ("a1,b[2-3]", "a1"),
        ("n[7]-ib", "n7-ib"),
    ],
)
def test_the_first_node_of_slurm_s_list(nodes, first):
    assert launch.first_node(nodes) == first


SRUN = {
    "SLURM_JOB_ID": "123456",
    "SLURM_STEP_ID": "2",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NODELIST": "gpu[3-4]",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
}


@pytest.fixture
def environment(monkeypatch):
    environment = {}
    monkeypatch.setattr(os, "environ", environment)
    return environment


def test_an_srun_task_becomes_a_rank(environment):
    environment.update(SRUN)
    assert launch.join()
    wanted = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "gpu3", "MASTER_PORT": "23458"}
    assert wanted.items() <= environment.items()


def test_an_srun_task_keeps_the_address_it_was_given(environment):
    environment.update(SRUN, MASTER_ADDR="127.0.0.1", MASTER_PORT="29500")
    assert launch.join()
    assert (environment["MASTER_ADDR"], environment["MASTER_PORT"]) == ("127.0.0.1", "29500")


@pytest.mark.parametrize(
    "given", [{}, {**SRUN, "SLURM_STEP_NUM_TASKS": "1"}, {"SLURM_JOB_ID": "1", "SLURM_PROCID": "0"}]
)
def test_a_lone_process_starts_its_own_ranks(environment, given):
    environment.update(given)
    assert not launch.join()
