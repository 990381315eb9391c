"""Users' functions that fail in a step: told once, warned of, and the end of a run where they do
nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from red_mcore.config.recipe import Reward
from red_mcore.rewards.functions import named
from red_mcore.rewards.verifier import NO_VERDICT, Verifier
from red_mcore.samples.records import Sample

Say = Callable[[str], None]
"""Prints on rank 0 alone."""


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
        name = path.partition(":")[2]
        failed = sum(
            s.verdict in NO_VERDICT if field == "reward.verdict" else s.terms.get(name) is None
            for s in samples
        )
        if samples and failed == len(samples):
            raise RuntimeError(
                f"{when}: {field} '{path}' failed on all of its {failed} calls; what the first one said is above"
            )
        if (
            verifier is not None
            and path not in verifier.warned
            and not failed <= reward.failed_share * len(samples)
        ):
            verifier.warned.add(path)
            counts = (
                "makes a response wrong"
                if field == "reward.verdict"
                else "adds nothing to a reward"
            )
            say(
                f"red_mcore: warning: {when}: {field} '{path}' failed on {failed} of {len(samples)} calls, more than"
                f" reward.failed_share={reward.failed_share:g}; a call that fails {counts}"
            )


def tell(verifier: Verifier | None, say: Say) -> None:
    """Tell the first failure of each function that had not failed on any rank before; a
    collective."""
    from red_mcore.megatron.ranks import from_all

    untold = (
        {}
        if verifier is None
        else {p: f for p, f in verifier.failures.items() if p not in verifier.told}
    )
    news = {
        path: failure for found in reversed(from_all(untold)) for path, failure in found.items()
    }
    for path, failure in news.items():
        say(f"red_mcore: warning: '{path}' failed, for the first time so:\n{failure}")
    if verifier is not None:
        verifier.told |= news.keys()
