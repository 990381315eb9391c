"""A run that is killed again and again ends as if nothing had happened.

python tests/soak/kills.py [--kills 20] [--seed 0] [--folder FOLDER] [--patience 300]

A tiny run trains undisturbed and records its rollouts. The same run is then killed at random
moments (SIGKILL for the launcher, with which the kernel ends its ranks): while it starts, while it
makes steps, and while it saves, at once or in a thread. At the end a file of its newest checkpoint
is damaged, too. Its weights and metrics have to be those of the undisturbed run, bit for bit. At
last a copy of the undisturbed run is set back by some steps and goes on, with the recorded
rollouts, tensor parallel and, after one more kill, pipeline parallel: the same to 1e-5.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
from safetensors.numpy import load_file

from red_mcore.checkpoints import manifests

sys.path.append(str(Path(__file__).resolve().parents[1]))
import warm

NAME = "soak"
RUN = [
    "base=null",
    "data.problems=64",
    "data.held_out=4",
    "evaluation.samples=2",
    "batch.prompts_per_step=4",
    "batch.samples_per_prompt=3",
    "checkpoint.every=1",
    "tracking.mlflow=false",
    "reward.timeout_seconds=600",  # whatever else the machine has to do, the same verdicts
    # Rounding must not grow to more than it is: a smooth step of Adam's, and no ratio of small
    # differences.
    "optimizer.lr=1e-3",
    "optimizer.eps=1e-2",
    "algorithm.entropy_weight=false",
]
BACK = 4
"""Steps of the undisturbed run that other layouts make again."""
KEEP = f"checkpoint.keep={BACK + 1}"
MOMENTS = ("stepping", "saving", "starting")
TOLERANCE = 1e-5


class Soak:
    """``kills`` of one run under ``folder``; each of its starts has ``patience`` seconds."""

    def __init__(self, folder: Path, kills: int, seed: int, patience: float) -> None:
        self.folder, self.kills, self.patience = folder, kills, patience
        self.steps = 3 * kills + BACK
        self._rng = random.Random(seed)
        self._suspended: list[psutil.Process] = []

    def __call__(self) -> None:
        """AssertionError where a run does not end as it has to."""
        start = time.monotonic()
        self.finish(
            "undisturbed",
            f"rollout.record={self.folder / 'recorded'}",
            KEEP,
        )
        self._whole = time.monotonic() - start
        self.say(f"undisturbed: {self.steps} steps in {self._whole:.0f} s")
        self.kill_often()
        self.change_layouts()

    def kill_often(self) -> None:
        while_saving = 0
        for i in range(self.kills):
            moment = MOMENTS[i % len(MOMENTS)]
            with self.started("killed", f"checkpoint.asynchronous={i % 2 == 1}") as program:
                getattr(self, moment)(program)
                assert program.poll() is None, (
                    f"kill {i + 1}: the run has ended, there was nothing to kill"
                )
            left = sorted(path.name for path in self.checkpoints("killed").glob("*.partial/"))
            while_saving += bool(left)
            tags = manifests.tags(self.checkpoints("killed"))
            self.say(
                f"kill {i + 1} while {moment}: checkpoints {' '.join(tags) or 'none'},"
                f" left {' '.join(left)}"
            )
        assert while_saving, "no kill came while a checkpoint was written"
        self.say(f"damaged {self.damage()}")
        assert "; going back to checkpoint " in self.finish("killed")
        assert self.weights("killed").read_bytes() == self.weights("undisturbed").read_bytes(), (
            "weights differ"
        )
        assert self.rows("killed") == self.rows("undisturbed"), "metrics differ"
        self.say(
            f"{self.kills} kills, {while_saving} of them while saving: bit for bit as undisturbed"
        )

    def stepping(self, program: warm.Program) -> None:
        """When this start has done three steps, and so saved twice at least."""
        before = max(self.step(), 0)
        self.wait(program, lambda: self.step() >= before + 3)
        time.sleep(self._rng.uniform(0, 0.3))

    def saving(self, program: warm.Program) -> None:
        """While a checkpoint is written: the run is stopped first, so that it stays so until the
        kill."""
        while True:
            left = self.partials()
            self.wait(program, lambda left=left: self.partials() - left)
            time.sleep(self._rng.uniform(0, 0.02))
            running = [
                psutil.Process(program.pid),
                *psutil.Process(program.pid).children(recursive=True),
            ]
            self._each(running, psutil.Process.suspend)
            if self.partials() - left:
                self._suspended = running
                return
            self._each(running, psutil.Process.resume)

    @staticmethod
    def _each(processes: list[psutil.Process], action: Callable[[psutil.Process], None]) -> None:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                action(process)

    def starting(self, program: warm.Program) -> None:
        """At any moment that a start as long as the undisturbed run's would have."""
        start, before, seconds = time.monotonic(), self.step(), self._rng.uniform(0, self._whole)
        self.wait(program, lambda: time.monotonic() > start + seconds or self.step() > before)

    def damage(self) -> Path:
        """Cut, change or remove a file of the newest checkpoint."""
        tag = manifests.tags(self.checkpoints("killed"))[-1]
        folder = self.checkpoints("killed") / tag
        file = folder / self._rng.choice(sorted(manifests.read(folder)["files"]))
        content = bytearray(file.read_bytes())
        kind = self._rng.choice(["cut", "changed", "removed"])
        if kind == "removed":
            file.unlink()
        else:
            content[len(content) // 2] ^= 1
            file.write_bytes(content[: len(content) // 2] if kind == "cut" else content)
        return file

    def change_layouts(self) -> None:
        shutil.copytree(self.folder / "undisturbed", self.folder / "layouts")
        self.set_back("layouts", self.steps - BACK)
        replay, half = f"rollout.replay={self.folder / 'recorded'}", self.steps - BACK // 2
        reached = self.checkpoints("layouts") / f"main-{half:06d}"
        with self.started("layouts", replay, "parallel.tensor=2", KEEP) as program:
            self.wait(program, reached.exists)
        self.set_back("layouts", half)  # it may have come further before it was killed
        said = self.finish("layouts", replay, "parallel.pipeline=2")
        assert f"going on from checkpoint {reached.name}" in said
        weights, expected = (load_file(self.weights(name)) for name in ("layouts", "undisturbed"))
        apart = max(float(np.abs(weights[name] - expected[name]).max()) for name in expected)
        assert 0 < apart < TOLERANCE, f"weights differ by {apart}"
        for row, wanted in zip(self.rows("layouts"), self.rows("undisturbed"), strict=True):
            for name, value in wanted.items():
                # Evaluations are not replayed, packing is the layout's, and a checksum is of exact
                # weights.
                if (
                    not name.startswith(("evaluation/", "packing/"))
                    and name != "publish/checksum_low32"
                ):
                    assert math.isclose(row[name], value, rel_tol=TOLERANCE, abs_tol=TOLERANCE), (
                        wanted["step"],
                        name,
                    )
        self.say(
            f"data, then tensor, then pipeline parallel: weights within {apart:.1e} of undisturbed"
        )

    def set_back(self, name: str, step: int) -> None:
        """Make the run one that has come to ``step``."""
        (self.folder / name / NAME / "summary.json").unlink(missing_ok=True)
        for tag in manifests.tags(self.checkpoints(name)):
            if manifests.age(tag)[1] > step:
                shutil.rmtree(self.checkpoints(name) / tag)

    def command(self, name: str, *overrides: str) -> list[str]:
        where = [f"name={NAME}", f"runs={self.folder / name}", f"steps={self.steps}"]
        return [
            sys.executable,
            "-m",
            "red_mcore.run",
            "recipes/red_tiny.py",
            *where,
            *RUN,
            *overrides,
        ]

    def finish(self, name: str, *overrides: str) -> str:
        """What the run says that goes on to its end."""
        with self.started(name, *overrides) as program:
            deadline = time.monotonic() + self.patience
            while program.poll() is None:
                assert time.monotonic() < deadline, f"not done after {self.patience} seconds"
                time.sleep(0.05)
            assert program.returncode == 0
            return program.output()

    @contextmanager
    def started(self, name: str, *overrides: str) -> Iterator[warm.Program]:
        """The run, which is killed at the end of the block."""
        with tempfile.TemporaryDirectory() as folder:
            program = warm.start(self.command(name, *overrides), Path(folder, "output"))
            try:
                yield program
            except AssertionError as error:
                error.add_note(program.output())
                raise
            finally:
                program.kill()
                program.wait()
                # Those of other sessions end by the signal that their parent's death sends them,
                # once they are awake.
                self._each(self._suspended, psutil.Process.resume)
                self._suspended = []

    def wait(self, program: warm.Program, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + self.patience
        while not condition():
            # It may have come true while the run ended.
            assert program.poll() is None or condition(), "the run has ended too early"
            assert time.monotonic() < deadline, f"nothing after {self.patience} seconds"
            time.sleep(0.002)

    def checkpoints(self, name: str) -> Path:
        return self.folder / name / NAME / "checkpoints"

    def partials(self) -> set[tuple[Path, int]]:
        """Incomplete checkpoints, and when they changed last: an earlier kill's leftovers may be
        among them."""
        found = set()
        for path in self.checkpoints("killed").glob("*.partial/weights"):
            with suppress(FileNotFoundError):
                found.add((path, path.stat().st_ctime_ns))
        return found

    def weights(self, name: str) -> Path:
        return self.folder / name / NAME / "export" / "model.safetensors"

    def rows(self, name: str) -> list[dict]:
        text = (self.folder / name / NAME / "metrics.jsonl").read_text()
        rows = [json.loads(line) for line in text.splitlines()]
        assert [row["step"] for row in rows] == list(range(self.steps + 1))
        return [
            {k: v for k, v in row.items() if not k.startswith(("time/", "memory/", "speed/"))}
            for row in rows
        ]

    def step(self) -> int:
        """Of the killed run's metrics so far."""
        file = self.folder / "killed" / NAME / "metrics.jsonl"
        return file.read_text().count("\n") - 1 if file.exists() else -1

    def say(self, text: str) -> None:
        print(text, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, help="new folder for the runs; by default a temporary one"
    )
    parser.add_argument(
        "--patience", type=float, default=300.0, help="seconds that a start may take"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        Soak(
            (options.folder or Path(temporary)).absolute(),
            options.kills,
            options.seed,
            options.patience,
        )()


if __name__ == "__main__":
    main()
