"""From prompts to graded samples: the one place where an engine is asked and its answers are
judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from red_mcore.config.recipe import Reward
from red_mcore.data.seams import response_text
from red_mcore.rewards.verifier import Verifier, graded
from red_mcore.rollout.protocol import Completion, Engine
from red_mcore.samples import guards
from red_mcore.samples.records import Group, Problem, Sample
from red_mcore.tracking.console import Watch, unwatched


def ask(
    engine: Engine,
    prompts: Sequence[np.ndarray],
    count: int,
    seeds: Sequence[int],
    *,
    max_tokens: Sequence[int],
    temperature: float | None = None,
    top_p: float | None = None,
    watch: Watch = unwatched,
) -> list[list[Completion]]:
    """``count`` responses to each prompt, whatever was asked before; all ranks of the engine call
    it alike."""
    if not count:
        return [[] for _ in prompts]
    engine.reset()
    return engine.sample(
        prompts,
        count,
        seeds,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        watch=watch,
    )


def as_samples(
    problems: Sequence[Problem],
    prompts: Sequence[np.ndarray],
    completions: Sequence[Sequence[Completion]],
    where: str,
) -> list[list[Sample]]:
    """The completions of each problem as samples, not graded.

    RuntimeError for a log-prob that is not finite: an evaluation with broken weights would be a
    measurement. ``where`` says whose engine it was.
    """
    found = []
    for problem, prompt, responses in zip(problems, prompts, completions, strict=True):
        samples = []
        for completion in responses:
            sample = Sample(
                prompt=prompt,
                response=completion.token_ids,
                sampler_logp=completion.logp,
                truncated=completion.truncated,
                policy_version=completion.version,
            )
            samples.append(sample)
        if bad := guards.culprit([Group(problem, samples)], ("sampler_logp",)):
            raise RuntimeError(
                f"{bad}, sampled {where}: the engine's weights or its kernels are broken"
            )
        found.append(samples)
    return found


def grade(
    asked: Sequence[tuple[Problem, Sample]],
    tokenizer: Any,
    stop_ids: Sequence[int],
    verifier: Verifier,
    reward: Reward,
    *,
    begun: Sequence[np.ndarray] | None = None,
    **options: Any,
) -> None:
    """Set text, answer, verdict and accuracy of the samples; on the engine's leader alone.

    ``begun``: token ids that each response goes on from, where ``reward.answer_after`` counts: the
    mark may be in them; None judges the whole text, mark or not. ``options`` are those of
    ``graded``.
    """
    judged = []
    for i, (problem, sample) in enumerate(asked):
        # One by one: batch_decode makes a text of no sample at all, and an engine may have no
        # share.
        sample.text = response_text(tokenizer, sample.response, stop_ids)
        text = sample.text
        if begun is not None and reward.answer_after is not None:
            text = _behind(reward.answer_after, tokenizer.decode(begun[i]) + text)
        judged.append((problem, text, len(sample.response)))
    grades = graded(verifier, reward, judged, **options)
    for (_, sample), found in zip(asked, grades, strict=True):
        sample.answer, sample.verdict = found.answer, found.verdict
        sample.accuracy = float(found.verdict == "correct")


def _behind(mark: str, text: str) -> str:
    """What stands behind the last ``mark`` of ``text``, nothing where it has none."""
    _, found, behind = text.rpartition(mark)
    return behind if found else ""
