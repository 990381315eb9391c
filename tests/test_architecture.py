"""Which configurations are read, how, and which are refused by name."""

import json
import re

import pytest
from family_models import FAMILIES

from red_mcore.config.overrides import override
from red_mcore.config.recipe import Model, RecipeError
from red_mcore.convert.folder import architecture_of
from red_mcore.models.architecture import Experts, Llama3Rope, hf_config, read_architecture

QWEN3 = {
    "architectures": ["Qwen3ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 1024,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "model_type": "qwen3",
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-06,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.51.0",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": 151936,
}
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 128000,
    "eos_token_id": [128001, 128008, 128009],
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.43.0",
    "use_cache": True,
    "vocab_size": 128256,
}
MISTRAL = {
    "architectures": ["MistralForCausalLM"],
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "model_type": "mistral",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
    "vocab_size": 32000,
}
MOE = QWEN3 | {
    "architectures": ["Qwen3MoeForCausalLM"],
    "decoder_sparse_step": 1,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "max_window_layers": 48,
    "mlp_only_layers": [],
    "model_type": "qwen3_moe",
    "moe_intermediate_size": 768,
    "norm_topk_prob": True,
    "num_attention_heads": 32,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 48,
    "num_key_value_heads": 4,
    "output_router_logits": False,
    "router_aux_loss_coef": 0.001,
    "tie_word_embeddings": False,
}
SEED_OSS = {
    "architectures": ["SeedOssForCausalLM"],
    "attention_bias": True,
    "attention_dropout": 0.1,
    "attention_out_bias": False,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "head_dim": 128,
    "hidden_act": "silu",
    "hidden_size": 5120,
    "initializer_range": 0.02,
    "intermediate_size": 27648,
    "max_position_embeddings": 524288,
    "mlp_bias": False,
    "model_type": "seed_oss",
    "num_attention_heads": 80,
    "num_hidden_layers": 64,
    "num_key_value_heads": 8,
    "pad_token_id": 1,
    "residual_dropout": 0.1,
    "rms_norm_eps": 1e-06,
    "rope_scaling": {"rope_type": "default"},
    "rope_theta": 10000000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.55.0",
    "use_cache": True,
    "vocab_size": 155136,
}
"""The published files of Qwen3-0.6B, Llama-3.1-8B, Mistral-7B-v0.1, Qwen3-30B-A3B and
Seed-OSS-36B."""

BAD = [
    (
        QWEN3,
        {"model_type": "gemma2"},
        "model_type 'gemma2' is not supported; supported: llama, mistral, qwen2, qwen3",
    ),
    (QWEN3, {"architectures": ["Qwen3ForSequenceClassification"]}, "want Qwen3ForCausalLM"),
    (QWEN3, {"attention_bias": True}, "attention_bias=true is not supported, only false is"),
    (QWEN3, {"hidden_act": "gelu"}, 'hidden_act="gelu" is not supported, only "silu" is'),
    (QWEN3, {"use_sliding_window": True}, "use_sliding_window=true is not supported"),
    (
        QWEN3,
        {"layer_types": ["full_attention", "sliding_attention"]},
        "layer_types: sliding_attention is not",
    ),
    (QWEN3, {"attention_dropout": 0.1}, "attention_dropout=0.1 is not supported"),
    (
        QWEN3,
        {"quantization_config": {"bits": 4}},
        "quantization_config is not known for model_type 'qwen3'",
    ),
    (QWEN3, {"logit_scale": 0.5}, "if it does not, set 'model.config.logit_scale=null'"),
    (QWEN3, {"other.program": 0.5}, "if it does not, set 'model.config[other.program]=null'"),
    (LLAMA, {"rope_interleaved": True}, "rope_interleaved is not known for model_type 'llama'"),
    (
        LLAMA,
        {"is_encoder_decoder": True},
        "is_encoder_decoder=true is not supported, only false is",
    ),
    (QWEN3, {"num_experts": 8}, "num_experts is not known for model_type 'qwen3'"),
    (QWEN3, {"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope type 'yarn' is not supported"),
    (
        QWEN3,
        {"rope_scaling": {"type": "default", "factor": 4.0}},
        "rope parameter factor=4.0 is not supported",
    ),
    (QWEN3, {"partial_rotary_factor": 0.5}, "partial_rotary_factor=0.5 is not supported"),
    (LLAMA, {"mlp_bias": True}, "mlp_bias=true is not supported"),
    (LLAMA, {"sliding_window": 4096}, "sliding_window is not known for model_type 'llama'"),
    (
        LLAMA,
        {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}},
        "lacks low_freq_factor, high_freq_factor",
    ),
    (
        LLAMA,
        {"rope_scaling": LLAMA["rope_scaling"] | {"low_freq_factor": 4.0}},
        "want a factor of 1 or more",
    ),
    (
        LLAMA,
        {"rope_scaling": LLAMA["rope_scaling"] | {"mscale": 2.0}},
        "rope parameter mscale=2.0 is not supported",
    ),
    (MOE, {"mlp_only_layers": [0]}, "mlp_only_layers=[0] is not supported, only [] is"),
    (MOE, {"decoder_sparse_step": 2}, "decoder_sparse_step=2 is not supported, only 1 is"),
    (MOE, {"num_experts_per_tok": 129}, "num_experts_per_tok=129 does not fit num_experts=128"),
    (MOE, {"num_experts_per_tok": 1}, "num_experts_per_tok=1 with norm_topk_prob=true"),
    (SEED_OSS, {"mlp_bias": True}, "mlp_bias=true is not supported"),
    (SEED_OSS, {"attention_out_bias": 1}, "attention_out_bias=1: want true or false"),
    (SEED_OSS, {"hidden_dropout": 0.1}, "hidden_dropout is not known for model_type 'seed_oss'"),
    (MOE, {"shared_expert_intermediate_size": 64}, "shared_expert_intermediate_size is not known"),
]


@pytest.mark.parametrize(
    ("config", "change", "message"), BAD, ids=[str(change) for _, change, _ in BAD]
)
def test_what_changes_the_computation_is_refused_by_name(config, change, message):
    read_architecture(config)
    with pytest.raises(RecipeError, match=re.escape(message)) as error:
        read_architecture(config | change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (QWEN3, "head_dim"),
        (LLAMA, "max_position_embeddings"),
        (MISTRAL, "sliding_window"),
        (MOE, "num_experts"),
        (SEED_OSS, "attention_bias"),
    ],
)
def test_a_field_whose_default_differs_between_families_has_to_be_there(config, field):
    with pytest.raises(RecipeError, match=f"model configuration lacks {field}"):
        read_architecture({name: value for name, value in config.items() if name != field})


EXTRAS = {
    # SmolLM2
    "is_llama_config": True,
    "rope_interleaved": False,
    "transformers.js_config": {"kv_cache_dtype": {"q4": "f16"}},
    # unsloth's copies
    "unsloth_fixed": True,
    "unsloth_version": "2024.9",
    "model_max_length": 32768,
    # transformers, over the years
    "_name_or_path": "x",
    "_attn_implementation": "sdpa",
    "_attn_implementation_autoset": True,
    "use_cache": True,
    "_model_name_or_path": "x",
    "_commit_hash": "0",
    "pretraining_tp": 2,
    "unk_token_id": 0,
    "torch_dtype": "float16",
    "max_length": 20,
    "top_k": 50,
    "temperature": 0.7,
    "do_sample": True,
    "is_decoder": True,
    "id2label": {"0": "A"},
    "chunk_size_feed_forward": 0,
    "repetition_penalty": 1.1,
    "task_specific_params": {"a": 1},
    "pruned_heads": {},
}


@pytest.mark.parametrize(
    "config", [QWEN3, LLAMA, MISTRAL, MOE, SEED_OSS], ids=lambda config: config["model_type"]
)
def test_what_programs_note_beside_is_passed_over(config):
    assert read_architecture(config | EXTRAS) == read_architecture(config)
    code = {"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}
    assert read_architecture(config | code) == read_architecture(config)
    with pytest.raises(RecipeError, match="auto_map is not known"):
        read_architecture(
            {name: value for name, value in (config | code).items() if name != "architectures"}
        )


@pytest.mark.parametrize("name", ["logit_scale", "other.program"])
def test_the_advice_for_an_unknown_field_works(recipe, tmp_path, name):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(QWEN3 | {name: 0.5}))
    recipe.model = Model(path=str(tmp_path), config={"max_position_embeddings": 2048})
    with pytest.raises(RecipeError) as error:
        read_architecture(hf_config(recipe.model))
    advice = re.search(r"set '(.*)'$", str(error.value))[1]
    changed = override(recipe, [advice])
    assert read_architecture(hf_config(changed.model)).max_positions == 2048
    with pytest.raises(RecipeError, match=re.escape(f"take it out of {file}")):
        architecture_of(tmp_path)
    file.write_text(json.dumps(QWEN3))
    assert architecture_of(tmp_path) == read_architecture(QWEN3)


@pytest.mark.parametrize("off", [None, False, 0, []])
def test_an_unknown_field_that_is_off_is_fine(off):
    assert read_architecture(QWEN3 | {"use_mrope": off}) == read_architecture(QWEN3)


def test_published_files():
    published = (QWEN3, LLAMA, MISTRAL, MOE, SEED_OSS)
    qwen, llama, mistral, moe, seed = (read_architecture(config) for config in published)
    assert (qwen.head_dim, qwen.qk_norm, qwen.qkv_bias, qwen.tied, qwen.rope_theta) == (
        128,
        True,
        False,
        True,
        1e6,
    )
    assert (llama.head_dim, llama.qk_norm, llama.qkv_bias, llama.window) == (
        128,
        False,
        False,
        None,
    )
    assert llama.rope_scaling == Llama3Rope(8.0, 1.0, 4.0, 8192)
    assert (mistral.window, mistral.head_dim, mistral.rope_scaling) == (4096, 128, None)
    assert moe.experts == Experts(128, 8, True)
    assert moe.ffn_size == 768
    assert (seed.qkv_bias, seed.output_bias, seed.head_dim, seed.rope_theta) == (
        True,
        False,
        128,
        1e7,
    )
    sizes = [a.parameters for a in (qwen, llama, mistral, moe, seed)]
    assert sizes == [
        596_049_920,
        8_030_261_248,
        7_241_732_096,
        30_532_122_624,
        36_151_104_512,
    ]  # as their model cards have them


@pytest.mark.parametrize("name", FAMILIES)
def test_what_transformers_writes_is_read_as_what_it_was_given(name, tmp_path):
    from transformers import AutoConfig

    given = FAMILIES[name]
    fields = {key: value for key, value in given.items() if key != "model_type"}
    AutoConfig.for_model(given["model_type"], **fields).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written.keys() & {"rope_theta", "rope_scaling", "num_experts"} == set()
    assert read_architecture(written) == read_architecture(given)


def test_theta_is_where_transformers_finds_it(tmp_path):
    def theta(**fields) -> float:
        return read_architecture(
            {k: v for k, v in QWEN3.items() if not k.startswith("rope")} | fields
        ).rope_theta

    assert theta() == 10000.0
    assert theta(rope_theta=5.0) == 5.0
    assert theta(rope_theta=5.0, rope_parameters={"rope_theta": 6.0}) == 6.0
    assert (
        theta(
            rope_parameters={"rope_theta": 6.0}, rope_scaling={"type": "default", "rope_theta": 7.0}
        )
        == 7.0
    )
    written = QWEN3 | {"rope_parameters": {"rope_type": "default", "rope_theta": 6.0}}
    (tmp_path / "config.json").write_text(json.dumps(written))
    overlaid = hf_config(Model(path=str(tmp_path), config={"rope_theta": 8.0}))
    assert read_architecture(overlaid).rope_theta == 8.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": "1024"}, 'config.hidden_size="1024": want a whole number'),
        ({"num_attention_heads": 0}, "config.num_attention_heads=0: want a whole number from 1"),
        ({"head_dim": -128}, "config.head_dim=-128: want"),
        (
            {"max_position_embeddings": 1e6},
            "config.max_position_embeddings=1000000.0: want a whole number",
        ),
        ({"vocab_size": None}, "config.vocab_size=null: want"),
        ({"rms_norm_eps": True}, "config.rms_norm_eps=true: want a number above 0"),
        ({"tie_word_embeddings": "yes"}, 'config.tie_word_embeddings="yes": want true or false'),
        ({"rope_scaling": [1]}, r"config.rope_scaling=\[1\]: want a mapping"),
        ({"rope_parameters": {"rope_theta": "big"}}, "rope parameter rope_theta=big"),
        ({"layer_types": "full_attention"}, "config.layer_types=.*: want a list of names"),
        ({"architectures": [3]}, "config.architectures=.*: want a list of names"),
    ],
)
def test_a_field_of_the_wrong_type_or_sign_is_named(fields, message):
    with pytest.raises(RecipeError, match=message):
        read_architecture(QWEN3 | fields)
