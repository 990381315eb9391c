"""What one row of metrics tells of a run that learns nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from red_mcore.algorithms.base import GroupAlgorithm
from red_mcore.config.recipe import Protocol, Recipe
from red_mcore.data import sources
from red_mcore.rewards.verifier import VERDICTS
from red_mcore.train.forecast import section_of

NEARLY_ALL = 0.95
ENOUGH = 16
"""Answers (or traces) that do not happen to be all alike."""
LEAST_CHANGE = 1e-8
"""Of the weights, as a share of their norm, by an update that does something."""
REMEDIES = {
    "truncated": "raise the limit, or look whether the model ever ends a response (chat template,"
    " end token)",
    "unparsable": "look at some, at the instruction and at boxed_only",
    "no_verdict": "give a verdict more seconds (timeout) or the verifier more cores",
}
"""What to do about answers that cannot be judged."""
_OF_UPDATES = (
    "groups/all_wrong",
    "groups/all_right",
    "groups/teaching",
    "update/skipped",
    "update/grad_norm",
    "update/lr",
)
"""Metrics that tell why nothing was learnt."""

Means = Mapping[str, float]
"""Metrics, as means over the rows that have a symptom."""


@dataclass(frozen=True)
class Symptom:
    """What one row of metrics says of one thing that may be wrong."""

    code: str
    holds: bool
    patience: int
    """Rows in turn that have to have it."""
    numbers: Mapping[str, float]
    """Metrics that the text is about."""
    text: Callable[[Means], str]
    """What, why, and what to do."""


@dataclass(frozen=True)
class Answers:
    """Answers of one kind, as far as they can be judged."""

    what: str
    """As a sentence calls them."""
    shares: Mapping[str, float]
    """Of the verdicts."""
    truncated: float | None
    """Share of responses that are cut off; None where nobody knows."""
    limit: str
    """What they are cut off at."""
    ask: str
    """What to do where none can be read."""
    prefix: str = ""
    """Of the codes."""
    patience: int = 1


def of_row(
    recipe: Recipe, metrics: Mapping[str, float], algorithm: GroupAlgorithm | None, updated: bool
) -> Iterator[Symptom]:
    """All that the row can tell, whether it holds or not."""
    if algorithm is not None:
        yield _no_update(recipe, metrics, algorithm, updated)
        if algorithm.traces:
            yield _no_trace(recipe, metrics)
    if "trace/accuracy" in metrics:
        yield _wrong_traces(recipe, metrics)
    if "rollout/truncated" in metrics:
        yield from _of_answers(_rollouts(recipe, metrics))
    if "evaluation/unparsable" in metrics:
        yield from _of_answers(_held_out(recipe, metrics))
    benchmarks = recipe.evaluation.benchmarks
    if benchmarks is not None:
        for name in benchmarks.names:
            if f"evaluation/{name}_unparsable" in metrics:
                yield from _of_answers(_benchmark(benchmarks.protocol, metrics, name))


def of_answers(
    what: str, verdicts: Mapping[str, float], truncated: float | None, limit: str
) -> tuple[str, str] | None:
    """(Code, what is wrong) of answers nearly none of which can be judged; None where they can.

    ``verdicts`` are counts or shares, ``truncated`` is a share (None: unknown) of responses cut off
    at ``limit``.
    """
    count = sum(verdicts.values())
    unparsable = verdicts["unparsable"] / count
    failed = (verdicts["timeout"] + verdicts["crash"]) / count
    if truncated is not None and truncated >= NEARLY_ALL:
        return "truncated", f"{_share(truncated)} {what} are cut off at {limit}"
    if unparsable >= NEARLY_ALL:
        text = f"{_share(unparsable)} {what} are unparsable"
        if truncated:
            text += f" ({truncated:.0%} are cut off at {limit})"
        return "unparsable", text
    if failed >= NEARLY_ALL:
        return "no_verdict", f"{_share(failed)} {what} have no verdict (timeout or crash)"
    return None


def _rollouts(recipe: Recipe, metrics: Mapping[str, float]) -> Answers:
    count = sum(metrics[f"reward/{verdict}"] for verdict in VERDICTS)
    shares = {verdict: metrics[f"reward/{verdict}"] / count for verdict in VERDICTS}
    rows = math.ceil(ENOUGH / (recipe.batch.prompts_per_step * recipe.batch.samples_per_prompt))
    limit, ask = _response_limit(recipe), _ask(recipe)
    return Answers("answers", shares, metrics["rollout/truncated"], limit, ask, patience=rows)


def _held_out(recipe: Recipe, metrics: Mapping[str, float]) -> Answers:
    shares, truncated = _evaluated(metrics, "evaluation/")
    limit, ask = _response_limit(recipe), _ask(recipe)
    return Answers("held-out answers", shares, truncated, limit, ask, prefix="held_out_")


def _benchmark(protocol: Protocol, metrics: Mapping[str, float], name: str) -> Answers:
    shares, truncated = _evaluated(metrics, f"evaluation/{name}_")
    limit = f"evaluation.benchmarks.protocol.max_tokens={protocol.max_tokens}"
    ask = "set evaluation.benchmarks.protocol.instruction to what the model was trained with"
    return Answers(f"answers to {name}", shares, truncated, limit, ask, prefix=f"{name}_")


def _evaluated(metrics: Mapping[str, float], prefix: str) -> tuple[dict[str, float], float | None]:
    """(Shares of the verdicts, truncated share) of an evaluation; what was judged counts as
    wrong."""
    shares = {verdict: metrics.get(prefix + verdict, 0.0) for verdict in VERDICTS}
    shares["wrong"] = 1 - sum(shares.values())
    return shares, metrics.get(f"{prefix}truncated")


def _response_limit(recipe: Recipe) -> str:
    return f"rollout.max_response_tokens={recipe.rollout.max_response_tokens}"


def _of_answers(answers: Answers) -> Iterator[Symptom]:
    """A symptom for each reason why nearly none can be judged."""
    now = of_answers(answers.what, answers.shares, answers.truncated, answers.limit)
    numbers = dict(answers.shares)
    if answers.truncated is not None:
        numbers["truncated"] = answers.truncated
    for code, remedy in (REMEDIES | {"unparsable": answers.ask}).items():
        holds = now is not None and now[0] == code
        text = partial(_text_of_answers, answers, remedy)
        yield Symptom(answers.prefix + code, holds, answers.patience, numbers, text)


def _text_of_answers(answers: Answers, remedy: str, means: Means) -> str:
    verdicts = {verdict: means[verdict] for verdict in VERDICTS}
    found = of_answers(answers.what, verdicts, means.get("truncated"), answers.limit)
    assert found is not None  # as in each of the rows, all with this one symptom
    return f"{found[1]}: {remedy}"


def _ask(recipe: Recipe) -> str:
    """What to do about answers that cannot be found."""
    reward, data = recipe.reward, recipe.data
    if reward.answer_after is not None:
        return f"does a response have what reward.answer_after='{reward.answer_after}' looks for?"
    if not reward.boxed_only:
        return f"read some in {recipe.folder}/rollouts"
    asked = "boxed" in data.instruction or "boxed" in (data.system_prompt or "")
    if sources.training(data) and not asked:
        return (
            "only the last \\boxed{...} counts and nothing asks for it: set data.instruction, e.g."
            " 'Put your final answer within \\boxed{}.', or reward.boxed_only=false"
        )
    return (
        "only the last \\boxed{...} counts: teach it by imitation first, or use"
        " reward.boxed_only=false"
    )


def _no_update(
    recipe: Recipe, metrics: Mapping[str, float], algorithm: GroupAlgorithm, updated: bool
) -> Symptom:
    change = metrics.get("update/change_norm", 0.0) / (metrics.get("update/weight_norm") or 1.0)
    moved = metrics.get("update/grad_norm", 0.0) > 0 and change > LEAST_CHANGE
    learns = metrics.get("groups/teaching", 0.0) > 0 and moved
    imitates = metrics.get("lesson/updates", 0.0) > 0
    idle = not updated or not (imitates or learns)
    numbers = {}
    for metric in _OF_UPDATES:
        numbers[metric.split("/")[1]] = metrics.get(metric, 0.0)
    text = partial(_text_of_no_update, algorithm)
    return Symptom("no_update", idle, recipe.patience, numbers, text)


def _text_of_no_update(algorithm: GroupAlgorithm, means: Means) -> str:
    why = _why_no_update(algorithm, means, section_of(algorithm.optimizer))
    return f"nothing was learnt: {why}"


def _why_no_update(algorithm: GroupAlgorithm, means: Means, field: str) -> str:
    if means["skipped"] > 0.5:
        return (
            f"the gradient's norm, {means['grad_norm']:.3g} in the mean, is above"
            f" {field}.skip_grad: raise that, or lower {field}.lr"
        )
    if means["teaching"] and not means["grad_norm"]:
        return (
            "the gradient is 0: look at the weights of losses in algorithm.* and of terms in"
            " reward.*"
        )
    if means["teaching"]:
        return (
            f"updates with a learning rate of {means['lr']:.3g} change the weights by less than"
            f" {LEAST_CHANGE:g} of their norm: raise {field}.lr, or {field}.clip_grad where that is"
            " tiny"
        )
    if not algorithm.rollouts:
        return (
            "no problem that was drawn has a trace that can be used: set data.trace_field, or raise"
            " rollout.max_response_tokens"
        )
    wrong, right = means["all_wrong"], means["all_right"]
    rest = max(0.0, 1 - wrong - right)
    why = f"of the groups {wrong:.0%} have only wrong answers and {right:.0%} only right ones"
    if rest >= max(wrong, right):
        return (
            f"{why}, and in the others no answer that counts is better: look at reward.* and"
            " reward.truncated"
        )
    if wrong >= right:
        return f"{why}: use easier problems, more batch.samples_per_prompt, or imitate traces first"
    return f"{why}: use harder problems"


def _no_trace(recipe: Recipe, metrics: Mapping[str, float]) -> Symptom:
    def text(means: Means) -> str:
        if means["unjudged"]:
            return f"no trace has a verdict (timeout or crash): {REMEDIES['no_verdict']}"
        return (
            "no group has a trace: use problems with traces (data.trace_field) of at most"
            f" {limit} tokens"
        )

    limit = _response_limit(recipe)
    numbers = {"unjudged": metrics.get("trace/unjudged", 0.0)}
    return Symptom("no_trace", "trace/accuracy" not in metrics, recipe.patience, numbers, text)


def _wrong_traces(recipe: Recipe, metrics: Mapping[str, float]) -> Symptom:
    rows = math.ceil(ENOUGH / recipe.batch.prompts_per_step)
    why = f"no trace is right by its verdict: {_why_wrong_traces(recipe)}"
    return Symptom("wrong_traces", metrics["trace/accuracy"] == 0, rows, {}, lambda _: why)


def _why_wrong_traces(recipe: Recipe) -> str:
    reward = recipe.reward
    if reward.answer_after is not None:
        return f"do they have what reward.answer_after='{reward.answer_after}' looks for?"
    if reward.boxed_only:
        return "do they end in \\boxed{...}? Use reward.boxed_only=false for those that do not"
    return "do data.gold_field and data.trace_field belong together?"


def _share(share: float) -> str:
    if share == 1:
        return "all"
    return f"{share:.1%} of the"
