"""How models reason: lengths, words, probabilities and entropies along recorded responses, side by side.

    python tools/analyse.py evaluations/base evaluations/grpo RED=evaluations/red --out analysis
    python tools/analyse.py GRPO=evaluations/grpo RED=evaluations/red --out analysis \\
        --model GRPO=runs/grpo --model RED=runs/red --original Qwen2.5-Math-1.5B
    python tools/analyse.py EVAL --out analysis --judge-url http://host:8000/v1 --judge-model NAME
    python tools/analyse.py 3B-long=A 3B-short=B --out analysis --gap 3B 3B-long 3B-short

EVAL is a folder that tools/evaluate.py wrote, or its items.jsonl; NAME=EVAL names it in the report, otherwise its
folder's name does. Written are report.html, analysis.json and figures/*.png. Log-probs (and judgements) are kept in the
output folder: a command that was stopped goes on where it was. Exit code: 0 done, 2 bad input (one line on stderr), 130
interrupted.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from red_mcore.config.recipe import RecipeError
from red_mcore.config.redaction import guard_output, redacted
from red_mcore.tracking.console import Watched

if TYPE_CHECKING:
    from red_mcore.analysis.findings import Findings, Likelihood
    from red_mcore.analysis.likelihood import TokenScores
    from red_mcore.analysis.recorded import Evaluation
    from red_mcore.analysis.scoring import Tokenized

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
    for _, *pair in options.gaps:
        for name in pair:
            _known(name, list(paths), "--gap")
    evaluations = {name: read_evaluation(path, name) for name, path in paths.items()}
    # What is cheap and may be refused comes first.
    gaps = {student: learnability_gap(evaluations[strong], evaluations[weak]) for student, strong, weak in options.gaps}
    options.out.mkdir(parents=True, exist_ok=True)
    scored = _score(evaluations, models, options) if models else {}
    responses = {name: list(evaluation.responses) for name, evaluation in evaluations.items()}
    responses |= {name: _counted(one.sequences) for name, one in scored.items()}
    known = all(response.tokens is not None for part in responses.values() for response in part)
    unit = "tokens" if known else "words"
    found = [find(evaluation, responses[name], unit) for name, evaluation in evaluations.items()]
    for one in found:
        if one.name in scored:
            one.likelihood = _likelihood(scored[one.name])
    if options.judge_url:
        _judge(found, evaluations, options)
    judge = redacted(f"{options.judge_model} at {options.judge_url}") if options.judge_url else ""
    for file in write_analysis(options.out, found, gaps, command, judge):
        if file.suffix != ".png":
            print(file)
    print(options.out / "figures")


def _check(options: argparse.Namespace) -> None:
    if (options.judge_url is None) != (options.judge_model is None):
        raise RecipeError("--judge-url and --judge-model belong together: give both, or neither")
    if options.original and not options.models:
        raise RecipeError("--original compares with --model: name the model that wrote the responses, too")
    for name in ("limit", "judge_parallel"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise RecipeError(f"--{name.replace('_', '-')} {value}: use 1 or more")


def _split(text: str) -> tuple[str | None, Path]:
    """NAME=PATH or PATH; one that exists is a path, whatever is in it."""
    name, equals, path = text.partition("=")
    return (name, Path(path)) if equals and name and path and not Path(text).exists() else (None, Path(text))


def _named(texts: Sequence[str]) -> dict[str, Path]:
    """Evaluations by name; that of a file is its folder's."""
    found: dict[str, Path] = {}
    for text in texts:
        name, path = _split(text)
        if name is None:
            whole = path.resolve()
            name = whole.name if not whole.is_file() else whole.parent.name if path.name == "items.jsonl" else path.stem
        if name in found:
            raise RecipeError(f"{found[name]} and {path} are both called {name}: name one, for example {name}2={path}")
        found[name] = path
    return found


def _models(texts: Sequence[str], names: list[str]) -> dict[str, Path]:
    """The model of each evaluation that has one: its own, else the one without a name."""
    own, shared = {}, None
    for text in texts:
        name, path = _split(text)
        if name is None:
            if shared is not None:
                raise RecipeError(f"--model {shared} and {path}: name the evaluation of one, as in NAME={path}")
            shared = path
        else:
            _known(name, names, "--model")
            if name in own:
                raise RecipeError(f"--model: {name} has two models, {own[name]} and {path}")
            own[name] = path
    found = {name: own.get(name, shared) for name in names}
    return {name: path for name, path in found.items() if path is not None}


def _known(name: str, names: list[str], option: str) -> None:
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
    tokenizer: object
    own: list[TokenScores | str] | None = None
    before: list[TokenScores | str] | None = None

    def path(self, role: str) -> Path | None:
        return self.model if role == "own" else self.original


def _score(evaluations: dict[str, Evaluation], models: dict[str, Path], options: argparse.Namespace) -> dict:
    """_Scored by the evaluation's name; each model is loaded once, one after the other."""
    from red_mcore.rollout.environment import set_environment

    folders = dict.fromkeys([*models.values(), *([options.original] if options.original else [])])
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
        jobs = [(one, role) for one in found.values() for role in ("own", "before") if one.path(role) == folder]
        while jobs:
            words = list(jobs[0][0].words.values())
            same = [job for job in jobs if list(job[0].words.values()) == words]  # all, unless tokenizers differ
            jobs = [job for job in jobs if job not in same]
            sequences = [sequence for one, _ in same for sequence in one.chosen]
            with Watched(f"responses under {folder.name}") as watch:
                cache = options.out / "likelihood"
                scores = iter(score_all(model, sequences, words, cache, dtype=options.dtype, watch=watch))
            for one, role in same:
                setattr(one, role, list(islice(scores, len(one.chosen))))
    return found


def _counted(sequences: Sequence[Tokenized]) -> list:
    """The responses, with the token counts that were not recorded."""
    return [
        s.response if s.response.tokens is not None else replace(s.response, tokens=len(s.token_ids)) for s in sequences
    ]


def _likelihood(one: _Scored) -> Likelihood:
    from red_mcore.analysis.findings import Likelihood, find_positions, find_shift
    from red_mcore.analysis.positions import Scored

    def scored(scores: list[TokenScores | str], places: list[int]) -> list[Scored]:
        return [Scored(one.chosen[i].response, one.chosen[i].token_ids, scores[i]) for i in places]

    left_out = Counter(scores for scores in one.own if isinstance(scores, str))
    places = [i for i, scores in enumerate(one.own) if not isinstance(scores, str)]
    own = scored(one.own, places)
    both = [i for i in places if one.before and not isinstance(one.before[i], str)]
    ours, theirs = (scored(one.own, both), scored(one.before, both)) if both else ([], [])
    shift = find_shift(ours, theirs, LEAST_OCCURRENCES)
    return Likelihood(
        model=str(one.model),
        original=str(one.original) if one.original else None,
        responses=len(own),
        left_out=dict(left_out),
        tokenized_here=sum(sequence.response.token_ids is None for sequence in one.chosen),
        thinking_tokens={name: len(ids) for name, ids in one.words.items()},
        own=find_positions(own, one.words),
        before=find_positions(theirs, one.words) if both else None,
        change=find_positions(ours, one.words, theirs) if both else None,
        shift=shift,
        shift_responses=len(both),
        texts={t.token: one.tokenizer.decode([t.token]) for t in shift.tokens} if shift else {},
    )


def _judge(found: Sequence[Findings], evaluations: dict[str, Evaluation], options: argparse.Namespace) -> None:
    from red_mcore.analysis.findings import find_behaviours
    from red_mcore.analysis.judge import Judge, judge_all
    from red_mcore.analysis.recorded import spread

    judge = Judge(options.judge_url, options.judge_model, options.judge_parallel)
    for one in found:
        responses = spread(evaluations[one.name].responses, options.limit)
        with Watched(f"{one.name}: responses judged") as watch:
            judgements = judge_all(judge, responses, options.out / "judgements.jsonl", watch=watch)
        one.behaviours = find_behaviours(responses, judgements)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="analyse",
        usage="python tools/analyse.py EVAL [EVAL ...] --out DIR [options]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("evaluations", metavar="EVAL", nargs="+", help="evaluation folders, or NAME=FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of report and figures")
    scoring = parser.add_argument_group("probabilities, entropies and ranks")
    scoring.add_argument(
        "--model",
        dest="models",
        action="append",
        default=[],
        metavar="[NAME=]M",
        help="Hugging Face folder, checkpoint or run that scores the responses of evaluation NAME, or of all that have"
        " no model of their own",
    )
    scoring.add_argument("--original", type=Path, metavar="M", help="the model before tuning: rank shift, and change")
    scoring.add_argument(
        "--instruction", default="", metavar="TEXT", help="follows the problem where prompts were not recorded"
    )
    scoring.add_argument("--dtype", choices=DTYPES, default="float32", help="that models compute in (float32)")
    parser.add_argument("--limit", type=int, metavar="N", help="score and judge N responses of each evaluation (all)")
    judging = parser.add_argument_group("cognitive behaviours")
    judging.add_argument("--judge-url", metavar="URL", help="OpenAI-compatible address; key from OPENAI_API_KEY")
    judging.add_argument("--judge-model", metavar="NAME", help="model to ask for there")
    judging.add_argument("--judge-parallel", type=int, default=8, metavar="N", help="requests at a time (8)")
    parser.add_argument(
        "--gap",
        dest="gaps",
        nargs=3,
        action="append",
        default=[],
        metavar=("STUDENT", "STRONG", "WEAK"),
        help="learnability gap of a student between two of the evaluations: taught by long traces (or a large teacher)"
        " and by short ones (or a small teacher); repeatable",
    )
    return parser
