"""What an export says of itself: a model card with its figures, and where it comes from."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from red_mcore.checkpoints import manifests
from red_mcore.config.tree import class_name
from red_mcore.data.files import HUB_NAME, is_function, suffix
from red_mcore.tracking import provenance
from red_mcore.tracking import rows as metric_rows

CARD = "README.md"


def of_checkpoint(checkpoint: Path, companions: Path) -> dict[str, str]:
    """``texts`` for a checkpoint whose configuration is in ``companions``; {} where it is not of a
    run.

    Where a run's files cannot be read a warning says so: the weights are worth converting all the
    same.
    """
    run = companions.parent
    if companions == checkpoint or not (run / "recipe.yaml").is_file():
        return {}
    try:
        state = manifests.read(checkpoint)["state"]
        return texts(run, state["stage"], state["step"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        print(
            f"warning: no model card: the files of {run} cannot be read: {reason}", file=sys.stderr
        )
        return {}


def texts(
    folder: Path, stage: str, step: int, after: Mapping[str, float] | None = None
) -> dict[str, str]:
    """``README.md`` and ``provenance.json`` of the weights that the run in ``folder`` has after
    ``step`` of ``stage``.

    ``after``: the evaluation of these weights, else the last one up to that step in
    ``metrics.jsonl``.
    """
    recipe = provenance.redacted(
        yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    )
    about = {
        **provenance.read(folder),
        "stage": stage,
        "step": step,
        "algorithm": class_name(recipe),
        "recipe": recipe,
    }
    evaluated: list[tuple[int, Mapping[str, float]]] = []
    if stage == "main":
        last = step if after is None else step - 1
        for row in metric_rows.read(folder)[0]:
            if "evaluation/pass1" in row and row["step"] <= last:
                evaluated.append((row["step"], row))
        if after is not None:
            evaluated.append((step, after))
    return {provenance.FILE: json.dumps(about, indent=1) + "\n", CARD: _card(about, evaluated)}


def _card(about: Mapping[str, Any], evaluated: list[tuple[int, Mapping[str, float]]]) -> str:
    recipe, base = about["recipe"], about.get("base_model") or {}
    data, path = recipe["data"], base.get("path")
    trained = f"{about['step']} steps of {about['algorithm']}"
    if about["stage"] == "base":
        trained = f"{about['step']} steps of base training"
    sources = [source["path"] for source in data.get("mixture") or []]
    sources = sources or [data["path"] or "built-in arithmetic"]
    head: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    if base.get("revision") and path and HUB_NAME.fullmatch(path):
        head["base_model"] = path
    if hub := [source for source in sources if _is_hub(source)]:
        head["datasets"] = hub
    head["tags"] = ["red-mcore", about["algorithm"].lower()]
    start = "a fresh model"
    if path is not None:
        start = f"`{path}`"
        if base.get("revision"):
            start += f" ({base['revision'][:12]})"
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {recipe['name']}",
        f"{start}, after {trained} on `{'`, `'.join(sources)}`, trained by red-mcore.",
        *_figures(evaluated),
        "## How it is asked",
        _asked(recipe),
        "## How it was made",
        _made(about),
    ]
    return "\n\n".join(parts) + "\n"


def _is_hub(path: str) -> bool:
    """Whether it is a data set of the hub, and nothing here."""
    is_name = HUB_NAME.fullmatch(path) is not None and "/" in path
    return is_name and not suffix(path) and not is_function(path) and not Path(path).exists()


def _figures(evaluated: list[tuple[int, Mapping[str, float]]]) -> list[str]:
    """Tables of the held-out problems and of the benchmarks, a row for each evaluation."""
    if not evaluated:
        return []
    last = evaluated[-1][1]
    names = {"pass@1": "evaluation/pass1"}
    for name in last:
        if found := re.fullmatch(r"evaluation/pass(?!1$)(\d+)", name):
            names[f"pass@{found[1]}"] = name
    names |= {"tokens": "evaluation/length_tokens", "cut off": "evaluation/truncated"}
    for name in last:
        if found := re.fullmatch(r"evaluation/(.+)_mean", name):
            names[found[1]] = name
    lines = [f"| step | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for step, row in evaluated:
        cells = [_cell(row, name) for name in names.values()]
        lines.append(f"| {step} | {' | '.join(cells)} |")
    told = (
        "On held-out problems, pass@1 with its standard error; step 0 is the model before training."
    )
    return ["## Figures", told, "\n".join(lines)]


def _cell(row: Mapping[str, float], name: str) -> str:
    """A figure, perhaps with its standard error; empty where it was not measured."""
    value, error = row.get(name), row.get(f"{name.removesuffix('_mean')}_stderr")
    if value is None:
        return ""
    cell = f"{value:.3f}"
    if name == "evaluation/length_tokens":
        cell = f"{value:.0f}"
    if error is not None:
        cell += f" ± {error:.3f}"
    return cell


def _asked(recipe: Mapping[str, Any]) -> str:
    data, rollout = recipe["data"], recipe["rollout"]
    lines = ["By its chat template"]
    if data["system_prompt"] is not None:
        lines.append(f"with the system prompt {_code(data['system_prompt'])}")
    if data["instruction"]:
        lines.append(f"each problem followed by a line {_code(data['instruction'])}")
    sampled = (
        f"temperature {recipe['evaluation']['temperature']}, top-p {recipe['evaluation']['top_p']}"
    )
    return (
        f"{', '.join(lines)}. Figures: {sampled}, at most {rollout['max_response_tokens']} tokens."
    )


def _code(text: str) -> str:
    """Markdown's code span of the text in one line."""
    line = " ".join(text.split())
    if "`" in line:
        return f"``{line}``"
    return f"`{line}`"


def _made(about: Mapping[str, Any]) -> str:
    starts = about.get("starts") or []
    if not starts:
        return "Nothing is kept of how the run was started."
    last = starts[-1]
    commit = "no git repository"
    if code := last.get("code"):
        commit = f"commit {code['commit']}"
        if code.get("changed_files"):
            commit += f" and {code['changed_files']} changed files"
    again = ""
    if len(starts) > 1:
        again = f", the last of {len(starts)} starts"
    return (
        f"Code: {commit}. Versions: {', '.join(last['versions'])}. Ranks:"
        f" {last['ranks']}. Command{again}:\n\n"
        f"```bash\n{last['command']}\n```\n\n"
        f"The whole recipe and every start are in `{provenance.FILE}`."
    )
