"""Pages of HTML: templates of this package, filled with plain data; they escape what is text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from red_mcore.reports import maths
from red_mcore.reports.colours import VARIABLES, themed
from red_mcore.reports.numbers import short
from red_mcore.system.disk import write_atomic


@dataclass(frozen=True)
class Cell:
    """A cell of a table that holds more than a text."""

    text: str
    detail: str = ""
    """Values of the single seeds, in their order, or a remark."""
    sign: int | None = None
    """1 or -1 colours the cell."""

    def __str__(self) -> str:
        return f"{self.text} {self.detail}".strip()


class Table(NamedTuple):
    """What the table helper of the templates, and ``markdown``, show."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]


@cache
def environment() -> Environment:
    """Where templates are found. A name misspelt in one is an error, not an empty text."""
    made = Environment(
        loader=PackageLoader("red_mcore.reports"),
        autoescape=lambda name: name is None or name.endswith(".html"),  # .j2 is plain text
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # These two and ``variables`` are HTML already, which no template escapes.
    made.filters["themed"] = lambda text: Markup(themed(str(text)))
    made.filters["prose"] = lambda text: Markup(maths.render(text))
    made.filters["shortened"] = _shortened
    made.filters["markdown"] = markdown
    made.filters["short"] = short
    made.filters["estimate"] = _estimate
    made.filters["whole"] = lambda value: value if isinstance(value, str) else f"{value:.0f}"
    made.globals["variables"] = Markup(VARIABLES)
    return made


def render(template: str, **data: Any) -> str:
    """The page that ``template`` makes of ``data``."""
    return environment().get_template(template).render(data)


def _shortened(text: str) -> str:
    """A text in a line of its own, for a heading."""
    line = " ".join(text.split())
    return line if len(line) <= 160 else f"{line[:160]} ..."


def _estimate(value: Any, sign: str = "") -> str:
    """A mean with half of its 95 % interval, both to the latter's second digit."""
    mean, half = value.mean, value.half
    if not math.isfinite(mean):
        return "-"
    if not half:  # unknown, or all alike
        return f"{mean:{sign}.3g}"
    if half < 1e-5:
        return f"{mean:{sign}.2g} ± {half:.1g}"
    digits = min(max(1 - math.floor(math.log10(half)), 0), 6)
    return f"{mean:{sign}.{digits}f} ± {half:.{digits}f}"


def markdown(table: Table) -> str:
    """The table for a text file."""
    text = _marked(table.header) + _marked(["---"] * len(table.header))
    for row in table.rows:
        text += _marked(str(cell).replace("|", "\\|") for cell in row)
    return text


def _marked(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def write_files(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Write each text under its name in ``folder``; returns the paths."""
    for name, text in files.items():
        write_atomic(folder / name, text)
    return [folder / name for name in files]
