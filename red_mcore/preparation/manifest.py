"""The manifest of a prepared set: what it was made of, by which rules, and what was left out."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from red_mcore.config.recipe import RecipeError
from red_mcore.data.schema import MANIFEST, MANIFEST_FORMAT
from red_mcore.preparation import overlap
from red_mcore.preparation.reading import BROKEN, Left
from red_mcore.preparation.settings import Rules, Source, as_written
from red_mcore.preparation.spool import sha256_of
from red_mcore.preparation.traces import Choice
from red_mcore.system import disk

if TYPE_CHECKING:
    from red_mcore.preparation.prepare import State

DROPPED = "dropped.jsonl"
"""Every row and trace that was left out, a line each."""
EXAMPLES = 5
"""Drops of each reason that the manifest shows."""
LIBRARIES = ("datasets", "datasketch", "math-verify", "numpy", "pyarrow", "transformers")


def asked(
    sources: Sequence[Source], rules: Rules, form: str, hashes: dict[str, str]
) -> dict[str, Any]:
    """What decides the bytes of a set. Where it is equal, so are they."""
    versions = {"python": platform.python_version(), "red-mcore": version("red-mcore")}
    versions |= {name: version(name) for name in LIBRARIES}
    return {
        "format": MANIFEST_FORMAT,
        "file_format": form,
        "rules": as_written(rules),
        "sources": [asdict(source) | {"sha256": hashes.get(source.path)} for source in sources],
        "benchmark_files": {
            str(file): hashes[str(file)] for file in overlap.benchmark_files(rules.benchmarks)
        },
        "versions": versions,
    }


def finished(out: Path, wanted: dict[str, Any], replace: bool) -> dict[str, Any] | None:
    """The manifest of the set in ``out``, if it is what is wanted; None where there is none.

    RecipeError where it is another: it is replaced only if that is asked for.
    """
    file = out / MANIFEST
    there = disk.read_object(file)
    if there is None:
        return None
    made_of = there.get("asked")
    whole = made_of == wanted and all(
        (out / part["file"]).is_file() and sha256_of(out / part["file"]) == part["sha256"]
        for part in (there["set"], there["dropped"])
    )
    if whole:
        return there
    if not replace:
        before = made_of if isinstance(made_of, dict) else {}
        names = [name for name in wanted if before.get(name) != wanted[name]]
        what = ", ".join(names) or "the content of its files"
        raise RecipeError(
            f"--out {out} has a set that differs in {what}: name another folder, or add --replace"
        )
    file.unlink()
    for part in ("set", "dropped"):
        if isinstance(about := there.get(part), dict) and "file" in about:
            (out / Path(about["file"]).name).unlink(missing_ok=True)
    return None


def of_file(file: Path, rows: int) -> dict[str, Any]:
    """Name, rows, size and digest."""
    size = file.stat().st_size
    return {"file": file.name, "rows": rows, "bytes": size, "sha256": sha256_of(file)}


def shares(choices: Sequence[Choice], sources: int) -> dict[int, float]:
    """The share of the set's traces that is of each source."""
    counts = Counter[int]()
    for choice in choices:
        for row, notes in zip(choice.rows, choice.notes, strict=True):
            counts[row.source] += sum(note.reason is None for note in notes)
    total = max(1, counts.total())
    return {number: counts[number] / total for number in range(sources)}


def counted(left: Sequence[Left]) -> dict[str, dict[str, Any]]:
    """Of each reason how many were left out, with examples, the most frequent first."""
    found: dict[str, dict[str, Any]] = {}
    for one in left:
        entry = found.setdefault(one.reason, {"count": 0, "examples": []})
        entry["count"] += 1
        if len(entry["examples"]) < EXAMPLES:
            shown = {"source": one.source, "where": one.where, "detail": one.detail}
            entry["examples"].append(shown)
    return dict(sorted(found.items(), key=lambda item: (-item[1]["count"], item[0])))


def told(counts: dict[str, dict[str, Any]]) -> str:
    """The counts in one line."""
    parts = [f"{entry['count']} {reason}" for reason, entry in counts.items()]
    return ", ".join(parts) or "nothing"


def of_state(choices: Sequence[Choice], state: State, rules: Rules) -> dict[str, Any]:
    """What the manifest says of rows, traces, sources, teachers and benchmarks."""
    kept = [note for choice in choices for notes in choice.notes for note in notes]
    judged = Counter(note.verdict for note in kept if note.verdict is not None)
    used = [note for note in kept if note.reason is None]
    rows = sum(len(one.rows) + len(one.left) for one in state.spools)
    return {
        "counts": {
            "rows": rows,
            "problems": len(choices),
            "traces": len(used),
            "problems_with_traces": sum(choice.kept > 0 for choice in choices),
            "worded_like_another": state.variants,
        },
        "left_out": counted(state.left),
        "sources": _sources(choices, state),
        "teachers": _teachers(choices),
        "verdicts": dict(sorted(judged.items())),
        "lengths": _lengths([note.length for note in used], rules),
        "benchmarks": overlap.report(state.seen),
    }


def _sources(choices: Sequence[Choice], state: State) -> list[dict[str, Any]]:
    problems = Counter(choice.rows[0].source for choice in choices)
    parts = shares(choices, len(state.spools))
    found = []
    for number, one in enumerate(state.spools):
        found.append(
            {
                "name": one.source.name,
                "path": one.source.path,
                "sha256": one.sha256,
                "rows": len(one.rows) + len(one.left),
                "broken": sum(left.reason == BROKEN for left in one.left),
                "problems": problems[number],
                "share_of_problems": round(problems[number] / len(choices), 6),
                "share_of_traces": round(parts[number], 6),
            }
        )
    return found


def _teachers(choices: Sequence[Choice]) -> list[dict[str, Any]]:
    counts = Counter[str]()
    for choice in choices:
        for notes in choice.notes:
            counts.update(note.teacher or "" for note in notes if note.reason is None)
    total = counts.total()
    return [
        {"teacher": name or None, "traces": count, "share": round(count / total, 6)}
        for name, count in sorted(counts.items())
    ]


def _lengths(lengths: list[int], rules: Rules) -> dict[str, Any]:
    """Nearest-rank percentiles of the traces that are kept, before any is cut."""
    found: dict[str, Any] = {"unit": rules.unit, "most": rules.max_trace, "longer": rules.long}
    ranked = sorted(lengths)
    for name, share in (("median", 0.5), ("percentile_95", 0.95), ("longest", 1.0)):
        place = max(0, -int(-share * len(ranked) // 1) - 1)
        found[name] = ranked[place] if ranked else None
    return found


def place(out: Path, work: Path, wanted: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    """Move the files of the set to where they belong, the manifest last: where it is, all is."""
    for part in ("dropped", "set"):
        (work / made[part]["file"]).replace(out / made[part]["file"])
    found = {"format": MANIFEST_FORMAT, **made, "asked": wanted}
    disk.write_atomic(out / MANIFEST, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return found
