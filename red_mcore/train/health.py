"""Runs that learn nothing say so: what recipe, evaluations and metrics tell of it, the cause and the remedy.

A warning is ``{"code", "text", "step"}``. What follows from the recipe is told before a rank starts (``of_recipe``,
step 0), the rest at the end of the step or evaluation that tells it (``watch``). A symptom has to last: rollouts until
they are ``ENOUGH`` answers, everything else of a step for ``recipe.patience`` steps, or from the first to the last in a
shorter run; one evaluation is enough. At the end those count that still hold, or held most of the time
(``warnings``): what was mended on the way is no news. All is plain arithmetic on metrics that all ranks share, so that
the ranks agree, and the state is a JSON-able dict that a checkpoint keeps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from red_mcore.config.recipe import Algorithm, Optimizer, Recipe
from red_mcore.data import sources
from red_mcore.rewards.verifier import VERDICTS
from red_mcore.system.exit_codes import UNHEALTHY

NEARLY_ALL = 0.95
ENOUGH = 16
"""Answers (or traces) that do not happen to be all alike."""
LEAST_CHANGE = 1e-8
"""Of the weights, as a share of their norm, by an update that does something."""
GREEDY = 0.05
"""Temperature or top-p up to which the samples of a prompt are nearly always the same."""

REMEDIES = {
    "truncated": "raise the limit, or look whether the model ever ends a response (chat template, end token)",
    "unparsable": "look at some, at the instruction and at boxed_only",
    "no_verdict": "give a verdict more seconds (timeout) or the verifier more cores",
}
"""What to do about answers that cannot be judged."""

Finding = dict[str, Any]
Means = Mapping[str, float]
"""Metrics, as means over the steps that have a symptom."""


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


def line(warning: Finding) -> str:
    return f"red_mcore: warning: {warning['text']}"


def exit_code(recipe: Recipe, found: list[Finding]) -> int:
    """0, or what a strict run returns where something is ``found``."""
    return UNHEALTHY if recipe.strict and found else 0


def of_recipe(recipe: Recipe) -> list[Finding]:
    """What a valid recipe tells by itself."""
    found = {
        "constant_reward": _constant_reward(recipe),
        "greedy": _greedy(recipe),
        **{f"warm_up_{name}": _warm_up(field, *rest) for name, field, *rest in _schedules(recipe)},
        "warm_up_of_algorithm": _warm_up_of_algorithm(recipe),
        "no_lesson": _no_lesson(recipe),
    }
    return [{"code": code, "text": text, "step": 0} for code, text in found.items() if text]


def watch(
    recipe: Recipe,
    state: dict[str, Any],
    step: int,
    metrics: Mapping[str, float],
    algorithm: Algorithm | None = None,
    *,
    updated: bool = False,
    last: bool = False,
) -> list[Finding]:
    """The warnings that the row of ``step`` brings, each once in a run; ``state`` keeps what was seen so far.

    ``algorithm``: that of the step; None for a row of evaluations alone. ``updated``: whether an optimizer stepped.
    ``last``: no row follows.
    """
    found = []
    for symptom in _symptoms(recipe, metrics, algorithm, updated):
        seen = state.setdefault(symptom.code, {"seen": 0, "held": 0, "row": 0, "on": False, "step": None, "sums": {}})
        seen["seen"] += 1
        if not symptom.holds:
            seen |= {"row": 0, "on": False}
            continue
        seen["held"] += 1
        seen["row"] += 1
        for name, value in symptom.numbers.items():
            seen["sums"][name] = seen["sums"].get(name, 0.0) + value
        seen["text"] = symptom.text({name: total / seen["held"] for name, total in seen["sums"].items()})
        if seen["row"] >= symptom.patience or (last and seen["held"] == seen["seen"]):
            seen["on"] = True
            if seen["step"] is None:
                seen["step"] = step
                found.append(_of_state(symptom.code, seen))
    return found


def warnings(recipe: Recipe, state: Mapping[str, Any]) -> list[Finding]:
    """Those of the recipe, and of what was seen those that hold now or held most of the time."""
    told = {code: seen for code, seen in state.items() if seen["step"] is not None}
    found = [_of_state(code, seen) for code, seen in told.items() if seen["on"] or 2 * seen["held"] > seen["seen"]]
    return of_recipe(recipe) + found


def of_answers(what: str, verdicts: Mapping[str, float], truncated: float | None, limit: str) -> tuple[str, str] | None:
    """(Code, what is wrong) of answers nearly none of which can be judged; None where they can.

    ``verdicts`` are counts or shares, ``truncated`` is a share (None: unknown) of responses cut off at ``limit``.
    """
    count = sum(verdicts.values())
    unparsable, failed = verdicts["unparsable"] / count, (verdicts["timeout"] + verdicts["crash"]) / count
    if truncated is not None and truncated >= NEARLY_ALL:
        return "truncated", f"{_share(truncated)} {what} are cut off at {limit}"
    if unparsable >= NEARLY_ALL:
        cut = f" ({truncated:.0%} are cut off at {limit})" if truncated else ""
        return "unparsable", f"{_share(unparsable)} {what} are unparsable{cut}"
    if failed >= NEARLY_ALL:
        return "no_verdict", f"{_share(failed)} {what} have no verdict (timeout or crash)"
    return None


_OF_STEPS = ("no_update", "no_trace", "wrong_traces", "truncated", "unparsable", "no_verdict")


def _of_state(code: str, seen: Mapping[str, Any]) -> Finding:
    rows = "steps" if code in _OF_STEPS else "evaluations"
    return {
        "code": code,
        "text": f"in {seen['held']} of {seen['seen']} {rows} {seen['text']}",
        "step": seen["step"],
    }


def _symptoms(
    recipe: Recipe, metrics: Mapping[str, float], algorithm: Algorithm | None, updated: bool
) -> Iterator[Symptom]:
    """All that the row can tell, whether it holds or not."""
    if algorithm is not None:
        yield _no_update(recipe, metrics, algorithm, updated)
        if algorithm.traces:
            yield _no_trace(recipe, metrics)
    if "trace/accuracy" in metrics:
        yield _wrong_traces(recipe, metrics)
    batch, rollout = recipe.batch, recipe.rollout
    if "rollout/truncated" in metrics:
        count = sum(metrics[f"reward/{verdict}"] for verdict in VERDICTS)
        shares = {verdict: metrics[f"reward/{verdict}"] / count for verdict in VERDICTS}
        limit = f"rollout.max_response_tokens={rollout.max_response_tokens}"
        rows = math.ceil(ENOUGH / (batch.prompts_per_step * batch.samples_per_prompt))
        yield from _answers("answers", shares, metrics["rollout/truncated"], limit, _ask(recipe), patience=rows)
    benchmarks = recipe.evaluation.benchmarks
    for name in ("", *(benchmarks.names if benchmarks else ())):
        prefix = f"evaluation/{name}_" if name else "evaluation/"
        if f"{prefix}unparsable" not in metrics:
            continue
        shares = {verdict: metrics.get(f"{prefix}{verdict}", 0.0) for verdict in VERDICTS}
        shares["wrong"] = 1 - sum(shares.values())
        if name:
            limit = f"evaluation.benchmarks.protocol.max_tokens={benchmarks.protocol.max_tokens}"
            ask = "set evaluation.benchmarks.protocol.instruction to what the model was trained with"
        else:
            limit, ask = f"rollout.max_response_tokens={rollout.max_response_tokens}", _ask(recipe)
        what, code = (f"answers to {name}", f"{name}_") if name else ("held-out answers", "held_out_")
        yield from _answers(what, shares, metrics.get(f"{prefix}truncated"), limit, ask, code)


def _answers(
    what: str,
    shares: Mapping[str, float],
    truncated: float | None,
    limit: str,
    ask: str,
    prefix: str = "",
    patience: int = 1,
) -> Iterator[Symptom]:
    now = of_answers(what, shares, truncated, limit)
    for code, remedy in (REMEDIES | {"unparsable": ask}).items():

        def text(means: Means, remedy: str = remedy) -> str:
            verdicts = {verdict: means[verdict] for verdict in VERDICTS}
            _, found = of_answers(what, verdicts, means.get("truncated"), limit)
            return f"{found}: {remedy}"

        numbers = {**shares, **({} if truncated is None else {"truncated": truncated})}
        yield Symptom(prefix + code, now is not None and now[0] == code, patience, numbers, text)


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
            "only the last \\boxed{...} counts and nothing asks for it: set data.instruction, e.g. 'Put your final"
            " answer within \\boxed{}.', or reward.boxed_only=false"
        )
    return "only the last \\boxed{...} counts: teach it by imitation first, or use reward.boxed_only=false"


def _no_update(recipe: Recipe, metrics: Mapping[str, float], algorithm: Algorithm, updated: bool) -> Symptom:
    taught = metrics.get("groups/teaching", 0.0) > 0
    change = metrics.get("update/change_norm", 0.0) / (metrics.get("update/weight_norm") or 1.0)
    moved = metrics.get("update/grad_norm", 0.0) > 0 and change > LEAST_CHANGE
    lessons = metrics.get("lesson/updates", 0.0) > 0
    idle = not updated or not (lessons or (taught and moved))
    names = ("all_wrong", "all_right", "teaching")
    numbers = {name: metrics.get(f"groups/{name}", 0.0) for name in names}
    numbers |= {name: metrics.get(f"update/{name}", 0.0) for name in ("skipped", "grad_norm", "lr")}
    field = "optimizer" if algorithm.optimizer == "main" else f"algorithm.{algorithm.optimizer}"

    def text(means: Means) -> str:
        return f"nothing was learnt: {_why_no_update(recipe, algorithm, means, field)}"

    return Symptom("no_update", idle, recipe.patience, numbers, text)


def _why_no_update(recipe: Recipe, algorithm: Algorithm, means: Means, field: str) -> str:
    if means["skipped"] > 0.5:
        return (
            f"the gradient's norm, {means['grad_norm']:.3g} in the mean, is above {field}.skip_grad: raise that, or"
            f" lower {field}.lr"
        )
    if means["teaching"]:
        if not means["grad_norm"]:
            return "the gradient is 0: look at the weights of losses in algorithm.* and of terms in reward.*"
        return (
            f"updates with a learning rate of {means['lr']:.3g} change the weights by less than {LEAST_CHANGE:g} of"
            f" their norm: raise {field}.lr, or {field}.clip_grad where that is tiny"
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
        return f"{why}, and in the others no answer that counts is better: look at reward.* and reward.truncated"
    if wrong >= right:
        return f"{why}: use easier problems, more batch.samples_per_prompt, or imitate traces first"
    return f"{why}: use harder problems"


def _no_trace(recipe: Recipe, metrics: Mapping[str, float]) -> Symptom:
    def text(means: Means) -> str:
        if means["unjudged"]:
            return f"no trace has a verdict (timeout or crash): {REMEDIES['no_verdict']}"
        return (
            f"no group has a trace: use problems with traces (data.trace_field) of at most"
            f" rollout.max_response_tokens={recipe.rollout.max_response_tokens} tokens"
        )

    numbers = {"unjudged": metrics.get("trace/unjudged", 0.0)}
    return Symptom("no_trace", "trace/accuracy" not in metrics, recipe.patience, numbers, text)


def _wrong_traces(recipe: Recipe, metrics: Mapping[str, float]) -> Symptom:
    def text(means: Means) -> str:
        return f"no trace is right by its verdict: {_why_wrong_traces(recipe)}"

    rows = math.ceil(ENOUGH / recipe.batch.prompts_per_step)
    return Symptom("wrong_traces", metrics["trace/accuracy"] == 0, rows, {}, text)


def _why_wrong_traces(recipe: Recipe) -> str:
    reward = recipe.reward
    if reward.answer_after is not None:
        return f"do they have what reward.answer_after='{reward.answer_after}' looks for?"
    if reward.boxed_only:
        return "do they end in \\boxed{...}? Use reward.boxed_only=false for those that do not"
    return "do data.gold_field and data.trace_field belong together?"


def _constant_reward(recipe: Recipe) -> str | None:
    reward = recipe.reward
    terms = (reward.format, reward.overlong, reward.repetition)
    weights = (reward.accuracy, *reward.functions.values())
    if not recipe.algorithm.rollouts or any(weights) or any(term is not None for term in terms):
        return None
    return (
        f"every reward is 0, for reward.accuracy={reward.accuracy:g} and there is no other term: nothing can be learnt"
        " from comparing samples; use reward.accuracy=1"
    )


def _greedy(recipe: Recipe) -> str | None:
    rollout = recipe.rollout
    for name in ("temperature", "top_p"):
        if recipe.algorithm.rollouts and getattr(rollout, name) <= GREEDY:
            return (
                f"rollout.{name}={getattr(rollout, name):g} makes the samples of a prompt alike, and alike they teach"
                f" nothing: use rollout.{name}=1"
            )
    return None


def _schedules(recipe: Recipe) -> Iterator[tuple[str, str, Optimizer, int, str]]:
    """(Name, field, settings, updates, what makes them that many) of each optimizer."""
    of_run = f"steps={recipe.steps}"
    most = recipe.until.most_steps / recipe.steps if recipe.until and recipe.steps else 1
    for name, (settings, updates) in recipe.algorithm.optimizers(recipe).items():
        yield name, "optimizer" if name == "main" else f"algorithm.{name}", settings, math.floor(updates * most), of_run
    if recipe.base is not None:
        yield "base", "base.optimizer", recipe.base.optimizer, recipe.base.steps, f"base.steps={recipe.base.steps}"


def _warm_up(field: str, settings: Optimizer, updates: int, of: str) -> str | None:
    warmup = settings.warmup_steps
    if not updates or warmup < updates:
        return None
    first = 1 / (warmup + 1)
    reached = first + (1 - first) * (updates - 1) / warmup if warmup else first
    return (
        f"{field}.warmup_steps={warmup} is no less than the {updates} updates of {of}: the learning rate gets no"
        f" further than {reached:.0%} of {field}.lr={settings.lr:g}; use a tenth of the updates or fewer"
    )


def _warm_up_of_algorithm(recipe: Recipe) -> str | None:
    warmup = getattr(recipe.algorithm, "warmup_steps", 0)
    if not recipe.steps or recipe.until or warmup < recipe.steps:
        return None
    return f"algorithm.warmup_steps={warmup} is no less than steps={recipe.steps}: use fewer, or more steps"


def _no_lesson(recipe: Recipe) -> str | None:
    wanted = getattr(recipe.algorithm, "demonstrations", 0)
    drawn = recipe.steps * recipe.batch.prompts_per_step
    if not drawn or recipe.until or wanted <= drawn:
        return None
    return (
        f"algorithm.demonstrations={wanted} is more than the {drawn} prompts of all steps, so no trace will ever be"
        f" imitated: use {recipe.batch.prompts_per_step} or fewer"
    )


def _share(share: float) -> str:
    return "all" if share == 1 else f"{share:.1%} of the"
