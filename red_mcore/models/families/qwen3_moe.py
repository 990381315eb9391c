"""Qwen3 whose layers are mixtures of experts."""

from __future__ import annotations

from typing import Any

from red_mcore.config.recipe import RecipeError
from red_mcore.models.family import WITHOUT_WINDOW, Config, Family
from red_mcore.models.shape import Experts

SIZES = {
    "moe_intermediate_size": 2**22,
    "num_experts": 2**14,
    "num_local_experts": 2**14,
    "num_experts_per_tok": 2**14,
}


def shape(config: Config) -> dict[str, Any]:
    """Experts stand in the place of the MLP, and norms of query and key are no field."""
    return {
        "qk_norm": True,
        "ffn_size": config["moe_intermediate_size"],
        "experts": experts(config),
    }


def experts(config: Config) -> Experts:
    """RecipeError where the numbers do not fit one another."""
    # transformers 5 writes the latter
    count = config.get("num_experts", config.get("num_local_experts"))
    per_token, normalized = config["num_experts_per_tok"], bool(config.get("norm_topk_prob"))
    if count is None:
        raise RecipeError("model configuration lacks num_experts")
    if (other := config.get("num_local_experts", count)) != count:
        raise RecipeError(
            f"num_experts={count} and num_local_experts={other} are two names of one number:"
            " take one out"
        )
    if not 1 <= per_token <= count:
        raise RecipeError(
            f"num_experts_per_tok={per_token} does not fit num_experts={count}: use 1 to {count}"
        )
    if per_token == 1 and normalized:
        raise RecipeError(
            "num_experts_per_tok=1 with norm_topk_prob=true gives the router no gradient: use false"
        )
    return Experts(count, per_token, normalized)


FAMILY = Family(
    "qwen3_moe",
    "Qwen3MoeForCausalLM",
    shape,
    needed=("num_key_value_heads", "moe_intermediate_size", "num_experts_per_tok"),
    sizes=SIZES,
    switches=("norm_topk_prob",),
    # The load-balancing loss is not part of an algorithm's loss.
    ignored=WITHOUT_WINDOW | {"router_aux_loss_coef", "output_router_logits"},
)
