"""Numbers of an evaluation, from its rows alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from red_mcore.config.recipe import RecipeError
from red_mcore.evaluation.items import Row
from red_mcore.evaluation.statistics import majority, mean_and_error, paired_bootstrap, pass_at_k
from red_mcore.rewards.answers import normal
from red_mcore.rewards.verifier import NO_VERDICT, VERDICTS

Summary = dict[str, Any]
Place = tuple[int, str]
"""Item and text of a problem: choices in another order are another problem."""
_GOLD = "the gold, in any spelling"


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """``{"benchmarks": {name: numbers}, "average": {"mean", "stderr"}}``: ``benchmark_summary``, and the plain mean."""
    names = list(dict.fromkeys(row["benchmark"] for row in rows))
    found = {name: benchmark_summary([row for row in rows if row["benchmark"] == name]) for name in names}
    errors = [each["stderr"] for each in found.values()]
    average = {
        "mean": statistics.fmean(each["mean"] for each in found.values()),
        "stderr": None if None in errors else math.sqrt(sum(error**2 for error in errors)) / len(errors),
    }
    return {"benchmarks": found, "average": average}


def benchmark_summary(rows: Sequence[Row]) -> Summary:
    """Of one benchmark's rows.

    ``mean`` (avg@k: mean accuracy over problems and their samples) with its standard error over problems, None of a
    single one; ``pass`` and ``majority`` with theirs, for k = 1, 2, 4, ... up to the samples that every problem has and
    at all of them; lengths in tokens and the truncated share, None where they are not known; counts of verdicts.
    """
    verdicts = [[response["verdict"] for response in row["responses"]] for row in rows]
    counts = [(len(each), each.count("correct")) for each in verdicts]
    samples = min(n for n, _ in counts)
    mean, error = mean_and_error([c / n for n, c in counts])
    sizes = sorted({2**i for i in range(samples.bit_length())} | {samples})
    passes = {k: mean_and_error([pass_at_k(n, c, k) for n, c in counts]) for k in sizes}
    votes = mean_and_error([_vote(row) for row in rows])
    responses = [response for row in rows for response in row["responses"]]
    right = [r for r in responses if r["verdict"] == "correct"]
    wrong = [r for r in responses if r["verdict"] != "correct"]
    finished = [r["finish"] for r in responses]
    return {
        "items": len(rows),
        "samples": samples,
        "mean": mean,
        "stderr": _known(error),
        "pass": {str(k): value for k, (value, _) in passes.items()},
        "pass_stderr": {str(k): _known(error) for k, (_, error) in passes.items()},
        "majority": votes[0],
        "majority_stderr": _known(votes[1]),
        "length_tokens": _mean_length(responses),
        "length_correct_tokens": _mean_length(right),
        "length_wrong_tokens": _mean_length(wrong),
        "truncated": None if None in finished else finished.count("length") / len(finished),
        "verdicts": {name: sum(each.count(name) for each in verdicts) for name in VERDICTS},
    }


def unjudged(summary: Mapping[str, Any]) -> list[str]:
    """The benchmarks on none of whose responses there is a verdict: the judge failed, and the numbers mean nothing."""
    counts = {name: numbers["verdicts"] for name, numbers in summary["benchmarks"].items()}
    return [name for name, of in counts.items() if sum(of[verdict] for verdict in NO_VERDICT) == sum(of.values())]


def metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """``evaluation/NAME_...`` of each benchmark, for MLflow and ``metrics.jsonl``."""
    out = {}
    for name, numbers in summary["benchmarks"].items():
        flat = {key: numbers[key] for key in ("mean", "stderr", "majority", "length_tokens", "truncated")}
        flat |= {f"pass{k}": value for k, value in numbers["pass"].items()}
        flat |= {name: numbers["verdicts"][name] / sum(numbers["verdicts"].values()) for name in VERDICTS[2:]}
        out |= {f"evaluation/{name}_{key}": float(value) for key, value in flat.items() if value is not None}
    average = {f"evaluation/average_{key}": value for key, value in summary["average"].items()}
    return out | {name: value for name, value in average.items() if value is not None}


def samples(rows: Sequence[Row], count: int) -> list[dict[str, Any]]:
    """The first response to each of the first ``count`` problems, to read."""
    found = [{"benchmark": row["benchmark"], "problem": row["problem"], "gold": row["gold"]} for row in rows[:count]]
    responses = ({k: v for k, v in row["responses"][0].items() if k != "token_ids"} for row in rows)
    return [shown | response for shown, response in zip(found, responses, strict=False)]


def against(rows: Sequence[Row], others: Sequence[Row]) -> dict[str, dict[str, float]]:
    """This evaluation's accuracy minus the other's on each benchmark that both have: paired bootstrap over problems.

    RecipeError as in ``check_comparable``.
    """
    ours, theirs = _accuracies(rows), _accuracies(others)
    found = {}
    for name in check_comparable(ours, theirs):
        mean, error, low, high = paired_bootstrap([ours[name][place] - theirs[name][place] for place in ours[name]])
        found[name] = {"difference": mean, "stderr": error, "low": low, "high": high}
    return found


def places(rows: Sequence[Row]) -> dict[str, set[Place]]:
    """The problems of each benchmark."""
    found: dict[str, set[Place]] = {}
    for row in rows:
        found.setdefault(row["benchmark"], set()).add((row["item"], row["problem"]))
    return found


def check_comparable(ours: Mapping[str, Collection[Place]], theirs: Mapping[str, Collection[Place]]) -> list[str]:
    """The benchmarks of both. RecipeError where there are none, or one has other problems there than here."""
    shared = [name for name in ours if name in theirs]
    if not shared:
        raise RecipeError(f"--against: no benchmark in common, {', '.join(ours)} here and {', '.join(theirs)} there")
    for name in shared:
        same = len(set(ours[name]) & set(theirs[name]))
        if not same == len(ours[name]) == len(theirs[name]):
            raise RecipeError(
                f"--against: the problems of {name} are others there ({len(ours[name])} here, {len(theirs[name])}"
                f" there, {same} the same): evaluate the same file and --limit"
            )
    return shared


def _accuracies(rows: Sequence[Row]) -> dict[str, dict[Place, float]]:
    out: dict[str, dict[Place, float]] = {}
    for row in rows:
        right = [response["verdict"] == "correct" for response in row["responses"]]
        out.setdefault(row["benchmark"], {})[row["item"], row["problem"]] = statistics.fmean(right)
    return out


def _vote(row: Row) -> float:
    """Correct answers are the same answer, however they are written; others are where their normal texts are."""
    correct = [r["verdict"] == "correct" for r in row["responses"]]
    texts = [None if r["answer"] is None else normal(r["answer"]) or None for r in row["responses"]]
    return majority([_GOLD if right else text for right, text in zip(correct, texts, strict=True)], correct)


def _known(error: float) -> float | None:
    return None if math.isnan(error) else error


def _mean_length(responses: Sequence[Row]) -> float | None:
    lengths = [r["tokens"] for r in responses]
    return statistics.fmean(lengths) if lengths and None not in lengths else None
