"""A distillation that is killed at random moments gives the same set as undisturbed.

python tests/soak/distill_kills.py [--kills 10] [--seed 0] [--folder FOLDER]

A real server of vLLM answers on this machine. The tool asks it undisturbed; then once more, killed
(SIGKILL) at random moments of its life: while it starts, asks, judges and writes; every fifth time
the server is killed as well, and started again. Set and manifest have to be the same bytes, no
answer may be in the ledger twice, and none that was there may be gone.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "distillation")]

import warm  # noqa: E402
from bigrams import write_teacher  # noqa: E402
from serving import Server, command, environment, keys, write_problems  # noqa: E402

OPTIONS = ("--samples", 3, "--keep", "fill", "--count", 3, "--most", 9)
PACE = ("--requests-per-minute", 200, "--concurrency", 6)
"""So that it lives long enough to be killed."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="distill-kills-"))
    folder.mkdir(parents=True, exist_ok=True)
    write_teacher(folder / "bigrams")
    data = write_problems(folder / "sums.jsonl", 20)
    server = Server(folder / "bigrams", folder / "server.log")
    server.start()
    server.wait()
    try:
        return kill(options.kills, random.Random(options.seed), folder, data, server)
    finally:
        server.kill()


def kill(count: int, rng: random.Random, folder: Path, data: Path, server: Server) -> int:
    one, other = folder / "undisturbed", folder / "killed"
    done = warm.run(command(server.url, data, one, *OPTIONS), env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    again = command(server.url, data, other, *OPTIONS, *PACE)
    ledger, before, kills = other / "ledger.jsonl", b"", 0
    while kills < count:
        program = warm.start(again, folder / "tool.log", env=environment())
        end = time.monotonic() + rng.uniform(0, 10)
        with_server = kills % 5 == 2
        while time.monotonic() < end and program.poll() is None:
            time.sleep(0.01)
        ended = f"it came to its end after {kills} kills: lower PACE\n"
        assert program.poll() is None, ended + program.output()[-500:]
        if with_server:
            server.kill()
            time.sleep(rng.uniform(0, 1))
        program.kill()
        program.wait()
        kills += 1
        now = ledger.read_bytes() if ledger.exists() else b""
        assert now.startswith(before[: before.rfind(b"\n") + 1]), "an answer is gone"
        before = now
        print(
            f"kill {kills}: {len(keys(ledger))} answers, server killed: {with_server}", flush=True
        )
        if with_server:
            server.start()
            server.wait()
    done = warm.run(again, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    sampled = keys(ledger)
    assert len(sampled) == len(set(sampled)), "an answer was sampled twice"
    assert set(sampled) == set(keys(one / "ledger.jsonl")), "other answers were sampled"
    for name in ("traces.jsonl", "manifest.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), f"{name} differs"
    print(f"{kills} kills, {len(sampled)} answers, none twice, the same set; in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
