"""The report's tables, as rows of cells; and the same as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from red_mcore.comparison.curves import AXES
from red_mcore.comparison.results import Result, Results
from red_mcore.reports.plots import short

MARKS = {"end": "†", "short": "‡", "stage": "§"}
EXPLAINED = {
    "end": "generates no tokens and is read at equal seconds instead.",
    "short": "had not spent the budget in some seed when it ended, and is read at its last evaluation there.",
    "stage": "is read at equal steps while still in its first stage.",
}
SIGNS = {1: "▲", -1: "▼", 0: "·"}


@dataclass(frozen=True)
class Cell:
    text: str
    detail: str = ""
    """Values of the single seeds, in their order, or a remark."""
    sign: int | None = None
    """1 or -1 colours it."""

    def __str__(self) -> str:
        return f"{self.text} {self.detail}".strip()


Table = tuple[list[str], list[list[Cell]]]
"""Header and rows."""


def methods(results: Results) -> Table:
    """Every method at the three budgets, the highest at equal seconds first."""
    k = results.k
    header = [
        "method",
        *(f"pass@1, equal {axis}" for axis in AXES),
        *(f"pass@{k}, equal {axis}" for axis in AXES),
        "tokens per answer",
        "cut off",
        "steps",
        "updates",
        "generated tokens",
        "trained tokens",
        "FLOPs",
        "seconds",
        "learning rate",
    ]
    return header, [_method(result, results.over_seeds) for result in results.ranked]


def _method(result: Result, over_seeds: bool) -> list[Cell]:
    failed = f"(failed in seed {', '.join(map(str, result.failed))})" if result.failed else ""
    cells = [Cell(result.name, failed)]
    for axis in AXES:
        mean = result.mean(axis)
        text = "-"
        if mean is not None:
            text = f"{fraction(mean)} ± {fraction(result.half(axis, over_seeds=over_seeds))}{marks(axis, result)}"
        cells.append(Cell(text, _seeds(result.values(axis).values())))
    for axis in AXES:
        cells.append(_mean(result, axis, "passk"))
    cells.append(Cell("-" if (length := result.mean("seconds", "length")) is None else f"{length:.1f}"))
    cells.append(_mean(result, "seconds", "truncated", detail=False))
    steps, tokens, seconds = (_count(result.total(axis)) for axis in AXES)
    flops = Cell("-" if result.flops is None else f"{result.flops:.2e}")
    cells += [steps, _count(result.updates), tokens, _count(result.trained_tokens), flops, seconds]
    return [*cells, Cell(result.learning_rates)]


def marks(axis: str, *results: Result) -> str:
    """The marks of ``results`` at ``axis``, each once."""
    return "".join(MARKS[note] for note in sorted(set().union(*(result.notes(axis) for result in results))))


def legend(results: Results) -> list[str]:
    """What the marks mean that are in the tables."""
    found = "".join(marks(axis, *results.all) for axis in AXES)
    return [f"{mark} {EXPLAINED[note]}" for note, mark in MARKS.items() if mark in found]


def _count(number: float | None) -> Cell:
    return Cell("-" if number is None else short(number))


def _mean(result: Result, axis: str, name: str, *, detail: bool = True) -> Cell:
    mean = result.mean(axis, name)
    values = result.values(axis, name).values()
    return Cell("-") if mean is None else Cell(fraction(mean), _seeds(values) if detail else "")


def against_reference(results: Results) -> Table:
    """pass@1 of every method minus the reference's, with the sign that all seeds share."""
    rows = []
    for result in results.ranked:
        if result is not results.reference:
            rows.append([Cell(result.name), *(_gap(results, result, axis) for axis in AXES)])
    return ["method", *(f"at equal {axis}" for axis in AXES)], rows


def _gap(results: Results, result: Result, axis: str) -> Cell:
    gap = results.gap(result, results.reference, axis)
    if gap is None:
        return Cell("-")
    mark = SIGNS[gap.sign] if gap.seeds > 1 else ""
    differences = " ".join(signed(d) for d in gap.differences)
    detail = f"[{differences}]" if gap.seeds > 1 else ""
    return Cell(f"{mark} {signed(gap.mean)}{marks(axis, result, results.reference)}".strip(), detail, gap.sign)


def pairs(results: Results, axis: str) -> Table:
    """Sign of row minus column, where all seeds share it."""
    ranked = results.ranked
    rows = []
    for one in ranked:
        cells = [Cell(one.name)]
        for other in ranked:
            gap = results.gap(one, other, axis) if one is not other else None
            cells.append(Cell(SIGNS[gap.sign] + marks(axis, one, other), sign=gap.sign) if gap else Cell(""))
        rows.append(cells)
    return ["", *(r.name for r in ranked)], rows


def verdicts(results: Results) -> list[str]:
    """For each budget, which methods lie above or below the reference in all seeds, and which do not."""
    seeds = len(results.plan.seeds)
    if seeds < 2:
        return ["With one seed nothing can be said about signs over seeds; the differences stand in the table."]
    lines = []
    for axis in AXES:
        names: dict[int, list[str]] = {1: [], -1: [], 0: []}
        for result in results.ranked:
            if result is not results.reference:
                gap = results.gap(result, results.reference, axis)
                value = signed(gap.mean) if gap else "no value"
                names[gap.sign if gap else 0].append(f"{result.name}{marks(axis, result)} ({value})")
        parts = (
            f"above {results.reference.name}{marks(axis, results.reference)} in all {seeds} seeds: {_list(names[1])}",
            f"below it in all: {_list(names[-1])}",
            f"neither: {_list(names[0])}",
        )
        lines.append(f"At equal {axis}, {'; '.join(parts)}.")
    return lines


def chance(results: Results) -> str:
    """How often equal methods would share a sign."""
    seeds = len(results.plan.seeds)
    return f"Two methods that do equally well share a sign in all {seeds} seeds in 1 of {2 ** (seeds - 1)} cases."


def markdown(table: Table) -> str:
    header, rows = table
    lines = [header, ["---"] * len(header), *([str(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def fraction(value: float) -> str:
    """.506"""
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"


def signed(value: float) -> str:
    """+.115"""
    return ("+" if value >= 0 else "-") + fraction(abs(value))


def _seeds(values: Iterable[float]) -> str:
    found: Sequence[float] = list(values)
    return f"[{' '.join(fraction(v) for v in found)}]" if len(found) > 1 else ""


def _list(names: list[str]) -> str:
    return ", ".join(names) if names else "none"
