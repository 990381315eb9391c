"""Questions that a process of its own answers: transformers is imported there, which without torch
takes a third of the time, and reads settings of the environment but once, which is left to the
ranks.

A module that answers has ``sys.exit(apart.answer(function))`` as its main part.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from red_mcore.config.recipe import RecipeError
from red_mcore.system.exit_codes import BAD_INPUT

_SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


class Unanswered(Exception):
    """The process has ended otherwise; its last line."""


class Asked:
    """``python -m module arguments``, which is at work from now on; with its context it ends."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **_SETTINGS},
        )

    def answer(self) -> Any:
        """Its answer, once it is there. RecipeError where that raises one, Unanswered for any other
        end."""
        answers, errors = self._process.communicate()
        said = (errors.rstrip().splitlines() or [""])[-1]
        if self._process.returncode == BAD_INPUT:
            raise RecipeError(said)
        if code := self._process.returncode:
            raise Unanswered(said or f"exit code {code}")
        return json.loads(answers.splitlines()[-1])

    def __enter__(self) -> Asked:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # whose pipes are closed at the end
            self._process.kill()


def ask(module: str, *arguments: str) -> Any:
    """What ``python -m module arguments`` answers; errors as of ``Asked.answer``."""
    with Asked(module, *arguments) as asked:
        return asked.answer()


def answer(function: Callable[..., Any]) -> int:
    """Print what ``function`` returns for this process's arguments, as JSON; the exit code."""
    try:
        print(json.dumps(function(*sys.argv[1:])))
    except RecipeError as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    return 0


def without_torch() -> None:
    """Let transformers think, and remember, that there is no torch; what else this process imports
    may have it."""
    if "torch" not in sys.modules:
        sys.modules["torch"] = None  # type: ignore[assignment]
        from transformers.utils import is_torch_available

        is_torch_available()
        del sys.modules["torch"]
