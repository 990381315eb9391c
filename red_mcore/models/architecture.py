"""Reads a Hugging Face ``config.json`` into the policy's shape; no torch, so that planning can use
it.

What all families share is here; what is special to one is its file in ``families``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from red_mcore.config.recipe import Model, RecipeError
from red_mcore.models.families import FAMILIES
from red_mcore.models.family import Config, Family
from red_mcore.models.shape import Architecture, Experts, Llama3Rope
from red_mcore.system import disk

__all__ = [
    "SUPPORTED",
    "Architecture",
    "Experts",
    "Llama3Rope",
    "fresh_fields",
    "hf_config",
    "read_architecture",
]

SUPPORTED = tuple(FAMILIES)
"""``model_type`` values that the converter and the model builder know."""

_NEEDED = (
    *("vocab_size", "hidden_size", "intermediate_size"),
    *("num_hidden_layers", "num_attention_heads"),
)
_READ = {
    *("model_type", "architectures", *_NEEDED, "num_key_value_heads", "head_dim", "rms_norm_eps"),
    *("tie_word_embeddings", "max_position_embeddings", "initializer_range"),
    *("rope_theta", "rope_parameters", "rope_scaling", "layer_types"),
}
_WHOLE = {
    "vocab_size": 2**24,
    "hidden_size": 2**20,
    "intermediate_size": 2**22,
    "num_hidden_layers": 2**12,
    "num_attention_heads": 2**12,
    "num_key_value_heads": 2**12,
    "head_dim": 2**12,
    "max_position_embeddings": 2**24,  # of each there is a row in the engine's table of rotations
}
"""Fields that are whole numbers from 1 on, and what no model has more of."""
_REAL = {"rms_norm_eps": 1.0, "initializer_range": 0.5, "rope_theta": 1e15}
"""Fields that are numbers above 0, and what no model has more of. Weights at random that are wider
make logits so far apart that trainer and engine differ by rounding alone."""
_MAY_BE_NULL = ("num_key_value_heads", "head_dim", "rope_theta", "sliding_window")
"""Fields whose null means that they are not there; switches may be null, too."""
_MAY_DIFFER = {
    # Longer contexts.
    *("max_position_embeddings", "rope_theta", "rope_scaling", "rope_parameters"),
    *("sliding_window", "max_window_layers", "layer_types", "initializer_range", "architectures"),
}
"""Fields that are read, and that ``model.config`` may have otherwise than the folder whose weights
are used; a layer or a norm that is computed otherwise makes another model of them."""
_IMPLEMENTED = {
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
"""Fields that change the computation, with the one value (beside null) that is implemented, but
where a family reads them."""
_HARMLESS = {
    # Types, versions and names; what files were made with.
    *("transformers_version", "torch_dtype", "dtype", "tokenizer_class", "is_llama_config"),
    "hf_device_map",
    # How a forward is run: the same numbers come out.
    *("use_cache", "attn_implementation", "use_flash_attn", "use_flash_attention"),
    *("use_flash_attention_2", "cache_implementation", "gradient_checkpointing", "torchscript"),
    *("use_bfloat16", "is_decoder", "chunk_size_feed_forward"),
    "pretraining_tp",  # Products are computed in so many slices.
    # Of the tokenizer: the tokens that it adds, the length that it cuts at.
    *("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "sep_token_id"),
    *("decoder_start_token_id", "model_max_length", "tokenizer_model_max_length"),
    *("max_sequence_length", "max_seq_length", "seq_length"),
    # Of other heads than the one over the vocabulary, and of what a forward returns.
    *("id2label", "label2id", "num_labels", "problem_type", "finetuning_task"),
    *("task_specific_params", "return_dict", "output_attentions", "output_hidden_states"),
    *("output_scores", "return_dict_in_generate"),
    # Of generation, which transformers 4 wrote here: sampling is the recipe's, or the protocol's.
    *("do_sample", "temperature", "top_k", "top_p", "typical_p", "num_beams", "num_beam_groups"),
    *("diversity_penalty", "max_length", "min_length", "max_new_tokens", "length_penalty"),
    *("repetition_penalty", "early_stopping", "no_repeat_ngram_size"),
    *("encoder_no_repeat_ngram_size", "num_return_sequences", "bad_words_ids", "prefix"),
    *("forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens"),
    *("remove_invalid_values", "exponential_decay_length_penalty"),
    # Of training programs: noise and loss that are theirs.
    *("neftune_noise_alpha", "tf_legacy_loss", "tie_encoder_decoder"),
}
"""Fields that say nothing about the computation of the logits."""
_HARMLESS_BEGINNINGS = ("_", "unsloth_", "transformers.")
"""Beginnings of fields that are notes of a program to itself: transformers' private ones, unsloth,
transformers.js."""
_LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor")


def hf_config(model: Model) -> dict[str, Any]:
    """``config.json`` of the model's folder, if there is one, with ``model.config`` laid over it.

    RecipeError where it cannot be read, or where the one contradicts the other.
    """
    found: dict[str, Any] = {}
    if model.path is not None and Path(model.path).is_dir():
        file = Path(model.path) / "config.json"
        content = disk.read_object(file)
        if content is None:
            raise RecipeError(f"model.path {model.path} has no config.json")
        found = content
        _check_values(found, f"{file}: ")
        _refuse_contradiction(found, model, file)
    config = {**found, **model.config}
    rope = found.get("rope_parameters")
    # Newer files keep theta there, and readers look there first.
    if "rope_theta" in model.config and isinstance(rope, dict):
        config["rope_parameters"] = {**rope, "rope_theta": model.config["rope_theta"]}
    return config


def _refuse_contradiction(found: Config, model: Model, file: Path) -> None:
    known = _READ | _IMPLEMENTED.keys()
    if family := FAMILIES.get(str(found.get("model_type"))):
        known |= family.fields
    for name, value in model.config.items():
        if name in known - _MAY_DIFFER and name in found and found[name] != value:
            raise RecipeError(
                f"model.config.{name}={value} contradicts {file}, where it is {found[name]}: the"
                " weights there are of that model; take the field out of model.config"
                " (model.config={} takes out all), or use model.path=null for a fresh model"
            )


def read_architecture(config: Config, file: Path | None = None) -> Architecture:
    """The architecture of an HF configuration.

    RecipeError, by name, for what is unsupported, unknown or missing. ``file`` holds the
    configuration, where no recipe's ``model.config`` lies over it.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise RecipeError(
            f"model_type '{model_type}' is not supported; supported: {', '.join(SUPPORTED)}"
        )
    family = FAMILIES[model_type]
    missing = [name for name in (*_NEEDED, *family.needed) if name not in config]
    if missing:
        raise RecipeError(f"model configuration lacks {', '.join(missing)}")
    _check_values(config, "model.config." if file is None else "")
    _refuse_unknown(config, family, file)
    heads, hidden = config["num_attention_heads"], config["hidden_size"]
    head_dim = config.get("head_dim") or hidden // heads
    if not config.get("head_dim") and hidden % heads:
        raise RecipeError(
            f"hidden_size={hidden} is no multiple of num_attention_heads={heads}:"
            " use one, or a head_dim"
        )
    max_positions = config.get("max_position_embeddings", 32768)
    theta, scaling = _rope(config, max_positions)
    usual = {
        "model_type": model_type,
        "vocab_size": config["vocab_size"],
        "hidden_size": hidden,
        "ffn_size": config["intermediate_size"],
        "layers": config["num_hidden_layers"],
        "heads": heads,
        "kv_groups": config.get("num_key_value_heads") or heads,
        "head_dim": head_dim,
        "rope_theta": theta,
        "norm_eps": config.get("rms_norm_eps", 1e-6),
        "tied": bool(config.get("tie_word_embeddings")),
        "qkv_bias": False,
        "max_positions": max_positions,
        "init_std": config.get("initializer_range", 0.02),
        "rope_scaling": scaling,
    }
    return Architecture(**{**usual, **family.shape(config)})


def fresh_fields(config: Config) -> dict[str, Any]:
    """The fields that transformers makes a model without a folder of: those that are read, each of
    the type that it wants of them, and with what a null means in its place.

    RecipeError as in ``read_architecture``.
    """
    arch, family = read_architecture(config), FAMILIES[config["model_type"]]
    meant = dict.fromkeys(("tie_word_embeddings", *family.switches), False) | {
        "num_key_value_heads": arch.kv_groups,
        "head_dim": arch.head_dim,
        "rope_theta": arch.rope_theta,
    }
    only = {name: value for name, value in _IMPLEMENTED.items() if name not in family.fields}
    found = {}
    for name, value in config.items():
        if name in only:
            found[name] = only[name]
        elif name in _REAL and value is not None:
            found[name] = float(value)
        elif name in _READ | family.fields:
            found[name] = meant.get(name) if value is None else value
    return found


def _check_values(config: Config, where: str) -> None:
    """RecipeError, by name, for a field of the wrong type or sign; ``where`` stands before it."""
    sizes, switches = dict(_WHOLE), {"tie_word_embeddings"}
    if family := FAMILIES.get(str(config.get("model_type"))):
        sizes |= family.sizes
        switches |= {*family.switches}

    def refuse(name: str, want: str) -> None:
        shown = json.dumps(config[name], default=str)[:80]
        raise RecipeError(f"{where}{name}={shown}: want {want}")

    for name, value in config.items():
        if value is None and (name in _MAY_BE_NULL or name in switches):
            continue
        if name in sizes and not _is_number(value, int, sizes[name]):
            refuse(name, f"a whole number from 1 to {sizes[name]}")
        if name in _REAL and not _is_number(value, int | float, _REAL[name]):
            refuse(name, f"a number above 0, at most {_REAL[name]:g}")
        if name in switches and not isinstance(value, bool):
            refuse(name, "true or false")
        if name in ("rope_scaling", "rope_parameters") and not isinstance(value, dict | None):
            refuse(name, "a mapping, or null")
        if name in ("architectures", "layer_types") and not _is_texts(value):
            refuse(name, "a list of names, or null")


def _is_number(value: Any, kinds: Any, most: float) -> bool:
    if isinstance(value, bool):  # which is an int, too
        return False
    return isinstance(value, kinds) and 0 < value <= most


def _is_texts(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _refuse_unknown(config: Config, family: Family, file: Path | None) -> None:
    """RecipeError for a field that is not known, unless its value (null, false, 0, empty) turns it
    off."""
    classes = config.get("architectures")
    if classes and family.name not in classes:
        raise RecipeError(
            f"architectures {', '.join(classes)} is not supported; want {family.name}"
        )
    for name, only in _IMPLEMENTED.items():
        if name in family.fields | family.ignored:
            continue
        if config.get(name) not in (None, only):
            raise RecipeError(
                f"{name}={json.dumps(config[name])} is not supported, only {json.dumps(only)} is"
            )
    if other := set(config.get("layer_types") or ()) - {"full_attention"}:
        raise RecipeError(
            f"layer_types: {', '.join(sorted(other))} is not supported, only full_attention is"
        )
    known = _READ | _IMPLEMENTED.keys() | _HARMLESS | family.fields | family.ignored
    if classes:
        known |= {"auto_map"}  # a program of its own, but the class that is named has been checked
    for name, value in config.items():
        if value and name not in known and not name.startswith(_HARMLESS_BEGINNINGS):
            fix = f"set 'model.config.{name}=null'"
            if file is not None:
                fix = f"take it out of {file}"
            elif "." in name:
                fix = f"set 'model.config[{name}]=null'"
            raise RecipeError(
                f"{name} is not known for model_type '{family.model_type}' and may change the"
                f" computation: if it does not, {fix}"
            )


def _rope(config: Config, max_positions: int) -> tuple[float, Llama3Rope | None]:
    """(theta, scaling), from the places where transformers looks and in its order."""
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind not in ("default", "llama3"):
        raise RecipeError(f"rope type '{kind}' is not supported; supported: default, llama3")
    known = {"rope_type", "type", "rope_theta"}
    if kind == "llama3":
        known |= {*_LLAMA3, "original_max_position_embeddings"}
    for name, value in rope.items():
        if name not in known and value not in (None, 1.0):  # a factor of 1 changes nothing
            raise RecipeError(
                f"rope parameter {name}={value} is not supported with rope type '{kind}'"
            )
    for name, value in rope.items():
        is_number = value is None or _is_number(value, int | float, sys.float_info.max)
        if name not in ("rope_type", "type") and not is_number:
            raise RecipeError(
                f"rope parameter {name}={value} (rope_scaling or rope_parameters):"
                " want a number above 0"
            )
    theta = float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0)
    if kind == "default":
        return theta, None
    if missing := [name for name in _LLAMA3 if rope.get(name) is None]:
        raise RecipeError(f"rope type 'llama3' lacks {', '.join(missing)}")
    factor, low, high = (float(rope[name]) for name in _LLAMA3)
    original = rope.get("original_max_position_embeddings") or max_positions
    if not isinstance(original, int):
        raise RecipeError(
            f"rope parameter original_max_position_embeddings={original}: want a whole number"
        )
    if not (factor >= 1 and 0 < low < high):
        raise RecipeError(
            f"rope type 'llama3' has factor={factor:g}, low_freq_factor={low:g},"
            f" high_freq_factor={high:g}: want a factor of 1 or more and 0 < low < high"
        )
    return theta, Llama3Rope(factor, low, high, original)
