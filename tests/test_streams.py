"""Output that nobody reads any more, or that a disk does not take."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TALKS = """
import subprocess, sys
from pathlib import Path
from red_mcore.system import streams
streams.outlive()
from red_mcore.tracking import Console
with Console("steps", 300) as console:
    for step in range(300):
        print("é", step, flush=True)
        print(step, file=sys.stderr)
        console.update(step, {"loss": 1.0})
        console.print("saved")
with open("numbers", "wb") as file:
    file.write(str(file.fileno()).encode())
Path("done").touch()
"""


def run(folder: Path, words: str) -> int:
    command = ["bash", "-o", "pipefail", "-c", f'{sys.executable} -c "$0" {words}', TALKS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, timeout=300
    ).returncode


@pytest.mark.parametrize(
    "words", ["2>&1 | head -n 1", "> /dev/full 2>&1", ">&- 2>&-", "<&- > /dev/null 2>&1 | true"]
)
def test_a_program_outlives_its_output(tmp_path, words):
    assert run(tmp_path, words) == 0
    assert (tmp_path / "done").exists()
    assert int((tmp_path / "numbers").read_text()) > 2, "a file has the number of an output"


def test_a_program_outlives_its_terminal(tmp_path):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", TALKS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    os.read(ours, 10)
    os.close(ours)  # from now on all writing fails
    assert process.wait(timeout=300) == 0
    assert (tmp_path / "done").exists()
