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
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from red_mcore.checkpoints import fingerprints
from red_mcore.config.recipe import Recipe, RecipeError, Rollout
from red_mcore.config.tree import flatten, is_within
from red_mcore.megatron.ranks import Ranks, on_main
from red_mcore.rollout.exchange import as_groups
from red_mcore.samples.records import Group, Problem, Sample, samples_of
from red_mcore.system import disk

_AS_SAMPLED = ("is_offline", "truncated", "policy_version")
_AS_GRADED = ("text", "answer", "verdict", "accuracy", "reward", "terms")
_SCALARS = (*_AS_SAMPLED, *_AS_GRADED)
"""Fields of a sample beside its arrays."""
_DAMAGES = (OSError, ValueError, LookupError, TypeError, EOFError, BadZipFile, StopIteration)
"""What reading a file raises that is damaged, or something else."""
_OF_CONSEQUENCE = (
    "reward",
    "data.system_prompt",
    "data.instruction",
    "rollout.temperature",
    "rollout.top_p",
    "rollout.max_response_tokens",
)
"""Settings, and sections of them, that graded rollouts depend on."""
_OF_NO_CONSEQUENCE = ("reward.workers", "reward.failed_share")
"""Settings of the reward that change no reward."""


def recorded_of(recipe: Recipe, tokenizer: Any) -> dict[str, Any]:
    """What graded rollouts depend on beside problems and weights: tokens, prompts, sampling and
    reward."""
    reward = recipe.reward
    optional = ("format", "overlong", "repetition")
    terms = ["accuracy", *(name for name in optional if getattr(reward, name) is not None)]
    about: dict[str, Any] = {"reward.terms": [*terms, *reward.functions]}
    for field, value in flatten(recipe).items():
        if is_within(field, _OF_CONSEQUENCE) and field not in _OF_NO_CONSEQUENCE:
            about[field] = value
    about["tokenizer"] = fingerprints.digest(json.dumps(fingerprints.of_tokenizer(tokenizer)))
    about["code"] = fingerprints.of_functions(reward.paths)
    return about


class Recording:
    """What ``rollout.record`` and ``rollout.replay`` ask for; samples as ever where both are
    None."""

    def __init__(
        self, settings: Rollout, here: Ranks, about: Mapping[str, Any] | None = None
    ) -> None:
        """``about``: what all samples depend on, JSON-able, as ``recorded_of`` tells it."""
        self._here, self._about = here, about or {}
        self._record, self._replay = settings.record, settings.replay

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
            file = Path(self._replay, f"{name}.npz")
            return as_groups(problems, on_main(self._here, lambda: _read(file, asked)))
        groups = sample()
        if self._record:
            kept = Path(self._record, f"{name}.npz")
            on_main(self._here, lambda: _write(kept, asked, groups))
        return groups


def _identities(problems: Sequence[Problem]) -> dict[str, Any]:
    """Problems, traces and, where there are some, columns, as what was asked."""
    identities = []
    for problem in problems:
        # Ids count the problems of any data set: the content tells these from those of another.
        content = fingerprints.digest(f"{problem.text}\n{problem.gold}")
        identities.append(f"{problem.id}-{content[:12]}")
    rows = fingerprints.of_problems(problems)
    found: dict[str, Any] = {"problems": identities, "traces": [row[4] for row in rows]}
    if columns := list(filter(None, (row[6:] for row in rows))):
        found["columns"] = columns
    return found


def _write(file: Path, asked: dict[str, Any], groups: Sequence[Group]) -> None:
    samples = samples_of(groups)
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
        with np.load(file, allow_pickle=False) as found:  # a pickle of anybody's could run code
            arrays = dict(found)
        about = json.loads(str(arrays["about"]))
        then, samples = dict(about["asked"]), _samples(about, arrays)
    except FileNotFoundError:
        raise RecipeError(
            f"rollout.replay: {file} is missing: record that step, or use rollout.replay=null"
        ) from None
    except _DAMAGES as error:
        raise RecipeError(
            f"rollout.replay: {file} cannot be read ({error}): record it anew"
        ) from None
    now = json.loads(json.dumps(asked))
    for field, value in then.items():  # an earlier version asked for less
        if value != now.get(field):
            raise RecipeError(
                f"rollout.replay: {file} was recorded for {field}={str(value)[:60]}, now it is"
                f" {str(now.get(field))[:60]}: replay with the recipe that recorded it"
            )
    return samples


def _samples(about: dict[str, Any], arrays: dict[str, np.ndarray]) -> list[list[Sample]]:
    """What a file holds, by problem."""
    prompts = _split(arrays["prompts"], arrays["prompt_lengths"])
    responses = _split(arrays["responses"], arrays["response_lengths"])
    are_rollouts = ~np.array(about["is_offline"], bool)
    logps = iter(_split(arrays["sampler_logps"], arrays["response_lengths"][are_rollouts]))
    # An earlier version kept no answer.
    kept = {name: about[name] for name in _SCALARS if name in about or name != "answer"}
    samples = []
    for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        scalars = {name: values[i] for name, values in kept.items()}
        logp = next(logps) if are_rollouts[i] else None
        samples.append(Sample(prompt=prompt, response=response, sampler_logp=logp, **scalars))
    rest = iter(samples)
    return [list(islice(rest, count)) for count in about["samples"]]


def _lengths(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.array(list(map(len, arrays)), np.int64)


def _joined(dtype: type, arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *arrays])  # of none at all, too


def _split(array: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    return np.split(array, np.cumsum(lengths))[:-1]
