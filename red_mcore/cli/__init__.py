"""The command lines, ``red-mcore COMMAND ...``: each is a module of this room with
``main(arguments) -> exit code``."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

COMMANDS = {
    "run": "train with a recipe",
    "evaluate": "accuracy on benchmarks, of a model or of recorded responses",
    "report": "one page of a training run",
    "rollouts": "one page of a run's rollouts, steps side by side",
    "analyse": "how models reason, along recorded responses",
    "distill": "traces of a teacher, verified on the way",
    "compare": "methods from one start, over seeds, in one report",
    "convert": "checkpoints to and from Hugging Face folders",
    "doctor": "what this machine has, and what to mend",
    "prepare": "one verified set with a manifest, from any sources",
    "push": "upload an export to the Hugging Face hub",
}
_HELD = ("run", "compare", "evaluate")
"""Commands that SIGUSR1 must not end before they heed it."""


def main(command: str | None = None) -> NoReturn:
    """Run ``command``, by default the first word of the command line, as this program; it ends the
    process."""
    arguments = sys.argv[1:]
    if command is None:
        command, *arguments = arguments or ["--help"]
    if command in ("-h", "--help"):
        print("usage: red-mcore COMMAND ...; red-mcore COMMAND --help tells more\n")
        print("\n".join(f"  {name:<10}{about}" for name, about in COMMANDS.items()))
        sys.exit(0)
    if command == "--version":
        print(f"red-mcore {version('red-mcore')}")
        sys.exit(0)
    if command not in COMMANDS:
        known = ", ".join(COMMANDS)
        print(f"red-mcore: error: no command {command}: use one of {known}", file=sys.stderr)
        sys.exit(2)
    # Not at the top: what a command imports takes seconds, and --help should not.
    from red_mcore.config import modules
    from red_mcore.system import signals, streams

    modules.reach([Path.cwd()])  # as `python -m` does, for users' modules
    streams.outlive()  # before anything is printed
    if command in _HELD:
        signals.hold()
    sys.exit(import_module(f"red_mcore.cli.{command}").main(arguments))
