"""The report of an analysis: one HTML file, a PNG per figure, and all numbers as JSON."""

from __future__ import annotations

import datetime
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from red_mcore.analysis.findings import Findings, as_json
from red_mcore.analysis.judge import BEHAVIOURS, PROMPT
from red_mcore.analysis.lengths import LearnabilityGap
from red_mcore.analysis.positions import THIRDS
from red_mcore.analysis.words import LISTS
from red_mcore.config.redaction import redacted
from red_mcore.reports.analysis import figures
from red_mcore.reports.page import render, write_files
from red_mcore.reports.plots import Plot
from red_mcore.tracking.provenance import versions

Gaps = Mapping[str, Mapping[str, LearnabilityGap]]
"""Student -> benchmark -> D."""


def write_analysis(
    out: Path, found: Sequence[Findings], gaps: Gaps, command: Sequence[str], judge: str = ""
) -> list[Path]:
    """Write ``report.html``, ``analysis.json`` and ``figures/*.png`` into ``out``; returns their
    paths.

    ``judge``: what it is, for the reader.
    """
    plots = _plots(found, gaps)
    now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")
    made = {
        "command": redacted(shlex.join(command)),
        "date": now,
        "versions": ", ".join(versions()),
    }
    if judge:
        made["judge"] = judge
    numbers = {
        "made": made,
        "evaluations": as_json({one.name: one for one in found}),
        "gaps": as_json(gaps),
    }
    page = render(
        "analysis.html",
        title=f"Analysis of {', '.join(one.name for one in found)}",
        found=found,
        files={one.name: one.file for one in found},
        gaps=gaps,
        made=made,
        plots=plots,
        lists=LISTS,
        thirds=list(THIRDS),
        kinds=figures.KINDS,
        buckets=list(figures.BUCKETS.values()),
        behaviours=list(BEHAVIOURS.values()),
        prompt=PROMPT,
    )
    texts = {"report.html": page, "analysis.json": json.dumps(numbers, indent=1) + "\n"}
    files = write_files(out, texts)
    for section in plots.values():
        for name, plot in section.items():
            files.append(plot.save_png(out / "figures" / f"{name}.png"))
    return files


def _plots(found: Sequence[Findings], gaps: Gaps) -> dict[str, dict[str, Plot]]:
    """Section of the page -> name of the file -> figure."""
    lengths = {"length": figures.length(found)}
    for place, one in enumerate(found, 1):
        lengths[f"length_{place}"] = figures.length_histogram(one)
    words = {"words": figures.words(found)}
    words |= {f"words_{name}": figures.entries(found, name) for name in LISTS}
    plots = {"accuracy": {"accuracy": figures.accuracy(found)}, "length": lengths, "words": words}
    plots |= figures.likelihood(found)
    if any(one.behaviours for one in found):
        plots["behaviours"] = {"behaviours": figures.behaviours(found)}
    if gaps:
        plots["gap"] = {"gap": figures.gaps(gaps)}
    return plots
