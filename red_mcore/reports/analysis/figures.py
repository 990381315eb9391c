"""The figures of an analysis, by the name of their file; evaluations have one colour throughout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from red_mcore.analysis.estimates import Estimate
from red_mcore.analysis.findings import Findings, Likelihood
from red_mcore.analysis.judge import BEHAVIOURS
from red_mcore.analysis.lengths import GROUPS, Gap
from red_mcore.analysis.positions import TENTHS, THIRDS, Positions, Track
from red_mcore.analysis.words import LISTS, Frequency
from red_mcore.reports.plots import COLOURS, SIZE, WIDE, Plot, bars, curve, histogram

OUTCOMES = {"correct": "#009E73", "incorrect": "#D55E00"}
KINDS = {"all": "all tokens", "anthropomorphic": "anthropomorphic tokens", "connectors": "connectors"}
_MIDDLES = [100 * (part + 0.5) / TENTHS for part in range(TENTHS)]


def accuracy(found: Sequence[Findings]) -> Plot:
    estimates = {f.name: {name: b.accuracy for name, b in f.benchmarks.items()} for f in found}
    return _bars(estimates, "share of correct responses", form="{:.2f}")


def length(found: Sequence[Findings]) -> Plot:
    estimates = {f.name: {group: f.lengths[group].mean for group in ("correct", "incorrect")} for f in found}
    return _bars(estimates, f"mean length, {found[0].unit}", form="{:.0f}")


def length_histogram(one: Findings) -> Plot:
    values = {f"{group} ({len(one.values[group])})": one.values[group] for group in OUTCOMES}
    colours = dict(zip(values, OUTCOMES.values(), strict=True))
    return histogram(values, f"length, {one.unit}", f"share of responses: {one.name}", bins=20, colours=colours)


def rate(frequency: Frequency, per: str) -> Estimate:
    return frequency.per_thousand_tokens if per == "tokens" else frequency.per_thousand_words


def per(found: Sequence[Findings]) -> str:
    """What all evaluations know the number of: ``tokens``, else ``words``."""
    known = (f.words["all"][name]["all"].per_thousand_tokens is not None for f in found for name in LISTS)
    return "tokens" if all(known) else "words"


def words(found: Sequence[Findings]) -> Plot:
    """Both lists, and each by correctness."""
    unit = per(found)
    # Names of rows must differ, and a space behind does not show.
    rows = {
        (name, group): name if group == "all" else group + " " * place
        for place, name in enumerate(LISTS)
        for group in GROUPS
    }
    estimates = {
        f.name: {row: rate(f.words[group][name]["all"], unit) for (name, group), row in rows.items()} for f in found
    }
    return _bars(estimates, f"occurrences per 1000 {unit}")


def entries(found: Sequence[Findings], name: str) -> Plot:
    """Each entry of one list."""
    unit = per(found)
    estimates = {
        f.name: {entry: rate(f.words["all"][name][entry], unit) for entry in LISTS[name].entries} for f in found
    }
    return _bars(estimates, f"{name}, per 1000 {unit}")


def tracks(
    found: Sequence[Findings], title: str, track: Callable[[Likelihood], Track | None], *, signed: bool = False
) -> Plot | None:
    """A quantity over ten parts of the responses, a line per evaluation; None where no evaluation has it."""
    lines, band = {}, {}
    for one in found:
        along = track(one.likelihood) if one.likelihood else None
        if along is not None and any(estimate.n for estimate in along.tenths):
            lines[one.name] = _MIDDLES, [estimate.mean for estimate in along.tenths]
            band[one.name] = [estimate.half for estimate in along.tenths]
    if not lines:
        return None
    plot = curve(lines, title, "place in the response, %", band, colours=_colours(found), size=SIZE)
    axes = plot.figure.axes[0]
    axes.ticklabel_format(axis="y", scilimits=(-4, 4))  # a power of ten above the axis would meet the legend
    if not signed:
        axes.set_ylim(bottom=max(axes.get_ylim()[0], 0))  # normal intervals reach where no probability lies
    return plot


def thirds(found: Sequence[Findings], title: str, kind: str, which: str = "own") -> Plot | None:
    """Probability of one kind of token at the beginning, in the middle and at the end."""
    estimates = {}
    for one in found:
        parts = getattr(one.likelihood, which) if one.likelihood else None
        if parts is not None:
            along = parts["all"].probability[kind].thirds
            if any(estimate.n for estimate in along):
                estimates[one.name] = dict(zip(THIRDS, along, strict=True))
    return _bars(estimates, title, colours=_colours(found)) if estimates else None


def ranks(found: Sequence[Findings]) -> Plot | None:
    """Shares of positions by rank, under the original model."""
    estimates = {
        f.name: {f"{name} ({rank})": f.likelihood.shift.original[name] for name, rank in BUCKETS.items()}
        for f in found
        if f.likelihood and f.likelihood.shift
    }
    title = "share of positions by the token's rank under the original model"
    return _bars(estimates, title, form="{:.3f}", colours=_colours(found), size=WIDE) if estimates else None


BUCKETS = {"unshifted": "0", "marginal": "1-2", "shifted": "3 or more"}


def gaps(found: Mapping[str, Mapping[str, Gap]]) -> Plot:
    """A bar per student and benchmark."""
    values = {student: {name: gap.mean for name, gap in by.items()} for student, by in found.items()}
    errors = {student: {name: (gap.high - gap.low) / 2 for name, gap in by.items()} for student, by in found.items()}
    return bars(
        values, "accuracy after strong minus after weak teaching, points", errors, form="{:+.1f}", width=WIDE[0]
    )


def behaviours(found: Sequence[Findings]) -> Plot | None:
    estimates = {
        f.name: {
            f"{kind.replace('_', '-')}, {group}": f.behaviours.per_response[group][kind]
            for kind in BEHAVIOURS
            for group in OUTCOMES
        }
        for f in found
        if f.behaviours
    }
    title = "occurrences per response, by the judge"
    return _bars(estimates, title, form="{:.2f}", colours=_colours(found), size=WIDE) if estimates else None


def likelihood_figures(found: Sequence[Findings]) -> dict[str, Plot]:
    """All that there is something to draw of."""

    def of(which: str, quantity: str, kind: str) -> Callable[[Likelihood], Track | None]:
        def track(likelihood: Likelihood) -> Track | None:
            parts: dict[str, Positions] | None = getattr(likelihood, which)
            return None if parts is None else getattr(parts["all"], quantity)[kind]

        return track

    made: dict[str, Plot | None] = {}
    for kind, label in KINDS.items():
        made[f"probability_{kind}"] = tracks(found, f"mean probability of {label}", of("own", "probability", kind))
    for kind in LISTS:
        made[f"thirds_{kind}"] = thirds(found, f"mean probability of {KINDS[kind]}", kind)
        made[f"mass_{kind}"] = tracks(found, f"probability that {_next(kind)} is next", of("own", "watched", kind))
    for kind, label in KINDS.items():
        made[f"change_{kind}"] = tracks(
            found, f"probability of {label}, change", of("change", "probability", kind), signed=True
        )
    for kind in LISTS:
        made[f"mass_change_{kind}"] = tracks(
            found, f"probability that {_next(kind)} is next, change", of("change", "watched", kind), signed=True
        )
    for kind, label in KINDS.items():
        at = "at" if kind != "all" else "over"
        made[f"entropy_{kind}"] = tracks(found, f"entropy {at} {label}, nats", of("own", "entropy", kind))
    made["ranks"] = ranks(found)
    return {name: plot for name, plot in made.items() if plot is not None}


def _next(kind: str) -> str:
    return {"anthropomorphic": "an anthropomorphic token", "connectors": "a connector"}[kind]


def _bars(
    estimates: Mapping[str, Mapping[str, Estimate]],
    title: str,
    *,
    form: str = "{:.2g}",
    colours: Mapping[str, str] | None = None,
    size: tuple[float, float] = SIZE,
) -> Plot:
    values = {name: {key: e.mean for key, e in row.items()} for name, row in estimates.items()}
    errors = {name: {key: e.half for key, e in row.items()} for name, row in estimates.items()}
    plot = bars(values, title, errors, form=form, colours=colours, width=size[0])
    plot.figure.axes[0].set_xlim(left=0)  # normal intervals reach where no share, length or count lies
    return plot


def _colours(found: Sequence[Findings]) -> dict[str, str]:
    """So that an evaluation keeps its colour where others are missing."""
    return {one.name: COLOURS[i % len(COLOURS)] for i, one in enumerate(found)}
