"""Sections of a recipe: the model that is trained, and how it is laid out over the ranks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from red_mcore.config.fields import Bound, MayChange, Place, PositiveWeight, Prose, Ranks


@dataclass
class Model:
    """The policy: a Hugging Face folder or hub name, or a fresh model made from ``config``
    alone."""

    path: Place | None = None
    """Folder (or hub name) with config.json, safetensors and tokenizer; None makes a model at
    random from ``config``."""
    config: Prose[dict[str, Any]] = field(default_factory=dict)
    """Fields of config.json, laid over the folder's own; the whole configuration where ``path`` is
    None. They are of the recipe's own model: an override that names another ``path`` does without
    them, and without ``base``."""
    chat_template: Place | None = None
    """File with a jinja chat template in the place of the tokenizer's, which may have none (base
    models). The run's model folder and what is exported from it carry it."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of weights and activations; logits, losses and optimizer state are float32 in any
    case."""
    layers: MayChange[Literal["auto", "local", "transformer_engine"]] = "auto"
    """Transformer Engine's linear layers, norms and attention, or Megatron-Core's own with
    attention by torch; auto is the former for bfloat16 without experts on a GPU where it is
    installed. The parameters are the same."""
    fp8: Literal["none", "tensorwise", "blockwise"] = "none"
    """Matrix products of Transformer Engine's layers in 8 bits, by the scaling of whole tensors or
    of blocks; weights, gradients and the output layer are as without."""


@dataclass
class Parallel:
    """How the ranks are arranged; data parallel is what is left: ranks / (tensor x pipeline x
    context)."""

    ranks: Ranks = 1
    """Processes in all, one per accelerator; a launcher (torchrun, srun) must start exactly as
    many."""
    tensor: Ranks = 1
    """Ranks that share each layer's matrices (tensor parallel)."""
    pipeline: Annotated[int, Bound(1, 2**17, unit="stages")] = 1
    """Stages of layers, each on ranks of its own (pipeline parallel)."""
    virtual: Annotated[int, Bound(1, 2**17, unit="chunks")] = 1
    """Chunks of layers on each pipeline stage (interleaved schedule): shorter idle times, more
    communication."""
    context: Ranks = 1
    """Ranks that share each sequence, for long ones. Our own attention gathers the keys and values
    of all, which only ``recompute=selective`` (or ``full``) does not keep for the backward;
    Transformer Engine's passes them on."""
    sequence: bool = False
    """Sequence parallel: activations between the tensor-parallel parts are split along the
    sequence."""
    expert: Ranks = 1
    """Data-parallel ranks that the experts of a mixture are dealt to (expert parallel)."""
    recompute: Literal["none", "selective", "full"] = "none"
    """Activations that the backward computes again instead of keeping them: those of attention, or
    of whole layers."""

    @property
    def data(self) -> int:
        return self.ranks // (self.tensor * self.pipeline * self.context)


@dataclass
class Offload:
    """What stays in the host's memory while it is not needed. A GPU then has room for longer
    micro-batches, or for more of vLLM's cache; each use costs a copy over PCIe."""

    optimizer: bool = False
    """Moments and the float32 copy of bfloat16 weights, but during a step of the optimizer and
    checkpoints."""
    reference: bool = False
    """Weights of the reference, but while it scores."""
    teacher: bool = False
    """Weights of the teacher, but while it scores."""


@dataclass
class Teacher:
    """A second model, frozen, that scores every token of the rollouts (on-policy distillation). It
    has a shape of its own, but the policy's tokenizer and, over the ranks, the policy's layout."""

    path: Place | None = None
    """Folder (or hub name) of the teacher: config.json, safetensors and tokenizer, as
    ``model.path``; a checkpoint that ``tools/convert.py`` made will do."""
    coefficient: PositiveWeight = 1.0
    """What is subtracted from the advantage of a rollout's token is this x (log-prob of the policy
    that sampled it - log-prob of the teacher)."""
