"""Ranks that really start: their variables, failures, Ctrl-C, and what is left when the launcher is
killed."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
import warm

from red_mcore.system import launch
from red_mcore.system.exit_codes import INTERRUPTED

LAUNCH = """
import runpy, sys
from red_mcore.system.launch import launch

def rank(*arguments):
    sys.argv[1:] = arguments
    runpy.run_path("rank.py", run_name="__main__")
    return 0

if __name__ == "__main__":
    sys.exit(launch(rank, tuple(sys.argv[2:]), 2, fork=sys.argv[1] == "fork"))
"""
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
from red_mcore.system.launch import die_with_parent
die_with_parent(os.getppid())
open(f"ready{os.environ['RANK']}", "w").close()
time.sleep(600)
"""


@pytest.fixture
def start(tmp_path):
    """Starts two ranks of a script in ``tmp_path``; what a test leaves running is killed."""
    started = []
    (tmp_path / "launcher.py").write_text(LAUNCH)

    def begin(script: str, *arguments: str, how: str = "fork") -> warm.Program:
        (tmp_path / "rank.py").write_text(script)
        command = [sys.executable, "launcher.py", how, *arguments]
        program = warm.start(command, tmp_path / "output", tmp_path / "errors", cwd=tmp_path)
        started.append(program)
        return program

    yield begin
    for program in started:
        program.kill()


def end(program: warm.Program, folder: Path) -> tuple[int, str]:
    """Exit code and what is on stderr."""
    return program.wait(), (folder / "errors").read_text()


def wait_for(folder: Path, program: warm.Program, *names: str) -> None:
    while not all((folder / name).exists() for name in names):
        assert program.poll() is None, (folder / "errors").read_text()
        time.sleep(0.05)


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_ranks_get_torchrun_s_variables_and_their_arguments_as_they_are(start, tmp_path, how):
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR")
    # One write a rank, so that the lines of two ranks cannot mix.
    line = f"' '.join([os.environ[n] for n in {names}] + sys.argv[1:] + ['\\n'])"
    script = f"import os, sys; os.write(1, ({line}).encode())"
    code, errors = end(start(script, "a=$$x$$", "${local_rank}", how=how), tmp_path)
    assert code == 0
    assert sorted((tmp_path / "output").read_text().splitlines()) == [
        f"{r} {r} 2 127.0.0.1 a=$$x$$ ${{local_rank}} " for r in (0, 1)
    ]
    assert errors == ""


def test_a_failed_rank_is_named_after_its_own_traceback(start, tmp_path):
    script = (
        "import os, time\nif os.environ['RANK'] == '1': raise ValueError('boom')\ntime.sleep(600)"
    )
    code, errors = end(start(script), tmp_path)
    assert code == 1
    assert errors.count("Traceback") == 1
    assert errors.splitlines()[-2:] == [
        "ValueError: boom",
        "red_mcore: error: rank 1 failed with exit code 1; the other ranks were stopped",
    ]


@pytest.mark.parametrize("later", [0, 1])
def test_a_rank_that_leaves_because_another_one_fails_is_not_named(start, tmp_path, later):
    """Though it may end first, and the other, rank 1, ``later`` seconds after it."""
    script = f"""
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda number, frame: None)
if os.environ["RANK"] == "0":
    sys.exit(3)
time.sleep({later})
sys.exit(1)
"""
    code, errors = end(start(script), tmp_path)
    assert code == 1
    assert (
        errors == "red_mcore: error: rank 1 failed with exit code 1; the other ranks were stopped\n"
    )


def test_a_killed_rank_is_named_with_its_signal(start, tmp_path):
    code, errors = end(start("import os; os.kill(os.getpid(), 9)"), tmp_path)
    assert code == 1
    assert "was killed by SIGKILL" in errors


def test_bad_input_found_by_a_rank_keeps_its_code(start, tmp_path):
    code, errors = end(start(FAILS_FOR_WANT_OF_RANK_0), tmp_path)
    assert (code, errors) == (2, "")


def test_a_strict_run_with_warnings_waits_for_all_and_keeps_its_code(start, tmp_path):
    script = (
        "import os, sys, time\n"
        "if os.environ['RANK'] == '0': time.sleep(1); open('done', 'w')\n"
        "sys.exit(4)"
    )
    assert end(start(script), tmp_path) == (4, "")
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_lets_every_rank_save(start, tmp_path, number):
    program = start(SAVES_WHEN_STOPPED, "saves")
    wait_for(tmp_path, program, "ready0", "ready1")
    program.send_signal(number)
    code, errors = end(program, tmp_path)
    assert code == INTERRUPTED
    assert "Traceback" not in errors
    assert [(tmp_path / f"saved{rank}").read_text() for rank in (0, 1)] == [number.name] * 2


def test_a_rank_that_fails_to_save_is_a_failure(start, tmp_path):
    program = start(SAVES_WHEN_STOPPED, "fails")
    wait_for(tmp_path, program, "ready0", "ready1")
    program.send_signal(signal.SIGINT)
    code, errors = end(program, tmp_path)
    assert code == 1
    assert "failed with exit code 5" in errors


def test_the_second_signal_kills(start, tmp_path):
    program = start(SAVES_WHEN_STOPPED, "hangs")
    wait_for(tmp_path, program, "ready0", "ready1")
    program.send_signal(signal.SIGINT)
    warm.wait_for(tmp_path / "errors", program)
    program.send_signal(signal.SIGINT)
    code, errors = end(program, tmp_path)
    assert code == INTERRUPTED
    assert re.fullmatch(r"\n.*; press Ctrl-C again to kill the run at once\n", errors)


def test_a_signal_to_one_rank_alone_is_an_interruption(start, tmp_path):
    """Ranks agree to stop, and end with the code of it."""
    script = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
if os.environ["RANK"] == "0":
    os.kill(os.getpid(), signal.SIGTERM)
sys.exit(130)
"""
    code, errors = end(start(script), tmp_path)
    assert (code, errors) == (INTERRUPTED, "")


LISTENS = """
import os, time
import torch.distributed as dist
dist.init_process_group("gloo")
dist.barrier()
open(f"ready{os.environ['RANK']}", "w").close()
time.sleep(600)
"""


def test_nothing_listens_but_on_loopback(start, tmp_path):
    program = start(LISTENS)
    wait_for(tmp_path, program, "ready0", "ready1")
    everybody = [launcher := psutil.Process(program.pid), *launcher.children(recursive=True)]
    listening = [
        c.laddr.ip for p in everybody for c in p.net_connections() if c.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 3
    assert set(listening) == {"127.0.0.1"}


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_ranks_die_with_a_killed_launcher(start, tmp_path):
    program = start(DIES_WITH_PARENT)
    wait_for(tmp_path, program, "ready0", "ready1")
    ranks = psutil.Process(program.pid).children()
    program.send_signal(signal.SIGKILL)
    program.wait()
    assert len(ranks) == 2
    psutil.wait_procs(ranks)


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
    wanted = {
        "RANK": "3",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "4",
        "MASTER_ADDR": "gpu3",
        "MASTER_PORT": "23458",
    }
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
