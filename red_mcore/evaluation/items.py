"""``items.jsonl``: one line per problem with all its graded responses; whole at any moment,
whenever it is killed.

    {"benchmark": "AIME24", "item": 0, "problem": ..., "gold": "204", "kind": "math",
     "prompt_ids": [...],
     "responses": [{"text": ..., "answer": "204", "verdict": "correct", "tokens": 812,
                    "finish": "stop", "token_ids": [...]}, ...]}

``answer`` is what was compared with the gold, null where there is none; ``finish`` is ``stop`` or
``length``. What was not sampled here has null for ``prompt_ids``, ``tokens``, ``finish`` and
``token_ids``. Every engine appends to a file of its own, ``items.part-N.jsonl``; the parts become
one file at the next start, or at the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from red_mcore.config.recipe import Protocol, RecipeError
from red_mcore.rewards.verifier import VERDICTS
from red_mcore.samples.responses import Key, Response
from red_mcore.system import disk

ITEMS, IDENTITY = "items.jsonl", "evaluation.json"
Row = dict[str, Any]
"""A line of the file."""
_WHOSE = "as tools/evaluate.py writes it"
_AGAIN = "run the command that made it again, which asks what is missing"


def by_problem(responses: Iterable[Response]) -> dict[Key, list[Response]]:
    """The responses to each problem, in order."""
    found: dict[Key, list[Response]] = {}
    for response in responses:
        found.setdefault(response.problem_id, []).append(response)
    return found


def read(path: Path) -> list[Response]:
    """The responses of an evaluation that is done; ``path`` is its folder, or the file.

    RecipeError where there are none, naming the line and what is wrong with it.
    """
    file = path / ITEMS if path.is_dir() else path
    found: list[Response] = []
    places: set[Key] = set()
    for number, text in _lines_of(file):
        where = f"{file}:{number}"
        try:
            responses = parse(json.loads(text))
        except json.JSONDecodeError as error:
            raise RecipeError(f"{where} is not JSON ({error}): {_AGAIN}") from None
        except KeyError as error:
            raise RecipeError(f"{where} has no {error}: it is not {_WHOSE}") from None
        except (TypeError, ValueError, AttributeError) as error:
            raise RecipeError(f"{where} is not {_WHOSE}: {error}") from None
        place = responses[0].problem_id
        if place in places:
            raise RecipeError(f"{where} repeats item {place[1]} of {place[0]}: {_AGAIN}")
        places.add(place)
        found += responses
    if not found:
        raise RecipeError(f"{file} holds no responses {_WHOSE}: name the --out of an evaluation")
    return found


def write(folder: Path, responses: Iterable[Response]) -> None:
    """Make this the content of the file."""
    disk.write_atomic(folder / ITEMS, _lines(responses))


def append(folder: Path, part: int, responses: Iterable[Response]) -> None:
    """Add all responses to some problems to the part's file, on disk once this returns."""
    disk.append(folder / f"items.part-{part}.jsonl", _lines(responses))


def gather(folder: Path) -> dict[Key, list[Response]]:
    """All responses that are there, in one file or in parts; a damaged line is none."""
    found: dict[Key, list[Response]] = {}
    for file in _files(folder):
        for row in disk.read_rows(file, _is_row)[0]:
            responses = parse(row)
            found[responses[0].problem_id] = responses
    return found


def damage(folder: Path) -> list[str]:
    """A line on each file that has damaged lines, whose problems are asked again."""
    told = []
    for file in _files(folder):
        if bad := disk.read_rows(file, _is_row)[1]:
            what = f"{len(bad)} damaged lines, the first is line {bad[0]}"
            told.append(f"{file}: {what}: their problems are asked again")
    return told


def merge(folder: Path, chunks: Sequence[Sequence[Key]]) -> dict[Key, list[Response]]:
    """Make one file of all parts, in the order of ``chunks``, and return what it holds.

    Problems of a chunk that is not whole are dropped: what is sampled together has to be sampled
    together again. Those of other benchmarks, from an earlier command, stay.
    """
    there = gather(folder)
    asked = {name for chunk in chunks for name, _ in chunk}
    kept = {place: responses for place, responses in there.items() if place[0] not in asked}
    for chunk in chunks:
        if all(place in there for place in chunk):
            kept |= {place: there[place] for place in chunk}
    write(folder, chain.from_iterable(kept.values()))
    for file in _parts(folder):  # not before the whole has what is in them
        file.unlink()
    return kept


def claim(folder: Path, identity: dict[str, Any]) -> None:
    """Make ``folder`` the place of the evaluation that ``identity`` describes.

    ``identity["problems"]`` has a digest for each benchmark, and further benchmarks may join, as
    may fields that an earlier version did not know. RecipeError where the folder holds another
    evaluation, naming the first field that differs.
    """
    file = folder / IDENTITY
    now = json.loads(json.dumps(identity))  # as it will be read: tuples are lists
    fix = "choose another --out, or delete it"
    try:
        then = disk.read_object(file)
    except disk.Damaged as error:
        raise RecipeError(f"{error}, so that nobody knows what {folder} holds: {fix}") from None
    if then is not None:
        known = then.pop("problems", None)
        if not isinstance(known, dict):
            raise RecipeError(f"{file} is damaged (it has no problems): {fix}")
        for name, digest in now["problems"].items():
            if known.get(name, digest) != digest:  # one that is not known joins
                raise RecipeError(
                    f"{folder} holds {name} with other problems (its file, --limit or seed): {fix}"
                )
        now["problems"] = known | now["problems"]
        after = _flat(now)
        for field, value in _flat(then).items():
            if value != after.get(field):
                raise RecipeError(
                    f"{folder} holds an evaluation with {field}={_short(value)}, now it is"
                    f" {_short(after.get(field))}: {fix}"
                )
    disk.write_atomic(file, json.dumps(now, indent=2) + "\n")


def parse(row: Row) -> list[Response]:
    """The responses of a line. KeyError, TypeError, ValueError or AttributeError for what is
    none."""
    benchmark, item, problem = str(row["benchmark"]), int(row["item"]), str(row["problem"])
    prompt_ids = ids(row.get("prompt_ids"))
    found = []
    for number, response in enumerate(row["responses"]):
        verdict = response["verdict"]
        if verdict not in VERDICTS:
            raise ValueError(f"verdict '{verdict}' is not known: want {', '.join(VERDICTS)}")
        token_ids, tokens = ids(response.get("token_ids")), response.get("tokens")
        if token_ids is not None:
            tokens = len(token_ids)
        one = Response(
            benchmark=benchmark,
            item=item,
            sample=number,
            problem=problem,
            text=str(response["text"]),
            verdict=verdict,
            tokens=tokens,
            truncated=truncated(response.get("finish")),
            prompt_ids=prompt_ids,
            token_ids=token_ids,
            gold=row.get("gold", ""),
            kind=row.get("kind", "math"),
            answer=response.get("answer"),
        )
        found.append(one)
    if not found:
        raise ValueError("it holds no responses")
    return found


def _row(responses: Sequence[Response]) -> Row:
    """The line of the responses to one problem."""
    first = responses[0]
    return {
        "benchmark": first.benchmark,
        "item": first.item,
        "problem": first.problem,
        "gold": first.gold,
        "kind": first.kind,
        "prompt_ids": _list(first.prompt_ids),
        "responses": list(map(_entry, responses)),
    }


def _entry(response: Response) -> Row:
    """A response in the line of its problem."""
    return {
        "text": response.text,
        "answer": response.answer,
        "verdict": response.verdict,
        "tokens": response.tokens,
        "finish": {None: None, True: "length", False: "stop"}[response.truncated],
        "token_ids": _list(response.token_ids),
    }


def _lines(responses: Iterable[Response]) -> str:
    return "".join(json.dumps(_row(each)) + "\n" for each in by_problem(responses).values())


def _lines_of(file: Path) -> list[tuple[int, str]]:
    """(Number, text) of the lines that hold something. RecipeError where the file cannot be
    read."""
    try:
        # Not splitlines, which would also cut at what JSON leaves inside its strings.
        lines = file.read_bytes().decode().split("\n")
    except FileNotFoundError:
        raise RecipeError(
            f"{file} is not there: name a folder that tools/evaluate.py wrote, or its {ITEMS}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file} cannot be read: {error}") from None
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("items.part-*.jsonl"))


def _files(folder: Path) -> list[Path]:
    """Parts come after the whole: what they have was asked since."""
    return [folder / ITEMS, *_parts(folder)]


def _is_row(row: Any) -> bool:
    try:
        parse(row)
    except (LookupError, TypeError, ValueError, AttributeError):
        return False
    return True


def truncated(finish: str | None) -> bool | None:
    """Whether the length limit ended a response; None where ``finish`` says nothing."""
    return None if finish is None else finish == "length"


def ids(values: Sequence[int] | None) -> np.ndarray | None:
    """Token ids as a response has them, [T] int32."""
    return None if values is None else np.array(values, dtype=np.int32)


def _list(values: np.ndarray | None) -> list[int] | None:
    return None if values is None else values.tolist()


def _flat(identity: dict[str, Any]) -> dict[str, Any]:
    """With the fields of the protocol beside the others; those that an earlier version lacked are
    as by default."""
    found = dict(identity)
    protocol = found.pop("protocol", None)
    if protocol is None:
        return identity
    found.pop("problems", None)
    for key, value in (asdict(Protocol()) | protocol).items():
        found[f"protocol.{key}"] = value
    return found


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 100 else text[:100] + "..."
