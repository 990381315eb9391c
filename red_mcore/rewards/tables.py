"""What the grader's tables are written with: sets of words, and rules that rewrite a text."""

from __future__ import annotations

import re
from collections.abc import Callable

Replacement = str | Callable[[re.Match[str]], str]


def words(text: str) -> frozenset[str]:
    """The words of ``text``, which spaces and line ends part."""
    return frozenset(text.split())


class Rules:
    """Patterns and what replaces them, applied in order: a rule sees what those before it wrote."""

    def __init__(self, *rules: tuple[str, Replacement]) -> None:
        self._rules = [(re.compile(pattern), replacement) for pattern, replacement in rules]

    def __call__(self, text: str) -> str:
        for pattern, replacement in self._rules:
            text = pattern.sub(replacement, text)
        return text
