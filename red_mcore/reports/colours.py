"""The colours of pages and figures, in the light and in the dark.

Style sheets and figures are written in the light ones. ``themed`` makes each that has a dark
counterpart a CSS variable with the light one as its fallback, so that a figure taken out of its
page is as it was drawn.
"""

from __future__ import annotations

import re

DARK = {
    "#ffffff": "#15171a",  # paper
    "#222222": "#e7e8ea",  # ink
    "#000000": "#f4f4f4",
    "#444444": "#c3c7cb",
    "#555555": "#a8aeb5",
    "#666666": "#8f969d",
    "#777777": "#979ea5",
    "#888888": "#878e95",
    "#b5b5b5": "#6d747b",
    "#cfd6da": "#4b535a",
    "#dedede": "#3b4147",
    "#e4e4e4": "#343a40",
    "#ececec": "#2b3035",
    "#f4f4f0": "#23271f",
    "#f6f7f8": "#1f2327",
    # Okabe and Ito's, each as far from the others as on white
    "#0072b2": "#4b9be0",
    "#d55e00": "#f0803c",
    "#009e73": "#33bf95",
    "#cc79a7": "#df97bf",
    "#e69f00": "#e9ae2b",
    "#56b4e9": "#a3d8f8",
    # text on paper
    "#00785a": "#43cfa3",
    "#b34700": "#ff9a5c",
}
"""Light -> dark; a colour that is not here is the same in both."""

_COLOUR = re.compile("|".join(DARK), re.IGNORECASE)


def themed(text: str) -> str:
    """CSS or SVG whose colours follow the reader's setting, in a page that has ``VARIABLES``."""
    return _COLOUR.sub(lambda found: f"var(--{found.group().lower()[1:]}, {found.group()})", text)


VARIABLES = (
    ":root { color-scheme: light dark; }\n@media (prefers-color-scheme: dark) { :root { "
    + " ".join(f"--{light[1:]}: {dark};" for light, dark in DARK.items())
    + " } }\n"
)
