"""Responses as ``tools/evaluate.py`` recorded them: ``items.jsonl``, a problem and its graded
responses per line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from red_mcore.config.recipe import RecipeError
from red_mcore.evaluation.items import ITEMS
from red_mcore.rewards.verifier import VERDICTS


@dataclass(frozen=True, eq=False)
class Response:
    """One graded response to one problem."""

    benchmark: str
    item: int
    sample: int
    problem: str
    text: str
    verdict: str
    tokens: int | None
    """Generated tokens; None where the evaluation does not know them."""
    truncated: bool | None
    prompt_ids: np.ndarray | None
    """[P] int32"""
    token_ids: np.ndarray | None
    """[T] int32"""

    @property
    def is_correct(self) -> bool:
        return self.verdict == "correct"

    @property
    def problem_id(self) -> tuple[str, int]:
        """Equal for responses to the same problem, which are no independent observations."""
        return self.benchmark, self.item


@dataclass(frozen=True)
class Evaluation:
    """All responses of one model, under the name that reports give it."""

    name: str
    file: Path
    responses: tuple[Response, ...]
    digest: str
    """The digest of the file's content."""

    def accuracies(self) -> dict[str, dict[int, float]]:
        """benchmark -> item -> share of its responses that are correct."""
        verdicts: dict[tuple[str, int], list[bool]] = {}
        for response in self.responses:
            verdicts.setdefault(response.problem_id, []).append(response.is_correct)
        shares: dict[str, dict[int, float]] = {}
        for (benchmark, item), found in verdicts.items():
            shares.setdefault(benchmark, {})[item] = sum(found) / len(found)
        return shares


def read_evaluation(path: Path, name: str) -> Evaluation:
    """``path``: an evaluation's folder, or its items.jsonl. RecipeError naming file, line and field
    that is wrong."""
    file = path / ITEMS if path.is_dir() else path
    try:
        content = file.read_bytes()
        # ``splitlines`` would also cut at what JSON leaves inside its strings.
        lines = content.decode().split("\n")
    except FileNotFoundError:
        fix = f"name a folder that tools/evaluate.py wrote, or its {ITEMS}"
        raise RecipeError(f"{file} is not there: {fix}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file} cannot be read: {error}") from None
    found: list[Response] = []
    places: set[tuple[str, int]] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            why = f"is not JSON ({error}): was the evaluation stopped?"
            raise RecipeError(f"{where} {why}") from None
        responses = _responses(row, where)
        place = row["benchmark"], row["item"]
        if place in places:
            raise RecipeError(f"{where} repeats item {place[1]} of {place[0]}")
        places.add(place)
        found += responses
    if not found:
        raise RecipeError(f"{file} holds no responses")
    return Evaluation(name, file, tuple(found), hashlib.sha256(content).hexdigest())


def _responses(row: Any, where: str) -> list[Response]:
    try:
        benchmark, item, problem = str(row["benchmark"]), int(row["item"]), str(row["problem"])
        prompt = _ids(row.get("prompt_ids"))
        found = []
        for sample, response in enumerate(row["responses"]):
            verdict = response["verdict"]
            if verdict not in VERDICTS:
                want = ", ".join(VERDICTS)
                raise RecipeError(f"{where}: verdict '{verdict}' is not known: want {want}")
            text, finish = str(response["text"]), response.get("finish")
            ids = _ids(response.get("token_ids"))
            tokens = response.get("tokens") if ids is None else len(ids)
            truncated = None if finish is None else finish == "length"
            known = (verdict, tokens, truncated, prompt, ids)
            found.append(Response(benchmark, item, sample, problem, text, *known))
        return found
    except KeyError as error:
        why = f"has no {error}: it is not as tools/evaluate.py writes it"
        raise RecipeError(f"{where} {why}") from None
    except (TypeError, ValueError, AttributeError) as error:
        if isinstance(error, RecipeError):
            raise
        raise RecipeError(f"{where} is not as tools/evaluate.py writes it: {error}") from None


def _ids(values: Sequence[int] | None) -> np.ndarray | None:
    return None if values is None else np.array(values, dtype=np.int32)


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
        wanted = limit - len(chosen)
        if wanted >= len(places):
            chosen += places
        else:
            chosen += [places[i * len(places) // wanted] for i in range(wanted)]
    return [responses[place] for place in sorted(chosen)]
