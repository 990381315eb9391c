"""One verified set of problems with teacher traces, from any number of sources, with a manifest.

    python tools/prepare_data.py train.jsonl --out prepared
    python tools/prepare_data.py a.jsonl teacher=R1 sampler.temperature=0.6 \\
        owner/name gold_field=final_answer --out mix --benchmarks benchmarks --need-trace

SOURCE is what data.path may be: a file, a folder, a hub name, or package.module:function. What
follows it is said of it alone: name, split, subset, problem_field, gold_field, trace_field, teacher
and sampler.NAME. Written are DIR/set.jsonl, DIR/manifest.json and DIR/dropped.jsonl, which lists
all that is left out. A command that was stopped goes on where it was. Exit code: 0 done, 2 bad
input (one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from red_mcore.cli import common
from red_mcore.config.redaction import guard_output
from red_mcore.preparation import settings
from red_mcore.preparation.settings import Rules
from red_mcore.system.exit_codes import INTERRUPTED


def main(arguments: list[str]) -> int:
    """The exit code."""
    guard_output()
    options = _parser().parse_intermixed_args(arguments)
    try:
        return common.attempt("prepare", lambda: _run(options))
    except KeyboardInterrupt:
        print("interrupted: run the same command to go on", file=sys.stderr)
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    sources = settings.parse_sources(options.sources)
    rules = Rules(
        benchmarks=tuple(options.benchmarks),
        overlap_words=options.overlap_words,
        overlap_share=options.overlap_share,
        near=None if options.near == 0 else options.near,
        max_trace=options.max_trace,
        unit="tokens" if options.tokenizer else options.unit,
        tokenizer=options.tokenizer,
        long=options.long,
        traces=options.traces,
        need_trace=options.need_trace,
        boxed_only=not options.unboxed,
        timeout_seconds=options.timeout,
        max_broken=options.max_broken,
    )
    settings.check(rules)
    common.check_positive(options, "workers", "timeout")
    from red_mcore.preparation import manifest
    from red_mcore.preparation.prepare import prepare

    made = prepare(sources, rules, options.out, options.format, options.workers, options.replace)
    counts = made["counts"]
    print(
        f"{counts['problems']} problems of {counts['rows']} rows, {counts['traces']} traces:"
        f" {options.out / made['set']['file']}"
    )
    print(
        f"left out: {manifest.told(made['left_out'])}; all of it: {options.out / 'dropped.jsonl'}"
    )
    for name, one in made["benchmarks"].items():
        rows, problems = one["overlap"]["rows"], one["overlap"]["problems"]
        print(f"{name}: {rows} rows overlap with {problems} of its {one['problems']} problems")
    if not made["benchmarks"]:
        print("nothing was compared with benchmarks: name their files with --benchmarks")
    return 0


def _parser() -> argparse.ArgumentParser:
    usage = "python tools/prepare_data.py SOURCE [field=value ...] [SOURCE ...] --out DIR [options]"
    parser = common.parser("prepare", __doc__, usage=usage)
    usual = Rules()
    add = parser.add_argument
    add("sources", nargs="+", metavar="SOURCE", help="a source, and fields of its own after it")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the set")
    add("--format", choices=settings.FORMATS, default="jsonl", help="of the set (jsonl)")
    add("--replace", action="store_true", help="replace another set that is in DIR")
    cores = len(os.sched_getaffinity(0))
    add("--workers", type=int, default=cores, metavar="N", help="verifier processes (all cores)")
    share = f"share of a source's rows that may be broken ({usual.max_broken})"
    add("--max-broken", type=float, default=usual.max_broken, metavar="SHARE", help=share)

    add = parser.add_argument_group("repeats and benchmarks").add_argument
    near = f"similarity of near duplicates; 0 looks for none ({usual.near})"
    add("--near", type=float, default=usual.near, metavar="SHARE", help=near)
    place = "file, or folder of files, of benchmarks; repeatable"
    add("--benchmarks", action="append", default=[], metavar="PATH", help=place)
    words = f"n-grams of so many words decide on overlap ({usual.overlap_words})"
    add(
        "--overlap-words",
        type=int,
        choices=settings.SIZES,
        default=usual.overlap_words,
        help=words,
    )
    share = f"share of a benchmark problem's n-grams that is too much ({usual.overlap_share})"
    add("--overlap-share", type=float, default=usual.overlap_share, metavar="SHARE", help=share)

    add = parser.add_argument_group("traces").add_argument
    kept = "which are kept: of a correct answer, also without a verdict, all (correct)"
    add("--traces", choices=settings.KEEP, default=usual.traces, help=kept)
    add("--need-trace", action="store_true", help="leave out problems without one that is kept")
    add("--unboxed", action="store_true", help="search the whole text for an answer without a box")
    seconds = f"CPU time of a verdict ({usual.timeout_seconds:g})"
    add("--timeout", type=float, default=usual.timeout_seconds, metavar="SECONDS", help=seconds)
    add("--max-trace", type=int, metavar="N", help="the longest trace, in units (any length)")
    unit = "of lengths, without a tokenizer: words or characters (words)"
    add("--unit", choices=settings.UNITS[1:], default=usual.unit, help=unit)
    add("--tokenizer", metavar="FOLDER", help="counts tokens in the place of words")
    add("--long", choices=settings.LONG, default=usual.long, help="longer traces are (drop)")
    return parser
