"""From prompts to graded samples: the one place where an engine is asked and its answers are
judged."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from red_mcore.config.recipe import Reward
from red_mcore.data.seams import response_text
from red_mcore.rewards.verifier import Verifier, graded
from red_mcore.rollout.protocol import Completion, Engine
from red_mcore.samples import guards
from red_mcore.samples.records import Group, Problem, Sample
from red_mcore.tracking.console import Watch, unwatched


@dataclass
class Request:
    """A problem that an engine is asked, how its responses are to be drawn, and what they are."""

    problem: Problem
    prompt: np.ndarray
    """[P] int32, the begun response included."""
    limit: int
    """Most tokens of a response."""
    seed: int
    begun: np.ndarray | None = None
    """[B] int32 token ids that each response goes on from, at the end of the prompt; None where the
    whole response is judged, whatever ``reward.answer_after`` says."""
    samples: list[Sample] = field(default_factory=list)


def ask(
    engine: Engine,
    requests: Sequence[Request],
    count: int,
    *,
    temperature: float | None = None,
    top_p: float | None = None,
    watch: Watch = unwatched,
) -> list[list[Completion]]:
    """``count`` responses to each request, whatever was asked before; all ranks of the engine call
    it alike."""
    if not count:
        return [[] for _ in requests]
    engine.reset()  # cached prefixes would make the tokens depend on earlier calls
    return engine.sample(
        [request.prompt for request in requests],
        count,
        [request.seed for request in requests],
        temperature=temperature,
        top_p=top_p,
        max_tokens=[request.limit for request in requests],
        watch=watch,
    )


def take(
    requests: Sequence[Request], completions: Sequence[Sequence[Completion]], where: str
) -> None:
    """Give each request its completions as samples, not graded.

    RuntimeError for a log-prob that is not finite: an evaluation with broken weights would be a
    measurement. ``where`` says whose engine it was.
    """
    for request, responses in zip(requests, completions, strict=True):
        for completion in responses:
            sample = Sample(
                prompt=request.prompt,
                response=completion.token_ids,
                sampler_logp=completion.logp,
                truncated=completion.truncated,
                policy_version=completion.version,
            )
            request.samples.append(sample)
        group = Group(request.problem, request.samples)
        if bad := guards.culprit([group], ("sampler_logp",)):
            raise RuntimeError(
                f"{bad}, sampled {where}: the engine's weights or its kernels are broken"
            )


def grade(
    requests: Sequence[Request],
    tokenizer: Any,
    stop_ids: Collection[int],
    verifier: Verifier,
    reward: Reward,
    **options: Any,
) -> None:
    """Set text, answer, verdict and accuracy of the samples; on the engine's leader alone.

    ``options`` are those of ``graded``.
    """
    samples, judged = [], []
    for request in requests:
        for sample in request.samples:
            # One by one: batch_decode makes a text of no sample at all, and an engine may have no
            # share.
            sample.text = text = response_text(tokenizer, sample.response.tolist(), stop_ids)
            if request.begun is not None and reward.answer_after is not None:
                # The mark may be in what the response goes on from.
                text = _behind(reward.answer_after, tokenizer.decode(request.begun) + text)
            samples.append(sample)
            judged.append((request.problem, text, len(sample.response)))
    for sample, found in zip(samples, graded(verifier, reward, judged, **options), strict=True):
        sample.answer, sample.verdict = found.answer, found.verdict
        sample.accuracy = float(found.verdict == "correct")


def _behind(mark: str, text: str) -> str:
    """What stands behind the last ``mark`` of ``text``, nothing where it has none."""
    _, found, behind = text.rpartition(mark)
    return behind if found else ""
