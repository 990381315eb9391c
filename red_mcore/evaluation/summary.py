"""Numbers of an evaluation, from its graded responses alone."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from red_mcore.config.recipe import RecipeError
from red_mcore.evaluation.items import by_problem
from red_mcore.rewards.answers import normal
from red_mcore.rewards.verifier import NO_VERDICT, VERDICTS
from red_mcore.samples.responses import Response
from red_mcore.stats import majority, mean_and_error, paired_bootstrap, pass_at_k

Summary = dict[str, Any]
Place = tuple[int, str]
"""Item and text of a problem: choices in another order are another problem."""
_LOGGED = ("mean", "stderr", "majority", "length_tokens", "truncated")
"""Numbers of a benchmark that are metrics; its summary has more."""
_GOLD = "the gold, in any spelling"


def summarise(responses: Sequence[Response]) -> Summary:
    """``{"benchmarks": {name: numbers}, "average": {"mean", "stderr"}}``: ``benchmark_summary``,
    and the plain mean."""
    by_benchmark: dict[str, list[Response]] = {}
    for response in responses:
        by_benchmark.setdefault(response.benchmark, []).append(response)
    found = {name: benchmark_summary(each) for name, each in by_benchmark.items()}
    errors = [numbers["stderr"] for numbers in found.values()]
    mean = statistics.fmean(numbers["mean"] for numbers in found.values())
    stderr = None
    if None not in errors:  # the benchmarks are independent of each other
        stderr = math.sqrt(sum(error**2 for error in errors)) / len(errors)
    return {"benchmarks": found, "average": {"mean": mean, "stderr": stderr}}


def benchmark_summary(responses: Sequence[Response]) -> Summary:
    """The numbers of one benchmark.

    ``mean`` (avg@k: mean accuracy over problems and their samples) with its standard error over
    problems, None of a single one; ``pass`` and ``majority`` with theirs, for k = 1, 2, 4, ... up
    to the samples that every problem has and at all of them; lengths in tokens and the truncated
    share, None where they are not known; counts of verdicts.
    """
    problems = list(by_problem(responses).values())
    samples = min(map(len, problems))
    passes, errors = {}, {}
    for k in sorted({2**i for i in range(samples.bit_length())} | {samples}):
        chances = [pass_at_k(len(each), _correct(each), k) for each in problems]
        passes[str(k)], error = mean_and_error(chances)
        errors[str(k)] = _known(error)
    mean, error = mean_and_error([_correct(each) / len(each) for each in problems])
    vote, vote_error = mean_and_error(list(map(_vote, problems)))
    right = [response.tokens for response in responses if response.is_correct]
    wrong = [response.tokens for response in responses if not response.is_correct]
    verdicts = Counter(response.verdict for response in responses)
    cut = Counter(response.truncated for response in responses)
    return {
        "items": len(problems),
        "samples": samples,
        "mean": mean,
        "stderr": _known(error),
        "pass": passes,
        "pass_stderr": errors,
        "majority": vote,
        "majority_stderr": _known(vote_error),
        "length_tokens": _mean_length(right + wrong),
        "length_correct_tokens": _mean_length(right),
        "length_wrong_tokens": _mean_length(wrong),
        # As with lengths: a share of those that are known would look like one of all.
        "truncated": None if None in cut else cut[True] / cut.total(),
        "verdicts": {name: verdicts[name] for name in VERDICTS},
    }


def unjudged(summary: Mapping[str, Any]) -> list[str]:
    """The benchmarks on none of whose responses there is a verdict: the judge failed, and the
    numbers mean nothing."""
    found = []
    for name, numbers in summary["benchmarks"].items():
        counts = numbers["verdicts"]
        if sum(counts[verdict] for verdict in NO_VERDICT) == sum(counts.values()):
            found.append(name)
    return found


def metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """``evaluation/NAME_...`` of each benchmark, for MLflow and ``metrics.jsonl``."""
    found: dict[str, float] = {}
    for name, numbers in summary["benchmarks"].items():
        values = {key: numbers[key] for key in _LOGGED}
        values |= {f"pass{k}": value for k, value in numbers["pass"].items()}
        _add(found, name, values | shares_of_no_answer(numbers))
    _add(found, "average", summary["average"])
    return found


def _add(found: dict[str, float], name: str, values: Mapping[str, float | None]) -> None:
    """Add the values that are known."""
    for key, value in values.items():
        if value is not None:
            found[f"evaluation/{name}_{key}"] = float(value)


def held_out_metrics(responses: Sequence[Response]) -> dict[str, float]:
    """``evaluation/...`` of the held-out problems: pass@1 with its standard error over problems,
    pass@k at all samples, reward, length, truncation."""
    numbers = benchmark_summary(responses)
    k, error = numbers["samples"], numbers["pass_stderr"]["1"]
    rewards = [response.reward for response in responses if response.reward is not None]
    # NaN, not left out: a run's rows have the same metrics whatever the number of problems.
    found = {
        "pass1": numbers["pass"]["1"],
        "pass1_stderr": math.nan if error is None else error,
        f"pass{k}": numbers["pass"][str(k)],
        "reward_mean": statistics.fmean(rewards),
        "length_tokens": numbers["length_tokens"],
        "truncated": numbers["truncated"],
    }
    found |= shares_of_no_answer(numbers)
    return {f"evaluation/{name}": value for name, value in found.items()}


def shares_of_no_answer(numbers: Summary) -> dict[str, float]:
    """The shares of the responses that are neither correct nor wrong, by verdict."""
    counts = numbers["verdicts"]
    return {name: counts[name] / sum(counts.values()) for name in VERDICTS[2:]}


def against(
    responses: Sequence[Response], others: Sequence[Response]
) -> dict[str, dict[str, float]]:
    """This evaluation's accuracy minus the other's on each benchmark that both have: paired
    bootstrap over problems.

    RecipeError as in ``check_comparable``.
    """
    ours, theirs = _accuracies(responses), _accuracies(others)
    found = {}
    for name in check_comparable(ours, theirs):
        # Of the same problem: most of the spread is between problems, and falls out.
        differences = [share - theirs[name][place] for place, share in ours[name].items()]
        mean, error, low, high = paired_bootstrap(differences)
        found[name] = {"difference": mean, "stderr": error, "low": low, "high": high}
    return found


def places(responses: Sequence[Response]) -> dict[str, set[Place]]:
    """The problems of each benchmark."""
    found: dict[str, set[Place]] = {}
    for response in responses:
        found.setdefault(response.benchmark, set()).add((response.item, response.problem))
    return found


def check_comparable(
    ours: Mapping[str, Collection[Place]], theirs: Mapping[str, Collection[Place]]
) -> list[str]:
    """The benchmarks of both. RecipeError where there are none, or one has other problems there
    than here."""
    shared = [name for name in ours if name in theirs]
    if not shared:
        raise RecipeError(
            f"--against: no benchmark in common, {', '.join(ours)} here and {', '.join(theirs)}"
            " there"
        )
    for name in shared:
        same = len(set(ours[name]) & set(theirs[name]))
        if not same == len(ours[name]) == len(theirs[name]):
            raise RecipeError(
                f"--against: the problems of {name} are others there ({len(ours[name])} here,"
                f" {len(theirs[name])} there, {same} the same): evaluate the same file and --limit"
            )
    return shared


def _accuracies(responses: Sequence[Response]) -> dict[str, dict[Place, float]]:
    out: dict[str, dict[Place, float]] = {}
    for (name, item), each in by_problem(responses).items():
        out.setdefault(name, {})[item, each[0].problem] = _correct(each) / len(each)
    return out


def _correct(responses: Sequence[Response]) -> int:
    return sum(response.is_correct for response in responses)


def _vote(responses: Sequence[Response]) -> float:
    """Correct answers are the same answer, however they are written; others are where their normal
    texts are."""
    votes: list[str | None] = []
    for response in responses:
        vote: str | None = _GOLD
        if not response.is_correct:
            vote = response.answer and normal(response.answer)
        votes.append(vote or None)
    return majority(votes, [response.is_correct for response in responses])


def _known(error: float) -> float | None:
    return None if math.isnan(error) else error


def _mean_length(lengths: Sequence[int | None]) -> float | None:
    known = [length for length in lengths if length is not None]
    if not known or len(known) < len(lengths):
        return None
    return statistics.fmean(known)
