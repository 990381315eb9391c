"""The parts of a reward that are plain arithmetic: the length penalty, the sum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from red_mcore.config.recipe import Reward
from red_mcore.samples.records import Sample


def overlong_penalty(tokens: int, limit: int, buffer: int) -> float:
    """0 to ``limit - buffer`` tokens, then linear to -1 at ``limit`` (DAPO, arXiv 2503.14476)."""
    free = limit - buffer
    if tokens <= free:
        return 0.0
    return max(-1.0, (free - tokens) / buffer)


def format_score(text: str, tags: Sequence[str], opened: bool = False) -> float:
    """1 where ``text`` is one block ``<tag>...</tag>`` for each of ``tags``, in order, with space
    between; else 0.

    ``opened``: the prompt ends in the first opening tag, so that the text begins inside its block.
    No tag may come twice. Linear in the text.
    """
    if opened:
        text = f"<{tags[0]}>{text}"
    # A tag that comes twice may have its second in another block, which the walk would not see.
    if any(text.count(f"<{tag}>") != 1 or text.count(f"</{tag}>") != 1 for tag in tags):
        return 0.0
    rest = text
    for tag in tags:
        rest = rest.lstrip()
        if not rest.startswith(f"<{tag}>"):
            return 0.0
        _, _, rest = rest.partition(f"</{tag}>")
    return float(not rest.strip())


def repetition_share(tokens: np.ndarray, ngram: int) -> float:
    """Share of ``ngram``-token windows of ``tokens`` ([T] ids) that are there before, in [0, 1)."""
    if len(tokens) <= ngram:
        return 0.0
    windows = np.lib.stride_tricks.sliding_window_view(np.ascontiguousarray(tokens), ngram)
    return 1.0 - len({window.tobytes() for window in windows}) / len(windows)


def reward_terms(sample: Sample, settings: Reward, limit: int) -> dict[str, float]:
    """The weighted terms of a graded sample's reward but users' functions; ``limit``: most tokens
    it could have had.

    A teacher's trace has no penalties: its length is not the policy's doing, and a long trace would
    otherwise lose its place in the group's statistics although it is right. Its format counts, as
    in the code of RED's authors.
    """
    accuracy = sample.accuracy
    if not accuracy > 0 or (sample.truncated and settings.truncated == "wrong"):
        accuracy = settings.wrong
    terms = {"accuracy": settings.accuracy * accuracy}
    if settings.format is not None:
        terms["format"] = settings.format.weight * format_score(
            sample.text, settings.format.tags, settings.format.opened
        )
    if sample.is_offline:
        return terms
    if settings.overlong is not None:
        terms["overlong"] = settings.overlong.weight * overlong_penalty(
            len(sample.response), limit, settings.overlong.buffer
        )
    if settings.repetition is not None:
        terms["repetition"] = -settings.repetition.weight * repetition_share(
            sample.response, settings.repetition.ngram
        )
    return terms
