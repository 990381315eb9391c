"""The report of an analysis: one HTML file, a PNG per figure, and all numbers as JSON."""

from __future__ import annotations

import datetime
import html
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from red_mcore.analysis.estimates import Estimate
from red_mcore.analysis.findings import Findings, as_json
from red_mcore.analysis.judge import BEHAVIOURS, PROMPT
from red_mcore.analysis.lengths import GROUPS, Gap
from red_mcore.analysis.positions import THIRDS
from red_mcore.analysis.words import LISTS
from red_mcore.config.redaction import redacted
from red_mcore.reports import page
from red_mcore.reports.analysis import figures
from red_mcore.reports.plots import Plot
from red_mcore.tracking.provenance import versions

SHOWN_TOKENS = 25
"""Rows of the table of shifted tokens."""


def write_analysis(
    out: Path, found: Sequence[Findings], gaps: Mapping[str, Mapping[str, Gap]], command: Sequence[str], judge: str = ""
) -> list[Path]:
    """``report.html``, ``analysis.json`` and ``figures/*.png`` in ``out``; their paths.

    ``gaps``: student -> benchmark -> D. ``judge``: what it is, for the reader.
    """
    plots = _plots(found, gaps)
    made = {"command": redacted(shlex.join(command)), "date": _now(), "versions": ", ".join(versions())}
    if judge:
        made["judge"] = judge
    numbers = {"made": made, "evaluations": as_json({f.name: f for f in found}), "gaps": as_json(gaps)}
    names = ", ".join(one.name for one in found)
    texts = {
        "report.html": page.page(f"Analysis of {names}", _body(found, gaps, made, plots)),
        "analysis.json": json.dumps(numbers, indent=1) + "\n",
    }
    files = page.write_files(out, texts)
    folder = out / "figures"
    return files + [plot.save_png(folder / f"{name}.png") for name, plot in plots.items()]


def _now() -> str:
    return datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")


def _plots(found: Sequence[Findings], gaps: Mapping[str, Mapping[str, Gap]]) -> dict[str, Plot]:
    plots = {"accuracy": figures.accuracy(found), "length": figures.length(found)}
    plots |= {f"length_{i}": figures.length_histogram(one) for i, one in enumerate(found, 1)}
    plots["words"] = figures.words(found)
    plots |= {f"words_{name}": figures.entries(found, name) for name in LISTS}
    plots |= figures.likelihood_figures(found)
    if (behaviours := figures.behaviours(found)) is not None:
        plots["behaviours"] = behaviours
    if gaps:
        plots["gap"] = figures.gaps(gaps)
    return plots


def _body(
    found: Sequence[Findings],
    gaps: Mapping[str, Mapping[str, Gap]],
    made: Mapping[str, str],
    plots: Mapping[str, Plot],
) -> str:
    return "\n".join(
        [
            page.definitions(made),
            page.note(
                "Intervals are 95 %, normal, with problems as clusters: samples of one problem are not independent."
            ),
            page.section("What was analysed", _overview(found), page.panels(_figure(plots, "accuracy"))),
            page.section("Length by correctness", *_lengths(found, plots)),
            page.section("Words of reasoning", *_words(found, plots)),
            page.section("Probability along the response", *_probability(found, plots)),
            page.section("Entropy along the response", *_entropy(plots)),
            page.section("Token rank shift", *_shift(found, plots)),
            page.section("Cognitive behaviours", *_behaviours(found, plots)),
            page.section("Learnability gap", *_gaps(gaps, plots)),
        ]
    )


def _figure(plots: Mapping[str, Plot], name: str, caption: str = "", width: str = "") -> str:
    return page.figure(plots[name].svg, caption, width=width) if name in plots else ""


def _overview(found: Sequence[Findings]) -> str:
    header = ["", "benchmark", "problems", "responses", "correct", "cut off", "verdicts"]
    rows = [
        [
            one.name if first else "",
            name,
            b.problems,
            b.responses,
            _shown(b.accuracy),
            "unknown" if b.truncated is None else f"{b.truncated:.1%}",
            ", ".join(f"{verdict} {number}" for verdict, number in b.verdicts.items()),
        ]
        for one in found
        for first, (name, b) in zip([True, *[False] * len(one.benchmarks)], one.benchmarks.items(), strict=False)
    ]
    return page.table(header, rows) + page.definitions({one.name: one.file for one in found})


def _lengths(found: Sequence[Findings], plots: Mapping[str, Plot]) -> list[str]:
    header = ["", "responses", "problems", f"mean, {found[0].unit}", "lower quartile", "median", "upper quartile"]
    rows = []
    for one in found:
        for group in GROUPS:
            length = one.lengths[group]
            quartiles = [f"{value:.0f}" for value in length.quartiles or ()] or ["-"] * 3
            rows.append(
                [f"{one.name}, {group}", f"{length.mean.n:.0f}", length.mean.problems, _shown(length.mean)] + quartiles
            )
    within = [
        f"{one.name}: {_shown(one.longer_when_incorrect, '+')} {one.unit} over"
        f" {one.longer_when_incorrect.problems} problems that have both"
        for one in found
        if one.longer_when_incorrect.problems
    ]
    histograms = [_figure(plots, f"length_{i}") for i in range(1, len(found) + 1)]
    return [
        page.panels(_figure(plots, "length"), *histograms),
        page.table(header, rows),
        page.note(
            "Hard problems have long responses and few correct ones, so that the difference between correct and"
            " incorrect is not the effect of length. Incorrect minus correct within a problem, where that plays no"
            " part: " + ("; ".join(within) if within else "no problem has responses of both kinds") + "."
        ),
    ]


def _words(found: Sequence[Findings], plots: Mapping[str, Plot]) -> list[str]:
    header = ["", "list", "per 1000 words", "per 1000 tokens", "per response", f"mean length, {found[0].unit}"]
    rows = []
    for one in found:
        for group in GROUPS:
            for name in LISTS:
                frequency = one.words[group][name]["all"]
                tokens = frequency.per_thousand_tokens
                rows.append(
                    [
                        f"{one.name}, {group}",
                        name,
                        _shown(frequency.per_thousand_words),
                        "unknown" if tokens is None else _shown(tokens),
                        _shown(frequency.per_response),
                        _shown(one.lengths[group].mean),
                    ]
                )
    lists = "; ".join(
        f"{name}: {', '.join(words.seen)} (named in accounts of the paper), {', '.join(words.extended)} (added here)"
        for name, words in LISTS.items()
    )
    return [
        page.panels(_figure(plots, "words"), *(_figure(plots, f"words_{name}") for name in LISTS)),
        page.table(header, rows),
        page.note(
            f"The lists of arXiv 2505.21067 are not published. {lists}. Counts per response grow with length, and rates"
            " are confounded with it, too: read them beside the mean length. They say how a model writes, not why it is"
            " right."
        ),
    ]


def _probability(found: Sequence[Findings], plots: Mapping[str, Plot]) -> list[str]:
    scored = [one for one in found if one.likelihood]
    if not scored:
        return []
    facts = {}
    for one in scored:
        likelihood = one.likelihood
        words = ", ".join(f"{number} {name}" for name, number in likelihood.thinking_tokens.items())
        facts[one.name] = (
            f"{likelihood.model}"
            + (f", original {likelihood.original}" if likelihood.original else "")
            + f"; {likelihood.responses} responses scored"
            + "".join(f"; left out {number} {reason}" for reason, number in likelihood.left_out.items())
            + (
                f"; {likelihood.tokenized_here} tokenized here, as no token ids were recorded"
                if likelihood.tokenized_here
                else ""
            )
            + f"; tokens of the vocabulary that are words of the lists: {words}"
        )
    header = ["", "tokens", "responses", *THIRDS, "occurrences"]
    rows = []
    for one in scored:
        for name, label in figures.KINDS.items():
            for group in GROUPS:
                along = one.likelihood.own[group].probability[name].thirds
                if not any(e.n for e in along):
                    continue
                number = "-" if name == "all" else f"{sum(e.n for e in along):.0f}"
                rows.append([one.name, label, group, *(_shown(e) for e in along), number])
    return [
        page.definitions(facts),
        page.panels(*(_figure(plots, f"probability_{kind}") for kind in figures.KINDS)),
        page.note(
            "Probability that the model gave to the token that stands there. All tokens: each response counts once;"
            " words of a list: each occurrence once, given that it occurred. The middle of a response is not the same"
            " number of tokens for all."
        ),
        page.panels(*(_figure(plots, f"thirds_{kind}") for kind in LISTS)),
        page.panels(*(_figure(plots, f"mass_{kind}") for kind in LISTS)),
        page.note(
            "Probability of all tokens of a list together as the next one, at every place, whether it was drawn or not."
        )
        if any(f"mass_{kind}" in plots for kind in LISTS)
        else "",
        page.table(header, rows),
        *(
            [
                "<h3>Against the original model</h3>",
                page.panels(*(_figure(plots, f"change_{kind}") for kind in figures.KINDS)),
                page.panels(*(_figure(plots, f"mass_change_{kind}") for kind in LISTS)),
                page.note(
                    "The same tokens under the model less under the original, token by token. Where the"
                    " model wrote the responses itself that favours it: a rise over all tokens is to be expected."
                ),
            ]
            if any(name.startswith("change_") for name in plots)
            else []
        ),
    ]


def _entropy(plots: Mapping[str, Plot]) -> list[str]:
    drawn = [_figure(plots, f"entropy_{kind}") for kind in figures.KINDS]
    return [page.panels(*drawn)] if any(drawn) else []


def _shift(found: Sequence[Findings], plots: Mapping[str, Plot]) -> list[str]:
    shifted = [one for one in found if one.likelihood and one.likelihood.shift]
    if not shifted:
        return []
    header = ["", "rank of the tokens", *(f"{name} ({rank})" for name, rank in figures.BUCKETS.items()), "mean shift"]
    rows, tables = [], []
    for one in shifted:
        likelihood, shift = one.likelihood, one.likelihood.shift
        for label, shares in (("under the original", shift.original), ("under the model itself", shift.tuned)):
            last = _shown(shift.mean_shift, "+") if shares is shift.original else ""
            rows.append([one.name, label, *(_shown(shares[name]) for name in figures.BUCKETS), last])
        lines = [
            [repr(likelihood.texts[t.token]), t.count, f"{t.original_rank:.1f}", f"{t.rank:.1f}", f"{t.shift:+.1f}"]
            for t in shift.tokens[:SHOWN_TOKENS]
        ]
        top = page.table(["token", "occurrences", "mean rank, original", "mean rank, model", "shift"], lines)
        title = (
            f"{one.name}: {len(lines)} tokens with the largest shift, of {len(shift.tokens)} that occur often enough"
        )
        tables.append(page.details(title, top))
    return [
        page.panels(_figure(plots, "ranks", width="wide")),
        page.table(header, rows),
        page.note(
            "Rank 0 is the most likely token. Sampling alone moves tokens off rank 0: the rows under the model itself"
            " say how much. Mean ranks of a token are carried by its few most surprising places."
        ),
        *tables,
    ]


def _behaviours(found: Sequence[Findings], plots: Mapping[str, Plot]) -> list[str]:
    judged = [one for one in found if one.behaviours]
    if not judged:
        return []
    header = ["", "responses", *(name for name in BEHAVIOURS.values()), f"mean length, {found[0].unit}"]
    rows = [
        [
            f"{one.name}, {group}",
            f"{one.behaviours.per_response[group]['metacognitive'].n:.0f}",
            *(_shown(one.behaviours.per_response[group][name]) for name in BEHAVIOURS),
            _shown(one.lengths[group].mean),
        ]
        for one in judged
        for group in GROUPS
    ]
    failed = "; ".join(
        f"{one.name}: {number} without counts ({reason})"
        for one in judged
        for reason, number in one.behaviours.failures.items()
    )
    return [
        page.panels(_figure(plots, "behaviours", width="wide")),
        page.table(header, rows),
        page.note(
            "Occurrences per response. They grow with length, and a judge makes errors that nobody has measured here."
            + (f" Failures, which are left out: {failed}." if failed else " No judgement failed.")
        ),
        page.details("The judge's prompt", f"<pre>{html.escape(PROMPT)}</pre>"),
    ]


def _gaps(gaps: Mapping[str, Mapping[str, Gap]], plots: Mapping[str, Plot]) -> list[str]:
    if not gaps:
        return []
    header = ["student", "benchmark", "items", "D, points", "standard error", "95 % interval"]
    rows = [
        [student, name, g.items, f"{g.mean:+.1f}", f"{g.stderr:.1f}", f"{g.low:+.1f} to {g.high:+.1f}"]
        for student, by in gaps.items()
        for name, g in by.items()
    ]
    return [
        page.panels(_figure(plots, "gap", width="wide")),
        page.table(header, rows),
        page.note(
            "D = accuracy after strong teaching (long traces, or a large teacher) less accuracy after weak teaching"
            " (short, or small); below zero the student learns better from the simpler data (arXiv 2502.12143). Paired"
            " bootstrap over items; the seeds of training are not in it. The average takes benchmarks alike."
        ),
    ]


def _shown(estimate: Estimate, sign: str = "") -> str:
    """Mean with half of the 95 % interval, both to the latter's second digit."""
    mean, half = estimate.mean, estimate.half
    if not math.isfinite(mean):
        return "-"
    if not half:  # unknown, or all alike
        return f"{mean:{sign}.3g}"
    if half < 1e-5:
        return f"{mean:{sign}.2g} ± {half:.1g}"
    digits = min(max(1 - math.floor(math.log10(half)), 0), 6)
    return f"{mean:{sign}.{digits}f} ± {half:.{digits}f}"
