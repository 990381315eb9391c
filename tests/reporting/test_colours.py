"""Light and dark: what is drawn for one can be read in the other."""

import re

import pytest

from red_mcore.reports import page, plots
from red_mcore.reports.colours import DARK, VARIABLES, themed

TEXT = ("#222222", "#555555", "#777777", "#00785a", "#b34700")
"""Light colours of texts."""
LINES = tuple(colour.lower() for colour in plots.COLOURS)


def contrast(one: str, other: str) -> float:
    """WCAG 2's ratio of two colours ``#rrggbb``, 1 to 21."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [
            part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        ]
        return sum(
            weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True)
        )

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", TEXT)
@pytest.mark.parametrize("paper", ["#ffffff", "#f6f7f8"])
def test_text_can_be_read_on_every_ground(colour, paper):
    assert contrast(DARK[colour], DARK[paper]) >= 4.5
    assert contrast(colour, paper) >= 4.1


@pytest.mark.parametrize("colour", LINES)
def test_lines_stand_out_in_the_dark(colour):
    assert contrast(DARK[colour], DARK["#ffffff"]) >= 4.5


def test_a_colour_follows_the_reader_and_falls_back_to_the_light_one():
    assert (
        themed("fill: #0072B2; stroke: #123456") == "fill: var(--0072b2, #0072B2); stroke: #123456"
    )
    assert f"--0072b2: {DARK['#0072b2']};" in VARIABLES
    assert "prefers-color-scheme: dark" in VARIABLES


def test_a_page_has_no_colour_that_the_dark_one_would_not_change():
    plot = plots.curve({"a": ([0, 1], [1, 2])}, "y", levels={"l": 1}, marks=[1])
    body = "{% extends 'base.html' %}{% block body %}{{ plot.svg | themed }}{% endblock %}"
    made = page.environment().from_string(body).render(title="t", plot=plot)
    drawn = re.sub(r"var\(--\w{6}, #\w{6}\)", "", made.replace(VARIABLES, ""))
    assert re.findall(r"#[0-9a-fA-F]{6}\b|#[0-9a-fA-F]{3}\b(?=[;} ])", drawn) == []
    assert "var(" not in plot.svg  # a file of its own may be shown by what knows no variables
