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
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from red_mcore.config.recipe import RecipeError
from red_mcore.config.redaction import guard_output, redacted
from red_mcore.tracking.console import Watched

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from red_mcore.analysis.findings import Findings, Likelihood
    from red_mcore.analysis.likelihood import TokenScores
    from red_mcore.analysis.recorded import Evaluation
    from red_mcore.analysis.scoring import Tokenized
    from red_mcore.samples.responses import Response

DTYPES = ("float32", "bfloat16")
LEAST_OCCURRENCES = 5
"""A token generated less often has no place in the table of rank shifts."""


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    guard_output()
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_intermixed_args(arguments)
    try:
        _run(options, ["python", "tools/analyse.py", *arguments])
    except (RecipeError, OSError) as error:
        print(f"analyse: error: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: run the same command to go on", file=sys.stderr)
        return 130
    return 0


def _run(options: argparse.Namespace, command: list[str]) -> None:
    _check(options)
    from red_mcore.analysis.findings import find
    from red_mcore.analysis.lengths import learnability_gap
    from red_mcore.analysis.recorded import read_evaluation
    from red_mcore.reports.analysis.report import write_analysis

    paths = _named(options.evaluations)
    models = _models(options.models, list(paths))
    students = [student for student, _, _ in options.gaps]
    if len(set(students)) < len(students):
        raise RecipeError(f"--gap: {', '.join(students)}: name each student once")
    for _, strong, weak in options.gaps:
        _check_name(strong, list(paths), "--gap")
        _check_name(weak, list(paths), "--gap")
    evaluations = {name: read_evaluation(path, name) for name, path in paths.items()}
    # What is cheap and may be refused comes first.
    gaps = {}
    for student, strong, weak in options.gaps:
        gaps[student] = learnability_gap(evaluations[strong], evaluations[weak])
    options.out.mkdir(parents=True, exist_ok=True)
    scored = _score(evaluations, models, options) if models else {}
    responses = {name: list(evaluation.responses) for name, evaluation in evaluations.items()}
    for name, one in scored.items():
        responses[name] = _counted(one.sequences)
    known = all(response.tokens is not None for part in responses.values() for response in part)
    found = []
    for name, evaluation in evaluations.items():
        one = find(evaluation, responses[name], "tokens" if known else "words")
        if name in scored:
            one.likelihood = _likelihood(scored[name])
        found.append(one)
    judge = ""
    if options.judge_url:
        judge = redacted(f"{options.judge_model} at {options.judge_url}")
        _judge(found, evaluations, options)
    for file in write_analysis(options.out, found, gaps, command, judge):
        if file.suffix != ".png":
            print(file)
    print(options.out / "figures")


def _check(options: argparse.Namespace) -> None:
    if (options.judge_url is None) != (options.judge_model is None):
        raise RecipeError("--judge-url and --judge-model belong together: give both, or neither")
    if options.original and not options.models:
        fix = "name the model that wrote the responses, too"
        raise RecipeError(f"--original compares with --model: {fix}")
    for name in ("limit", "judge_parallel"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise RecipeError(f"--{name.replace('_', '-')} {value}: use 1 or more")


def _split(text: str) -> tuple[str | None, Path]:
    """NAME=PATH or PATH; one that exists is a path, whatever is in it."""
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
            whole = path.resolve()
            name = whole.stem if whole.is_file() else whole.name
            name = whole.parent.name if path.name == "items.jsonl" else name
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
    shared = found.pop(None, None)
    return {name: path for name in names if (path := found.get(name, shared))}


def _check_name(name: str, names: list[str], option: str) -> None:
    """RecipeError where no evaluation has the name."""
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
        raise RecipeError(f"{option}: no evaluation is called {name}: {hint}")


@dataclass(eq=False)
class _Scored:
    """One evaluation's responses with what the models say of them."""

    model: Path
    original: Path | None
    sequences: list[Tokenized]
    """Of all responses."""
    chosen: list[Tokenized]
    """Those that are scored."""
    words: dict[str, list[int]]
    """list of words -> ids of its tokens."""
    tokenizer: PreTrainedTokenizerBase
    own: list[TokenScores | str] = field(default_factory=list)
    """Scores of those chosen, or why one was left out."""
    before: list[TokenScores | str] = field(default_factory=list)
    """The same under the original model."""


def _score(
    evaluations: dict[str, Evaluation], models: dict[str, Path], options: argparse.Namespace
) -> dict[str, _Scored]:
    """What the models say, by the evaluation's name; each model is loaded once, in turn."""
    from red_mcore.rollout.environment import set_environment

    folders = list(dict.fromkeys([*models.values(), *filter(None, [options.original])]))
    set_environment(offline=all(folder.is_dir() for folder in folders))
    from red_mcore.analysis.positions import thinking_ids
    from red_mcore.analysis.recorded import spread
    from red_mcore.analysis.scoring import check_same_tokens, read_tokenizer, score_all, tokenize
    from red_mcore.convert.conversion import find_model, open_any

    opened = {}
    for folder in folders:
        place, faults = find_model(folder)
        for fault in faults:
            print(f"warning: {fault}", file=sys.stderr)
        opened[folder] = open_any(place)
    tokenizers = {folder: read_tokenizer(model) for folder, model in opened.items()}
    found: dict[str, _Scored] = {}
    for name, folder in models.items():
        tokenizer, responses = tokenizers[folder], evaluations[name].responses
        sequences = tokenize(responses, tokenizer, options.instruction)
        wanted = {id(response) for response in spread(responses, options.limit)}
        chosen = [sequence for sequence in sequences if id(sequence.response) in wanted]
        if options.original:
            check_same_tokens(chosen, tokenizer, tokenizers[options.original])
        words = thinking_ids(tokenizer, opened[folder].arch.vocab_size)
        found[name] = _Scored(folder, options.original, sequences, chosen, words, tokenizer)
    for folder, model in opened.items():
        jobs = [(one, one.own) for one in found.values() if one.model == folder]
        jobs += [(one, one.before) for one in found.values() if one.original == folder]
        while jobs:
            words = list(jobs[0][0].words.values())
            # All at once, unless tokenizers differ.
            same = [job for job in jobs if list(job[0].words.values()) == words]
            jobs = [job for job in jobs if list(job[0].words.values()) != words]
            sequences = [sequence for one, _ in same for sequence in one.chosen]
            with Watched(f"responses under {folder.name}") as watch:
                cache = options.out / "likelihood"
                made = score_all(model, sequences, words, cache, dtype=options.dtype, watch=watch)
            scores = iter(made)
            for one, place in same:
                place.extend(islice(scores, len(one.chosen)))
    return found


def _counted(sequences: Sequence[Tokenized]) -> list[Response]:
    """The responses, with the token counts that were not recorded."""
    found = []
    for one in sequences:
        known = one.response.tokens
        found.append(replace(one.response, tokens=len(one.token_ids) if known is None else known))
    return found


def _likelihood(one: _Scored) -> Likelihood:
    from red_mcore.analysis.findings import Likelihood, find_positions
    from red_mcore.analysis.positions import Scored, rank_shift

    own, ours, theirs = [], [], []
    left_out: Counter[str] = Counter()
    for sequence, scores, other in zip_longest(one.chosen, one.own, one.before):
        if isinstance(scores, str):
            left_out[scores] += 1
            continue
        own.append(Scored(sequence.response, sequence.token_ids, scores))
        if other is not None and not isinstance(other, str):
            ours.append(own[-1])
            theirs.append(Scored(sequence.response, sequence.token_ids, other))
    shift = rank_shift(ours, theirs, least=LEAST_OCCURRENCES)
    named = [token.token for token in shift.tokens] if shift else []
    return Likelihood(
        model=str(one.model),
        original=str(one.original) if one.original else None,
        responses=len(own),
        left_out=dict(left_out),
        tokenized_here=sum(sequence.response.token_ids is None for sequence in one.chosen),
        thinking_tokens={name: len(ids) for name, ids in one.words.items()},
        own=find_positions(own, one.words),
        before=find_positions(theirs, one.words) if theirs else None,
        change=find_positions(ours, one.words, theirs) if theirs else None,
        shift=shift,
        shift_responses=len(theirs),
        texts={token: one.tokenizer.decode([token]) for token in named},
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
    parser = argparse.ArgumentParser(
        prog="analyse",
        usage="python tools/analyse.py EVAL [EVAL ...] --out DIR [options]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    several = {"action": "append", "default": []}

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
