"""Scores, an update and the weights of every family under this rank's layout."""

from __future__ import annotations

import torch
from family_models import CASES
from layout_rank import Layout
from layout_samples import GRID, make_groups
from layout_updates import BEFORE, step, step_in_one_pass

from red_mcore.checkpoints import resume, saving
from red_mcore.config.recipe import Checkpoint
from red_mcore.convert import hf
from red_mcore.models.rules import rules


def check_families(layout: Layout) -> dict:
    """By family."""
    return {name: family(layout, name) for where, name in CASES if where == layout.name}


def family(layout: Layout, name: str) -> dict:
    policy = layout.family(name)
    ruled = {rule.megatron for rule in rules(policy.arch)} | (
        {"output_layer.weight"} if policy.arch.tied else set()
    )
    local = set(hf._local_parameters(policy.model))
    assert local <= ruled, local - ruled
    found = {"round_trip": differences(layout, policy, name)}
    groups = make_groups()
    found["update"] = layout.left(step(GRID["red"], policy, groups, dict(BEFORE)), policy)
    samples = [s for g in groups for s in g.samples]  # scored before the update
    found |= {"logp": [s.old_logp for s in samples], "entropy": [s.entropy for s in samples]}
    found["samples"] = [s for g in GRID["red"].compose(groups, {}, 0)[0] for s in g.samples]
    if layout.parallel.expert > 1:
        policy = layout.family(name)
        metrics = step_in_one_pass(GRID["red"], policy, make_groups(), dict(BEFORE))
        found["one_pass"] = layout.left(metrics, policy)
    return found


def check_experts_continuation(layout: Layout) -> dict:
    """Of a mixture of experts: two updates with a checkpoint between,
    and the second one anew from a checkpoint."""
    loaded = {
        "dp2": ["dp2"],
        "ep2": ["ep2", "dp2"],
        "tp2_pp2": ["ep2"],
        "ep2_tp2": ["ep2_tp2", "ep2"],
    }
    if layout.name not in loaded:
        return {}
    policy, algorithm = layout.family("qwen3_moe"), GRID["luffy"]
    step(algorithm, policy, make_groups(), {})
    saving.Saver(layout.out / f"experts-{layout.name}", Checkpoint()).save("main-1", policy, {})
    found = {"saved": policy.weights()}
    found["uninterrupted"] = layout.left(step(algorithm, policy, make_groups(), {}), policy)
    for source in loaded[layout.name]:
        root, policy = layout.out / f"experts-{source}", layout.family("qwen3_moe")
        saving.load(root, resume.latest(root), policy)
        found[source] = layout.left(step(algorithm, policy, make_groups(), {}), policy)
    return found


def differences(layout: Layout, policy, name: str) -> list[str]:
    """Tensors that the ranks stream otherwise than the folder holds them, to the bit."""
    from safetensors.torch import load_file

    source = load_file(layout.out / name / "model.safetensors")
    streamed = dict(hf.stream_weights(policy.model, policy.arch))
    missing = sorted(source.keys() ^ streamed.keys())
    return missing + [
        key
        for key in source.keys() & streamed.keys()
        if not torch.equal(source[key], streamed[key])
    ]
