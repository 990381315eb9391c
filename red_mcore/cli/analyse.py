"""How models reason: lengths, words, probabilities and entropies along recorded responses, side by
side.

    python tools/analyse.py evaluations/base evaluations/grpo RED=evaluations/red --out analysis
    python tools/analyse.py GRPO=evaluations/grpo RED=evaluations/red --out analysis \\
        --model GRPO=runs/grpo --model RED=runs/red --original Qwen2.5-Math-1.5B
    python tools/analyse.py EVAL --out analysis --judge-url http://host:8000/v1 --judge-model NAME
    python tools/analyse.py 3B-long=A 3B-short=B --out analysis --gap 3B 3B-long 3B-short

EVAL is a folder that tools/evaluate.py wrote, or its items.jsonl; NAME=EVAL names it in the report,
otherwise its folder's name does. Written are report.html, analysis.json and figures/*.png.
Log-probs (and judgements) are kept in the output folder: a command that was stopped goes on where
it was. Exit code: 0 done, 2 bad input (one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from red_mcore.cli import common
from red_mcore.config.recipe import RecipeError
from red_mcore.config.redaction import guard_output, redacted
from red_mcore.system.exit_codes import INTERRUPTED
from red_mcore.tracking.console import Watched

if TYPE_CHECKING:
    from red_mcore.analysis.findings import Findings
    from red_mcore.analysis.lengths import LearnabilityGap
    from red_mcore.analysis.recorded import Evaluation
    from red_mcore.analysis.under_models import ScoredEvaluation

DTYPES = ("float32", "bfloat16")


def main(arguments: list[str]) -> int:
    """The exit code."""
    guard_output()
    options = _parser().parse_intermixed_args(arguments)
    command = ["python", "tools/analyse.py", *arguments]
    try:
        return common.attempt("analyse", lambda: _run(options, command))
    except KeyboardInterrupt:
        print("interrupted: run the same command to go on", file=sys.stderr)
        return INTERRUPTED


def _run(options: argparse.Namespace, command: list[str]) -> int:
    _check(options)
    from red_mcore.analysis.findings import find
    from red_mcore.analysis.recorded import read_evaluation
    from red_mcore.reports.analysis.report import write_analysis

    paths = _named(options.evaluations)
    models = _models(options.models, list(paths))
    _check_gaps(options.gaps, list(paths))
    evaluations = {name: read_evaluation(path, name) for name, path in paths.items()}
    gaps = _gaps(options.gaps, evaluations)  # cheap, and may be refused: before any model is loaded
    options.out.mkdir(parents=True, exist_ok=True)  # scores are kept there as they come
    scored = _score(evaluations, models, options) if models else {}
    responses = {name: list(evaluation.responses) for name, evaluation in evaluations.items()}
    responses |= {name: one.responses for name, one in scored.items()}
    # Lengths are compared between evaluations, so that all have to be in one unit.
    known = all(one.tokens is not None for part in responses.values() for one in part)
    found = []
    for name, evaluation in evaluations.items():
        one = find(evaluation, responses[name], "tokens" if known else "words")
        if name in scored:
            one.likelihood = scored[name].likelihood()
        found.append(one)
    judge = ""
    if options.judge_url:
        judge = redacted(f"{options.judge_model} at {options.judge_url}")
        _judge(found, evaluations, options)
    for file in write_analysis(options.out, found, gaps, command, judge):
        if file.suffix != ".png":
            print(file)
    print(options.out / "figures")
    return 0


def _check(options: argparse.Namespace) -> None:
    if (options.judge_url is None) != (options.judge_model is None):
        raise RecipeError("--judge-url and --judge-model belong together: give both, or neither")
    if options.original and not options.models:
        fix = "name the model that wrote the responses, too"
        raise RecipeError(f"--original compares with --model: {fix}")
    common.check_positive(options, "limit", "judge_parallel")


def _check_gaps(gaps: Sequence[Sequence[str]], names: list[str]) -> None:
    students = [student for student, _, _ in gaps]
    if len(set(students)) < len(students):
        raise RecipeError(f"--gap: {', '.join(students)}: name each student once")
    for _, *pair in gaps:
        for name in pair:
            _check_name(name, names, "--gap")


def _gaps(
    asked: Sequence[Sequence[str]], evaluations: dict[str, Evaluation]
) -> dict[str, dict[str, LearnabilityGap]]:
    """What each student learned better from, by benchmark."""
    from red_mcore.analysis.lengths import learnability_gap

    found = {}
    for student, strong, weak in asked:
        found[student] = learnability_gap(evaluations[strong], evaluations[weak])
    return found


def _split(text: str) -> tuple[str | None, Path]:
    """NAME=PATH or PATH; one that exists is a path, even with a = in it."""
    name, _, path = text.partition("=")
    if name and path and not Path(text).exists():
        return name, Path(path)
    return None, Path(text)


def _named(texts: Sequence[str]) -> dict[str, Path]:
    """Evaluations by name; that of a file is its folder's."""
    found: dict[str, Path] = {}
    for text in texts:
        name, path = _split(text)
        if name is None:
            whole = path.resolve()  # EVAL may be "."
            if path.name == "items.jsonl":
                whole = whole.parent
            name = whole.stem if whole.is_file() else whole.name
        if name in found:
            fix = f"name one, for example {name}2={path}"
            raise RecipeError(f"{found[name]} and {path} are both called {name}: {fix}")
        found[name] = path
    return found


def _models(texts: Sequence[str], names: list[str]) -> dict[str, Path]:
    """The model of each evaluation that has one: its own, else the one without a name."""
    found: dict[str | None, Path] = {}
    for text in texts:
        name, path = _split(text)
        if name is not None:
            _check_name(name, names, "--model")
        if name in found and name is None:
            fix = f"name the evaluation of one, as in NAME={path}"
            raise RecipeError(f"--model {found[None]} and {path}: {fix}")
        if name in found:
            raise RecipeError(f"--model: {name} has two models, {found[name]} and {path}")
        found[name] = path
    shared = found.pop(None, None)  # of all that have none of their own
    models = {name: found.get(name, shared) for name in names}
    return {name: model for name, model in models.items() if model}


def _check_name(name: str, names: list[str], option: str) -> None:
    """RecipeError where no evaluation has the name."""
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
        raise RecipeError(f"{option}: no evaluation is called {name}: {hint}")


def _score(
    evaluations: dict[str, Evaluation], models: dict[str, Path], options: argparse.Namespace
) -> dict[str, ScoredEvaluation]:
    """What the models say, by the evaluation's name."""
    from red_mcore.rollout.environment import set_environment

    folders = [*models.values(), *filter(None, [options.original])]
    set_environment(offline=all(folder.is_dir() for folder in folders))
    from red_mcore.analysis import under_models  # brings torch, which reads the environment

    return under_models.score(
        evaluations,
        models,
        options.original,
        options.out / "likelihood",
        instruction=options.instruction,
        limit=options.limit,
        dtype=options.dtype,
    )


def _judge(
    found: Sequence[Findings], evaluations: dict[str, Evaluation], options: argparse.Namespace
) -> None:
    from red_mcore.analysis.findings import find_behaviours
    from red_mcore.analysis.judge import Judge, judge_all
    from red_mcore.analysis.recorded import spread

    judge = Judge(options.judge_url, options.judge_model, options.judge_parallel)
    cache = options.out / "judgements.jsonl"
    for one in found:
        responses = spread(evaluations[one.name].responses, options.limit)
        with Watched(f"{one.name}: responses judged") as watch:
            judgements = judge_all(judge, responses, cache, watch=watch)
        one.behaviours = find_behaviours(responses, judgements)


def _parser() -> argparse.ArgumentParser:
    usage = "python tools/analyse.py EVAL [EVAL ...] --out DIR [options]"
    parser = common.parser("analyse", __doc__, usage=usage)
    several: dict[str, Any] = {"action": "append", "default": []}

    add = parser.add_argument
    add("evaluations", metavar="EVAL", nargs="+", help="evaluation folders, or NAME=FOLDER")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of report and figures")
    only = "score and judge N responses of each evaluation (all)"
    add("--limit", type=int, metavar="N", help=only)
    gap = (
        "learnability gap of a student between two of the evaluations: taught by long traces (or a"
        " large teacher) and by short ones (or a small teacher); repeatable"
    )
    add("--gap", dest="gaps", nargs=3, metavar=("STUDENT", "STRONG", "WEAK"), help=gap, **several)

    add = parser.add_argument_group("probabilities, entropies and ranks").add_argument
    scorer = (
        "Hugging Face folder, checkpoint or run that scores the responses of evaluation NAME, or of"
        " all that have no model of their own"
    )
    add("--model", dest="models", metavar="[NAME=]M", help=scorer, **several)
    before = "the model before tuning: rank shift, and change"
    add("--original", type=Path, metavar="M", help=before)
    behind = "follows the problem where prompts were not recorded"
    add("--instruction", default="", metavar="TEXT", help=behind)
    add("--dtype", choices=DTYPES, default="float32", help="that models compute in (float32)")

    add = parser.add_argument_group("cognitive behaviours").add_argument
    add("--judge-url", metavar="URL", help="OpenAI-compatible address; key from OPENAI_API_KEY")
    add("--judge-model", metavar="NAME", help="model to ask for there")
    add("--judge-parallel", type=int, default=8, metavar="N", help="requests at a time (8)")
    return parser
