"""What a teacher is asked and what it answers, whether it lives in this process or behind an
address."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from red_mcore.data.schema import Entry
from red_mcore.samples.records import Problem


class Task(NamedTuple):
    """A problem for the teacher."""

    entry: Entry
    """As it is going to be written."""
    problem: Problem
    """As the verifier wants it."""


@dataclass(frozen=True)
class Request:
    """One answer that is wanted."""

    task: Task
    index: int
    """Its number among the answers to the problem, from 0."""
    seed: int


class Answer(NamedTuple):
    """What came of a request."""

    text: str
    tokens: int | None
    """Of the answer, its reasoning included; None where the teacher does not say."""
    prompt_tokens: int | None
    finish_reason: str
    """``stop``, ``length``, or another word of the teacher's."""
    seconds: float


class Work(Protocol):
    """Where a teacher gets its requests from and brings its answers to; any thread may."""

    def take(self, wait: bool = True) -> Request | None:
        """The next request; None where there is none any more or, unless it may ``wait``, now."""

    def tell(self, request: Request, answer: Answer) -> None:
        """The answer to a request; it is on disk once this returns."""

    def refuse(self, request: Request, reason: str) -> None:
        """The teacher will not answer this one, however often it is asked."""

    def give_up(self, error: BaseException) -> None:
        """The teacher cannot go on."""

    @property
    def is_over(self) -> bool:
        """Whether nobody wants anything any more, or somebody gave up."""


class Teacher(Protocol):
    """A source of answers."""

    name: str
    """What traces call it."""
    place: str
    """Its name, and where it is, to read."""
    about: dict[str, Any]
    """What else decides its answers, JSON-able, without secrets."""
    prompt_tokens: float | None
    """Of a prompt, on average; None where its tokenizer is not here."""

    def work(self, work: Work) -> None:
        """Answer all requests of ``work``; return where there are no more."""

    def close(self) -> None:
        """Free what it holds."""


def request_seed(seed: int, problem: str, index: int) -> int:
    """A seed in [0, 2^31), which every server takes, for an answer to the problem of this id."""
    text = f"{seed}\n{index}\n{problem}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little") >> 1


def whole(text: str, opening: str = "") -> str:
    """``text`` with the tag that its prompt has opened.

    ``opening`` is that tag, where it is known; a text that closes ``<think>`` without opening it
    was opened by the prompt in any case.
    """
    if not opening:
        before, closed, _ = text.partition("</think>")
        opening = "<think>" if closed and "<think>" not in before else ""
    if not opening or text.lstrip().startswith(opening):
        return text
    return f"{opening}\n{text.lstrip()}"
