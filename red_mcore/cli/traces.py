"""From sets of traces to the set that a student learns from.

    python tools/traces.py filter --data FILE [--student DIR] --out FILE [options]
    python tools/traces.py mix --data FILE ... --minor TEACHER --major TEACHER --out FILE \\
        [--weight 0.2] [--seed 0]
    python tools/traces.py arithmetic --out DIR [--problems 2048] [--held-out 512] [--seed 0]

filter keeps what reads as reasoning of a model's own answers (SERT, arXiv 2502.12744); mix draws
for each problem the trace of one of two teachers (Mix Distillation, arXiv 2502.12143); arithmetic
writes the built-in task with traces of four teachers: long, short, large, small. Files are of the
project's schema, JSON lines or parquet, as red-mcore distill writes them; beside each set that is
written stands NAME.manifest.json. Exit code: 0 done, 2 bad input (one line on stderr), 130
interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from red_mcore.cli import common
from red_mcore.config.recipe import Arithmetic, RecipeError
from red_mcore.distillation.filtering import CONNECTIVES, WORD, Rules
from red_mcore.distillation.mixing import WEIGHT
from red_mcore.system import disk
from red_mcore.system.exit_codes import INTERRUPTED

DTYPES = ("float32", "bfloat16")


def main(arguments: list[str]) -> int:
    """The exit code."""
    options = _parser().parse_args(arguments)
    try:
        return common.attempt("traces", lambda: options.work(options))
    except KeyboardInterrupt:
        return INTERRUPTED


def filter_(options: argparse.Namespace) -> int:
    rules = Rules(
        min_words=options.min_words,
        max_words=options.max_words,
        connectives=tuple(filter(None, options.connectives.split(","))),
        max_repetition=options.max_repetition,
        likely=options.student is not None,
        most=options.most,
        require_correct=options.require_correct,
        word=options.word,
    )
    rules.check()
    _check_out(options.out, [options.data])
    if options.student is not None:
        from red_mcore.rollout.environment import set_environment

        set_environment(offline=options.student.is_dir())
    from red_mcore.data import schema
    from red_mcore.distillation import filtering

    entries = list(schema.read(options.data))
    nlls: list[list[float | None]] | None = None
    if options.student is not None:
        from red_mcore.distillation.student_nll import mean_nlls

        cache = options.out.with_name(options.out.name + ".scores")
        nlls = mean_nlls(options.student, entries, cache, dtype=options.dtype)
    dropped: Counter[str] = Counter()
    kept = []
    for place, entry in enumerate(entries):
        chosen = filtering.choose(entry.traces, rules, nlls[place] if nlls else None)
        dropped += chosen.dropped
        if chosen.kept:
            kept.append(filtering.kept(entry, chosen))
    if not kept:
        raise RecipeError(f"{options.data}: no trace keeps to the rules: {_shown(dropped)}")
    paths = sum(len(entry.traces) for entry in kept)
    about = {
        "rules": asdict(rules),
        "student": None if options.student is None else options.student.name,
        "traces": sum(len(entry.traces) for entry in entries),
        "dropped": dict(sorted(dropped.items())),
        "without_a_trace": len(entries) - len(kept),
        "kept": paths,
    }
    _write(options.out, kept, [options.data], about)
    print(
        f"{options.out}: {paths} of {about['traces']} traces, for {len(kept)} of {len(entries)}"
        f" problems; dropped by the first rule that they break: {_shown(dropped) or 'none'}"
    )
    return 0


def mix(options: argparse.Namespace) -> int:
    _check_out(options.out, options.data)
    from red_mcore.data import schema
    from red_mcore.distillation import mixing

    entries = mixing.joined(schema.read(file) for file in options.data)
    mixed = mixing.mix(
        entries, options.minor, options.major, weight=options.weight, seed=options.seed
    )
    if not mixed.entries:
        raise RecipeError(
            f"no problem has a usable trace of both {options.minor} and {options.major}: give the"
            " files of both, of the same problems"
        )
    about = {
        "weight": options.weight,
        "seed": options.seed,
        "traces": mixed.counts,
        "without_both": mixed.without_both,
    }
    _write(options.out, mixed.entries, options.data, about)
    counts = " + ".join(f"{count} of {name}" for name, count in mixed.counts.items())
    print(
        f"{options.out}: {len(mixed.entries)} problems with a trace each, {counts};"
        f" {mixed.without_both} lack one of the two and are left out"
    )
    return 0


def arithmetic(options: argparse.Namespace) -> int:
    common.check_positive(options, "problems")
    from red_mcore.data import arithmetic_teachers

    settings = Arithmetic(operations=options.operations)
    arithmetic_teachers.write(
        options.out, options.problems, options.held_out, settings, options.seed
    )
    names = ", ".join(arithmetic_teachers.HABITS)
    print(f"{options.out}: {options.problems} problems with traces of {names}")
    return 0


def _check_out(out: Path, sources: Sequence[Path]) -> None:
    """RecipeError where nothing can be read, or writing would replace what is read."""
    if out.suffix not in (".jsonl", ".parquet"):
        raise RecipeError(f"--out {out}: want a name that ends in .jsonl or .parquet")
    for file in sources:
        if not file.is_file():
            raise RecipeError(f"--data {file} does not exist")
        if file.resolve() == out.resolve():
            raise RecipeError(f"--out {out} would replace --data: choose another file")


def _write(out: Path, entries: Sequence[Any], sources: Sequence[Path], about: dict) -> None:
    """The set, and what it was made of."""
    from red_mcore.data import schema
    from red_mcore.tracking.provenance import versions

    out.parent.mkdir(parents=True, exist_ok=True)
    schema.write(out, entries)
    made_of = {file.name: _digest(file) for file in sources}
    row = {"made_of": made_of, **about, "sha256": _digest(out), "versions": versions()}
    place = out.with_suffix(".manifest.json")
    disk.write_atomic(place, json.dumps(row, indent=2, ensure_ascii=False) + "\n")


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _shown(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def _parser() -> argparse.ArgumentParser:
    parser = common.parser("traces", __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    keep = commands.add_parser("filter", help="keep what reads as reasoning")
    draw = commands.add_parser("mix", help="one trace for each problem, of two teachers'")
    make = commands.add_parser("arithmetic", help="the built-in task, with four teachers")
    for command, work in ((keep, filter_), (draw, mix), (make, arithmetic)):
        command.set_defaults(work=work)
    for command in (keep, draw):
        command.add_argument("--out", type=Path, required=True, metavar="FILE")
    _add_filter(keep)
    draw.add_argument("--data", type=Path, required=True, nargs="+", metavar="FILE")
    draw.add_argument("--minor", required=True, metavar="TEACHER", help="of the share --weight")
    draw.add_argument("--major", required=True, metavar="TEACHER", help="of the others")
    draw.add_argument("--weight", type=float, default=WEIGHT, metavar="X", help="(0.2)")
    draw.add_argument("--seed", type=int, default=0, metavar="N")
    make.add_argument("--out", type=Path, required=True, metavar="DIR")
    make.add_argument("--problems", type=int, default=2048, metavar="N", help="(2048)")
    make.add_argument("--held-out", type=int, default=512, metavar="N", help="(512)")
    make.add_argument("--operations", type=int, default=5, metavar="N", help="of a problem (5)")
    make.add_argument("--seed", type=int, default=0, metavar="N")
    return parser


def _add_filter(parser: argparse.ArgumentParser) -> None:
    usual = Rules()
    add = parser.add_argument
    add("--data", type=Path, required=True, metavar="FILE")
    add("--student", type=Path, metavar="DIR", help="keep what it finds likelier than the median")
    add("--dtype", choices=DTYPES, default="float32", help="that the student computes in")
    add("--min-words", type=int, default=usual.min_words, metavar="N", help="(20)")
    add("--max-words", type=int, default=usual.max_words, metavar="N", help="(200)")
    add("--connectives", default=",".join(CONNECTIVES), metavar="A,B", help="one must be there")
    add("--max-repetition", type=float, default=usual.max_repetition, metavar="X", help="(0.3)")
    add("--most", type=int, default=usual.most, metavar="N", help="paths of a question (4)")
    add("--require-correct", action="store_true", help="only verified ones")
    add("--word", default=WORD, metavar="REGEX", help="what a word is")
