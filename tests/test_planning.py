"""The layout and the batch arithmetic are right."""

from pathlib import Path

import pytest
from family_models import FAMILIES

from red_mcore.algorithms.grpo import GRPO
from red_mcore.config.loading import load
from red_mcore.config.overrides import override
from red_mcore.config.recipe import Parallel
from red_mcore.models.architecture import hf_config, read_architecture
from red_mcore.planning import memory, plan

RECIPES = Path(__file__).parent.parent / "recipes"


def test_coordinates_are_megatron_s():
    from megatron.core.parallel_state import RankGenerator

    parallel = Parallel(ranks=24, tensor=2, pipeline=2, context=2)
    order = RankGenerator(tp=2, ep=1, dp=3, pp=2, cp=2, order="tp-cp-ep-dp-pp")
    where = {rank: plan.coordinates(rank, parallel) for rank in range(24)}
    for axis, name in enumerate(("dp", "pp", "cp", "tp")):
        for group in order.get_ranks(name):
            assert [where[rank][axis] for rank in group] == list(range(len(group)))


def test_parameters_per_rank_add_up(recipe):
    tied = read_architecture(hf_config(recipe.model))
    assert plan.parameters_per_rank(tied, 1, 1) == [tied.parameters]
    first, last = plan.parameters_per_rank(tied, 1, 2)
    assert (
        first + last == tied.parameters + tied.vocab_size * tied.hidden_size
    )  # the copy on the last stage
    half = plan.parameters_per_rank(tied, 2, 1)[0]
    whole_norms = (2 * tied.layers + 1) * tied.hidden_size
    padding = tied.hidden_size  # 513 rows of vocabulary on 2 ranks are 257 each
    assert 2 * half == tied.parameters + whole_norms + padding


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_per_rank_of_every_family(name):
    a = read_architecture(FAMILIES[name])
    assert plan.parameters_per_rank(a, 1, 1) == [a.parameters]
    if a.experts is not None:
        (half,) = plan.parameters_per_rank(a, 1, 1, expert=2)
        assert (
            a.parameters - half == a.layers * a.experts.count // 2 * 3 * a.hidden_size * a.ffn_size
        )


def test_the_description_does_the_arithmetic(recipe):
    text = plan.describe(override(recipe, ["parallel.tensor=2", "rollout.tensor=2"]))
    assert (
        "24 prompts x (7 rollouts + 1 trace) = 192 sequences -> 1 update of 192,"
        " micro-batches of <= 2048 tokens on 2 data-parallel ranks" in text
    )
    assert "engines: 2 x TP2, 12 prompts each" in text
    assert "ranks: 4 = 2 tensor x 2 data x 1 pipeline" in text
    assert "0     1  2-3 (tensor 0-1)" in text


def test_layers_are_transformer_engine_s_where_it_can_work(recipe, monkeypatch):
    arch = plan.find_architecture(recipe)
    local, ours = (
        "layers: Megatron-Core's own, attention by torch",
        override(recipe, ["model.dtype=bfloat16"]).model,
    )
    for installed in (False, True):
        monkeypatch.setattr(
            "red_mcore.models.layers.has_transformer_engine", lambda installed=installed: installed
        )
        wanted = "layers: Transformer Engine" if installed else local
        assert plan.layers(ours, arch, on_gpu=True) == wanted
        assert plan.layers(ours, arch, on_gpu=False) == local
        assert plan.layers(recipe.model, arch, on_gpu=True) == local, "float32"
    ours.layers = "local"
    assert plan.layers(ours, arch, on_gpu=True) == local
    ours.layers, ours.fp8 = "auto", "blockwise"
    assert (
        plan.layers(ours, arch, on_gpu=True)
        == "layers: Transformer Engine, FP8 with blockwise scaling"
    )


def test_offload_moves_memory_from_rollouts_to_the_step(recipe, monkeypatch):
    monkeypatch.setattr("red_mcore.planning.memory.has_transformer_engine", lambda: True)
    recipe = override(recipe, ["model.dtype=bfloat16", "model.layers=local"])
    arch, moved = plan.find_architecture(recipe), override(recipe, ["offload.optimizer=true"])
    before, after = (memory.estimate(r, arch, 0, on_gpu=True) for r in (recipe, moved))
    assert before.optimizer == 12 * arch.parameters / recipe.parallel.data
    assert after.optimizer == 0
    assert after.step - before.step == before.rollout - after.rollout == before.optimizer
    assert memory.estimate(moved, arch, 0, on_gpu=False) == memory.estimate(
        recipe, arch, 0, on_gpu=False
    )
    recipe.algorithm = GRPO(kl_coefficient=0.1)
    moved = override(recipe, ["offload.reference=true"])
    before, after = (memory.estimate(r, arch, 0, on_gpu=True) for r in (recipe, moved))
    assert (
        before.reference == after.scoring == before.rollout - after.rollout == 2 * arch.parameters
    )


def test_the_size_of_checkpoints_is_told(recipe):
    gib = override(
        recipe, ["model.dtype=bfloat16", "model.config.hidden_size=4096", "parallel.tensor=2"]
    )
    parameters = plan.find_architecture(gib).parameters
    whole, part = (f"{parameters * per / 2**30:.1f} GiB" for per in (2 + 12, 12 / 2))
    told = f"checkpoints: about {whole} each; one rank of each of 2 parts of the model to save one"
    assert told in plan.describe(gib)
    assert f"takes {part} or more of its host's memory" in plan.describe(gib)


def test_training_flops():
    """Of Qwen2.5-1.5B, by hand: matrix products of 1.5436 G weights, and attention of 28 layers of
    1536."""
    arch = read_architecture(
        hf_config(load(str(RECIPES / "red_1p5b.py"), ["model.path=null"]).model)
    )
    assert plan.training_flops(arch, 1024) == pytest.approx(9.53e9, rel=1e-3)
    assert plan.training_flops(arch, 8192) == pytest.approx(11.38e9, rel=1e-3)


def test_the_description_of_shared_sequences_and_interleaved_stages(recipe):
    more = [
        "parallel.ranks=8",
        "parallel.tensor=2",
        "parallel.context=2",
        "parallel.recompute=full",
    ]
    text = plan.describe(override(recipe, more))
    assert "ranks: 8 = 2 tensor x 2 context x 2 data x 1 pipeline, full recompute" in text
    assert "0     1  4-7 (context 0-1, tensor 0-1)" in text
    text = plan.describe(override(recipe, ["parallel.pipeline=2", "parallel.virtual=2"]))
    assert "ranks: 4 = 1 tensor x 2 data x 2 pipeline (2 chunks of layers each)" in text


def test_the_description_of_uneven_shares(recipe):
    recipe.algorithm = GRPO()
    text = plan.describe(override(recipe, ["batch.updates_per_step=5", "parallel.ranks=5"]))
    assert "24 prompts x 7 rollouts = 168 sequences -> 5 updates of 28 or 35" in text
    assert "engines: 5 x TP1, 4 or 5 prompts each" in text


def test_the_description_of_an_open_end():
    text = plan.describe(load(str(RECIPES / "tiny/sft.py"), ["until={}", "until.train_seconds=9"]))
    assert "then until 0 tokens and 9 s are spent" in text


def test_the_description_tells_memory_by_line(recipe):
    text = plan.describe(override(recipe, ["rollout.kv_cache_mib=3072"]))
    assert "memory per rank on this machine: about" in text
    assert "cache 3.0 GiB" in text
    assert "recomputed" not in text
    assert "recomputed" in plan.describe(override(recipe, ["parallel.recompute=full"]))


def test_memory_counts_the_programs_themselves_and_what_a_step_can_have(recipe):
    arch = plan.find_architecture(recipe)
    need = memory.estimate(recipe, arch, 0, on_gpu=False)
    assert need.process == memory.PROCESS_BYTES
    assert memory.estimate(recipe, arch, 0, on_gpu=True).process == 0
    more = memory.estimate(override(recipe, ["reward.workers=3"]), arch, 0, on_gpu=False)
    assert more.rollout - need.rollout == 2 * memory.VERIFIER_BYTES
    recipe.base = None
    whole = 24 * 8 * 160  # prompts, samples of each with the trace, tokens
    same = (
        memory.estimate(override(recipe, [f"batch.tokens_per_micro_batch={n}"]), arch, 0, False)
        for n in (whole, 10**7)
    )
    assert next(same) == next(same)


def test_a_long_layout_is_shortened(recipe):
    text = plan.describe(override(recipe, ["parallel.ranks=4096", "parallel.tensor=2"]))
    assert text.count("\n") < 100
    assert "  ... 1984 rows more" in text
    assert "0  2047  4094-4095 (tensor 0-1)" in text
