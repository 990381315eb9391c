"""The tables of a comparison, and what they say in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from red_mcore.comparison.curves import AXES
from red_mcore.comparison.results import Result, Results
from red_mcore.reports.numbers import short
from red_mcore.reports.page import Cell, Table

MARKS = {"end": "†", "short": "‡", "stage": "§"}
EXPLAINED = {
    "end": "generates no tokens and is read at equal seconds instead.",
    "short": "had not spent the budget in some seed when it ended, and is read at its last"
    " evaluation there.",
    "stage": "is read at equal steps while still in its first stage.",
}
SIGNS = {1: "▲", -1: "▼", 0: "·"}
_MISSING = Cell("-")


def methods(results: Results) -> Table:
    """Every method at the three budgets, the highest at equal seconds first."""
    header = ["method", *(f"pass@1, equal {axis}" for axis in AXES)]
    header += [f"pass@{results.k}, equal {axis}" for axis in AXES]
    header += ["tokens per answer", "cut off", "steps", "updates", "generated tokens"]
    header += ["trained tokens", "FLOPs", "seconds", "learning rate"]
    rows = []
    for result in results.ranked:
        failed = ", ".join(map(str, result.failed))
        row = [Cell(result.name, f"(failed in seed {failed})" if failed else "")]
        for axis in AXES:
            half = result.half(axis, over_seeds=results.over_seeds)
            row.append(_mean(result, axis, "pass1", f" ± {fraction(half)}{marks(axis, result)}"))
        row += [_mean(result, axis, "passk") for axis in AXES]
        row += [
            _cell(result.mean("seconds", "length"), "{:.1f}".format),
            _cell(result.mean("seconds", "truncated"), fraction),
            _cell(result.total("steps"), short),
            _cell(result.updates, short),
            _cell(result.total("tokens"), short),
            _cell(result.trained_tokens, short),
            _cell(result.flops, "{:.2e}".format),
            _cell(result.total("seconds"), short),
            Cell(result.learning_rates),
        ]
        rows.append(row)
    return Table(header, rows)


def against_reference(results: Results) -> Table:
    """pass@1 of every method minus the reference's, with the sign that all seeds share."""
    rows = []
    for result in results.ranked:
        if result is not results.reference:
            rows.append([Cell(result.name), *(_gap(results, result, axis) for axis in AXES)])
    return Table(["method", *(f"at equal {axis}" for axis in AXES)], rows)


def pairs(results: Results, axis: str) -> Table:
    """Sign of row minus column, where all seeds share it."""
    rows = []
    for one in results.ranked:
        row = [Cell(one.name)]
        for other in results.ranked:
            gap = results.gap(one, other, axis)
            cell = Cell("")
            if gap is not None and one is not other:
                cell = Cell(SIGNS[gap.sign] + marks(axis, one, other), sign=gap.sign)
            row.append(cell)
        rows.append(row)
    return Table(["", *(result.name for result in results.ranked)], rows)


def verdicts(results: Results) -> list[str]:
    """For each budget, which methods lie above or below the reference in all seeds, and which do
    not."""
    seeds, reference = len(results.plan.seeds), results.reference
    if seeds < 2:
        told = "nothing can be said about signs over seeds; the differences stand in the table"
        return [f"With one seed {told}."]
    lines = []
    for axis in AXES:
        names: dict[int, list[str]] = {1: [], -1: [], 0: []}
        for result in results.ranked:
            if result is reference:
                continue
            told, gap = f"{result.name}{marks(axis, result)}", results.gap(result, reference, axis)
            if gap is None:
                names[0].append(f"{told} (no value)")
            else:
                names[gap.sign].append(f"{told} ({signed(gap.mean)})")
        above, below, neither = (", ".join(names[sign]) or "none" for sign in (1, -1, 0))
        lines.append(
            f"At equal {axis}, above {reference.name}{marks(axis, reference)} in all {seeds} seeds:"
            f" {above}; below it in all: {below}; neither: {neither}."
        )
    return lines


def chance(results: Results) -> str:
    """How often equal methods would share a sign."""
    seeds = len(results.plan.seeds)
    share = f"1 of {2 ** (seeds - 1)} cases"
    return f"Two methods that do equally well share a sign in all {seeds} seeds in {share}."


def marks(axis: str, *results: Result) -> str:
    """The marks of ``results`` at ``axis``, each once."""
    notes: set[str] = set()
    for result in results:
        notes |= result.notes(axis)
    return "".join(MARKS[note] for note in sorted(notes))


def legend(results: Results) -> list[str]:
    """What the marks mean that are in the tables."""
    found = "".join(marks(axis, *results.all) for axis in AXES)
    return [f"{mark} {EXPLAINED[note]}" for note, mark in MARKS.items() if mark in found]


def shown(mean: float | None) -> str:
    return "-" if mean is None else fraction(mean)


def fraction(value: float) -> str:
    """.506"""
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def signed(value: float) -> str:
    """+.115"""
    sign = "+" if value >= 0 else "-"
    return sign + fraction(abs(value))


def _cell(number: float | None, form: Callable[[float], str]) -> Cell:
    return _MISSING if number is None else Cell(form(number))


def _mean(result: Result, axis: str, name: str, more: str = "") -> Cell:
    """The mean over seeds, and each seed where there are several."""
    mean, values = result.mean(axis, name), result.values(axis, name).values()
    if mean is None:
        return _MISSING
    return Cell(fraction(mean) + more, _listed(map(fraction, values), len(values)))


def _gap(results: Results, result: Result, axis: str) -> Cell:
    gap = results.gap(result, results.reference, axis)
    if gap is None:
        return _MISSING
    mark = SIGNS[gap.sign] if gap.seeds > 1 else ""
    text = f"{mark} {signed(gap.mean)}{marks(axis, result, results.reference)}".strip()
    return Cell(text, _listed(map(signed, gap.differences), gap.seeds), gap.sign)


def _listed(values: Iterable[str], count: int) -> str:
    return f"[{' '.join(values)}]" if count > 1 else ""
