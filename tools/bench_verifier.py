r"""Verdicts per second: the verifier's children against a plain math-verify loop in one process, on
the same pairs.

    python tools/bench_verifier.py --generations DIR --gsm8k FILE.jsonl \
        [--formulas FILE.json] [--workers 2]

The loop is the usual one, ``verify(parse(gold), parse(response))``. Three kinds of pairs: recorded
responses of a model (``*.jsonl`` in DIR, as ``tools/evaluate.py --generations`` reads them),
GSM8K's worked solutions, and, of --formulas (MATH-500), every gold spelt otherwise, and another
problem's. Agreement is the share of equal verdicts.
"""

from __future__ import annotations

import argparse
import logging
import operator
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from red_mcore.config.recipe import Data, RecipeError, Reward
from red_mcore.data.problems import load_problems
from red_mcore.evaluation import benchmarks, generations
from red_mcore.rewards.verifier import Verifier

Pair = tuple[str, str]
"""Gold and response."""


def recorded(folder: Path) -> list[Pair]:
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise RecipeError(f"--generations {folder} has no *.jsonl")
    found = []
    for file in files:
        found += [(each.response.gold, each.response.text) for each in generations.read(file)]
    return found


def solutions(file: Path) -> list[Pair]:
    return [(p.gold, p.trace) for p in load_problems(Data(path=str(file), held_out=0), 0)[0]]


def formulas(file: Path) -> list[Pair]:
    golds = [p.gold for p in benchmarks.load(file.stem, str(file.parent), 0)]
    right, wrong = [], []
    for i, gold in enumerate(golds):
        spelt_otherwise = gold.replace("frac", "dfrac").replace("(", "( ")
        right.append((gold, f"\\boxed{{{spelt_otherwise}}}"))
        another_problem_s = golds[(i + 1) % len(golds)]
        wrong.append((gold, f"\\boxed{{{another_problem_s}}}"))
    return right + wrong


def plain_loop(pairs: Sequence[Pair]) -> list[bool]:
    from math_verify import parse, verify

    # A gold is a formula: without the dollars the parser would look for one in prose.
    return [verify(parse(f"${gold}$"), parse(response)) for gold, response in pairs]


def timed(function, pairs: Sequence[Pair]) -> tuple[float, list[bool]]:
    start = time.perf_counter()
    verdicts = function(pairs)
    return len(pairs) / (time.perf_counter() - start), verdicts


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--generations", type=Path, required=True, metavar="DIR")
    parser.add_argument("--gsm8k", type=Path, required=True, metavar="FILE")
    parser.add_argument("--formulas", type=Path, metavar="FILE")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    try:
        sets = {
            "recorded responses": recorded(options.generations),
            "GSM8K solutions": solutions(options.gsm8k),
        }
        if options.formulas:
            sets["formulas, right and wrong"] = formulas(options.formulas)
    except RecipeError as error:
        print(f"bench_verifier: error: {error}", file=sys.stderr)
        return 2
    logging.getLogger("math_verify").setLevel(logging.ERROR)
    timed(plain_loop, [("\\frac{1}{2}", "so $\\frac{2}{4}$")] * 2)  # imports and tables
    print(f"verdicts per second, {options.workers} workers")
    print("| pairs | loop | verifier | ratio | agreement |\n|---|---|---|---|---|")
    for name, pairs in sets.items():
        with Verifier(
            Reward(workers=options.workers, timeout_seconds=30, boxed_only=False)
        ) as verifier:
            verifier.grade(
                [(f"1/{i}", f"\\boxed{{2/{2 * i}}}") for i in range(3, 40)]
            )  # the children have started
            ours, grades = timed(verifier.grade, pairs)
        plain, verdicts = timed(plain_loop, pairs)
        accepted = [grade.verdict == "correct" for grade in grades]
        same = sum(map(operator.eq, accepted, verdicts)) / len(pairs)
        rates = f"{plain:.0f} | {ours:.0f} | {ours / plain:.1f} x"
        print(f"| {name} ({len(pairs)}) | {rates} | {same:.1%} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
