"""How likely the student finds each trace of a set, by Megatron in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from red_mcore.analysis import scoring
from red_mcore.analysis.likelihood import Dtype
from red_mcore.config.recipe import Data, RecipeError
from red_mcore.convert import conversion
from red_mcore.data import seams
from red_mcore.data.schema import Entry
from red_mcore.distillation.result import TEACHERS
from red_mcore.distillation.settings import Sampling
from red_mcore.samples.records import Problem, Trace
from red_mcore.samples.responses import Response
from red_mcore.tracking.console import Watched

_PROMPT = ("system_prompt", "suffix", "template_arguments")
"""The sampler settings that make the prompt."""


def mean_nlls(
    student: Path, entries: Sequence[Entry], cache: Path, *, dtype: Dtype = "float32"
) -> list[list[float | None]]:
    """For each entry and trace the mean NLL of its tokens, nats, end of turn included where it
    ended by itself; None for one that the student has no room for.

    The prompt is that which the trace was sampled with, as ``meta`` has it. Scores are kept in the
    folder ``cache``, so that the same call goes on after any end. RecipeError where the student
    cannot be read, or has no chat template.
    """
    folder, notes = conversion.find_model(student)
    for note in notes:
        print(f"warning: {note}", flush=True)
    model = conversion.open_any(folder)
    tokenizer = scoring.read_tokenizer(model)
    if tokenizer.chat_template is None:
        raise RecipeError(f"{model.companions} has no chat template: add chat_template.jinja to it")
    asked = []
    for entry in entries:
        prompts: dict[str | None, np.ndarray] = {}
        for number, trace in enumerate(entry.traces):
            if trace.source not in prompts:
                prompts[trace.source] = _prompt(tokenizer, entry, trace.source)
            asked.append(_tokenized(tokenizer, entry, number, trace, prompts[trace.source]))
    with Watched("likelihood under the student") as watch:
        scored = scoring.score_all(model, asked, (), cache, dtype=dtype, watch=watch)
    values = iter(scored)
    return [[_mean(next(values)) for _ in entry.traces] for entry in entries]


def _prompt(tokenizer: Any, entry: Entry, source: str | None) -> np.ndarray:
    settings = entry.meta.get(TEACHERS, {}).get(source, {})
    known = {name: settings[name] for name in _PROMPT if name in settings}
    problem = Problem(id=0, text=entry.problem, gold=entry.gold)
    return seams.encode_prompt(tokenizer, problem, Sampling(**known).prompt_of(Data()))


def _ids(tokenizer: Any, trace: Trace, prompt: np.ndarray) -> np.ndarray:
    if trace.finish_reason == "length":
        return seams.encode_words(tokenizer, trace.text, prompt)
    return seams.encode_response(tokenizer, trace.text, prompt)


def _tokenized(
    tokenizer: Any, entry: Entry, number: int, trace: Trace, prompt: np.ndarray
) -> scoring.Tokenized:
    ids = _ids(tokenizer, trace, prompt)
    response = Response(
        benchmark=entry.id,
        item=0,
        sample=number,
        problem=entry.problem,
        text=trace.text,
        verdict="",
        tokens=len(ids),
        truncated=trace.finish_reason == "length",
        prompt_ids=prompt,
        token_ids=ids,
        gold=entry.gold,
    )
    return scoring.Tokenized(response, prompt, ids)


def _mean(scores: scoring.TokenScores | str) -> float | None:
    """None for what was left out."""
    return None if isinstance(scores, str) else float(-scores.logp.mean())
