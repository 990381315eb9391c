"""Two optimizers over the same weights, and checkpoints of both, under this rank's layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event
from unittest.mock import patch

import torch
import torch.distributed as dist
from layout_rank import Layout, WatchedPolicy
from layout_samples import GRID, Update, make_groups
from layout_updates import step

from red_mcore.algorithms.base import losses_of
from red_mcore.algorithms.sft import SFT
from red_mcore.checkpoints import manifests, resume, saving, strategies
from red_mcore.config.recipe import Checkpoint, Offload, RecipeError
from red_mcore.samples.records import Group

LESSON_SCALE = 0.5
"""Of the learning rate of imitation."""


def saves(layout: Layout) -> bool:
    """Whether checkpoints are tried here: where one way to split is at work, and changes files."""
    return layout.ranks.world <= 2 and not layout.parallel.sequence


def imitate(policy: WatchedPolicy) -> dict[str, float]:
    """One update on traces alone, with the optimizer that is kept for it."""
    groups, algorithm = make_groups(), SFT()
    traces = [Group(g.problem, [s for s in g.samples if s.is_offline]) for g in groups[:2]]
    algorithm.aggregate(traces, len(traces), {}, 0)
    return policy.update(
        traces, losses_of(algorithm, {}, 0), optimizer="imitation", lr_scale=LESSON_SCALE
    )


def round_of_both(policy: WatchedPolicy, state: dict) -> dict[str, float]:
    metrics = step(GRID["red"], policy, make_groups(), state)
    return metrics | {f"lesson/{name}": value for name, value in imitate(policy).items()}


def check_two_optimizers(layout: Layout) -> list[tuple[str, Update]]:
    """(optimizer, update) in turn, the weights at the start first."""
    if layout.name != "one":
        return []
    policy, state = layout.policy(False), {}
    found = [("start", Update({}, policy.weights(), {}))]
    for _ in range(3):
        found.append(("main", layout.left(step(GRID["red"], policy, make_groups(), state), policy)))
        found.append(("imitation", layout.left(imitate(policy), policy)))
    return found


def check_continuation(layout: Layout) -> dict:
    """Two rounds of both optimizers, a checkpoint, two more;
    and the latter again after loading into a fresh policy."""
    if not saves(layout):
        return {}
    found = {}
    for dtype in ("float32", "bfloat16"):
        root = layout.out / f"checkpoints-{layout.name}-{dtype}"
        policy, state = layout.policy(False, 260, dtype), {}
        if layout.ranks.is_main:  # what starts that were killed while saving leave behind
            (root / "main-8.partial" / "weights").mkdir(parents=True)
            (root / "main-9.partial").mkdir()
            (root / "main-9.partial" / "manifest.json").write_text("{}")
        dist.barrier()
        for i in range(4):
            if i == 2:
                for tag in ("main-0", "main-1", "main-2")[0 if dtype == "float32" else 2 :]:
                    saver(root).save(tag, policy, {"algorithm": state})
                if dtype == "float32":
                    background = begun_and_held(layout, policy, state)
                drawn = torch.rand(3)
                found["saved", dtype] = policy.weights()
            metrics = round_of_both(policy, state)
            if (
                i == 2 and dtype == "float32"
            ):  # an update has changed the weights that are being written
                found["background"] = background()
        found["uninterrupted", dtype] = layout.left(metrics, policy)
        found["resumed", dtype] = continued(layout, root, dtype, drawn)
        if dtype == "float32":
            found["resumed from background"] = continued(
                layout, background_root(layout), dtype, drawn
            )
    if layout.name in ("tp2", "pp2", "cp2"):
        found["resumed from dp2"] = continued(
            layout, layout.out / "checkpoints-dp2-float32", "float32", None
        )
    return found


def background_root(layout: Layout) -> Path:
    return layout.out / f"background-{layout.name}"


def saver(root: Path, **settings) -> saving.Saver:
    return saving.Saver(root, Checkpoint(keep=2, **settings))


def begun_and_held(layout: Layout, policy: WatchedPolicy, state: dict) -> Callable[[], list[bool]]:
    """An asynchronous checkpoint that is not written before the returned function is called.

    That tells whether the checkpoint counted before, and after its end was waited for.
    """
    root, write, go_on = background_root(layout), strategies.write, Event()

    def held(*args) -> None:
        go_on.wait()
        write(*args)

    with patch.object(strategies, "write", held):
        background = saver(root, asynchronous=True)
        background.save("main-2", policy, {"algorithm": state})

    def finish() -> list[bool]:
        background.poll()
        counted = [resume.latest(root) is not None]
        dist.barrier()
        go_on.set()
        background.finish()
        return [*counted, resume.latest(root) is not None]

    return finish


def check_failing_writers(layout: Layout) -> dict[str, str]:
    """What the first and the last rank say where the last one's disk is full,
    and where it hangs."""
    if not saves(layout):
        return {}
    found, policy, reached, hang = {}, layout.policy(False), Event(), Event()
    is_last = layout.ranks.rank == layout.ranks.world - 1

    def fill(*args) -> None:
        reached.set()
        raise OSError(28, "No space left on device")

    def hold(*args) -> None:
        reached.set()
        hang.wait()

    for name, digests in {"full": fill, "hangs": hold}.items():
        limit = {"timeout_seconds": 1.0} if is_last and name == "hangs" else {}
        failing = saver(layout.out / f"failing-{layout.name}-{name}", asynchronous=True, **limit)
        reached.clear()
        with patch.object(manifests, "digests", digests if is_last else manifests.digests):
            failing.save("main-2", policy, {})
            if is_last:
                reached.wait()  # else a slow disk might be what the time is too short for
            try:
                failing.finish()
            except (RuntimeError, RecipeError, SystemExit) as error:
                found[name] = f"{type(error).__name__}: {error}"
    hang.set()
    told: list = [None] * layout.ranks.world
    dist.all_gather_object(told, found)
    return {"last": told[-1], "first": told[0]}


def continued(
    layout: Layout,
    root: Path,
    dtype: str,
    drawn: torch.Tensor | None,
    offload: Offload | None = None,
) -> Update:
    manifest = resume.latest(root)
    policy, state = layout.policy(False, 260, dtype, offload=offload), dict(manifest["algorithm"])
    torch.manual_seed(99)
    saving.load(root, manifest, policy)
    if drawn is not None:
        assert torch.equal(torch.rand(3), drawn), "random states differ"
    for _ in range(2):
        metrics = round_of_both(policy, state)
    return layout.left(metrics, policy)


def check_offload(layout: Layout) -> Update | None:
    """Two rounds from the bfloat16 checkpoint, after optimizers
    in the host's memory were saved and loaded."""
    if not saves(layout):
        return None
    root, offload = layout.out / f"checkpoints-{layout.name}-bfloat16", Offload(optimizer=True)
    policy, manifest = layout.policy(False, 260, "bfloat16", offload=offload), resume.latest(root)
    saving.load(root, manifest, policy)
    again = layout.out / f"offloaded-{layout.name}"
    saver(again).save("main-2", policy, {"algorithm": manifest["algorithm"]})
    return continued(layout, again, "bfloat16", None, offload)


def check_tied(layout: Layout) -> Update | None:
    """The second update of a tied model: of two pipeline stages,
    and tensor parallel from their checkpoint."""
    if layout.name not in ("pp2", "tp2"):
        return None
    root, policy = layout.out / "checkpoints-tied", layout.policy(True)
    if layout.name == "pp2":
        step(GRID["luffy"], policy, make_groups(), {})
        saver(root).save("main-1", policy, {})
    else:
        saving.load(root, resume.latest(root), policy)
    return layout.left(step(GRID["luffy"], policy, make_groups(), {}), policy)


def check_missing_optimizer(layout: Layout) -> str:
    """What is said of a checkpoint of a run that had one optimizer less."""
    if not saves(layout):
        return ""
    root, policy = layout.out / f"checkpoints-{layout.name}-float32", layout.policy(False)
    manifest = resume.latest(root)
    try:
        saving.load(root, manifest | {"schedules": {"main": manifest["schedules"]["main"]}}, policy)
    except RecipeError as error:
        return str(error)
    return "nothing"
