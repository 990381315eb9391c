"""The figures of an analysis; each evaluation has one colour throughout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter

from red_mcore.analysis.findings import Findings, Likelihood
from red_mcore.analysis.groups import GROUPS
from red_mcore.analysis.judge import BEHAVIOURS
from red_mcore.analysis.lengths import LearnabilityGap
from red_mcore.analysis.positions import TENTHS, THIRDS, Track
from red_mcore.analysis.words import LISTS, Frequency
from red_mcore.reports import plots
from red_mcore.reports.plots import SIZE, WIDE, Plot
from red_mcore.stats import Estimate

OUTCOMES = {"correct": "#009E73", "incorrect": "#D55E00"}
KINDS = {
    "all": "all tokens",
    "anthropomorphic": "anthropomorphic tokens",
    "connectors": "connectors",
}
_NEXT = {"anthropomorphic": "an anthropomorphic token", "connectors": "a connector"}
BUCKETS = {
    "unshifted": "unshifted (0)",
    "marginal": "marginal (1-2)",
    "shifted": "shifted (3 or more)",
}
_MIDDLES = [100 * (part + 0.5) / TENTHS for part in range(TENTHS)]
"""The middles of the tenths of a response, in percent."""
Estimates = dict[str, Estimate]


def accuracy(found: Sequence[Findings]) -> Plot:
    def of(one: Findings) -> Estimates:
        return {name: benchmark.accuracy for name, benchmark in one.benchmarks.items()}

    return _bars(found, "share of correct responses", of, form="{:.2f}")


def length(found: Sequence[Findings]) -> Plot:
    def of(one: Findings) -> Estimates:
        return {group: one.lengths[group].mean for group in OUTCOMES}

    return _bars(found, f"mean length, {found[0].unit}", of, form="{:.0f}")


def length_histogram(one: Findings) -> Plot:
    values, colours = {}, {}
    for group, colour in OUTCOMES.items():
        label = f"{group} ({len(one.values[group])})"
        values[label] = one.values[group]
        colours[label] = colour
    title = f"share of responses: {one.name}"
    return plots.histogram(values, f"length, {one.unit}", title, bins=20, colours=colours)


def words(found: Sequence[Findings]) -> Plot:
    """Both lists, and each by correctness."""
    rate, unit = _rate(found)

    def of(one: Findings) -> Estimates:
        rows = {}
        for place, name in enumerate(LISTS):
            for group in GROUPS:
                # Names of rows must differ, and a space behind does not show.
                row = name if group == "all" else group + " " * place
                rows[row] = rate(one.words[group][name]["all"])
        return rows

    return _bars(found, f"occurrences per 1000 {unit}", of)


def entries(found: Sequence[Findings], name: str) -> Plot:
    """Each entry of one list."""
    rate, unit = _rate(found)

    def of(one: Findings) -> Estimates:
        return {entry: rate(one.words["all"][name][entry]) for entry in LISTS[name].entries}

    return _bars(found, f"{name}, per 1000 {unit}", of)


def _rate(found: Sequence[Findings]) -> tuple[Callable[[Frequency], Estimate], str]:
    """A rate per what all evaluations know the number of: tokens, else words."""
    unit = "tokens"
    for one in found:
        for frequencies in one.words["all"].values():
            if frequencies["all"].per_thousand_tokens is None:
                unit = "words"
    return attrgetter(f"per_thousand_{unit}"), unit


def behaviours(found: Sequence[Findings]) -> Plot:
    def of(one: Findings) -> Estimates:
        rows: Estimates = {}
        if one.behaviours is None:
            return rows
        for kind in BEHAVIOURS:
            for group in OUTCOMES:
                label = f"{kind.replace('_', '-')}, {group}"
                rows[label] = one.behaviours.per_response[group][kind]
        return rows

    return _bars(found, "occurrences per response, by the judge", of, form="{:.2f}", size=WIDE)


def gaps(found: Mapping[str, Mapping[str, LearnabilityGap]]) -> Plot:
    """A bar per student and benchmark."""
    values: dict[str, dict[str, float]] = {}
    errors: dict[str, dict[str, float]] = {}
    for student, by_benchmark in found.items():
        values[student] = {name: gap.mean for name, gap in by_benchmark.items()}
        errors[student] = {name: (gap.high - gap.low) / 2 for name, gap in by_benchmark.items()}
    title = "accuracy after strong minus after weak teaching, points"
    return plots.bars(values, title, errors, form="{:+.1f}", width=WIDE[0])


def likelihood(found: Sequence[Findings]) -> dict[str, dict[str, Plot]]:
    """Section of the page -> name of the file -> figure; all that there is something to draw of."""
    made: dict[str, dict[str, Plot]] = {}

    def keep(section: str, kind: str, plot: Plot | None) -> None:
        if plot is not None:
            made.setdefault(section, {})[f"{section}_{kind}".removesuffix("_")] = plot

    for kind, label in KINDS.items():
        chance, change = f"mean probability of {label}", f"probability of {label}, change"
        entropy = f"entropy {'over' if kind == 'all' else 'at'} {label}, nats"
        keep("probability", kind, _track(found, chance, "own", "probability", kind))
        keep("change", kind, _track(found, change, "change", "probability", kind))
        keep("entropy", kind, _track(found, entropy, "own", "entropy", kind))
    for kind, label in _NEXT.items():
        title = f"probability that {label} is next"
        keep("thirds", kind, _thirds(found, kind))
        keep("mass", kind, _track(found, title, "own", "watched", kind))
        keep("mass_change", kind, _track(found, f"{title}, change", "change", "watched", kind))
    keep("ranks", "", _ranks(found))
    return made


def _track(
    found: Sequence[Findings], title: str, which: str, quantity: str, kind: str
) -> Plot | None:
    """A quantity over ten parts of the responses, a line per evaluation; None where none has it."""
    lines, bands = {}, {}
    for one in found:
        along = _along(one.likelihood, which, quantity, kind)
        if along is not None and any(estimate.n for estimate in along.tenths):
            lines[one.name] = _MIDDLES, [estimate.mean for estimate in along.tenths]
            bands[one.name] = [estimate.half for estimate in along.tenths]
    if not lines:
        return None
    plot = plots.curve(lines, title, "place in the response, %", bands, colours=_colours(found))
    axes = plot.figure.axes[0]
    # A power of ten above the axis would meet the legend.
    axes.ticklabel_format(axis="y", scilimits=(-4, 4))
    if which == "own":  # normal intervals reach where no probability lies
        axes.set_ylim(bottom=max(axes.get_ylim()[0], 0))
    return plot


def _along(scores: Likelihood | None, which: str, quantity: str, kind: str) -> Track | None:
    """``which``: ``own``, or the ``change``, which only an original model makes known."""
    parts = getattr(scores, which, None)
    if parts is None:
        return None
    return getattr(parts["all"], quantity)[kind]


def _thirds(found: Sequence[Findings], kind: str) -> Plot | None:
    """Probability of one kind of token at the beginning, in the middle and at the end."""

    def of(one: Findings) -> Estimates:
        along = _along(one.likelihood, "own", "probability", kind)
        if along is None or not any(estimate.n for estimate in along.thirds):
            return {}
        return dict(zip(THIRDS, along.thirds, strict=True))

    if not any(map(of, found)):
        return None
    return _bars(found, f"mean probability of {KINDS[kind]}", of)


def _ranks(found: Sequence[Findings]) -> Plot | None:
    """Shares of positions by rank, under the original model."""

    def of(one: Findings) -> Estimates:
        if one.likelihood is None or one.likelihood.shift is None:
            return {}
        shares = one.likelihood.shift.original
        return {label: shares[name] for name, label in BUCKETS.items()}

    if not any(map(of, found)):
        return None
    title = "share of positions by the token's rank under the original model"
    return _bars(found, title, of, form="{:.3f}", size=WIDE)


def _bars(
    found: Sequence[Findings],
    title: str,
    of: Callable[[Findings], Estimates],
    *,
    form: str = "{:.3g}",
    size: tuple[float, float] = SIZE,
) -> Plot:
    """Bars of the estimates that ``of`` takes from each evaluation; one without any has none."""
    values: dict[str, dict[str, float]] = {}
    errors: dict[str, dict[str, float]] = {}
    for one in found:
        for label, estimate in of(one).items():
            values.setdefault(one.name, {})[label] = estimate.mean
            errors.setdefault(one.name, {})[label] = estimate.half
    plot = plots.bars(values, title, errors, form=form, colours=_colours(found), width=size[0])
    # Normal intervals reach where no share, length or count lies.
    plot.figure.axes[0].set_xlim(left=0)
    return plot


def _colours(found: Sequence[Findings]) -> dict[str, str]:
    """A colour for each evaluation, which it keeps where others are missing."""
    return plots.palette([one.name for one in found])
