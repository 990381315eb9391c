"""One HTML page of a training run: what it reached, how it went, what it wrote, its settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from red_mcore.reports import page
from red_mcore.reports.page import Table
from red_mcore.reports.plots import WIDE, short
from red_mcore.reports.run import first_screen
from red_mcore.reports.run.figures import RunFigures
from red_mcore.reports.run.folder import RunFolder, read_run
from red_mcore.reports.run.rollouts import Rollout
from red_mcore.system.disk import write_atomic

_EARLIER = 3
"""Earlier evaluations whose rollouts are on the page, folded up."""
_CARDS, _CARDS_OF_EARLIER = 8, 4
"""Rollouts shown of a kind."""


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page of the run in ``folder`` to ``out``, or to ``report.html`` in it; returns the
    path.

    RecipeError where it is no run or cannot be read. The run may still be going: the page is of
    what there is.
    """
    run = read_run(folder)
    out = out or folder / "report.html"
    recipe = yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True) if run.recipe else ""
    made = page.render(
        "run.html",
        title=run.name,
        first=first_screen.answers(run),
        headline=headline(run),
        setup=setup(run),
        run=run,
        draw=RunFigures(run),
        wide=WIDE,
        benchmarks=benchmark_table(run),
        samples=_samples(run),
        recipe=recipe,
    )
    write_atomic(out, made)
    return out


def headline(run: RunFolder) -> dict[str, tuple[str, str]]:
    """The tiles: name -> (number, detail)."""
    found: dict[str, tuple[str, str]] = {}
    if run.pass_k:
        k = run.pass_k.removeprefix("evaluation/pass")
        found[f"held-out pass@{k}"] = (_change(run.metric(run.pass_k)[1], "{:.3f}"), "")
    lengths = run.metric("evaluation/length_tokens")[1]
    if len(lengths):
        found["tokens per answer"] = (_change(lengths, "{:.0f}"), "held-out problems")
    generated = run.total("rollout/generated_tokens")
    trained = run.total("update/tokens") + run.total("lesson/tokens")
    if generated:
        detail = f"trained on {short(trained)}" if trained else ""
        found["generated tokens"] = (short(generated), detail)
    elif trained:
        found["trained tokens"] = (short(trained), "none generated in training")
    return found


def _change(values: np.ndarray, form: str) -> str:
    """The first value and the last."""
    first, last = form.format(values[0]), form.format(values[-1])
    return f"{first} → {last}" if len(values) > 1 else first


def setup(run: RunFolder) -> dict[str, str]:
    """What was trained, on what and how, in a few lines; those of which nothing is known are left
    out."""
    get = run.setting
    lines = {"algorithm": _joined(" - ", run.algorithm, _listed(get("algorithm", {})))}
    if run.recipe:
        lines |= {"model": _model(run), "layout": _layout(run)}
    if get("batch.prompts_per_step"):
        lines["batch"] = (
            f"{get('batch.prompts_per_step')} prompts x {get('batch.samples_per_prompt')} samples,"
            f" {get('batch.updates_per_step')} update(s) per step,"
            f" up to {get('rollout.max_response_tokens')} tokens"
            f" at temperature {get('rollout.temperature')}"
        )
    if get("optimizer.lr"):
        lines["optimizer"] = f"learning rate {get('optimizer.lr')}, {get('optimizer.schedule')}"
    if run.recipe:
        lines["data"] = _data(run)
    lines |= {"folder": str(run.folder.absolute()), "last written": run.last_written}
    return {key: value for key, value in lines.items() if value}


def _model(run: RunFolder) -> str:
    """Where it starts, its shape and its dtype."""
    config, base = run.setting("model.config", {}), run.setting("base.steps")
    start = str(run.setting("model.path", "from scratch"))
    if base:
        start += f" after {base} steps of base training"
    shape = [str(config.get("model_type", ""))]
    sizes = {"hidden_size": "hidden", "num_hidden_layers": "layers", "vocab_size": "vocabulary"}
    for key, name in sizes.items():
        if key in config:
            shape.append(f"{name} {config[key]}")
    return _joined(", ", start, *shape, str(run.setting("model.dtype", "")))


def _layout(run: RunFolder) -> str:
    """How it was spread over ranks."""
    parts = [f"{run.setting('parallel.ranks', '?')} rank(s)"]
    for key in ("tensor", "pipeline", "virtual", "context", "expert"):
        size = run.setting(f"parallel.{key}", 1)
        if size != 1:
            parts.append(f"{key} {size}")
    recompute = run.setting("parallel.recompute", "none")
    if recompute != "none":
        parts.append(f"recompute {recompute}")
    return ", ".join(parts)


def _data(run: RunFolder) -> str:
    """The sources, with their weights where there are several."""
    sources = []
    for source in run.setting("data.mixture", []):
        sources.append(f"{source.get('path')} (weight {source.get('weight', 1.0):g})")
    found = ", ".join(sources) or str(run.setting("data.path", "built-in arithmetic"))
    apart = run.setting("data.held_out_path")
    return f"{found}; held out: {apart}" if apart else found


def _listed(settings: Mapping[str, Any]) -> str:
    """Settings in a line; those of nested sections stay in the recipe below."""
    return ", ".join(f"{k} {v}" for k, v in settings.items() if not isinstance(v, dict))


def _joined(between: str, *texts: str) -> str:
    return between.join(filter(None, texts))


def benchmark_table(run: RunFolder) -> Table:
    rows = []
    for name, scores in run.benchmarks.items():
        cells = [name]
        for step in run.benchmark_steps:
            mean, error = scores.get(step, (math.nan, math.nan))
            text = f"{mean:.3f}" if step in scores else ""
            cells.append(f"{text} ± {1.96 * error:.3f}" if math.isfinite(error) else text)
        rows.append(cells)
    return Table(["benchmark", *(f"step {step}" for step in run.benchmark_steps)], rows)


def _samples(run: RunFolder) -> list[dict[str, Any]]:
    """The last evaluation with rollouts, then some before it, the first among them."""
    if not run.samples:
        return []
    *before, last = sorted(run.samples)
    places = np.linspace(0, len(before) - 1, min(_EARLIER, len(before))).round().astype(int)
    found = [{"step": last, "columns": columns(run.samples[last], _CARDS)}]
    for step in sorted({before[place] for place in places}, reverse=True):
        found.append({"step": step, "columns": columns(run.samples[step], _CARDS_OF_EARLIER)})
    return found


def columns(rollouts: Sequence[Rollout], limit: int) -> list[dict[str, Any]]:
    """Right answers, and the others, up to ``limit`` of each; equal ones are shown once."""
    distinct = {(one.problem, one.text): one for one in rollouts}
    right = [one for one in distinct.values() if one.is_right]
    others = [one for one in distinct.values() if not one.is_right]
    return [
        {"title": "Right", "count": len(right), "shown": right[:limit]},
        {"title": "Not right", "count": len(others), "shown": others[:limit]},
    ]
