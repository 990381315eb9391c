"""Several commands one after the other, as a recipe file has them: sample, filter, train, train
again.

    python tools/chain.py RECIPE --out DIR [a.b=c ...] [--dry-run]

RECIPE is a Python file with a list CHAIN beside its function recipe(): each stage is the words of
one red-mcore command, in which {recipe} and {out} stand for the file and the folder. Overrides go
to every stage that trains, before its own. Each command goes on where it was stopped, and so does
the chain: what is done is passed over by the same command line. Exit code: 0 done, that of the
first stage that failed, 2 bad input (one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from red_mcore.cli import common
from red_mcore.config import modules
from red_mcore.config.recipe import RecipeError
from red_mcore.config.redaction import guard_output
from red_mcore.system.exit_codes import INTERRUPTED
from red_mcore.system.signals import SAVE, held, stops

# A stage is killed with this process, however it ends: two must never write to one folder.
_START = """
import sys
from red_mcore.system.launch import die_with_parent
die_with_parent(int(sys.argv.pop(1)))
from red_mcore.cli import main
main()
"""


def main(arguments: list[str]) -> int:
    """The exit code."""
    guard_output()
    options = _parser().parse_intermixed_args(arguments)
    try:
        found = stages(options.recipe, options.out, options.overrides)
    except (RecipeError, OSError) as error:
        return common.refuse("chain", error)
    for number, words in enumerate(found, 1):
        print(f"stage {number} of {len(found)}: red-mcore {shlex.join(words)}", flush=True)
        if options.dry_run:
            continue
        code = _run(words)
        if code:
            if code != INTERRUPTED:
                print(f"chain: stage {number} failed with exit code {code}", file=sys.stderr)
            return code
    return 0


def stages(recipe: Path, out: Path, overrides: list[str]) -> list[list[str]]:
    """The words of each command. RecipeError for a file without a chain, or with a broken one."""
    if not recipe.is_file():
        raise RecipeError(f"recipe file {recipe} does not exist")
    chain = getattr(modules.run_file(recipe), "CHAIN", None)
    if not chain:
        raise RecipeError(f"recipe file {recipe} has no CHAIN: list the words of each command")
    known = {"recipe": str(recipe), "out": str(out)}
    found = []
    for number, stage in enumerate(chain, 1):
        words = []
        for word in stage:
            for name, value in known.items():
                word = word.replace(f"{{{name}}}", value)
            words.append(word)
        if len(words) < 2:
            raise RecipeError(f"recipe file {recipe}: stage {number} is {stage}: want a command")
        if words[0] == "run":
            words[2:2] = overrides
        found.append(words)
    return found


def _run(words: list[str]) -> int:
    """The exit code of one command, in a process of its own; signals are passed on to it."""
    stopped = False
    with held():
        stage = subprocess.Popen(
            [sys.executable, "-c", _START, str(os.getpid()), *words],
            stdin=subprocess.DEVNULL,
            # A terminal's Ctrl-C comes to this process, which passes it on once.
            start_new_session=True,
        )

    def pass_on(number: int, frame: object) -> None:
        nonlocal stopped
        stopped = stopped or number != SAVE
        stage.send_signal(number if number == SAVE else signal.SIGINT)

    before = {number: signal.signal(number, pass_on) for number in (*stops(), SAVE)}
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {SAVE})
    try:
        code = stage.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if stopped:
        return INTERRUPTED
    return code if code >= 0 else 1


def _parser() -> argparse.ArgumentParser:
    parser = common.parser(
        "chain", __doc__, usage="python tools/chain.py RECIPE --out DIR [a.b=c ...] [--dry-run]"
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE")
    parser.add_argument("overrides", nargs="*", metavar="a.b=c", help="of every training")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--dry-run", action="store_true", help="only show the commands")
    return parser
