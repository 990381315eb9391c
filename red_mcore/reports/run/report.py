"""One HTML page of a training run: what it reached, how it went, what it wrote, and with which settings."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from red_mcore.reports.page import answers, definitions, details, note, page, section, tiles
from red_mcore.reports.plots import short
from red_mcore.reports.run import first_screen, samples
from red_mcore.reports.run.figures import RunFigures
from red_mcore.reports.run.folder import RunFolder, read_run
from red_mcore.system.disk import write_atomic

_EARLIER = 3
"""Earlier evaluations whose rollouts are on the page, folded up."""


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the page of the run in ``folder`` to ``out``, or to ``report.html`` in it; the path.

    RecipeError where it is no run or cannot be read. The run may still be going: the page is of what there is.
    """
    run = read_run(folder)
    out = out or folder / "report.html"
    write_atomic(out, page(run.name, _body(run), style=samples.STYLE))
    return out


def _body(run: RunFolder) -> str:
    figures = RunFigures(run)
    parts = [
        answers(first_screen.answers(run)),
        tiles(headline(run)),
        definitions(setup(run)),
        figures.held_out(),
        figures.benchmarks(),
        figures.base(),
        figures.rollouts(),
        figures.imitation(),
        figures.optimisation(),
        figures.gap(),
        figures.time(),
        figures.speed(),
        figures.rest(),
        _samples(run),
        _recipe(run),
    ]
    return "\n".join(filter(None, parts))


def headline(run: RunFolder) -> dict[str, tuple[str, str]]:
    """The tiles: name -> (number, detail)."""
    found: dict[str, tuple[str, str]] = {}
    if run.pass_k:
        found[f"held-out pass@{run.pass_k[15:]}"] = (_change(run.metric(run.pass_k)[1], "{:.3f}"), "")
    lengths = run.metric("evaluation/length_tokens")[1]
    if len(lengths):
        found["tokens per answer"] = (_change(lengths, "{:.0f}"), "held-out problems")
    generated = run.total("rollout/generated_tokens")
    trained = run.total("update/tokens") + run.total("lesson/tokens")
    if generated:
        found["generated tokens"] = (short(generated), f"trained on {short(trained)}" if trained else "")
    elif trained:
        found["trained tokens"] = (short(trained), "none generated in training")
    return found


def setup(run: RunFolder) -> dict[str, str]:
    """What was trained, on what and how, in a few lines."""
    get = run.setting
    parallel = {key: get(f"parallel.{key}", 1) for key in ("tensor", "pipeline", "virtual", "context", "expert")}
    split = [f"{key} {value}" for key, value in parallel.items() if value != 1]
    recompute = get("parallel.recompute", "none")
    layout = [f"{get('parallel.ranks', '?')} rank(s)", *split]
    layout += [f"recompute {recompute}"] if recompute != "none" else []
    lines = {
        "algorithm": " - ".join(filter(None, [run.algorithm, _listed(get("algorithm", {}))])),
        "model": _model(run),
        "layout": ", ".join(layout) if run.recipe else "",
        "batch": f"{get('batch.prompts_per_step')} prompts x {get('batch.samples_per_prompt')} samples,"
        f" {get('batch.updates_per_step')} update(s) per step, up to {get('rollout.max_response_tokens')} tokens at"
        f" temperature {get('rollout.temperature')}"
        if get("batch.prompts_per_step")
        else "",
        "optimizer": f"learning rate {get('optimizer.lr')}, {get('optimizer.schedule')}" if get("optimizer.lr") else "",
        "data": _data(run) if run.recipe else "",
        "folder": str(run.folder.absolute()),
        "last written": run.last_written,
    }
    return {key: value for key, value in lines.items() if value}


def _data(run: RunFolder) -> str:
    """Of the sources, the weights where there are several."""
    mixture, apart = run.setting("data.mixture", []), run.setting("data.held_out_path")
    made = [f"{source.get('path')} (weight {source.get('weight', 1.0):g})" for source in mixture]
    found = ", ".join(made) or str(run.setting("data.path", "built-in arithmetic"))
    return f"{found}; held out: {apart}" if apart else found


def _model(run: RunFolder) -> str:
    config = run.setting("model.config", {})
    sizes = {"hidden_size": "hidden", "num_hidden_layers": "layers", "vocab_size": "vocabulary"}
    shape = [str(config["model_type"])] if "model_type" in config else []
    shape += [f"{name} {config[key]}" for key, name in sizes.items() if key in config]
    base = run.setting("base.steps")
    start = str(run.setting("model.path", "from scratch" if run.recipe else ""))
    start += f" after {base} steps of base training" if base else ""
    return ", ".join(filter(None, [start, *shape, str(run.setting("model.dtype", ""))]))


def _listed(settings: dict[str, Any]) -> str:
    """Settings in a line; those of nested sections stay in the recipe below."""
    return ", ".join(f"{key} {value}" for key, value in settings.items() if not isinstance(value, dict))


def _change(values: np.ndarray, form: str) -> str:
    """Before and after."""
    first, last = form.format(values[0]), form.format(values[-1])
    return f"{first} \N{RIGHTWARDS ARROW} {last}" if len(values) > 1 else first


def _samples(run: RunFolder) -> str:
    """The rollouts of the last evaluation, and folded up those of some before it, the first among them."""
    if not run.samples:
        return ""
    *before, last = sorted(run.samples)
    at = np.linspace(0, len(before) - 1, min(_EARLIER, len(before))).round().astype(int)
    parts = [note(f"Of the evaluation after step {last}."), samples.cards(run.samples[last])]
    for step in sorted({before[i] for i in at}, reverse=True):
        title = f"For comparison: after step {step}" if step else "For comparison: before training"
        parts.append(details(title, samples.cards(run.samples[step], most=4)))
    return section("What it wrote", *parts)


def _recipe(run: RunFolder) -> str:
    if not run.recipe:
        return ""
    text = yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True)
    return section("Recipe", details("recipe.yaml", f"<pre>{html.escape(text)}</pre>"))
