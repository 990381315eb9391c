"""Which of the data's problems a run can use, and what is told of the others."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from typing import TYPE_CHECKING

from red_mcore.architecture import Architecture
from red_mcore.recipe import Recipe, RecipeError
from red_mcore.records import Problem
from red_mcore.tracking.files import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable

    from red_mcore.rewards.verifier import Verifier


def check_traces(recipe: Recipe, tokenizer, problems: list[Problem]) -> None:
    """RecipeError where the algorithm learns from traces and no problem has one that can be used."""
    from red_mcore.data.seams import encode_trace

    algorithm, limit = recipe.algorithm, recipe.rollout.max_response_tokens
    if not (algorithm.traces or algorithm.needs_traces):
        return
    if all(encode_trace(tokenizer, problem, limit, recipe.data) is None for problem in problems):
        raise RecipeError(
            f"{type(algorithm).__name__} learns from traces, but none of the {len(problems)} problems has one of at"
            f" most rollout.max_response_tokens={limit} tokens: set data.trace_field, or raise the limit"
        )


def bad_golds(recipe: Recipe, verifier: Verifier, problems: list[Problem], say: Callable[[str], None]) -> set[int]:
    """Ids of the problems whose gold no answer can equal; told, and kept in the run folder for the next start.

    They are left out: every sample of theirs would be wrong, whatever it says.
    """
    file = recipe.folder / "bad_golds.json"
    text = json.dumps([importlib.metadata.version("math-verify"), [[p.id, p.gold, p.kind] for p in problems]])
    identity = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    found = json.loads(file.read_text()) if file.is_file() else {}
    if found.get("golds") != identity:
        faults = zip(problems, verifier.gold_faults(problems), strict=True)
        rows = [{"id": p.id, "problem": p.text, "gold": p.gold, "fault": fault} for p, fault in faults if fault]
        found = {"golds": identity, "rows": rows}
        write_atomic(file, json.dumps(found, indent=1) + "\n")
    rows = found["rows"]
    if rows:
        say(
            f"red_mcore: warning: left out {len(rows)} of {len(problems)} problems whose gold cannot be used, listed in"
            f" {file}; the first: {rows[0]['gold'][:60]!r} ({rows[0]['fault']})"
        )
    return {row["id"] for row in rows}


def load_benchmarks(recipe: Recipe, arch: Architecture, tokenizer) -> tuple[dict[str, list[Problem]], int]:
    """The problems, and the tokens that the longest prompt and its response need; ({}, 0) where none are asked for.

    RecipeError where the model has fewer positions.
    """
    from red_mcore.evaluation import asking, benchmarks

    settings = recipe.evaluation.benchmarks
    if settings is None:
        return {}, 0
    protocol = settings.protocol
    found = {name: benchmarks.load(name, settings.data, protocol.seed, settings.limit) for name in settings.names}
    encoded = asking.prompts(tokenizer, found, protocol)
    asking.check_lengths(encoded, protocol, arch.max_positions, "the model's max_position_embeddings")
    return found, max(map(len, encoded.values())) + protocol.max_tokens


def fitting(recipe: Recipe, tokenizer, problems: list[Problem], is_main: bool) -> list[Problem]:
    """The problems whose prompt fits ``rollout.max_prompt_tokens``; says how many do not."""
    from red_mcore.data.seams import encode_prompt

    limit = recipe.rollout.max_prompt_tokens
    fitting = [p for p in problems if len(encode_prompt(tokenizer, p, recipe.data)) <= limit]
    if not fitting:
        raise RecipeError(f"rollout.max_prompt_tokens={limit}: none of the {len(problems)} problems fits; raise it")
    if is_main and len(fitting) < len(problems):
        left_out = len(problems) - len(fitting)
        print(
            f"left out {left_out} of {len(problems)} problems: longer than rollout.max_prompt_tokens={limit}",
            flush=True,
        )
    return fitting
