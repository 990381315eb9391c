import math
from dataclasses import replace

import pytest
import torch
from family_models import FAMILIES, make_family

from red_mcore.models.architecture import read_architecture
from red_mcore.models.rules import hf_shapes, rules

ARCH = read_architecture(
    {
        "model_type": "qwen2",
        "vocab_size": 11,
        "hidden_size": 12,
        "intermediate_size": 20,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 4,
    }
)
EVERY = list(rules(ARCH))


def whole(rule) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for _, shape in rule.hf]


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("rule", EVERY, ids=lambda rule: rule.megatron)
def test_merging_what_was_split_gives_the_tensors_back(rule, size):
    tensors = whole(rule)
    parts = [rule.split(tensors, rank, size) for rank in range(size)]
    assert len({part.shape for part in parts}) == 1
    for found, tensor in zip(rule.merge(parts), tensors, strict=True):
        assert torch.equal(found, tensor)


@pytest.mark.parametrize("rule", EVERY, ids=lambda rule: rule.megatron)
def test_merged_tensors_do_not_change_with_the_parameter(rule):
    parts = [rule.split(whole(rule), 0, 1).clone()]
    merged = rule.merge(parts)
    kept = [tensor.clone() for tensor in merged]
    parts[0].zero_()
    for tensor, before in zip(merged, kept, strict=True):
        assert torch.equal(tensor, before)


def test_query_key_and_value_are_interleaved_by_group():
    rule = next(
        rule for rule in EVERY if rule.megatron.endswith("layers.0.self_attention.linear_qkv.bias")
    )
    query, key, value = torch.arange(32.0), 100 + torch.arange(16.0), 200 + torch.arange(16.0)
    first_of_two = rule.split([query, key, value], 0, 2)
    second_group = [*range(8, 16), *range(104, 108), *range(204, 208)]
    assert first_of_two.tolist() == [*range(8), *range(100, 104), *range(200, 204), *second_group]


def test_vocabulary_is_padded_with_zero_rows():
    rule = EVERY[0]
    last = rule.split(whole(rule), 3, 4)
    assert last.shape == (3, 12)
    assert not last[2].any()
    assert last[:2].all()


def test_shapes_are_those_of_transformers():
    from transformers import Qwen2Config, Qwen2ForCausalLM

    for tied in (True, False):
        arch = replace(ARCH, tied=tied)
        model = Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=11,
                hidden_size=12,
                intermediate_size=20,
                num_hidden_layers=2,
                num_attention_heads=8,
                num_key_value_heads=4,
                head_dim=4,
                tie_word_embeddings=tied,
            )
        )
        expected = {
            name: tuple(t.shape) for name, t in model.named_parameters()
        }  # a tied layer is listed once
        assert hf_shapes(arch) == expected
        assert sum(t.numel() for t in model.parameters()) == arch.parameters


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("size", [1, 2])
def test_every_family_splits_and_merges(name, size):
    for rule in rules(read_architecture(FAMILIES[name])):
        tensors = whole(rule)
        merged = rule.merge([rule.split(tensors, rank, size) for rank in range(size)])
        assert all(
            torch.equal(found, tensor) for found, tensor in zip(merged, tensors, strict=True)
        ), rule.megatron


@pytest.mark.parametrize("name", FAMILIES)
def test_names_and_shapes_are_those_of_a_saved_model(name, tmp_path):
    from safetensors.torch import load_file

    make_family(name, tmp_path)
    arch = read_architecture(FAMILIES[name])
    found = {
        key: tuple(tensor.shape)
        for key, tensor in load_file(tmp_path / "model.safetensors").items()
    }
    assert hf_shapes(arch) == found
    assert arch.parameters == sum(math.prod(shape) for shape in found.values())


def test_experts_are_marked():
    found = {rule.megatron: rule.expert for rule in rules(read_architecture(FAMILIES["qwen3_moe"]))}
    assert found["decoder.layers.1.mlp.experts.local_experts.5.linear_fc1.weight"] == 5
    assert found["decoder.layers.1.mlp.router.weight"] is None
