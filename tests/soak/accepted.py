"""What a dry run accepts trains a step.

python tests/soak/accepted.py [--count 60] [--seed 0] [--folder FOLDER]

Recipes of recipes/tiny with a few odd values each, as tests/test_fuzz.py has them; those that a dry
run accepts make one whole run of one step. It has to end with exit code 0 and the metrics of that
step. Values that only make the run longer (more rollouts than a minute allows) are passed over. A
run takes about a minute on two cores.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import warm  # noqa: E402
from test_fuzz import dry_run, leaves, values  # noqa: E402

from red_mcore.config.loading import load  # noqa: E402
from red_mcore.config.overrides import override  # noqa: E402
from red_mcore.config.recipe import Recipe, RecipeError  # noqa: E402

SHORT = [
    *(
        "base=null",
        "steps=1",
        "parallel.ranks=2",
        "data.problems=64",
        "data.held_out=4",
        "evaluation.samples=2",
    ),
    *("batch.prompts_per_step=4", "batch.samples_per_prompt=3", "rollout.max_response_tokens=80"),
    *("tracking.mlflow=false", "optimizer.warmup_steps=0"),
]
KEPT = (
    "name",
    "runs",
    "steps",
    "until",
    "model.path",
    "data.path",
    "tracking.uri",
    "rollout.replay",
    "rollout.record",
    "strict",
)
"""Fields, and sections, that stay as they are: a run of another length, of things that are not
here, or that ends otherwise where a step teaches nothing."""
MOST = {
    **dict.fromkeys(
        (
            "parallel.ranks",
            "batch.refills",
            "reward.workers",
            "evaluation.samples",
            "rollout.tensor",
        ),
        2,
    ),
    **dict.fromkeys(("data.problems", "data.held_out"), 500),
    **dict.fromkeys(
        ("algorithm.first_lessons", "algorithm.episodes", "algorithm.lesson_traces"), 32
    ),
    "model.config.hidden_size": 1024,
    "model.config.vocab_size": 2**16,
    "model.config.intermediate_size": 2**12,
    "model.config.num_hidden_layers": 8,
    "rollout.kv_cache_mib": 2**12,
}
"""What these stay at or below, so that a run is short."""
TRIED = 5
"""Values of a field that are tried, until one is accepted."""
WAYS = 4
"""Fields that are changed at once, at most."""


def accepted(rng: random.Random) -> Iterator[tuple[Path, list[str]]]:
    """(recipe file, overrides) that the first part of a dry run accepts, without end."""
    files = sorted((ROOT / "recipes/tiny").glob("*.py"))
    while True:
        file = rng.choice(files)
        more = ["algorithm.sft_steps=1", "steps=2"] if file.stem == "sft_then_grpo" else []
        recipe = load(str(file), [*SHORT, *more, "runs=runs"])
        changes = list(_changes(recipe, rng))
        if (
            changes
            and dry_run(recipe, changes, whole=True) is None
            and is_short(override(recipe, changes))
        ):
            yield file, [*SHORT, *more, *changes]


def _changes(recipe: Recipe, rng: random.Random) -> Iterator[str]:
    fields = [leaf for leaf in leaves(recipe) if not leaf[0].startswith(KEPT)]
    for name, hint, value in rng.sample(fields, rng.randint(1, WAYS)):
        for text in rng.sample(values(hint, value), TRIED):
            if _is_other(recipe, f"{name}={text}"):
                yield f"{name}={text}"
                break


def _is_other(recipe: Recipe, change: str) -> bool:
    """Whether a dry run accepts it by itself, and it changes something."""
    try:
        return (
            override(recipe, [change]) != recipe and dry_run(recipe, [change], whole=False) is None
        )
    except RecipeError:
        return False


def is_short(recipe: Recipe) -> bool:
    sampled = (
        recipe.batch.prompts_per_step
        * recipe.batch.samples_per_prompt
        * recipe.rollout.max_response_tokens
    )
    return sampled <= 2**14 and all(
        value <= MOST[name] for name, _, value in leaves(recipe) if name in MOST and value
    )


def run(file: Path, overrides: list[str], folder: Path) -> str | None:
    """What is wrong with the run's end; None where nothing is, or where files and tokenizer let the
    dry run refuse."""
    command = [
        sys.executable,
        "-m",
        "red_mcore.run",
        str(file),
        *overrides,
        f"runs={folder}",
        "name=run",
    ]
    if warm.run([*command, "--dry-run"]).returncode:
        return None
    done = warm.run(command)
    if done.returncode:
        return f"exit code {done.returncode}: " + "\n".join(
            (done.stdout + done.stderr).splitlines()[-15:]
        )
    rows = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    return None if rows[-1]["step"] >= 1 else f"its last metrics are of step {rows[-1]['step']}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="accepted-"))
    found, failed = accepted(random.Random(options.seed)), 0
    for number in range(options.count):
        file, overrides = next(found)
        fault = run(file, overrides, folder / f"{number:03d}")
        failed += fault is not None
        told = " ".join(repr(change) for change in overrides[len(SHORT) :])
        print(f"{number + 1:3d} {file.stem} {told}: {fault or 'trains'}", flush=True)
    print(
        f"{failed} of {options.count} accepted configurations do not train a step; runs in {folder}"
    )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
