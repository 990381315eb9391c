"""Verdicts on golds and traces by the reward's own children, kept in a ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

from red_mcore.config.recipe import Reward
from red_mcore.preparation.ledger import Ledger
from red_mcore.preparation.settings import Rules
from red_mcore.rewards.verifier import NO_VERDICT, Question, Verifier
from red_mcore.samples.records import Problem

BATCH = 256
"""What is judged between two lines of the ledger: what a kill may lose, and how often a disk has to
answer."""

Told = Callable[[int, int], None]
"""Progress: (done, total)."""


def made_by(rules: Rules) -> dict[str, Any]:
    """All that a verdict depends on beside gold and answer."""
    return {
        "red-mcore": version("red-mcore"),
        "math-verify": version("math-verify"),
        "boxed_only": rules.boxed_only,
        "timeout_seconds": rules.timeout_seconds,
    }


class Judge:
    """Asks the verifier for what the ledger does not know. Close it, or use it in ``with``."""

    def __init__(self, rules: Rules, workers: int, ledger: Ledger) -> None:
        self._ledger = ledger
        settings = Reward(
            workers=workers, timeout_seconds=rules.timeout_seconds, boxed_only=rules.boxed_only
        )
        self._verifier = Verifier(settings)

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self._verifier.close()

    def gold_faults(self, golds: Sequence[str], told: Told) -> list[str | None]:
        """Why each gold cannot be used; None for one that can."""
        keys = [_key("gold", gold) for gold in golds]
        new = {key: gold for key, gold in zip(keys, golds, strict=True) if key not in self._ledger}
        for done, part in _batches(list(new), told):
            problems = [Problem(id=i, text="", gold=new[key]) for i, key in enumerate(part)]
            faults = self._verifier.gold_faults(problems)
            self._ledger.put(dict(zip(part, faults, strict=True)))
            told(done, len(new))
        return [self._ledger[key] for key in keys]

    def verdicts(self, questions: Sequence[Question]) -> list[str]:
        """A verdict on each answer. What ended without one, which a busy machine may have caused,
        is asked once more."""
        keys = [_key("verdict", one.gold, one.text) for one in questions]
        new: dict[str, Question] = {}
        for key, question in zip(keys, questions, strict=True):
            if key not in self._ledger:
                new[key] = question
        found = {key: grade.verdict for key, grade in self._graded(new)}
        again = {key: new[key] for key, verdict in found.items() if verdict in NO_VERDICT}
        found |= {key: grade.verdict for key, grade in self._graded(again)}
        self._ledger.put(found)
        return [self._ledger[key] for key in keys]

    def _graded(self, questions: dict[str, Question]):
        return zip(questions, self._verifier.grade(questions.values()), strict=True)

    def same(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Whether both golds of each pair say the same."""
        asked = [Question(one, f"\\boxed{{{other}}}") for one, other in pairs]
        return [verdict == "correct" for verdict in self.verdicts(asked)]


def _batches(keys: list[str], told: Told):
    for start in range(0, len(keys), BATCH):
        yield min(start + BATCH, len(keys)), keys[start : start + BATCH]


def _key(*parts: str) -> str:
    """The parts' digest; each one's length goes with it, so that no two lists have one digest."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode(errors="surrogatepass")
        digest.update(f"{len(content)} ".encode() + content)
    return digest.hexdigest()[:24]
