"""What a training run has left so far: its recipe, metrics, summary, rollouts and benchmarks."""

from __future__ import annotations

import datetime
import math
import re
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from red_mcore.checkpoints import manifests
from red_mcore.config.recipe import RecipeError
from red_mcore.config.tree import class_name
from red_mcore.reports.run import rollouts
from red_mcore.reports.run.rollouts import Rollout
from red_mcore.stats import NORMAL_95
from red_mcore.system import disk
from red_mcore.tracking import rows as metric_rows


class Score(NamedTuple):
    """An accuracy at one step."""

    mean: float
    error: float
    """Its standard error; NaN where that is not known."""

    @property
    def half(self) -> float:
        """Half of the 95 % interval; 0 where no error is known, so that figures draw none."""
        return NORMAL_95 * float(np.nan_to_num(self.error))

    def __str__(self) -> str:
        return (
            f"{self.mean:.3f} ± {self.half:.3f}"
            if math.isfinite(self.error)
            else f"{self.mean:.3f}"
        )


Scores = dict[int, Score]
"""Step -> score."""


@dataclass(frozen=True)
class RunFolder:
    """A run that is finished, still going, or was killed."""

    folder: Path
    recipe: dict[str, Any]
    """As ``recipe.yaml`` has it; {} where that is missing."""
    rows: list[dict[str, Any]]
    """The rows of ``metrics.jsonl``, by step; one that a resumed run repeated is as it was last."""
    base_rows: list[dict[str, Any]]
    """The rows of ``base.jsonl``, of base training; [] where there was none."""
    summary: dict[str, Any] | None
    """None until the run is done for the first time."""

    @property
    def algorithm(self) -> str:
        """Its class, or nothing, where a recipe of an older version does not name it."""
        return class_name(self.recipe)

    @property
    def name(self) -> str:
        return str(self.recipe.get("name", self.folder.absolute().name))

    @property
    def steps(self) -> int:
        """Steps done, by the rows and the summary."""
        return max(self._logged, self._summed)

    @property
    def _logged(self) -> int:
        return max((row["step"] for row in self.rows), default=0)

    @property
    def _summed(self) -> int:
        if self.summary is None:
            return 0
        done = self.summary.get("steps")
        return done if isinstance(done, int) else self._logged

    @property
    def finished(self) -> bool:
        """Whether the summary is of all steps; it is not where the run was asked for more since."""
        if self.summary and self.summary.get("stopped_early") and self._summed >= self._logged:
            return True
        wanted = self.setting("steps")
        least = max(self._logged, wanted if isinstance(wanted, int) else 0)
        return self.summary is not None and self._summed >= least

    @property
    def missing_steps(self) -> int:
        """Steps up to the last that have no row."""
        return self.steps - sum(row["step"] > 0 for row in self.rows)

    @property
    def last_written(self) -> str:
        """When, or nothing where no metrics are."""
        times = []
        for name in ("metrics.jsonl", "base.jsonl"):
            if (self.folder / name).exists():
                times.append((self.folder / name).stat().st_mtime)
        if not times:
            return ""
        when = datetime.datetime.fromtimestamp(max(times)).astimezone()
        return when.isoformat(sep=" ", timespec="minutes")

    @cached_property
    def warnings(self) -> list[str]:
        """The summary's warnings, each with its step where it has one; of a run that is not
        finished, what holds at its newest checkpoint."""
        if self.finished:
            found = (self.summary or {}).get("warnings")
            return list(map(_warning, found)) if isinstance(found, list) else []
        try:
            manifest, _ = manifests.newest(self.folder / "checkpoints")
        except RecipeError:  # none is whole: the run itself will tell
            return []
        seen = manifest["state"].get("health", {}) if manifest else {}
        return [_warning(one) for one in seen.values() if one["on"]]

    def scores(self, name: str) -> Scores:
        """The values of ``name`` with their standard errors, at the steps that have it."""
        errors = self.by_step(f"{name.removesuffix('_mean')}_stderr")
        found: Scores = {}
        for step, mean in self.by_step(name).items():
            _keep(found, step, mean, errors.get(step))
        return found

    @cached_property
    def held_out(self) -> Scores:
        """pass@1 on the held-out problems; of the metrics, or of the summary's ends where those
        are lost."""
        found = self.scores("evaluation/pass1")
        if found or self.summary is None:
            return found
        for step, name in ((0, "accuracy_before"), (self.steps, "accuracy_after")):
            _keep(found, step, self.summary.get(name), self.summary.get(f"{name}_stderr"))
        return found

    @cached_property
    def names(self) -> list[str]:
        """The names of all metrics."""
        found: dict[str, Any] = {}
        for row in self.rows:
            found |= row
        return [name for name in found if name != "step"]

    def setting(self, key: str, otherwise: Any = None) -> Any:
        """The recipe's ``batch.samples_per_prompt``, say; ``otherwise`` where it has none."""
        value: Any = self.recipe
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return otherwise if value is None else value

    def by_step(self, name: str) -> dict[int, float]:
        """Step -> value of a metric; NaN for what was not finite."""
        return {row["step"]: _number(row[name]) for row in self.rows if name in row}

    def metric(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(steps, values) where there is one; NaN for what was not finite."""
        found = self.by_step(name)
        return np.array(list(found), float), np.array(list(found.values()), float)

    def total(self, name: str) -> float:
        """Sum over steps, 0 for a metric that does not exist."""
        return float(np.nansum(self.metric(name)[1]))

    @cached_property
    def pass_k(self) -> str | None:
        """The metric pass@k, k the number of samples."""
        for name in self.names:
            if re.fullmatch(r"evaluation/pass\d+", name) and name != "evaluation/pass1":
                return name
        return None

    @property
    def pass_k_name(self) -> str:
        return (self.pass_k or "").replace("evaluation/pass", "pass@")

    @cached_property
    def samples(self) -> dict[int, list[Rollout]]:
        """Step -> rollouts kept at its evaluation, by step."""
        return rollouts.read(self.folder, "evaluation", _lines)

    @cached_property
    def benchmarks(self) -> dict[str, Scores]:
        """The scores of each benchmark: of metrics ``evaluation/NAME_mean``, and of
        ``evaluation/step-NNNNNN/summary.json``."""
        found: dict[str, Scores] = {}
        for metric in self.names:
            named = re.fullmatch(r"evaluation/(.+)_mean", metric)
            if named and named[1] != "reward":  # which is of the held-out problems
                found[named[1]] = self.scores(metric)
        for file in sorted((self.folder / "evaluation").glob("step-*/summary.json")):
            number = re.fullmatch(r"step-(\d+)", file.parent.name)
            content = _object(file) if number else None
            if not number or not content:
                continue
            benchmarks = {**content.get("benchmarks", {}), "average": content.get("average")}
            for name, score in benchmarks.items():
                if isinstance(score, dict):
                    by_step = found.setdefault(name, {})
                    _keep(by_step, int(number[1]), score.get("mean"), score.get("stderr"))
        return {name: dict(sorted(scores.items())) for name, scores in found.items() if scores}

    @property
    def benchmark_steps(self) -> list[int]:
        """Steps with an evaluation of a benchmark."""
        return sorted(set[int]().union(*self.benchmarks.values()))


def read_run(folder: Path) -> RunFolder:
    """RecipeError where ``folder`` is no run, or its recipe cannot be read."""
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
    base_rows = {}
    for row in _lines(folder / "base.jsonl"):
        if isinstance(row.get("step"), int):
            base_rows[row["step"]] = row
    try:
        text = recipe.read_text(encoding="utf-8") if recipe.exists() else ""
        settings = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{recipe} cannot be read: {' '.join(str(error).split())}") from None
    known = settings if isinstance(settings, dict) else {}
    base = [base_rows[step] for step in sorted(base_rows)]
    return RunFolder(folder, known, rows, base, _object(folder / "summary.json"))


def _warning(one: Any) -> str:
    if not isinstance(one, dict):
        return str(one)
    text, step = str(one.get("text") or one.get("code")), one.get("step")
    return text if step is None else f"{text} (step {step})"


def _keep(found: Scores, step: int, mean: Any, error: Any) -> None:
    """Add a score, unless its mean is no number."""
    if math.isfinite(mean := _number(mean)):
        found[step] = Score(mean, _number(error))


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
