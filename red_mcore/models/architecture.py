"""The policy's shape, read from a Hugging Face ``config.json``; no torch, so that planning can use it anywhere."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from red_mcore.config.recipe import Model, RecipeError
from red_mcore.system import disk


@dataclass(frozen=True)
class _Family:
    """What a ``model_type`` implies beyond the fields of config.json."""

    name: str
    """Class of the model in transformers and vLLM."""
    needed: tuple[str, ...] = ("num_key_value_heads",)
    """Fields whose default differs between families; they have to be there."""
    qkv_bias: bool = False
    qk_norm: bool = False
    windowed: bool = False
    """``sliding_window`` holds in all layers, unless null."""
    moe: bool = False
    ignored: frozenset[str] = frozenset()
    """Fields that its files have and that change nothing here."""


_QWEN = frozenset({"sliding_window", "max_window_layers"})  # idle while use_sliding_window is false
_FAMILIES = {
    "qwen2": _Family("Qwen2ForCausalLM", qkv_bias=True, ignored=_QWEN),
    "qwen3": _Family("Qwen3ForCausalLM", needed=("num_key_value_heads", "head_dim"), qk_norm=True, ignored=_QWEN),
    "llama": _Family("LlamaForCausalLM", needed=("max_position_embeddings",)),
    "mistral": _Family(
        "MistralForCausalLM",
        needed=("num_key_value_heads", "max_position_embeddings", "sliding_window"),
        windowed=True,
    ),
    "qwen3_moe": _Family(
        "Qwen3MoeForCausalLM",
        needed=("num_key_value_heads", "moe_intermediate_size", "num_experts_per_tok"),
        qk_norm=True,
        moe=True,
        # The load-balancing loss is not part of an algorithm's loss.
        ignored=_QWEN | {"router_aux_loss_coef", "output_router_logits"},
    ),
}
SUPPORTED = tuple(_FAMILIES)
"""``model_type`` values that the converter and the model builder know."""

_READ = {
    "model_type",
    "architectures",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "rms_norm_eps",
    "tie_word_embeddings",
    "max_position_embeddings",
    "initializer_range",
    "rope_theta",
    "rope_parameters",
    "rope_scaling",
    "layer_types",
}
_READ_OF_EXPERTS = {
    "moe_intermediate_size",
    "num_experts",
    "num_local_experts",
    "num_experts_per_tok",
    "norm_topk_prob",
}
_WHOLE = {
    "vocab_size": 2**24,
    "hidden_size": 2**20,
    "intermediate_size": 2**22,
    "moe_intermediate_size": 2**22,
    "num_hidden_layers": 2**12,
    "num_attention_heads": 2**12,
    "num_key_value_heads": 2**12,
    "head_dim": 2**12,
    "num_experts": 2**14,
    "num_local_experts": 2**14,
    "num_experts_per_tok": 2**14,
    "max_position_embeddings": 2**24,  # of each there is a row in the engine's table of rotations
}
"""Fields that are whole numbers from 1 on, and what no model has more of."""
_REAL = {"rms_norm_eps": 1.0, "initializer_range": 100.0, "rope_theta": 1e15}
"""Fields that are numbers above 0, and what no model has more of."""
_SWITCHES = ("tie_word_embeddings", "norm_topk_prob")
_MAY_BE_NULL = ("num_key_value_heads", "head_dim", "rope_theta", "sliding_window", *_SWITCHES)
_MAY_DIFFER = {
    *("max_position_embeddings", "rope_theta", "rope_scaling", "rope_parameters"),  # longer contexts
    *("sliding_window", "max_window_layers", "layer_types", "initializer_range", "architectures"),
}
"""Fields that are read and that ``model.config`` may have otherwise than the folder whose weights are used; a layer
or a norm that is computed otherwise makes another model of them."""
_ONLY = {
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "attention_dropout": 0.0,
    "use_sliding_window": False,
    "partial_rotary_factor": 1.0,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "is_encoder_decoder": False,
}
"""Fields that change the computation, with the one value (beside null) that is implemented."""
_HARMLESS = {
    # Types, versions and names; what files were made with.
    *("transformers_version", "torch_dtype", "dtype", "tokenizer_class", "is_llama_config", "hf_device_map"),
    # How a forward is run: the same numbers come out.
    *("use_cache", "attn_implementation", "use_flash_attn", "use_flash_attention", "use_flash_attention_2"),
    *("cache_implementation", "gradient_checkpointing", "torchscript", "use_bfloat16", "is_decoder"),
    "chunk_size_feed_forward",
    "pretraining_tp",  # Products are computed in so many slices.
    # Of the tokenizer: the tokens that it adds, the length that it cuts at.
    *("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id", "decoder_start_token_id"),
    *("model_max_length", "tokenizer_model_max_length", "max_sequence_length", "max_seq_length", "seq_length"),
    # Of other heads than the one over the vocabulary, and of what a forward returns.
    *("id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "task_specific_params"),
    *("return_dict", "output_attentions", "output_hidden_states", "output_scores", "return_dict_in_generate"),
    # Of generation, which transformers 4 wrote here: sampling is the recipe's, or the protocol's.
    *("do_sample", "temperature", "top_k", "top_p", "typical_p", "num_beams", "num_beam_groups", "diversity_penalty"),
    *("max_length", "min_length", "max_new_tokens", "length_penalty", "repetition_penalty", "early_stopping"),
    *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "num_return_sequences", "bad_words_ids", "prefix"),
    *("forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens"),
    *("remove_invalid_values", "exponential_decay_length_penalty"),
    # Of training programs: noise and loss that are theirs.
    *("neftune_noise_alpha", "tf_legacy_loss", "tie_encoder_decoder"),
}
"""Fields that say nothing about the computation of the logits."""
_HARMLESS_BEGINNINGS = ("_", "unsloth_", "transformers.")
"""Of fields that are notes of a program to itself: transformers' private ones, unsloth, transformers.js."""
_LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor")


@dataclass(frozen=True)
class Llama3Rope:
    """Rotary frequencies of Llama 3.1 on: slow ones are divided by ``factor``, fast ones kept, those between blended.

    Fast and slow are told by the turns that a frequency makes in ``original_positions``.
    """

    factor: float
    low_turns: float
    """At most these turns: slow."""
    high_turns: float
    """At least these turns: fast."""
    original_positions: int


@dataclass(frozen=True)
class Experts:
    """A mixture of experts in the place of each layer's MLP: of the softmax over all, the largest are used."""

    count: int
    per_token: int
    normalized: bool
    """The weights of a token's experts are divided by their sum."""


@dataclass(frozen=True)
class Architecture:
    """A decoder-only transformer with RMSNorm, SwiGLU, grouped-query attention and rotary positions."""

    model_type: str
    vocab_size: int
    hidden_size: int
    ffn_size: int
    """Width of the MLP, or of one expert."""
    layers: int
    heads: int
    kv_groups: int
    head_dim: int
    rope_theta: float
    norm_eps: float
    tied: bool
    """Input embedding and output layer share their weight."""
    qkv_bias: bool
    max_positions: int
    init_std: float
    qk_norm: bool = False
    """Each head's query and key are normalized before the rotation."""
    rope_scaling: Llama3Rope | None = None
    window: int | None = None
    """Most tokens back that attention reaches. Not computed: sequences have to be as short."""
    experts: Experts | None = None

    @property
    def parameters(self) -> int:
        """Parameter count, a tied output layer not counted twice."""
        h, d = self.hidden_size, self.head_dim
        qkv = (self.heads + 2 * self.kv_groups) * d
        attention = h * qkv + (qkv if self.qkv_bias else 0) + self.heads * d * h + (2 * d if self.qk_norm else 0)
        mlp = 3 * h * self.ffn_size
        if self.experts is not None:
            mlp = self.experts.count * (mlp + h)  # h weights of the router for each
        return self.layers * (attention + mlp + 2 * h) + h + self.vocab_size * h * (1 if self.tied else 2)


def hf_config(model: Model) -> dict[str, Any]:
    """``config.json`` of the model's folder, where there is one, with ``model.config`` laid over it.

    RecipeError where it cannot be read, or where the one contradicts the other.
    """
    found: dict[str, Any] = {}
    if model.path is not None and Path(model.path).is_dir():
        file = Path(model.path) / "config.json"
        found = disk.read_object(file)
        if found is None:
            raise RecipeError(f"model.path {model.path} has no config.json")
        _check_values(found, f"{file}: ")
        _refuse_contradiction(found, model, file)
    config = {**found, **model.config}
    rope = found.get("rope_parameters")
    if "rope_theta" in model.config and isinstance(rope, dict):  # where newer files keep it, and readers look first
        config["rope_parameters"] = {**rope, "rope_theta": model.config["rope_theta"]}
    return config


def _refuse_contradiction(found: dict[str, Any], model: Model, file: Path) -> None:
    known = (_READ | _READ_OF_EXPERTS | _ONLY.keys()) - _MAY_DIFFER
    for name, value in model.config.items():
        if name in known and name in found and found[name] != value:
            raise RecipeError(
                f"model.config.{name}={value} contradicts {file}, where it is {found[name]}: the weights there are of"
                " that model; take the field out of model.config (model.config={} takes out all), or use"
                " model.path=null for a fresh model"
            )


def read_architecture(config: dict[str, Any], file: Path | None = None) -> Architecture:
    """Architecture of an HF configuration; RecipeError for what is unsupported, unknown or missing, by name.

    ``file`` holds it, where no recipe's ``model.config`` lies over it.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in SUPPORTED:
        raise RecipeError(f"model_type '{model_type}' is not supported; supported: {', '.join(SUPPORTED)}")
    family = _FAMILIES[model_type]
    needed = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    missing = [name for name in (*needed, *family.needed) if name not in config]
    if missing:
        raise RecipeError(f"model configuration lacks {', '.join(missing)}")
    _check_values(config, "model.config." if file is None else "")
    _refuse_unknown(config, family, file)
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    head_dim = config.get("head_dim") or hidden // heads
    if not config.get("head_dim") and hidden % heads:
        raise RecipeError(f"hidden_size={hidden} is no multiple of num_attention_heads={heads}: use one, or a head_dim")
    max_positions = config.get("max_position_embeddings", 32768)
    theta, scaling = _rope(config, max_positions)
    return Architecture(
        model_type=model_type,
        vocab_size=config["vocab_size"],
        hidden_size=hidden,
        ffn_size=config["moe_intermediate_size" if family.moe else "intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_groups=config.get("num_key_value_heads") or heads,
        head_dim=head_dim,
        rope_theta=theta,
        norm_eps=config.get("rms_norm_eps", 1e-6),
        tied=bool(config.get("tie_word_embeddings")),
        qkv_bias=family.qkv_bias,
        max_positions=max_positions,
        init_std=config.get("initializer_range", 0.02),
        qk_norm=family.qk_norm,
        rope_scaling=scaling,
        window=config["sliding_window"] if family.windowed else None,
        experts=_experts(config) if family.moe else None,
    )


def _check_values(config: dict[str, Any], where: str) -> None:
    """RecipeError, by name, for a field of the wrong type or sign; ``where`` is put before the name."""

    def refuse(name: str, want: str) -> None:
        raise RecipeError(f"{where}{name}={json.dumps(config[name], default=str)[:80]}: want {want}")

    def is_number(value: Any, kinds: Any, most: float) -> bool:
        return isinstance(value, kinds) and not isinstance(value, bool) and 0 < value <= most  # a bool is an int, too

    family = _FAMILIES.get(str(config.get("model_type")))
    whole = _WHOLE | ({"sliding_window": 2**31} if family is not None and family.windowed else {})
    for name, value in config.items():
        if value is None and name in _MAY_BE_NULL:
            continue
        if name in whole and not is_number(value, int, whole[name]):
            refuse(name, f"a whole number from 1 to {whole[name]}")
        if name in _REAL and not is_number(value, int | float, _REAL[name]):
            refuse(name, f"a number above 0, at most {_REAL[name]:g}")
        if name in _SWITCHES and not isinstance(value, bool):
            refuse(name, "true or false")
        if name in ("rope_scaling", "rope_parameters") and not (value is None or isinstance(value, dict)):
            refuse(name, "a mapping, or null")
        if name in ("architectures", "layer_types") and not _is_texts(value):
            refuse(name, "a list of names, or null")


def _is_texts(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def _refuse_unknown(config: dict[str, Any], family: _Family, file: Path | None) -> None:
    """RecipeError for a field that is not known, unless its value (null, false, 0, empty) turns it off."""
    classes = config.get("architectures")
    if classes and family.name not in classes:
        raise RecipeError(f"architectures {', '.join(classes)} is not supported; want {family.name}")
    for name, only in _ONLY.items():
        if config.get(name) not in (None, only):
            raise RecipeError(f"{name}={json.dumps(config[name])} is not supported, only {json.dumps(only)} is")
    if other := set(config.get("layer_types") or ()) - {"full_attention"}:
        raise RecipeError(f"layer_types: {', '.join(sorted(other))} is not supported, only full_attention is")
    known = _READ | _ONLY.keys() | _HARMLESS | family.ignored
    known |= _READ_OF_EXPERTS if family.moe else set()
    known |= {"sliding_window"} if family.windowed else set()
    known |= {"auto_map"} if classes else set()  # a program of its own, but the class that is named has been checked
    for name, value in config.items():
        if value and name not in known and not name.startswith(_HARMLESS_BEGINNINGS):
            override = f"model.config[{name}]" if "." in name else f"model.config.{name}"
            fix = f"set '{override}=null'" if file is None else f"take it out of {file}"
            raise RecipeError(
                f"{name} is not known for model_type '{config['model_type']}' and may change the computation:"
                f" if it does not, {fix}"
            )


def _rope(config: dict[str, Any], max_positions: int) -> tuple[float, Llama3Rope | None]:
    """(theta, scaling), from the places where transformers looks and in its order."""
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind not in ("default", "llama3"):
        raise RecipeError(f"rope type '{kind}' is not supported; supported: default, llama3")
    known = {"rope_type", "type", "rope_theta"}
    known |= {*_LLAMA3, "original_max_position_embeddings"} if kind == "llama3" else set()
    if unknown := [name for name, value in rope.items() if name not in known and value not in (None, 1.0)]:
        raise RecipeError(f"rope parameter {unknown[0]}={rope[unknown[0]]} is not supported with rope type '{kind}'")
    for name, value in rope.items():  # numbers but for the type
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
        if name not in ("rope_type", "type") and value is not None and not is_number:
            raise RecipeError(f"rope parameter {name}={value} (rope_scaling or rope_parameters): want a number above 0")
    theta = float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0)
    if kind == "default":
        return theta, None
    if missing := [name for name in _LLAMA3 if rope.get(name) is None]:
        raise RecipeError(f"rope type 'llama3' lacks {', '.join(missing)}")
    factor, low, high = (float(rope[name]) for name in _LLAMA3)
    original = rope.get("original_max_position_embeddings") or max_positions
    if not isinstance(original, int):
        raise RecipeError(f"rope parameter original_max_position_embeddings={original}: want a whole number")
    if not (factor >= 1 and 0 < low < high):
        raise RecipeError(
            f"rope type 'llama3' has factor={factor:g}, low_freq_factor={low:g}, high_freq_factor={high:g}:"
            " want a factor of 1 or more and 0 < low < high"
        )
    return theta, Llama3Rope(factor, low, high, original)


def _experts(config: dict[str, Any]) -> Experts:
    count = config.get("num_experts", config.get("num_local_experts"))  # transformers 5 writes the latter
    per_token, normalized = config["num_experts_per_tok"], bool(config.get("norm_topk_prob"))
    if count is None:
        raise RecipeError("model configuration lacks num_experts")
    if not 1 <= per_token <= count:
        raise RecipeError(f"num_experts_per_tok={per_token} does not fit num_experts={count}: use 1 to {count}")
    if per_token == 1 and normalized:
        raise RecipeError("num_experts_per_tok=1 with norm_topk_prob=true gives the router no gradient: use false")
    return Experts(count, per_token, normalized)
