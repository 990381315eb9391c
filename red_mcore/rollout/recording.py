"""Rollouts kept in a folder, or taken from one instead of sampled; for debugging.

Under another layout or on other hardware logits round differently, so that sooner or later another
token is sampled and two runs part. Where one records its rollouts (``rollout.record``) and the
other replays them (``rollout.replay``), what still differs is the training. A folder has one file
for each time that a step samples: graded samples and traces, token for token. Evaluations are
always sampled.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from red_mcore.checkpoints import fingerprints
from red_mcore.config.recipe import Recipe, RecipeError, Rollout
from red_mcore.config.tree import flatten, is_within
from red_mcore.megatron.ranks import Ranks, on_main
from red_mcore.samples.records import Group, Problem, Sample
from red_mcore.system import disk

_SCALARS = (
    "is_offline",
    "truncated",
    "text",
    "answer",
    "verdict",
    "accuracy",
    "reward",
    "terms",
    "policy_version",
)
_OF_NO_CONSEQUENCE = ("reward.workers", "reward.failed_share")
"""Settings of the reward that change no reward."""


def recorded_of(recipe: Recipe, tokenizer: Any) -> dict[str, Any]:
    """What graded rollouts depend on beside problems and weights: tokens, prompts, sampling and
    reward."""
    names = ["reward", "data.system_prompt", "data.instruction"]
    names += [f"rollout.{name}" for name in ("temperature", "top_p", "max_response_tokens")]
    settings = {}
    for field, value in flatten(recipe).items():
        if is_within(field, names) and field not in _OF_NO_CONSEQUENCE:
            settings[field] = value
    reward = recipe.reward
    terms = ["accuracy"]
    for name in ("format", "overlong", "repetition"):
        if getattr(reward, name) is not None:
            terms.append(name)
    return {
        "reward.terms": [*terms, *reward.functions],
        **settings,
        "tokenizer": fingerprints.digest(json.dumps(fingerprints.of_tokenizer(tokenizer))),
        "code": fingerprints.of_functions(recipe.reward.paths),
    }


class Recording:
    """What ``rollout.record`` and ``rollout.replay`` ask for; samples as ever where both are
    None."""

    def __init__(
        self, settings: Rollout, here: Ranks, about: Mapping[str, Any] | None = None
    ) -> None:
        """``about``: what all samples depend on, JSON-able, as ``recorded_of`` tells it."""
        self._here, self._about = here, about or {}
        self._record, self._replay = (
            Path(p) if p else None for p in (settings.record, settings.replay)
        )

    def groups(
        self,
        name: str,
        asked: dict[str, Any],
        problems: Sequence[Problem],
        sample: Callable[[], list[Group]],
    ) -> list[Group]:
        """``sample()``, which is recorded, or the groups that were recorded as ``name``; a
        collective of all ranks.

        ``asked``: what the samples depend on, JSON-able. RecipeError naming the file where there is
        no recording, or one for which something else was asked.
        """
        asked = {**_identities(problems), **asked, **self._about}
        if self._replay:
            file = self._replay / f"{name}.npz"
            samples = on_main(self._here, lambda: _read(file, asked))
            return [Group(problem, found) for problem, found in zip(problems, samples, strict=True)]
        groups = sample()
        if self._record:
            kept = self._record / f"{name}.npz"
            on_main(self._here, lambda: _write(kept, asked, groups))
        return groups


def _identities(problems: Sequence[Problem]) -> dict[str, Any]:
    """Problems, traces and, where there are some, columns, as what was asked."""
    rows = fingerprints.of_problems(problems)
    found: dict[str, Any] = {
        "problems": [_identity(problem) for problem in problems],
        "traces": [row[4] for row in rows],
    }
    if columns := [row[6:] for row in rows if row[6:]]:
        found["columns"] = columns
    return found


def _identity(problem: Problem) -> str:
    """Ids count the problems of any data set."""
    content = fingerprints.digest(f"{problem.text}\n{problem.gold}")
    return f"{problem.id}-{content[:12]}"


def _write(file: Path, asked: dict[str, Any], groups: Sequence[Group]) -> None:
    samples = [sample for group in groups for sample in group.samples]
    about: dict[str, Any] = {"asked": asked, "samples": [len(group.samples) for group in groups]}
    for name in _SCALARS:
        about[name] = [getattr(sample, name) for sample in samples]
    prompts = [sample.prompt for sample in samples]
    responses = [sample.response for sample in samples]
    logps = [sample.sampler_logp for sample in samples if sample.sampler_logp is not None]
    buffer = io.BytesIO()
    np.savez(
        buffer,
        about=np.array(json.dumps(about)),
        prompt_lengths=_lengths(prompts),
        response_lengths=_lengths(responses),
        prompts=_joined(np.int32, prompts),
        responses=_joined(np.int32, responses),
        sampler_logps=_joined(np.float32, logps),
    )
    disk.write_atomic(file, buffer.getvalue())


def _read(file: Path, asked: dict[str, Any]) -> list[list[Sample]]:
    """The samples of each problem; RecipeError naming ``file``."""
    try:
        with np.load(file, allow_pickle=False) as found:  # of anybody
            arrays = dict(found)
        about = json.loads(str(arrays["about"]))
        then, samples = dict(about["asked"]), _samples(about, arrays)
    except FileNotFoundError:
        raise RecipeError(
            f"rollout.replay: {file} is missing: record that step, or use rollout.replay=null"
        ) from None
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        EOFError,
        BadZipFile,
        StopIteration,
    ) as error:
        raise RecipeError(
            f"rollout.replay: {file} cannot be read ({error}): record it anew"
        ) from None
    now = json.loads(json.dumps(asked))
    for field in then:  # an earlier version asked for less
        if then.get(field) != now.get(field):
            raise RecipeError(
                f"rollout.replay: {file} was recorded for {field}={str(then.get(field))[:60]},"
                f" now it is {str(now.get(field))[:60]}: replay with the recipe that recorded it"
            )
    return samples


def _samples(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> list[list[Sample]]:
    """What a file holds, by problem."""
    prompts = _split(arrays["prompts"], arrays["prompt_lengths"])
    responses = _split(arrays["responses"], arrays["response_lengths"])
    are_rollouts = ~np.array(about["is_offline"], bool)
    logps = iter(_split(arrays["sampler_logps"], arrays["response_lengths"][are_rollouts]))
    samples = []
    for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        # An earlier version kept no answer.
        scalars = {name: about[name][i] for name in _SCALARS if name in about or name != "answer"}
        logp = next(logps) if are_rollouts[i] else None
        samples.append(Sample(prompt=prompt, response=response, sampler_logp=logp, **scalars))
    ends = np.cumsum(about["samples"], dtype=int)
    return [samples[end - count : end] for end, count in zip(ends, about["samples"], strict=True)]


def _lengths(arrays: list[np.ndarray]) -> np.ndarray:
    return np.array([len(array) for array in arrays], np.int64)


def _joined(dtype: type, arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *arrays])


def _split(array: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    return np.split(array, np.cumsum(lengths))[:-1]
