"""The bounds of a recipe's numbers and texts, each by itself; what they are together is for ``planning/checks.py``.

Every number of every section has its bounds here, and all are finite: what nobody can mean is a typing error, told
before it costs a night. Numbers of a user's own algorithm, which are not here, have to be finite.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from red_mcore.config import fields as of_fields
from red_mcore.config.fields import FINITE, Bound
from red_mcore.config.recipe import Recipe, RecipeError

MANY = 10**9
COUNT, COUNT_OR_NONE = Bound(1, MANY), Bound(0, MANY)
RANKS = Bound(1, 2**17)
PROMPTS = Bound(1, 10**6)
SAMPLES = Bound(1, 10**5)
TOKENS = Bound(1, 2**24)
PROCESSES = Bound(1, 1024)
SEED = Bound(0, 2**32 - 1, why="what numpy takes")
FRACTION, BELOW_ONE = Bound(0, 1), Bound(0, 1, below=True)
PART = Bound(0, 1, above=True)
WEIGHT = Bound(0, 1e6)
WEIGHT_ABOVE_ZERO = Bound(0, 1e6, above=True)
SIGNED_WEIGHT = Bound(-1e6, 1e6)
SPENT = Bound(0, 1e18)
NORM = Bound(0, 1e9)
SAMPLED = Bound(0.01, 2, why="what vLLM samples at")
SAMPLED_OR_GREEDY = SAMPLED._replace(zero=True)

_BOUNDS: dict[str, dict[str, Bound]] = {
    "Recipe": {"steps": COUNT_OR_NONE, "patience": COUNT, "seed": SEED},
    "Parallel": dict.fromkeys(("ranks", "tensor", "pipeline", "virtual", "context", "expert"), RANKS),
    "Batch": {
        "prompts_per_step": PROMPTS,
        "samples_per_prompt": SAMPLES,
        "updates_per_step": PROMPTS,
        "refills": Bound(0, 10**4),
        "tokens_per_micro_batch": TOKENS,
    },
    "Rollout": {
        "max_prompt_tokens": TOKENS,
        "max_response_tokens": TOKENS,
        "temperature": SAMPLED,
        "top_p": PART,
        "tensor": RANKS,
        "kv_cache_mib": Bound(1, 2**24),
        "logprob_gap_limit": WEIGHT_ABOVE_ZERO,
    },
    "Arithmetic": {
        "operations": Bound(1, 22),
        # A teacher that re-checks almost for ever never fits into its limit, and would be drawn again without end.
        "recheck": Bound(0, 0.8),
        "slip": FRACTION,
        "leap": FRACTION,
        "world": SEED,
    },
    "Data": {"problems": COUNT, "held_out": COUNT, "seed": SEED},
    "Source": {"weight": WEIGHT_ABOVE_ZERO, "problems": COUNT},
    "Format": {"weight": WEIGHT_ABOVE_ZERO},
    "Overlong": {"buffer": TOKENS, "weight": WEIGHT_ABOVE_ZERO},
    "Repetition": {"ngram": TOKENS, "weight": WEIGHT_ABOVE_ZERO},
    "Reward": {
        "workers": PROCESSES,
        "timeout_seconds": Bound(0.1, 10**7),
        "accuracy": WEIGHT,
        "wrong": SIGNED_WEIGHT,
        "functions": SIGNED_WEIGHT,
        "failed_share": FRACTION,
    },
    "Optimizer": {
        "lr": PART,
        "min_lr_ratio": FRACTION,
        "decay_fraction": FRACTION,
        "warmup_steps": COUNT_OR_NONE,
        "betas": BELOW_ONE,
        "eps": PART,
        "weight_decay": Bound(0, 10),
        "clip_grad": NORM,
        "skip_grad": NORM,
    },
    "Base": {"steps": COUNT, "sequences_per_step": PROMPTS},
    "Checkpoint": {
        "every": COUNT_OR_NONE,
        "keep": COUNT,
        "keep_every": COUNT_OR_NONE,
        "timeout_seconds": Bound(1, 10**7),
    },
    "Tracking": {"rollout_rows": Bound(0, 10**6), "rollouts_every": COUNT_OR_NONE},
    "Protocol": {
        "temperature": SAMPLED_OR_GREEDY,
        "top_p": PART,
        "max_tokens": TOKENS,
        "samples": SAMPLES,
        "competition_samples": SAMPLES,
        "seed": SEED,
        "sequences_per_call": COUNT,
    },
    "Benchmarks": {"limit": COUNT, "every": COUNT_OR_NONE},
    "Evaluation": {
        "every": COUNT_OR_NONE,
        "samples": SAMPLES,
        "temperature": SAMPLED_OR_GREEDY,
        "top_p": PART,
        "seed": SEED,
    },
    "Until": {"generated_tokens": SPENT, "train_seconds": SPENT, "most_steps": COUNT},
}
_PATHS = (
    *("runs", "model.path", "model.chat_template", "data.path", "data.held_out_path", "rollout.record"),
    *("rollout.replay", "evaluation.benchmarks.data"),
)
"""Texts that name files or folders."""
_PROSE = (
    *("data.instruction", "data.system_prompt", "data.template_arguments", "reward.answer_after", "model.config"),
    *("evaluation.benchmarks.protocol", "algorithm"),
)
"""Fields, and sections, whose texts may have several lines."""
_LONGEST_NAME, _LONGEST_TEXT = 200, 3000
"""Bytes of a file's name, and characters of any text but prose; file systems take 255 and 4096 bytes, and a run puts
names of its own behind."""


def bound_of(section: type, name: str) -> Bound | None:
    """The bounds of a section's field; None where there are none, as of texts and of a user's own settings."""
    if (found := of_fields.bound_of(section, name)) is not None:
        return found
    return next(
        (_BOUNDS[kind.__name__][name] for kind in section.__mro__ if name in _BOUNDS.get(kind.__name__, ())), None
    )


def check_numbers(recipe: Recipe) -> None:
    """RecipeError, one line with the field, the value and the fix, for a number or text out of its bounds."""
    check_section(recipe)
    texts = dict(_leaves(recipe))
    for name in ("name", *_PATHS):
        _check_path(name, texts.get(name))
    if not re.fullmatch(r"\w[\w.+-]*(/\w[\w.+-]*)*", recipe.name):
        raise RecipeError(f"name='{recipe.name}' becomes a folder: use letters, digits and . _ + - only")


def check_section(section: Any, prefix: str = "") -> None:
    """The same for one section, the names of whose fields ``prefix`` stands before."""
    for field in fields(section):
        name, value = f"{prefix}{field.name}", getattr(section, field.name)
        for inner, part in _sections(name, value):
            check_section(part, f"{inner}.")
        if isinstance(value, list) and any(isinstance(item, list | dict) for item in value):
            raise RecipeError(f"{name}={value}: want a list of plain values")
        bound = bound_of(type(section), field.name) or FINITE
        for leaf, number in _leaves_of(name, value):
            if isinstance(number, str):
                _check_text(leaf, number)
            elif isinstance(number, int | float) and not isinstance(number, bool) and (fault := bound.fault(number)):
                raise RecipeError(f"{leaf}={_shown(number)} {fault}")


def _leaves(section: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for field in fields(section):
        name, value = f"{prefix}{field.name}", getattr(section, field.name)
        for inner, part in _sections(name, value):
            yield from _leaves(part, f"{inner}.")
        yield from _leaves_of(name, value)


def _sections(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The section that a field is, or those in its list."""
    if is_dataclass(value):
        yield name, value
    for place, item in enumerate(value if isinstance(value, list) else ()):
        if is_dataclass(item):
            yield f"{name}[{place}]", item


def _leaves_of(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """(name, value) of what is no section, list or mapping; keys are texts, too."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{name} (a name in it)", str(key)
            yield from _leaves_of(f"{name}.{key}", item)
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _leaves_of(f"{name}[{place}]", item)
    elif not is_dataclass(value):
        yield name, value


def _check_text(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RecipeError(f"{name}={text!r} is no text: it has bytes that are not UTF-8") from None
    if "\0" in text:
        raise RecipeError(f"{name}={text[:60]!r} has a null byte, which no file and no program takes: leave it out")
    if name.startswith(_PROSE):
        return
    if len(text.splitlines()) > 1:
        raise RecipeError(f"{name}={text[:60]!r} has a line break: leave it out")
    if len(text) > _LONGEST_TEXT:
        raise RecipeError(f"{name}='{text[:40]}...' has {len(text)} characters: use at most {_LONGEST_TEXT}")


def _check_path(name: str, path: Any) -> None:
    if not isinstance(path, str):
        return
    if not path:
        raise RecipeError(f"{name} is an empty text: name a place, or use null")
    longest = max(len(part.encode()) for part in path.split("/"))
    if longest > _LONGEST_NAME:
        raise RecipeError(f"{name}='{path[:40]}...' has a name of {longest} bytes in it: use at most {_LONGEST_NAME}")


def _shown(number: float) -> str:
    if isinstance(number, int) and abs(number) >= 10**20:
        return f"about 10^{round((number.bit_length() - 1) * math.log10(2))}"
    return f"{number}"
