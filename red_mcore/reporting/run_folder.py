"""What a training run has left so far: its recipe, metrics, summary, sample rollouts and benchmark evaluations."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from red_mcore import disk
from red_mcore.recipe import RecipeError
from red_mcore.tracking import rows as metric_rows


@dataclass(frozen=True)
class RunFolder:
    """A run that is finished, still going, or was killed."""

    folder: Path
    recipe: dict[str, Any]
    """As ``recipe.yaml`` has it; {} where that is missing."""
    rows: list[dict[str, Any]]
    """Of ``metrics.jsonl``, by step; a step that a resumed run repeated counts once, as it was last."""
    summary: dict[str, Any] | None
    """None until the run is done."""
    algorithm: str
    """Its class, or nothing, where a recipe of an older version does not name it."""

    @property
    def name(self) -> str:
        return str(self.recipe.get("name", self.folder.absolute().name))

    @property
    def steps(self) -> int:
        """Steps done."""
        return max((row["step"] for row in self.rows), default=0)

    @cached_property
    def names(self) -> list[str]:
        """Of all metrics."""
        return list(dict.fromkeys(name for row in self.rows for name in row if name != "step"))

    def setting(self, key: str, otherwise: Any = None) -> Any:
        """Of the recipe, e.g. ``batch.samples_per_prompt``; ``otherwise`` where it has none of that name."""
        value: Any = self.recipe
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return otherwise if value is None else value

    def metric(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(steps, values) where there is one; NaN for what was not finite."""
        found = [(row["step"], _number(row[name])) for row in self.rows if name in row]
        steps, values = zip(*found, strict=True) if found else ((), ())
        return np.array(steps, float), np.array(values, float)

    def total(self, name: str) -> float:
        """Sum over steps, 0 for a metric that does not exist."""
        return float(np.nansum(self.metric(name)[1]))

    @cached_property
    def pass_k(self) -> str | None:
        """Name of the metric pass@k, k the number of samples."""
        found = [name for name in self.names if re.fullmatch(r"evaluation/pass\d+", name) and name[15:] != "1"]
        return found[0] if found else None

    @cached_property
    def samples(self) -> dict[int, list[dict[str, Any]]]:
        """Step -> rollouts kept at its evaluation."""
        found = {}
        for file in sorted((self.folder / "rollouts").glob("evaluation-*.jsonl")):
            if (number := re.fullmatch(r"evaluation-(\d+)", file.stem)) and (rows := _lines(file)):
                found[int(number.group(1))] = rows
        return found

    @cached_property
    def benchmarks(self) -> dict[str, dict[int, tuple[float, float]]]:
        """Benchmark -> step -> (mean, standard error): of ``evaluation/NAME_mean`` among the metrics, and of
        ``evaluation/step-NNNNNN/summary.json``."""
        found: dict[str, dict[int, tuple[float, float]]] = {}
        means = (n for n in self.names if n.startswith("evaluation/") and n.endswith("_mean"))
        for name in (n for n in means if n != "evaluation/reward_mean"):  # of the held-out problems
            errors = dict(zip(*self.metric(f"{name.removesuffix('_mean')}_stderr"), strict=True))
            for step, mean in zip(*self.metric(name), strict=True):
                _keep(found, name[11:-5], int(step), mean, errors.get(step))
        for file in sorted((self.folder / "evaluation").glob("step-*/summary.json")):
            number = re.fullmatch(r"step-(\d+)", file.parent.name)
            content = _object(file)
            if number and content:
                average = {"average": content["average"]} if "average" in content else {}
                for name, scores in (content.get("benchmarks", {}) | average).items():
                    if isinstance(scores, dict):
                        _keep(found, name, int(number.group(1)), scores.get("mean"), scores.get("stderr"))
        return found


def read_run(folder: Path) -> RunFolder:
    """RecipeError where ``folder`` is no run, or a file of it is broken in more than its last line."""
    if not folder.is_dir():
        raise RecipeError(f"{folder} is no folder")
    metrics, recipe = folder / "metrics.jsonl", folder / "recipe.yaml"
    if not metrics.exists() and not recipe.exists():
        within = sorted(path.parent.name for path in folder.glob("*/metrics.jsonl"))
        hint = f"; there are runs in it: {', '.join(within[:5])}" if within else ""
        raise RecipeError(f"{folder} is no run, it has neither metrics.jsonl nor recipe.yaml{hint}")
    rows, _, told = metric_rows.read(folder)
    if told:
        print(f"warning: {told}", file=sys.stderr)
    try:
        text = recipe.read_text(encoding="utf-8") if recipe.exists() else ""
        settings = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{recipe} cannot be read: {' '.join(str(error).split())}") from None
    summary = _object(folder / "summary.json")
    return RunFolder(
        folder,
        settings if isinstance(settings, dict) else {},
        rows,
        summary,
        named[1] if (named := re.match(r"# algorithm: (\w+)$", text, re.MULTILINE)) else "",
    )


def _keep(found: dict[str, dict[int, tuple[float, float]]], name: str, step: int, mean: Any, error: Any) -> None:
    if math.isfinite(mean := _number(mean)):
        error = _number(error)
        found.setdefault(name, {})[step] = (mean, error if math.isfinite(error) else 0.0)


def _lines(file: Path) -> list[dict[str, Any]]:
    rows, bad = disk.read_rows(file)
    if bad:
        print(f"warning: {file}: {len(bad)} damaged lines are left out", file=sys.stderr)
    return rows


def _object(file: Path) -> dict[str, Any] | None:
    """None where there is none, or it is damaged, which is told."""
    try:
        return disk.read_object(file)
    except disk.Damaged as error:
        print(f"warning: {error}: the page goes without it", file=sys.stderr)
        return None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan
