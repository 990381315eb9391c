"""Users' functions that fail in a step: told, warned of, or the end of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from red_mcore.config.recipe import Reward
from red_mcore.rewards.functions import TERM, VERDICT, named
from red_mcore.rewards.verifier import NO_VERDICT, Verifier
from red_mcore.samples.records import Sample

Say = Callable[[str], None]
"""Prints on rank 0 alone."""
_COSTS = {VERDICT: "makes a response wrong", TERM: "adds nothing to a reward"}


def watch(
    reward: Reward, verifier: Verifier | None, samples: Sequence[Sample], when: str, say: Say
) -> None:
    """Tell of the functions that failed on the ``samples``, those graded in ``when``; a collective,
    alike on all ranks.

    Each function's first failure is told once, traceback and all, and so is that more than
    ``reward.failed_share`` of its calls failed. RuntimeError where all did. ``verifier`` is this
    rank's, None where it has none.
    """
    tell(verifier, say)
    for field, path in named(reward):
        failed = _failed(field, path, samples)
        if samples and failed == len(samples):
            raise RuntimeError(
                f"{when}: {field} '{path}' failed on all of its {failed} calls; what the first one"
                " said is above"
            )
        if verifier is None or path in verifier.warned:
            continue
        # A share that is not a number warns, too.
        if not failed <= reward.failed_share * len(samples):
            verifier.warned.add(path)
            say(
                f"red_mcore: warning: {when}: {field} '{path}' failed on {failed} of"
                f" {len(samples)} calls, more than reward.failed_share={reward.failed_share:g};"
                f" a call that fails {_COSTS[field]}"
            )


def _failed(field: str, path: str, samples: Sequence[Sample]) -> int:
    """On how many of the samples the function failed."""
    if field == VERDICT:
        return sum(sample.verdict in NO_VERDICT for sample in samples)
    name = path.partition(":")[2]
    return sum(sample.terms.get(name) is None for sample in samples)


def tell(verifier: Verifier | None, say: Say) -> None:
    """Tell the first failure of each function that had failed on no rank before; a collective."""
    from red_mcore.megatron.ranks import from_all

    untold = dict(verifier.failures) if verifier else {}
    for path in verifier.told if verifier else ():
        untold.pop(path, None)
    news: dict[str, str] = {}
    for found in reversed(from_all(untold)):  # of several the one of the first rank
        news |= found
    for path, failure in news.items():
        say(f"red_mcore: warning: '{path}' failed, for the first time so:\n{failure}")
    if verifier:
        verifier.told |= news.keys()
