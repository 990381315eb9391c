"""Addresses without their secrets. No other part of the package.

A recipe holds addresses as they were given, and hands them to whoever opens them. All that is
written, kept or printed passes ``redacted``: files and databases through ``overrides``, errors
through ``RecipeError``, and whatever else is printed (tracebacks, logs of libraries) through
``guard_output``.
"""

from __future__ import annotations

import re
import sys
from typing import Any, TextIO

HIDDEN = "***"
_BEGIN = r"(?:[\w.+-](?::|%3A)(?:/|%2F){1,2}(?![/\s]))"
"""Of an address, also where another one holds it, or a path has lost a slash of it."""
_USER = re.compile(
    rf"({_BEGIN})(?:[^/@:?#\s]*(?::|%3A)\S*(?:@|%40)|[^/?#\s]*(?:@|%40))", re.IGNORECASE
)
"""The user and password before the host. A password may have any sign but spaces, though some ought
to be encoded."""
_NAMES = "token|secret|passw|pwd|key|sig|auth|credential|connect"
_WORD = re.compile(r"\S+")
_QUERY = re.compile(rf"([?&;#][\w.-]*(?:{_NAMES})[\w.-]*=)[^&;#\s]*", re.IGNORECASE)
"""Values of a query that go by a name like a secret's."""


def redacted(text: str) -> str:
    """``text`` with ``***`` for user and password, and for keys and tokens of the query, in each
    address in it."""
    if "/" not in text and "%2" not in text:  # most texts: no address, plain or encoded
        return text
    return _WORD.sub(_without_keys, _USER.sub(rf"\1{HIDDEN}@", text))


def _without_keys(word: re.Match[str]) -> str:
    if "/" not in word[0]:  # no address: ``?key=`` in a sentence is no secret
        return word[0]
    return _QUERY.sub(rf"\1{HIDDEN}", word[0])


def is_left_out(text: str) -> bool:
    """Whether ``text`` has an address whose secret ``redacted`` took out."""
    filled = text.replace(HIDDEN, "secret")
    return filled != text and redacted(filled) != filled


def guard_output() -> None:
    """Let all that this process prints from now on pass ``redacted``."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _Guarded):
            setattr(sys, name, _Guarded(stream))


class _Guarded:
    """A text stream in the place of ``stream``, which is that in all else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redacted(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
