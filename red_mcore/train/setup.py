"""Everything a run needs, built once in the order that works, and the state that a checkpoint keeps."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from red_mcore.checkpoints import identity, manifests, resume
from red_mcore.config.recipe import Model, Recipe
from red_mcore.config.tree import flatten, to_yaml
from red_mcore.models.architecture import Architecture
from red_mcore.planning import checks, plan
from red_mcore.planning.intake import load_benchmarks, take_in
from red_mcore.samples.records import Problem
from red_mcore.system import disk, signals
from red_mcore.train.model_folder import prepare_model

if TYPE_CHECKING:
    from red_mcore.checkpoints.saving import Saver
    from red_mcore.data.cursor import Cursor, Mixture
    from red_mcore.evaluation.asking import Asker
    from red_mcore.megatron.policy import Policy
    from red_mcore.megatron.ranks import Ranks
    from red_mcore.rollout.recording import Recording
    from red_mcore.rollout.sampler import Sampler
    from red_mcore.tracking import Console, Tracker


@dataclass
class State:
    """What lasts between steps besides weights, optimizer and random states; JSON-able."""

    stage: str = "main"
    """``base`` while a fresh model is trained on the base corpus, then ``main``."""
    step: int = 0
    """Steps of the stage that are done."""
    policy_version: int = 0
    """Optimizer updates of the main stage; also the version that the engines get."""
    cursor: dict[str, Any] | None = None
    algorithm: dict[str, Any] = field(default_factory=dict)
    tracker_run: str | None = None
    before: dict[str, float] | None = None
    """Evaluation of the policy before the first step of the main stage."""
    after: dict[str, float] | None = None
    """The last evaluation."""
    evaluated: int = -1
    """Step of the last evaluation."""
    benchmarked: int = -1
    """The same, of the benchmarks."""
    seconds: float = 0.0
    """Time spent so far over all starts."""
    base_seconds: float = 0.0
    train_seconds: float = 0.0
    """In the phases of the steps, evaluation left out."""
    generated_tokens: float = 0.0
    health: dict[str, Any] = field(default_factory=dict)
    """What ``red_mcore.train.health`` has seen so far."""


@dataclass
class Run:
    """A run in this process."""

    recipe: Recipe
    ranks: Ranks
    arch: Architecture
    model_folder: Path
    """config.json, tokenizer and, for a fresh model, its first weights; the template of exports."""
    tokenizer: Any
    problems: list[Problem]
    held_out: list[Problem]
    cursor: Cursor | Mixture
    policy: Policy
    reference: Policy | None
    sampler: Sampler
    benchmarks: dict[str, list[Problem]]
    asker: Asker | None
    """Puts the benchmarks to the engine; None where there are none."""
    recording: Recording
    saver: Saver
    tracker: Tracker | None
    """On rank 0 only."""
    state: State
    begin: float
    """``time.monotonic`` at this start."""
    asked: signals.Asked
    """What signals ask this rank for, at any moment."""
    stopping: bool = False
    """All ranks agreed to stop, after a step."""
    saving: bool = False
    """All ranks agreed to save after this step, and to go on."""

    @property
    def elapsed(self) -> float:
        """Seconds of this start."""
        return time.monotonic() - self.begin

    def say(self, text: str) -> None:
        if self.ranks.is_main:
            print(text, flush=True)

    def start_main(self) -> None:
        """Begin the algorithm's stage on the weights as they are, with new optimizers."""
        self.state.stage, self.state.step = "main", 0
        self.policy.start_optimizers(self.recipe.algorithm.optimizers(self.recipe))

    def console(self, description: str, total: int, done: int) -> Console:
        """Progress on rank 0; on the others a console that shows nothing."""
        from red_mcore.tracking import Console

        return Console(description, total, done, show=self.ranks.is_main)

    def log(self, metrics: dict[str, float]) -> None:
        """Keep the metrics of this step; a collective."""
        from red_mcore.megatron.ranks import together

        with together():
            if self.tracker:
                self.tracker.log(self.state.step, metrics, self.state.stage)

    def agree(self) -> None:
        """Set ``stopping`` and ``saving`` on every rank by the signals that reached any; a collective, after a step."""
        from red_mcore.megatron.ranks import largest

        asked = largest(self.asked.take())
        self.stopping, self.saving = asked == signals.STOPPING, asked == signals.SAVING
        if self.saving:
            self.say(f"saving after {self.state.stage} step {self.state.step}, as SIGUSR1 asked")

    def checkpoint_due(self) -> bool:
        every = self.recipe.checkpoint.every
        return bool(every) and self.state.step % every == 0

    def save(self) -> None:
        """Checkpoint of this moment; a collective."""
        self.state.cursor = self.cursor.state()
        state = {**asdict(self.state), "seconds": self.state.seconds + self.elapsed}
        tag = f"{self.state.stage}-{self.state.step:06d}"
        copies = self.tracker.rows() | identity.copy(self.recipe.folder) if self.tracker else {}
        self.saver.save(tag, self.policy, {"state": state, "recipe": flatten(self.recipe)}, copies)


@contextmanager
def build(recipe: Recipe):
    """The run, from its newest checkpoint where there is one; a collective of all ranks."""
    from red_mcore.checkpoints import saving
    from red_mcore.convert import hf
    from red_mcore.convert.folder import architecture_of
    from red_mcore.data import cursor as cursors
    from red_mcore.data.problems import read_problems
    from red_mcore.data.seams import example, stop_ids_of
    from red_mcore.data.tokenizer import load_tokenizer
    from red_mcore.evaluation.asking import Asker, digests
    from red_mcore.evaluation.standalone import report_faults
    from red_mcore.megatron import ranks, shim
    from red_mcore.megatron.offload import to_host
    from red_mcore.megatron.policy import Policy
    from red_mcore.rewards import functions
    from red_mcore.rewards.verifier import Verifier
    from red_mcore.rollout.engine import Engine
    from red_mcore.rollout.environment import settle
    from red_mcore.rollout.recording import Recording, recorded_of
    from red_mcore.rollout.sampler import Sampler
    from red_mcore.tracking import Tracker, provenance
    from red_mcore.tracking import tracker as tracking

    begin = time.monotonic()

    def say(text: str) -> None:
        if here.is_main:
            print(f"[{time.monotonic() - begin:5.1f} s] {text}", flush=True)

    here = ranks.start(recipe.parallel, recipe.seed)
    weights, model_folder = prepare_model(recipe, here)
    arch = architecture_of(model_folder)
    ranks.on_main(here, lambda: checks.check_model(recipe, arch))  # of a hub model nothing was known before

    def check_weights() -> None:
        if recipe.algorithm.uses_reference or resume.latest(resume.checkpoints(recipe)) is None:
            hf.check_first(arch, weights)

    ranks.on_main(here, check_weights)
    tokenizer = load_tokenizer(Model(path=str(model_folder)))
    is_leader = here.rank % recipe.rollout.tensor == 0
    verifier = Verifier(recipe.reward) if is_leader else None  # its children import while the rank goes on
    columns = ranks.on_main(here, lambda: functions.columns(recipe.reward))
    benchmarks, room = load_benchmarks(recipe, arch, tokenizer, columns)
    loaded = read_problems(recipe.data, recipe.data.seed, columns)
    # Again, where they are to run, and with what a hub's rows hold.
    ranks.on_main(here, lambda: functions.try_out(recipe.reward, lambda _: {"the data": loaded.training, **benchmarks}))

    def claim() -> None:
        identity.claim(recipe, weights, loaded, digests(benchmarks), resume.begun(recipe), say)

    ranks.on_main(here, claim)
    problems, held_out = take_in(recipe, loaded, benchmarks, tokenizer, verifier, here, say)
    ranks.on_main(here, lambda: identity.claim_used(recipe, problems, held_out, resume.begun(recipe)))
    stops = stop_ids_of(tokenizer, model_folder)
    learns_traces = bool(recipe.algorithm.traces or recipe.algorithm.needs_traces)
    for line in example(tokenizer, problems, recipe.data, stops, learns_traces):
        say(line)
    if here.is_main:
        report_faults(verifier, benchmarks)
    folder = resume.checkpoints(recipe)
    # Checksums cost one read of the checkpoint, by rank 0 alone: the ranks have to agree on what they go on from.
    manifest, faults = ranks.on_main(here, lambda: manifests.newest(folder, checksums=True))
    for fault in faults:
        say(f"red_mcore: warning: {fault}; going back to checkpoint {manifest['tag']}")
    state = State(**manifest["state"]) if manifest else State(stage="base" if recipe.base else "main")
    cursor = cursors.over(problems, recipe.data, recipe.seed)
    if state.cursor:
        cursor.restore(state.cursor)

    say(f"{len(problems)} problems, {len(held_out)} held out; building the policy")
    say(plan.layers(recipe.model, arch, on_gpu=not shim.needed()))
    policy = Policy(recipe, arch, here)
    if manifest is None:
        with ranks.together():
            hf.load_first(policy.model, arch, weights)
    if state.stage == "base":
        policy.start_optimizers({"main": (recipe.base.optimizer, recipe.base.steps)})
    else:
        policy.start_optimizers(recipe.algorithm.optimizers(recipe))
    reference = None
    if recipe.algorithm.uses_reference:
        reference = Policy(recipe, arch, here)
        if state.stage == "main":  # else the base stage, which makes its weights, loads them
            hf.load_first(reference.model, arch, recipe.folder / "base" if recipe.base else weights)
        if recipe.offload.reference:
            to_host(reference.model.parameters())
    if manifest:
        saving.load(folder, manifest, policy)

    say("starting the engines")
    engine = Engine(
        model_folder,
        recipe.rollout,
        dtype=recipe.model.dtype,
        stop_ids=stops,
        seed=recipe.seed,
        room=room,
    )
    say("opening the tracker")
    tracker = None

    def open_tracker() -> str | None:
        nonlocal tracker
        earlier = state.tracker_run if manifest and resume.same_tracker(recipe, manifest["recipe"]) else None
        tracker = Tracker(recipe, recipe.folder, earlier)
        steps = {"main": -1 if state.before is None else state.step}
        if state.stage == "base":
            steps["base"] = state.step
        kept = manifests.copies(folder, manifest, tracking.FILES.values()) if manifest else None
        for fault in tracker.begin(steps, kept or None):
            say(f"red_mcore: warning: {fault}")
        disk.write_atomic(recipe.folder / "recipe.yaml", to_yaml(recipe))
        provenance.begin(recipe, weights, state.stage, state.step)
        return tracker.run_id

    state.tracker_run = ranks.on_main(here, open_tracker)
    asker = None
    if benchmarks:
        asker = Asker(recipe.evaluation.benchmarks.protocol, tokenizer, engine, verifier, recipe.reward)
    run = Run(
        recipe=recipe,
        ranks=here,
        arch=arch,
        model_folder=model_folder,
        tokenizer=tokenizer,
        problems=problems,
        held_out=held_out,
        cursor=cursor,
        policy=policy,
        reference=reference,
        sampler=Sampler(recipe, tokenizer, engine, verifier),
        benchmarks=benchmarks,
        asker=asker,
        recording=Recording(recipe.rollout, here, recorded_of(recipe, tokenizer)),
        saver=saving.Saver(folder, recipe.checkpoint),
        tracker=tracker,
        state=state,
        begin=begin,
        asked=signals.Asked(),
    )
    settle()
    say(f"going on from checkpoint {manifest['tag']} of {recipe.folder}" if manifest else "ready")

    run.asked.heed()
    status = "FAILED"
    try:
        yield run
        status = "KILLED" if run.stopping else "FINISHED"
    finally:
        if tracker:
            tracker.close(status)
        if verifier:
            verifier.close()
        if status != "FAILED":  # after an error other ranks may wait in another collective
            engine.close()
            ranks.stop()
