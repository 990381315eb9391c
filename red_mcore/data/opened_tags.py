"""Tags that the end of a prompt has opened (``<think>``), and perhaps closed: what is to follow
does not open them again."""

from __future__ import annotations

import re

from red_mcore.config.recipe import RecipeError

_OPENED = re.compile(
    r"(?P<open><\|?(?P<name>\w+)\|?>)(?P<space>\s*)(?P<close><\|?/\|?(?P=name)\|?>\s*)?$"
)
"""A tag that the end of a prompt has opened, and perhaps closed with nothing in it."""


def going_on(text: str, before: str) -> str:
    """The rest of ``text`` that is to follow ``before``, which may have opened its first tag."""
    found = _OPENED.search(before)
    if found is None:
        return text
    if is_closed(text, before):
        raise RecipeError(reopened(before))
    tag = re.escape(found["open"])
    if found["close"] is not None:
        tag += rf"\s*{re.escape(found['close'].rstrip())}"
    rest = re.sub(rf"\A\s*{tag}", "", text)
    return rest.lstrip() if before[-1].isspace() else rest


def is_closed(text: str, before: str) -> bool:
    """Whether ``text`` opens, with words in it, a tag that ``before`` has opened and closed."""
    found = _OPENED.search(before)
    if found is None or found["close"] is None or not text.lstrip().startswith(found["open"]):
        return False
    inside = text.lstrip().removeprefix(found["open"]).lstrip()
    return not inside.startswith(found["close"].rstrip())


def reopened(before: str) -> str:
    """The line for a trace that opens what the template has closed."""
    opened = _OPENED.search(before)
    assert opened is not None
    return (
        f"the chat template ends the prompt in {opened[0]!r}, but what follows opens that tag"
        " itself: let the template leave it to the response (Qwen3:"
        " data.template_arguments={enable_thinking: true}), or use traces without it"
    )
