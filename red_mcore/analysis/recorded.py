"""Responses as ``tools/evaluate.py`` recorded them: ``items.jsonl``, a problem and its graded
responses per line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from red_mcore.evaluation import items
from red_mcore.samples.responses import Response


@dataclass(frozen=True)
class Evaluation:
    """All responses of one model, under the name that reports give it."""

    name: str
    file: Path
    responses: tuple[Response, ...]

    def accuracies(self) -> dict[str, dict[int, float]]:
        """benchmark -> item -> share of its responses that are correct."""
        found: dict[str, dict[int, float]] = {}
        for (name, item), responses in items.by_problem(self.responses).items():
            share = sum(response.is_correct for response in responses) / len(responses)
            found.setdefault(name, {})[item] = share
        return found


def read_evaluation(path: Path, name: str) -> Evaluation:
    """``path``: an evaluation's folder, or its items.jsonl. RecipeError naming file, line and field
    that is wrong."""
    file = path / items.ITEMS if path.is_dir() else path
    return Evaluation(name, file, tuple(items.read(file)))


def spread(responses: Sequence[Response], limit: int | None) -> list[Response]:
    """At most ``limit`` responses (None: all), in order: every problem's first sample, then every
    second, and so on.

    Of the last round, problems are taken at equal distances, so that no benchmark falls out.
    """
    if limit is None or limit >= len(responses):
        return list(responses)
    rounds: dict[int, list[int]] = {}
    for place, response in enumerate(responses):
        rounds.setdefault(response.sample, []).append(place)
    chosen: list[int] = []
    for _, places in sorted(rounds.items()):
        wanted = min(limit - len(chosen), len(places))
        chosen += [places[i * len(places) // wanted] for i in range(wanted)]
    return [responses[place] for place in sorted(chosen)]
