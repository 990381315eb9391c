"""A preparation that is killed goes on and makes the same bytes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import planted

from red_mcore.preparation.prepare import prepare
from red_mcore.preparation.settings import Rules, Source

ROOT = Path(__file__).resolve().parents[2]
ROWS = 300
"""Two batches of golds that have to be judged, and more of traces."""


def command(source: Path, out: Path) -> list[str]:
    program = [sys.executable, str(ROOT / "tools" / "prepare_data.py")]
    return [*program, str(source), "--out", str(out), "--workers", "1"]


def killed(arguments: list[str], out: Path, lines: int) -> int:
    """Start it and kill it once its ledger has so many lines; how many it had then."""
    program = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
    ledger = out / "work" / "ledger.jsonl"
    while program.poll() is None:
        if ledger.is_file() and len(ledger.read_bytes().splitlines()) > lines:
            os.kill(program.pid, signal.SIGKILL)
            break
        time.sleep(0.01)
    assert program.wait() == -signal.SIGKILL
    assert not (out / "manifest.json").exists()
    return len(ledger.read_bytes().splitlines())


def test_kill_and_again_gives_the_same_bytes(tmp_path):
    source = tmp_path / "own.jsonl"
    rows = [planted.row(n, answer=f"\\frac{{{n}}}{{7001}}") for n in range(ROWS)]
    rows[3] = "{broken"
    for n, row in enumerate(rows):
        if n not in (3, 5):
            row["trace"] = f"It is \\boxed{{{n}/7001}}."
    rows[9] = rows[8]
    planted.write(source, rows)

    out = tmp_path / "killed"
    first = killed(command(source, out), out, 1)
    second = killed(command(source, out), out, first)
    assert second > first
    done = subprocess.run(command(source, out), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "298 problems of 300 rows, 297 traces" in done.stdout

    prepare((Source(str(source), "own"),), Rules(), tmp_path / "undisturbed")
    names = ["dropped.jsonl", "manifest.json", "set.jsonl"]
    assert sorted(file.name for file in out.iterdir()) == names
    for name in names:
        assert (out / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
