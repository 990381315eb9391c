"""Sample rollouts as cards: the problem, what was answered with its mathematics rendered, and the verdict."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from red_mcore.reports import maths

STYLE = (
    maths.STYLE
    + """
.cards { display: grid; grid-template-columns: 1fr 1fr; gap: 14px 18px; align-items: start; margin: .6em 0 1em; }
.cards > div { min-width: 0; } .cards h3 { margin: 0 0 .5em; }
.card { border: 1px solid #e4e4e4; border-left: 4px solid #D55E00; border-radius: 5px; margin-bottom: 14px; }
.card.correct { border-left-color: #009E73; } .card > * { padding: .5em .9em; }
.card header { display: flex; flex-wrap: wrap; gap: 0 1em; font-size: 13px; color: #555555;
  border-bottom: 1px solid #ececec; padding: .3em .9em; }
.card header b { color: #B34700; } .card.correct header b { color: #00785A; }
.card .problem { background: #f6f7f8; } .card .prose { overflow-x: auto; }
.card .response { max-height: 30em; overflow-y: auto; }
.card footer { font-size: 13px; color: #555555; border-top: 1px solid #ececec; padding: .3em .9em; }
.card footer .prose { display: inline; color: #222222; } .left-out { color: #777777; font-style: italic; }
@media (max-width: 800px) { .cards { grid-template-columns: minmax(0, 1fr); } }
"""
)
_HEAD, _TAIL = 5000, 5000
"""Characters shown of the begin and the end of a response that is longer than both."""


def cards(rows: Sequence[dict[str, Any]], most: int = 8) -> str:
    """Right answers on the left, the others on the right, up to ``most`` of each; equal ones are shown once.

    ``rows`` as ``rollouts/*.jsonl`` has them: problem, gold, response, verdict, reward, tokens, truncated.
    """
    distinct = list({(str(row.get("problem")), str(row.get("response"))): row for row in rows}.values())
    columns = []
    for title, wanted in (("Right", True), ("Not right", False)):
        found = [row for row in distinct if (row.get("verdict") == "correct") is wanted]
        of = f" ({most} of {len(found)})" if len(found) > most else f" ({len(found)})"
        shown = "".join(map(card, found[:most])) or "<p class=note>None among those kept.</p>"
        columns.append(f"<div><h3>{title}{of}</h3>{shown}</div>")
    return f"<div class=cards>{''.join(columns)}</div>"


def card(row: dict[str, Any]) -> str:
    """One rollout."""
    verdict = str(row.get("verdict", "no verdict"))
    facts = [f"<b>{html.escape(verdict)}</b>"]
    for name, form in (("reward", "reward {:g}"), ("tokens", "{:,.0f} tokens")):
        if isinstance(row.get(name), (int, float)):
            facts.append(f"<span>{form.format(row[name])}</span>")
    if row.get("truncated"):
        facts.append("<span class=minus>cut off at the limit</span>")
    kind = "card correct" if verdict == "correct" else "card"
    return (
        f"<article class='{kind}'><header>{''.join(facts)}</header>"
        f"<div class='problem prose'>{maths.render(_text(row, 'problem'))}</div>"
        f"<div class='response prose'>{_shortened(_text(row, 'response'))}</div>"
        f"<footer>gold <span class=prose>{_gold(_text(row, 'gold'))}</span></footer></article>"
    )


def _text(row: dict[str, Any], name: str) -> str:
    return str(row.get(name) or "")


def _gold(text: str) -> str:
    """A gold answer is the content of a box: LaTeX without delimiters."""
    is_latex = "\\" in text or "^" in text or "_" in text
    return (maths.formula(text) if is_latex and "$" not in text else None) or maths.render(text)


def _shortened(text: str) -> str:
    text = text.strip("\n")
    if len(text) <= _HEAD + _TAIL:
        return maths.render(text) if text.strip() else "<span class=left-out>(empty)</span>"
    left_out = f"\n<span class=left-out>... {len(text) - _HEAD - _TAIL:,} characters left out ...</span>\n"
    return maths.render(text[:_HEAD]) + left_out + maths.render(text[-_TAIL:])
