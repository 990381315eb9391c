"""Sections of a recipe: how it samples, optimises and saves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from red_mcore.config.fields import (
    Bound,
    Fraction,
    FractionAboveZero,
    FractionBelowOne,
    MayChange,
    Norm,
    Place,
    Problems,
    Prompts,
    Ranks,
    Samples,
    Steps,
    StepsOrNone,
    Temperature,
    Tokens,
)


@dataclass
class Batch:
    """The batch numbers; everything else is derived from them and printed at start."""

    prompts_per_step: Prompts = 64
    """Problems of a step, over all ranks."""
    samples_per_prompt: Samples = 7
    """Rollouts per prompt; an algorithm that learns from traces adds the trace to the group."""
    updates_per_step: Annotated[int, Bound(1, 10**6, unit="updates")] = 1
    """Optimizer steps on the samples of one step, whole groups in each."""
    refills: Annotated[int, Bound(0, 10**4, unit="rounds")] = 0
    """Most further rounds of sampling in a step, each with a fresh prompt for every group whose
    rewards (or, in some methods, accuracies) are all the same."""
    tokens_per_micro_batch: MayChange[Tokens] = 8192
    """Most tokens (prompts and responses) packed into one micro-batch of one data-parallel rank,
    shared by its context-parallel ranks."""


@dataclass
class Rollout:
    """How the engine samples."""

    max_prompt_tokens: Tokens = 1024
    """Longest prompt; a problem whose prompt is longer is left out."""
    max_response_tokens: Tokens = 8192
    """Longest response; a longer one is cut off, and a longer trace is left out."""
    temperature: Temperature = 1.0
    """Temperature of the sampling and of the rollouts' log-probs in the losses. Traces, lessons and
    base training are imitated at temperature 1 and entropies are those at 1, whatever it is."""
    top_p: FractionAboveZero = 1.0
    """Probability of the most likely tokens that are sampled from; 1 is all."""
    tensor: MayChange[Ranks] = 1
    """Tensor-parallel size of one engine; ranks / tensor engines share the prompts."""
    kv_cache_mib: MayChange[Annotated[int, Bound(1, 2**24, unit="MiB")]] = 1024
    """Key-value cache of one engine rank."""
    eager: MayChange[bool] = False
    """On GPUs, sample without compilation and CUDA graphs, which take a minute at the start. CPUs
    always do."""
    logprob_gap_limit: MayChange[
        Annotated[float, Bound(0, 1e6, above=True, unit="nats")] | None
    ] = None
    """Largest allowed |trainer - engine| log-prob difference; a larger one stops the run before the
    weights change. None only records; a difference that is no number stops the run in any case."""
    record: MayChange[Place | None] = None
    """For debugging: folder in which the graded rollouts of every step are kept."""
    replay: MayChange[Place | None] = None
    """For debugging: folder of such rollouts, which are taken instead of sampling; evaluations are
    sampled anew."""


@dataclass
class Optimizer:
    """AdamW with a schedule that advances on successful steps only."""

    lr: FractionAboveZero = 2e-6
    """Largest learning rate, after the warm-up."""
    schedule: Literal["constant", "linear", "cosine", "wsd"] = "cosine"
    """Course of the learning rate after the warm-up; ``wsd`` (warm-up, stable, decay) is constant
    until the last updates, then linear."""
    min_lr_ratio: Fraction = 0.1
    """Final learning rate as a fraction of ``lr``, of all but ``constant``."""
    decay_fraction: Fraction = 0.1
    """Share of the updates, the last ones, in which ``wsd`` decays."""
    warmup_steps: Annotated[int, Bound(0, 10**9, unit="updates")] = 0
    """Updates in which the learning rate rises to ``lr``, linearly."""
    betas: tuple[FractionBelowOne, FractionBelowOne] = (0.9, 0.95)
    """Shares of the past in the moving averages of the gradient and of its square."""
    eps: FractionAboveZero = 1e-8
    """What is added to the root of the second average."""
    weight_decay: Annotated[float, Bound(0, 10)] = 0.0
    """Decoupled weight decay, multiplied by the learning rate; norms and biases have none."""
    clip_grad: Norm = 1.0
    """Largest global gradient norm; 0 is off."""
    skip_grad: Norm = 0.0
    """A step whose gradient norm, before the clip, is above this is left out, and the schedule
    stands still; 0 is off."""


@dataclass
class Base:
    """Supervised training of the fresh model on the base corpus before the algorithm starts."""

    steps: Steps = 800
    """Updates, one per step."""
    sequences_per_step: Annotated[int, Bound(1, 10**6, unit="sequences")] = 128
    """Sequences of an update, over all ranks."""
    optimizer: Optimizer = field(default_factory=Optimizer)


@dataclass
class Checkpoint:
    """When checkpoints are written, and which are kept."""

    every: StepsOrNone = 50
    """Steps between checkpoints; 0 saves only at the end and when interrupted."""
    keep: Annotated[int, Bound(1, 10**9, unit="checkpoints")] = 2
    """Newest checkpoints kept."""
    keep_every: StepsOrNone = 0
    """Checkpoints of every so many steps are kept for ever, too; 0 keeps none so."""
    keep_best: str | None = None
    """The checkpoint that is best by this metric of the evaluations, e.g. ``evaluation/pass1``, is
    kept, too."""
    best: Literal["highest", "lowest"] = "highest"
    """What is best by ``keep_best``."""
    asynchronous: bool = False
    """Training goes on while a copy in host memory is written; it counts once all ranks are done
    with that."""
    timeout_seconds: Annotated[float, Bound(1, 10**7, unit="seconds")] = 1800.0
    """A checkpoint that is not written after so long stops the run: later ones would be lost,
    too."""


@dataclass
class Validation:
    """The loss on the held-out problems' traces while the run trains, what is kept of it, and when
    it ends the run."""

    every: MayChange[Steps] = 50
    """Steps between measurements; the start and the last step are measured, too."""
    traces: Problems | None = None
    """Use at most this many held-out traces, the first; None is all."""
    patience: MayChange[Annotated[int, Bound(0, 10**6, unit="measurements")]] = 0
    """The run ends after so many measurements in turn without a gain; 0 never ends it early."""
    min_delta: MayChange[Annotated[float, Bound(0, 1e3, unit="nats")]] = 0.0
    """What a loss has to be below the lowest one to count as a gain: more than this."""
    keep_best: MayChange[bool] = True
    """A checkpoint is saved and kept where the loss is the lowest so far, ``checkpoints/best``
    names it."""
    export: MayChange[Literal["last", "best"]] = "last"
    """Which weights are the run's result: those after the last step, or the kept best ones."""


@dataclass
class Until:
    """What a run has to spend before it ends, beside its ``steps``: for methods whose steps cost
    differently."""

    generated_tokens: Annotated[float, Bound(0, 1e18, unit="tokens")] = 0.0
    """Tokens to generate at least; 0 asks for none."""
    train_seconds: Annotated[float, Bound(0, 1e18, unit="seconds")] = 0.0
    """Seconds to spend at least in the steps' phases, evaluation and saving left out; 0 asks for
    none."""
    most_steps: Steps = 10000
    """Steps after which the run ends all the same."""

    @property
    def budgets(self) -> tuple[float, float]:
        """(generated tokens, seconds)."""
        return self.generated_tokens, self.train_seconds
