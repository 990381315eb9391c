"""The skeleton of every report: one HTML file that needs nothing beside itself, and the pieces that it is made of.

Functions return HTML. ``body``, ``parts`` and ``svg`` are HTML already; other arguments are plain text, escaped here.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from red_mcore.reports.colours import VARIABLES, themed
from red_mcore.system.disk import write_atomic

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222222; background: #ffffff; max-width: 1180px; margin: 2em auto;
  padding: 0 1.5em; overflow-wrap: break-word; }
h1 { font-size: 1.6em; line-height: 1.25; margin-bottom: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2em; margin: 2.2em 0 .4em; } h3 { font-size: 1em; margin: 1.6em 0 .3em; }
figure { margin: 0; } .figure { width: 100%; height: auto; display: block; fill: currentColor; }
p, li { max-width: 60em; }
.scroll { overflow-x: auto; background:
  linear-gradient(90deg, #ffffff 30%, transparent) 0 0 / 40px 100% no-repeat local,
  linear-gradient(270deg, #ffffff 30%, transparent) 100% 0 / 40px 100% no-repeat local,
  linear-gradient(90deg, #b5b5b5, transparent) 0 0 / 10px 100% no-repeat scroll,
  linear-gradient(270deg, #b5b5b5, transparent) 100% 0 / 10px 100% no-repeat scroll; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 9px; border-bottom: 1px solid #e4e4e4; text-align: left; vertical-align: top; }
th { color: #555555; font-weight: 600; vertical-align: bottom; }
td:first-child { font-weight: 600; white-space: nowrap; }
.scroll th:first-child, .scroll td:first-child { position: sticky; left: 0; background: #ffffff; z-index: 1; }
td small { display: block; color: #777777; white-space: nowrap; } td { white-space: nowrap; }
.scroll tr.reference td { background: #f4f4f0; } .plus { color: #0072B2; } .minus { color: #D55E00; }
.pairs th { writing-mode: vertical-rl; transform: rotate(180deg); padding: 6px 2px; font-weight: 400; }
.pairs td { text-align: center; padding: 2px 5px; } .pairs td:first-child { text-align: left; }
.note { color: #555555; font-size: 13px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2em 1.2em; }
dt { color: #555555; } dd { margin: 0; overflow-wrap: anywhere; }
code, pre { font: 12.5px/1.45 ui-monospace, monospace; }
pre { background: #f6f7f8; padding: .6em .8em; white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; color: #555555; } summary:hover { color: #222222; }
.panels { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 14px 16px; margin: .6em 0; }
.panels figure { min-width: 0; } .wide { grid-column: span 2; } .full { grid-column: span 3; }
figcaption { color: #555555; font-size: 12.5px; line-height: 1.35; padding: .1em .3em 0; }
.tiles { display: flex; flex-wrap: wrap; gap: 10px 14px; margin: 1em 0; }
.tile { flex: 1 1 0; min-width: 130px; background: #f6f7f8; border-radius: 6px; padding: .6em .9em; }
.tile b { display: block; font-size: 1.35em; line-height: 1.3; font-weight: 600; white-space: nowrap; }
.tile span { display: block; color: #555555; font-size: 13px; }
.questions { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 14px; margin: 1em 0; }
.question { border: 1px solid #e4e4e4; border-left: 5px solid #888888; border-radius: 6px; padding: .6em .9em .7em; }
.question.good { border-left-color: #009E73; } .question.bad { border-left-color: #D55E00; }
.question p { margin: 0; color: #555555; font-size: 13px; overflow-wrap: anywhere; }
.question .word { font-size: 1.35em; line-height: 1.3; font-weight: 600; color: #222222; }
.question.good .word { color: #00785A; } .question.bad .word { color: #B34700; }
.question .number { font-size: 15px; font-weight: 600; color: #222222; }
.question ul { margin: .2em 0 0; padding-left: 1.2em; overflow-wrap: anywhere; }
.question ul, .question details { font-size: 13px; }
@media (max-width: 800px) {
  body { margin: 1em auto; padding: 0 1em; } .panels, .questions { grid-template-columns: minmax(0, 1fr); }
  .wide, .full { grid-column: auto; overflow-x: auto; } .wide svg { min-width: 600px; } .full svg { min-width: 800px; }
  .tile b { font-size: 1.15em; } dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .4em; }
}
"""


@dataclass(frozen=True)
class Answer:
    """To one of the questions that a reader comes with."""

    question: str
    kind: Literal["good", "bad", "open"]
    word: str
    number: str = ""
    lines: Sequence[str] = ()
    reasons: Sequence[str] = ()
    """A list below; the first ``SHOWN_REASONS`` show at once."""


SHOWN_REASONS = 3
_MARKS = {"good": "\N{CHECK MARK}", "bad": "\N{BALLOT X}", "open": "\N{EN DASH}"}
"""Beside the colours, which not everybody tells apart."""


def page(title: str, body: str, *, style: str = "") -> str:
    """The whole document; ``style`` adds rules to those that all reports share."""
    return (
        f"<!doctype html>\n<html lang=en><head><meta charset=utf-8><title>{html.escape(title)}</title>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<style>{VARIABLES}{themed(_STYLE + style)}</style></head>\n"
        f"<body><h1>{html.escape(title)}</h1>\n{body}\n</body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A heading and what belongs under it; nothing at all where every part is empty."""
    return "\n".join([f"<h2>{html.escape(title)}</h2>", *parts]) if any(parts) else ""


def note(text: str) -> str:
    """A small grey paragraph."""
    return f"<p class=note>{html.escape(text)}</p>"


def definitions(made: Mapping[str, str]) -> str:
    """Names and what they stand for, as a list: how something was made."""
    items = (f"<dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd>" for key, value in made.items())
    return f"<dl class=note>{''.join(items)}</dl>"


def tiles(values: Mapping[str, tuple[str, str]]) -> str:
    """The few numbers to see first: name -> (number, detail)."""
    made = (
        f"<div class=tile><span>{html.escape(name)}</span><b>{html.escape(number)}</b>"
        f"<span>{html.escape(detail)}</span></div>"
        for name, (number, detail) in values.items()
    )
    return f"<div class=tiles>{''.join(made)}</div>"


def answers(found: Iterable[Answer]) -> str:
    """Questions side by side, each with its answer in a word or two, and what that rests on."""
    return f"<div class=questions>{''.join(map(_answer, found))}</div>"


def _answer(one: Answer) -> str:
    number = f"<p class=number>{html.escape(one.number)}</p>" if one.number else ""
    lines = "".join(f"<p>{html.escape(line)}</p>" for line in one.lines)
    shown, hidden = one.reasons[:SHOWN_REASONS], one.reasons[SHOWN_REASONS:]
    return (
        f"<div class='question {one.kind}'><p>{html.escape(one.question)}</p>"
        f"<p class=word>{_MARKS[one.kind]} {html.escape(one.word)}</p>{number}{lines}{_list(shown)}"
        f"{details(f'and {len(hidden)} more', _list(hidden)) if hidden else ''}</div>"
    )


def _list(items: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(item)}</li>' for item in items)}</ul>" if items else ""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Plain text in cells, the first column in bold; scrolls where it is too wide for the page."""
    lines = [_row("th", header), *(_row("td", row) for row in rows)]
    return scrolling(f"<table>{''.join(lines)}</table>")


def scrolling(table: str) -> str:
    """A table that scrolls, its first column aside, where it is too wide; by keys, too."""
    return f"<div class=scroll tabindex=0>{table}</div>"


def _row(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(str(cell))}</{tag}>' for cell in cells)}</tr>"


def figure(svg: str, caption: str = "", *, width: str = "") -> str:
    """A figure, alone or for ``panels``; ``width`` is ``wide`` (two columns), ``full`` (three) or nothing (one).

    Its colours follow the reader's setting, and one of several columns scrolls on a screen that is too narrow for it.
    """
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f"<figure class='{width}'>{themed(svg)}{below}</figure>"


def panels(*figures: str) -> str:
    """Figures in three columns; nothing where all are empty."""
    shown = [f for f in figures if f]
    return f"<div class=panels>{''.join(shown)}</div>" if shown else ""


def details(summary: str, body: str) -> str:
    """What is only shown when asked for."""
    return f"<details><summary>{html.escape(summary)}</summary>{body}</details>"


def write_files(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Write each text under its name in ``folder``; the paths."""
    for name, text in files.items():
        write_atomic(folder / name, text)
    return [folder / name for name in files]
