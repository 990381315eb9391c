"""What a run is: plain dataclasses.

A recipe file is Python with a function ``recipe() -> Recipe``; ``overrides.py`` loads it. A section that is ``None``
is off; numbers that follow from others are properties, never fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from red_mcore.config.redaction import redacted


class RecipeError(ValueError):
    """Bad input that the user can mend; its message is one line naming the field or file, the numbers and the fix."""

    def __init__(self, message: str) -> None:
        super().__init__(redacted(message))


@dataclass
class Model:
    """The policy: a Hugging Face folder or hub name, or a fresh model made from ``config`` alone."""

    path: str | None = None
    """Folder (or hub name) with config.json, safetensors and tokenizer; None: a model at random from ``config``."""
    config: dict[str, Any] = field(default_factory=dict)
    """Fields of config.json, laid over the folder's own; the whole configuration where ``path`` is None. They are of
    the recipe's own model: an override that names another ``path`` does without them, and without ``base``."""
    chat_template: str | None = None
    """File with a jinja chat template in the place of the tokenizer's, which may have none (base models). The run's
    model folder and what is exported from it carry it."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of weights and activations; logits, losses and optimizer state are float32 in any case."""
    layers: Literal["auto", "local", "transformer_engine"] = "auto"
    """Transformer Engine's linear layers, norms and attention, or Megatron-Core's own with attention by torch; auto is
    the former for bfloat16 without experts on a GPU where it is installed. The parameters are the same."""
    fp8: Literal["none", "tensorwise", "blockwise"] = "none"
    """Matrix products of Transformer Engine's layers in 8 bits, by the scaling of whole tensors or of blocks; weights,
    gradients and the output layer are as without."""


@dataclass
class Parallel:
    """How the ranks are arranged; data parallel is what is left: ranks / (tensor x pipeline x context)."""

    ranks: int = 1
    """Processes in all, one per accelerator; a launcher (torchrun, srun) must start exactly as many."""
    tensor: int = 1
    pipeline: int = 1
    virtual: int = 1
    """Chunks of layers on each pipeline stage (interleaved schedule): shorter idle times, more communication."""
    context: int = 1
    """Ranks that share each sequence, for long ones. Our own attention gathers the keys and values of all, which only
    ``recompute=selective`` (or ``full``) does not keep for the backward; Transformer Engine's passes them on."""
    sequence: bool = False
    """Sequence parallel: activations between the tensor-parallel parts are split along the sequence."""
    expert: int = 1
    """Expert parallel: the experts of a mixture are dealt to this many data-parallel ranks."""
    recompute: Literal["none", "selective", "full"] = "none"
    """Activations that the backward computes again instead of keeping them: those of attention, or of whole layers."""

    @property
    def data(self) -> int:
        return self.ranks // (self.tensor * self.pipeline * self.context)


@dataclass
class Offload:
    """What stays in the host's memory while it is not needed. A GPU then has room for longer micro-batches, or for more
    of vLLM's cache; each use costs a copy over PCIe."""

    optimizer: bool = False
    """Moments and the float32 copy of bfloat16 weights, but during a step of the optimizer and checkpoints."""
    reference: bool = False
    """Weights of the reference, but while it scores."""


@dataclass
class Batch:
    """The batch numbers; everything else is derived from them and printed at start."""

    prompts_per_step: int = 64
    samples_per_prompt: int = 7
    """Rollouts per prompt; an algorithm that learns from traces adds the trace to the group."""
    updates_per_step: int = 1
    """Optimizer steps on the samples of one step, whole groups in each."""
    refills: int = 0
    """Most further rounds of sampling in a step, each with a fresh prompt for every group whose rewards (or, in some
    methods, accuracies) are all the same."""
    tokens_per_micro_batch: int = 8192
    """Most tokens (prompts and responses) packed into one micro-batch of one data-parallel rank, shared by its
    context-parallel ranks."""


@dataclass
class Rollout:
    """How the engine samples."""

    max_prompt_tokens: int = 1024
    max_response_tokens: int = 8192
    temperature: float = 1.0
    """Of the sampling and of the rollouts' log-probs in the losses. Traces, lessons and base training are imitated at
    temperature 1 and entropies are those at 1, whatever it is."""
    top_p: float = 1.0
    tensor: int = 1
    """Tensor-parallel size of one engine; ranks / tensor engines share the prompts."""
    kv_cache_mib: int = 1024
    """Key-value cache of one engine rank, MiB."""
    eager: bool = False
    """On GPUs, sample without compilation and CUDA graphs, which take a minute at the start. CPUs always do."""
    logprob_gap_limit: float | None = None
    """Largest allowed |trainer - engine| log-prob difference, nats; a larger one stops the run before the weights
    change. None only records; a difference that is no number stops the run in any case."""
    record: str | None = None
    """For debugging: folder in which the graded rollouts of every step are kept."""
    replay: str | None = None
    """For debugging: folder of such rollouts, which are taken instead of sampling; evaluations are sampled anew."""


@dataclass
class Algorithm:
    """Base of the algorithms' settings; see ``red_mcore.algorithms``."""

    traces: ClassVar[int] = 0
    """Teacher traces that join the rollouts of a group: 0 or 1."""
    needs_traces: ClassVar[bool] = False
    """Whether traces are needed beside those."""
    rollouts: ClassVar[bool] = True
    """Whether rollouts are sampled at all; imitation needs none."""

    def check(self, recipe: Recipe) -> None:
        """Raises RecipeError where ``recipe`` does not suit the algorithm; the base asks for nothing."""


@dataclass
class Arithmetic:
    """Built-in verifiable task: chains of one-digit operations modulo 10 (``red_mcore.data.arithmetic``)."""

    operations: int = 5
    """Operations per problem."""
    recheck: float = 0.45
    """Chance that the teacher re-checks a step once more (geometric)."""
    slip: float = 0.03
    """Chance that the teacher errs in a step and repairs it at once."""
    leap: float = 0.08
    """Chance that the teacher does two operations in its head in one go."""
    world: int = 0
    """Seed of the misconceptions that the base corpus plants about the operations * and @."""


@dataclass
class Source:
    """One of the sources of a mixture. Fields without a docstring are as those of ``Data``."""

    path: str = ""
    weight: float = 1.0
    """Share of the training prompts, against the other sources' weights, however many problems there are."""
    split: str = "train"
    subset: str | None = None
    problem_field: str | None = None
    gold_field: str | None = None
    trace_field: str | None = None
    problems: int | None = None
    """Use at most this many training problems, the first."""


@dataclass
class Data:
    """Training problems: a file (JSON lines or list, CSV, TSV, parquet), a folder of such, a hub name, a function that
    gives rows, or (``path`` None) the built-in arithmetic.

    Columns, ``split``, ``subset``, ``problems`` and the held-out source are of the recipe's own data: an override that
    names another ``path``, or a ``mixture``, does without them.
    """

    path: str | None = None
    """A function is named by its import path, ``package.module:function``; it takes nothing and gives one mapping of
    columns for each row, the same at every call."""
    mixture: list[Source] = field(default_factory=list)
    """Several sources in the place of ``path``, e.g. ``[{path: a.jsonl, weight: 3}, {path: b.parquet}]``. Each is dealt
    in epochs of its own; what is dealt in n prompts is within 1 of each source's share."""
    split: str = "train"
    """Split of a hub data set."""
    subset: str | None = None
    """Configuration of a hub data set that has several, e.g. ``main``."""
    problem_field: str | None = None
    """Column of the problem: a text, or a chat of one user turn; None recognises the formats in
    ``red_mcore.data.formats``. Here and in the next two a dot goes into an object, ``reward_model.ground_truth``."""
    gold_field: str | None = None
    trace_field: str | None = None
    problems: int | None = None
    """Use at most this many problems (arithmetic: make this many)."""
    held_out: int = 512
    """Different problems kept for evaluation, taken from the end of a file (arithmetic: drawn apart; a mixture: its
    share from the end of each source), or the first of ``held_out_path``. Training has none of them, wherever else
    they are."""
    held_out_path: str | None = None
    """File, folder, hub name or function that the held-out problems come from; training has none of its problems, also
    where ``held_out`` uses only some. The ``*_field`` columns count where it has them, else formats are recognised."""
    held_out_split: str = "test"
    """Split of a hub data set of held-out problems."""
    held_out_subset: str | None = None
    """Its configuration; None is ``subset`` where training problems and held-out ones are of one data set."""
    seed: int = 0
    """Draws the built-in arithmetic; apart from the run's seed, so that runs of many seeds share their problems."""
    system_prompt: str | None = None
    instruction: str = ""
    """Text put after each problem in the user turn."""
    template_arguments: dict[str, Any] = field(default_factory=dict)
    """Arguments of the chat template, such as ``enable_thinking`` of Qwen3's; they become its defaults in the run's
    model folder and in exports."""
    arithmetic: Arithmetic = field(default_factory=Arithmetic)


@dataclass
class Format:
    """1 where a response is one block ``<tag>...</tag>`` per tag, in order, and nothing else; else 0."""

    tags: list[str] = field(default_factory=lambda: ["think", "answer"])
    opened: bool = False
    """The chat template writes the first opening tag at the end of the prompt."""
    weight: float = 1.0


@dataclass
class Overlong:
    """Soft length penalty: 0 up to ``limit - buffer`` tokens, then linear down to -1 at ``limit`` (DAPO)."""

    buffer: int = 2000
    """Tokens before ``rollout.max_response_tokens`` over which the penalty grows."""
    weight: float = 1.0


@dataclass
class Repetition:
    """Penalty: the share of a response's n-grams of tokens that it has had before (arXiv 2502.03373)."""

    ngram: int = 20
    weight: float = 1.0


@dataclass
class Reward:
    """Verifiable reward, a sum of terms; math-verify in child processes that a wall clock can kill."""

    workers: int = 1
    """Verifier processes per engine."""
    timeout_seconds: float = 5.0
    """CPU time that one verdict may cost, so that none depends on how busy the machine is; then the child ends and the
    sample counts as ``timeout``. A child that only waits, as a user's function may, is ended after 30 times as long."""
    boxed_only: bool = True
    """Only the last \\boxed{...} counts as an answer; otherwise, where there is none, the whole text is searched."""
    answer_after: str | None = None
    """Only what stands behind the last occurrence of this text, e.g. ``</think>``, is judged, also of the held-out
    problems; a response without it is unparsable, hence wrong. None judges the whole response."""
    truncated: Literal["judged", "wrong", "masked"] = "judged"
    """What a response that the length limit cut off earns: what its verdict says; what a wrong one earns; or what its
    verdict says, but it is not trained on itself. Its accuracy is that of the verdict in any case."""
    accuracy: float = 1.0
    """Weight of the verdict: ``accuracy`` for correct, else ``accuracy`` x ``wrong``. A response whose verdict is
    timeout or crash is wrong: else a policy could gain by answers that nobody can judge."""
    wrong: float = 0.0
    """Value of a verdict that is not correct; -1 in DAPO's code, where a length penalty then weighs half."""
    format: Format | None = None
    overlong: Overlong | None = None
    repetition: Repetition | None = None
    functions: dict[str, float] = field(default_factory=dict)
    """Users' terms, ``package.module:function`` to weight. They run in the verifier's processes, under its time limit,
    and are given by name what their parameters ask for: ``problem``, ``gold``, ``response`` (texts), ``tokens`` (of the
    response), and any column of the problem's row in the data (``red_mcore.rewards.functions``). They return a number.
    One that fails adds nothing and is counted."""
    verdict: str | None = None
    """Import path of a function of the user's, called like those, that says whether a response is right, true or false,
    in the place of math-verify: for training, evaluations and benchmarks alike. It reads what ``answer_after`` leaves;
    golds need not be mathematics then."""
    failed_share: float = 0.05
    """Share of a step's calls of a function that may fail without a warning. Where all fail, the run stops."""

    @property
    def paths(self) -> list[str]:
        """Import paths of the user's functions."""
        return [*([] if self.verdict is None else [self.verdict]), *self.functions]


@dataclass
class Optimizer:
    """AdamW with a schedule that advances on successful steps only."""

    lr: float = 2e-6
    schedule: Literal["constant", "linear", "cosine", "wsd"] = "cosine"
    """After the warm-up; ``wsd`` (warm-up, stable, decay) is constant until the last updates, then linear."""
    min_lr_ratio: float = 0.1
    """Final learning rate as a fraction of ``lr``, of all but ``constant``."""
    decay_fraction: float = 0.1
    """Share of the updates, the last ones, in which ``wsd`` decays."""
    warmup_steps: int = 0
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_grad: float = 1.0
    """Largest global gradient norm; 0 is off."""
    skip_grad: float = 0.0
    """A step whose gradient norm, before the clip, is above this is left out, and the schedule stands still; 0 is
    off."""


@dataclass
class Base:
    """Supervised training of the fresh model on the base corpus before the algorithm starts."""

    steps: int = 800
    sequences_per_step: int = 128
    optimizer: Optimizer = field(default_factory=Optimizer)


@dataclass
class Checkpoint:
    every: int = 50
    """Steps between checkpoints; 0 saves only at the end and when interrupted."""
    keep: int = 2
    """Newest checkpoints kept."""
    keep_every: int = 0
    """Checkpoints of every so many steps are kept for ever, too; 0 keeps none so."""
    keep_best: str | None = None
    """The checkpoint that is best by this metric of the evaluations, e.g. ``evaluation/pass1``, is kept, too."""
    best: Literal["highest", "lowest"] = "highest"
    """What is best by ``keep_best``."""
    asynchronous: bool = False
    """Training goes on while a copy in host memory is written; it counts once all ranks are done with that."""
    timeout_seconds: float = 1800.0
    """A checkpoint that is not written after so long stops the run: later ones would be lost, too."""


@dataclass
class Tracking:
    mlflow: bool = True
    uri: str | None = None
    """MLflow tracking address; None is the SQLite file ``mlruns.db`` that all runs in ``runs`` share, whose artifacts
    are in ``mlartifacts`` beside it. Where several machines write at once, give it a server's. User and password in it,
    as in any address of a recipe, are in no file, output or database of a run."""
    experiment: str = "red-mcore"
    parent: str | None = None
    """Id of the MLflow run that this one is nested under."""
    monitors: list[str] = field(default_factory=list)
    """Import paths, ``package.module:Class``, of further monitors, such as
    ``red_mcore.tracking.tensorboard:TensorBoard``; ``red_mcore.tracking.monitor`` is their contract."""
    rollout_rows: int = 16
    """Rollouts with their verdicts kept as a table at each evaluation."""
    rollouts_every: int = 0
    """Steps between those whose rollouts are kept as text, all of them, in ``rollouts/training-NNNNNN.jsonl``, the
    first step's among them; 0 keeps none. ``tools/rollouts.py`` sets them side by side."""


@dataclass
class Hub:
    """Repository of the Hugging Face hub that the export goes to at the end; the token is huggingface_hub's own."""

    name: str = ""
    """``owner/name``; it is made if there is none."""
    private: bool = True
    """Of a repository that is made."""


COMPETITIONS = ("AIME24", "AIME25", "AMC23", "AMC")


@dataclass
class Protocol:
    """How benchmarks are asked, sampled and judged; ``red_mcore.evaluation.protocols`` has those of the papers."""

    system_prompt: str | None = None
    """None gives no system turn, so that the chat template's own default, if it has one, applies."""
    instruction: str = "Please reason step by step, and put your final answer within \\boxed{}."
    """Text put after each problem in the user turn."""
    choice_instruction: str = "Please reason step by step, and put the letter of your choice within \\boxed{}."
    """The same for problems with choices."""
    opening: str = ""
    """Text that every response goes on from, such as ``<think>`` and a line break; left out where the chat template
    ends in it."""
    template_arguments: dict[str, Any] = field(default_factory=dict)
    """Arguments of the chat template, such as ``enable_thinking`` of Qwen3's."""
    temperature: float = 0.6
    """0 is greedy."""
    top_p: float = 1.0
    max_tokens: int = 8192
    """Most tokens of a response."""
    samples: int = 4
    """Responses per problem."""
    competition_samples: int | None = 32
    """The same of AIME24, AIME25, AMC23 and AMC, whose 30 to 83 problems want many; None is as for all others."""
    boxed_only: bool = False
    """Only the last \\boxed{...} counts as an answer; otherwise, where there is none, the whole text is searched."""
    seed: int = 0
    """Of the sampling, and of the order in which choices are shown."""
    sequences_per_call: int = 128
    """Responses that one engine samples together, problems whole; then they are graded and kept. Rounding, and so the
    tokens, depend on what is sampled together, but not on how many engines there are."""

    def samples_for(self, benchmark: str) -> int:
        many = self.competition_samples
        return many if many is not None and benchmark in COMPETITIONS else self.samples


@dataclass
class Benchmarks:
    """Benchmarks on the way: the same code, and with the same seed the same numbers, as ``tools/evaluate.py``."""

    names: list[str] = field(default_factory=list)
    data: str | None = None
    """Folder of their files; None fetches them from the hub."""
    limit: int | None = None
    """Only the first so many problems of each."""
    every: int = 0
    """Steps between evaluations; 0 evaluates only before and after training."""
    protocol: Protocol = field(default_factory=Protocol)


@dataclass
class Evaluation:
    """Accuracy on the held-out problems, and on benchmarks."""

    every: int = 0
    """Steps between evaluations; 0 evaluates only before and after training."""
    samples: int = 8
    """Samples per held-out problem."""
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 7
    benchmarks: Benchmarks | None = None


@dataclass
class Until:
    """What a run has to spend before it ends, beside its ``steps``: for methods whose steps cost differently."""

    generated_tokens: float = 0.0
    train_seconds: float = 0.0
    """Seconds in the steps' phases, evaluation and saving left out."""
    most_steps: int = 10000
    """Steps after which the run ends all the same."""

    @property
    def budgets(self) -> tuple[float, float]:
        """(generated tokens, seconds)."""
        return self.generated_tokens, self.train_seconds


@dataclass
class Recipe:
    """One run. ``python -m red_mcore.run FILE a.b=c`` builds it, validates it and starts the ranks."""

    name: str
    model: Model
    algorithm: Algorithm
    steps: int = 500
    """Steps of the algorithm: sample, grade, score, weigh, update, publish; 0 trains the base alone."""
    until: Until | None = None
    """Go on after ``steps``; the learning rates have to be constant."""
    patience: int = 10
    """Steps without an update, or without a trace where the algorithm wants one, after which a warning says so."""
    strict: bool = False
    """A run that learns nothing, by its warnings (``red_mcore.train.health``), ends with exit code 4; where the recipe
    tells it, it does not start."""
    seed: int = 0
    runs: str = "runs"
    """Folder of run folders; this run lives in ``runs/name``."""
    parallel: Parallel = field(default_factory=Parallel)
    offload: Offload = field(default_factory=Offload)
    batch: Batch = field(default_factory=Batch)
    rollout: Rollout = field(default_factory=Rollout)
    data: Data = field(default_factory=Data)
    reward: Reward = field(default_factory=Reward)
    optimizer: Optimizer = field(default_factory=Optimizer)
    base: Base | None = None
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    tracking: Tracking = field(default_factory=Tracking)
    evaluation: Evaluation = field(default_factory=Evaluation)
    hub: Hub | None = None

    @property
    def folder(self) -> Path:
        return Path(self.runs) / self.name
