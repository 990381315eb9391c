"""``ledger.jsonl``: one line for each answer, on disk before the next thing happens, and never
changed.

    {"id": "17", "index": 0, "question": "9f...", "seed": 5, "text": ..., "tokens": 812,
     "prompt_tokens": 90, "finish_reason": "stop", "seconds": 20.1}
    {"id": "17", "index": 0, "verdict": "correct", "answer": "204", "judge": "3c..."}

Lines of the second kind follow their answer once it is judged. ``question`` and ``judge`` are
digests: of the problem's text, and of what a verdict depends on beside the answer, its gold and who
judges; a verdict by another judge is none. A last line that a kill has torn is cut off at the next
start.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from red_mcore.config.recipe import RecipeError
from red_mcore.distillation.teacher import Answer, Request
from red_mcore.system import disk

FILE, LOCK, IDENTITY = "ledger.jsonl", "lock", "distillation.json"
_ANSWER = {"id": str, "index": int, "question": str, "text": str, "finish_reason": str}
_VERDICT = {"id": str, "index": int, "verdict": str, "judge": str}

Key = tuple[str, int]
"""Id of the problem, and number of the answer to it."""


class Verdict(NamedTuple):
    """What was found of an answer."""

    verdict: str
    answer: str | None
    """What was compared with the gold."""
    judge: str


@dataclass
class Line:
    """An answer without its text, which stays on disk."""

    question: str
    place: int
    """Where its line begins in the file, in bytes."""
    tokens: int
    """Its characters in the place of tokens where the teacher tells no number."""
    prompt_tokens: int
    finish_reason: str
    seconds: float
    has_tokens: bool
    is_empty: bool
    verdict: Verdict | None = None


def digest(*texts: str | None) -> str:
    """16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]


class Ledger:
    """The ledger of a folder, for one process at a time; any thread may add to it."""

    def __init__(self, folder: Path) -> None:
        """Read what is there. RecipeError where another process has it, or a line is damaged."""
        self.file = folder / FILE
        self._lock, self._own = Lock(), ExitStack()
        refusal = (
            f"{folder} is being written by another process: wait for it, or choose another --out"
        )
        self._own.enter_context(disk.alone(folder / LOCK, refusal))
        self.lines: dict[Key, Line] = {}
        self.tokens = self.prompt_tokens = 0
        """Of all answers."""
        self._size = 0
        disk.cut_torn_line(self.file)
        self._read()

    def add(self, request: Request, answer: Answer) -> None:
        """Write an answer down; on disk once this returns. RuntimeError for one that is there."""
        key = (request.task.entry.id, request.index)
        row = {
            "id": key[0],
            "index": key[1],
            "question": digest(request.task.problem.text),
            "seed": request.seed,
            **answer._asdict(),
        }
        row["seconds"] = round(answer.seconds, 3)
        with self._lock:
            if key in self.lines:
                raise RuntimeError(f"answer {key[1]} to problem {key[0]} was sampled twice")
            self._know(key, _line(row, self._append([row])))

    def judge(self, verdicts: Sequence[tuple[Key, Verdict]]) -> None:
        """Write down what was found of answers that are there."""
        rows = [{"id": id_, "index": i, **found._asdict()} for (id_, i), found in verdicts]
        with self._lock:
            self._append(rows)
            for key, found in verdicts:
                self.lines[key].verdict = found

    def answer(self, key: Key) -> Answer:
        """An answer with its text."""
        with self.file.open("rb") as file:
            file.seek(self.lines[key].place)
            row = json.loads(file.readline())
        return Answer(**{name: row[name] for name in Answer._fields})

    def claim(self, identity: dict[str, Any]) -> None:
        """Make the folder the place of the answers that ``identity`` describes. RecipeError where
        it holds others, naming the first setting that differs."""
        place = self.file.with_name(IDENTITY)
        fix = "choose another --out, or delete it"
        now = json.loads(json.dumps(identity))
        then = disk.read_object(place)
        if then is None and self.lines:
            raise RecipeError(f"{place} is gone, so that nobody knows whose {self.file} is: {fix}")
        if then is not None and self.lines:
            for name in dict.fromkeys((*then, *now)):
                if then.get(name) != now.get(name):
                    raise RecipeError(
                        f"{place.parent} holds answers with {name}={_short(then.get(name))}, now it"
                        f" is {_short(now.get(name))}: {fix}"
                    )
        disk.write_atomic(place, json.dumps(now, indent=2, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Let another process have it."""
        self._own.close()

    def _append(self, rows: Sequence[dict[str, Any]]) -> int:
        """Add lines at the end, all or none; where the first begins."""
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        disk.append(self.file, content)
        place, self._size = self._size, self._size + len(content)
        return place

    def _know(self, key: Key, line: Line) -> None:
        self.lines[key] = line
        self.tokens += line.tokens
        self.prompt_tokens += line.prompt_tokens

    def _read(self) -> None:
        if not self.file.is_file():
            return
        with self.file.open("rb") as file:
            for number, text in enumerate(file, 1):
                place, self._size = self._size, self._size + len(text)
                try:
                    row = json.loads(text)
                except ValueError:
                    row = None
                if _fits(row, _ANSWER):
                    self._know((row["id"], row["index"]), _line(row, place))
                elif _fits(row, _VERDICT) and (row["id"], row["index"]) in self.lines:
                    found = Verdict(row["verdict"], row.get("answer"), row["judge"])
                    self.lines[row["id"], row["index"]].verdict = found
                else:
                    raise RecipeError(
                        f"{self.file} line {number} is damaged: delete that line, and what it held"
                        " is asked again"
                    )


def _line(row: dict[str, Any], place: int) -> Line:
    tokens = row.get("tokens")
    return Line(
        question=row["question"],
        place=place,
        tokens=len(row["text"]) if tokens is None else tokens,
        prompt_tokens=row.get("prompt_tokens") or 0,
        finish_reason=row["finish_reason"],
        seconds=row.get("seconds") or 0.0,
        has_tokens=tokens is not None,
        is_empty=not row["text"].strip(),
    )


def _fits(row: Any, kinds: dict[str, type]) -> bool:
    return isinstance(row, dict) and all(
        isinstance(row.get(name), kind) for name, kind in kinds.items()
    )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else text[:100] + "..."
