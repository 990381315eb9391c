"""What the commands share: their parsers, and how they end where the input is bad."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console

from red_mcore.config.recipe import RecipeError
from red_mcore.system.exit_codes import BAD_INPUT

PLAIN_WIDTH = 120
"""Characters of a line that no terminal shows."""


def parser(program: str, about: str | None, **settings: Any) -> argparse.ArgumentParser:
    """A parser that shows ``about``, a module's docstring, as it is written."""
    return argparse.ArgumentParser(
        prog=program,
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # a new option must not change what an old command means
        **settings,
    )


def screen() -> Console:
    """Where tables are printed: as wide as the terminal, and wide enough for them where there is
    none."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def check_positive(options: argparse.Namespace, *names: str) -> None:
    """RecipeError for the first of these options that is given and not above 0."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not value > 0:  # a NaN is not, either
            raise RecipeError(f"--{name.replace('_', '-')} {value}: use 1 or more")


def refuse(program: str, why: object) -> int:
    """Say what is wrong with the input; the exit code."""
    print(f"{program}: error: {why}", file=sys.stderr)
    return BAD_INPUT


def attempt(program: str, work: Callable[[], int]) -> int:
    """What ``work`` returns; input or files that it fails on are told in one line."""
    try:
        return work()
    except (RecipeError, OSError) as error:
        return refuse(program, str(error).splitlines()[0])
