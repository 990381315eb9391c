"""A model of eight layers: on one rank, and in two chunks on each of four pipeline stages."""

from __future__ import annotations

from layout_rank import Layout
from layout_samples import GRID, budget, make_groups
from layout_updates import BEFORE, step_in_one_pass

from red_mcore.checkpoints import resume, saving
from red_mcore.config.recipe import Checkpoint


def check_deep(layout: Layout) -> dict:
    """Scores, an update, a checkpoint, and the next update before and after loading it into a fresh
    policy.

    One micro-batch has to be filled up to a round of four.
    """
    if layout.name not in ("one", "pp4_virtual2"):
        return {}

    def update(policy):
        return layout.left(
            step_in_one_pass(GRID["red"], policy, make_groups(), dict(BEFORE)), policy
        )

    found = {}
    for count in (1, 4):
        tokens = budget("red", count)
        policy, fresh, groups = (
            layout.policy(True, tokens, deep=True),
            layout.policy(True, tokens, deep=True),
            make_groups(),
        )
        policy.score(groups)
        found["scores", count] = [s.old_logp for g in groups for s in g.samples]
        found["first", count] = update(policy)
        root = layout.out / f"checkpoints-deep-{layout.name}-{count}"
        saving.Saver(root, Checkpoint()).save("main-1", policy, {})
        found["second", count] = update(policy)
        saving.load(root, resume.latest(root), fresh)
        found["resumed", count] = update(fresh)
    return found
