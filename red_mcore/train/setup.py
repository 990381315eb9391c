"""Everything a run needs, built once in the order that works."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from red_mcore.checkpoints import identity, manifests, resume
from red_mcore.config.recipe import Model, Recipe
from red_mcore.config.tree import to_yaml
from red_mcore.models.architecture import Architecture
from red_mcore.planning import checks, plan, trace_use
from red_mcore.planning.intake import load_benchmarks, take_in
from red_mcore.samples.records import Problem
from red_mcore.system import disk, signals
from red_mcore.train.model_folder import prepare_model
from red_mcore.train.run import Run, optimizers_of
from red_mcore.train.state import State
from red_mcore.train.teacher import OpenTeacher, build_teacher, open_teacher

if TYPE_CHECKING:
    from red_mcore.megatron.policy import Policy
    from red_mcore.megatron.ranks import Ranks
    from red_mcore.rewards.verifier import Verifier
    from red_mcore.tracking import Tracker

Say = Callable[[str], None]
Manifest = dict[str, Any]
"""What a checkpoint tells of itself."""


@contextmanager
def build(recipe: Recipe) -> Iterator[Run]:
    """The run, from its newest checkpoint where there is one; a collective of all ranks.

    RecipeError, on all ranks, for what only shows once model, data or engine are there.
    """
    from red_mcore.megatron import ranks
    from red_mcore.rollout.environment import end_imports

    begin = time.monotonic()
    here = ranks.start(recipe.parallel, recipe.seed)

    def say(text: str) -> None:
        if here.is_main:
            print(f"[{time.monotonic() - begin:5.1f} s] {text}", flush=True)

    run, tag = assemble(recipe, here, begin, say)
    end_imports()
    if tag:
        say(f"going on from checkpoint {tag} of {recipe.folder}")
    else:
        say("ready")
    run.asked.heed()
    with closing(run):
        yield run


def assemble(recipe: Recipe, here: Ranks, begin: float, say: Say) -> tuple[Run, str | None]:
    """(The run, tag of the checkpoint that it goes on from), each part made after what it needs."""
    from red_mcore.checkpoints.saving import Saver
    from red_mcore.data import cursor as cursors
    from red_mcore.evaluation.asking import Evaluator
    from red_mcore.rewards.verifier import Verifier
    from red_mcore.rollout.recording import Recording, recorded_of
    from red_mcore.rollout.sampler import Sampler

    model = open_model(recipe, here)
    opened = open_teacher(recipe, here, model.arch, model.tokenizer)
    verifier = None
    if here.rank % recipe.rollout.tensor == 0:  # an engine's leader, which alone has the answers
        verifier = Verifier(recipe.reward)  # its children import meanwhile
    data = read_data(recipe, here, model, opened, verifier, say)
    manifest, state = last_state(recipe, here, say)
    cursor = cursors.over(data.training, recipe.data, recipe.seed)
    if state.cursor:
        cursor.restore(state.cursor)
    say(f"{len(data.training)} problems, {len(data.held_out)} held out; building the policy")
    policy, reference = build_policies(recipe, here, model, manifest, state, say)
    teacher = None
    if opened is not None:
        say(f"building the teacher, {opened.arch.parameters:,} parameters of {opened.weights}")
        teacher = build_teacher(recipe, here, opened)
    say("starting the engines")
    # vLLM takes seconds to import: not before data and model are known to be good.
    from red_mcore.rollout.engine import VllmEngine

    engine = VllmEngine(
        model.folder,
        recipe.rollout,
        dtype=recipe.model.dtype,
        stop_ids=model.stop_ids,
        seed=recipe.seed,
        room=data.longest,
    )
    evaluator = None
    if recipe.evaluation.benchmarks is not None and data.benchmarks:
        protocol = recipe.evaluation.benchmarks.protocol
        evaluator = Evaluator(protocol, model.tokenizer, engine, verifier, recipe.reward)
    say("opening the tracker")
    tracker = open_tracker(recipe, here, model, manifest, state, say)
    run = Run(
        recipe=recipe,
        ranks=here,
        arch=model.arch,
        model_folder=model.folder,
        tokenizer=model.tokenizer,
        problems=data.training,
        held_out=data.held_out,
        cursor=cursor,
        policy=policy,
        reference=reference,
        teacher=teacher,
        sampler=Sampler(recipe, model.tokenizer, engine, verifier),
        benchmarks=data.benchmarks,
        evaluator=evaluator,
        recording=Recording(recipe.rollout, here, recorded_of(recipe, model.tokenizer)),
        saver=Saver(resume.checkpoints(recipe), recipe.checkpoint),
        tracker=tracker,
        state=state,
        begin=begin,
        asked=signals.Asked(),
    )
    if manifest is None:
        return run, None
    return run, manifest["tag"]


@dataclass(frozen=True)
class OpenModel:
    """The model that the run starts from."""

    weights: Path
    """Folder of the first weights."""
    folder: Path
    """Folder of configuration and tokenizer, in the run's."""
    arch: Architecture
    tokenizer: Any
    stop_ids: Sequence[int]
    """Tokens that end a response."""


def open_model(recipe: Recipe, here: Ranks) -> OpenModel:
    """Prepare the model's folder and read it, weights left aside; a collective."""
    from red_mcore.convert import hf
    from red_mcore.convert.folder import architecture_of
    from red_mcore.data.seams import stop_ids_of
    from red_mcore.data.tokenizer import load_tokenizer
    from red_mcore.megatron import ranks

    weights, folder = prepare_model(recipe, here)
    arch = architecture_of(folder)
    # Again, for of a hub's model nothing was known before.
    ranks.on_main(here, lambda: checks.check_model(recipe, arch))

    def check_weights() -> None:
        begins = resume.latest(resume.checkpoints(recipe)) is None
        if recipe.algorithm.uses_reference or begins:
            hf.check_first(arch, weights)

    ranks.on_main(here, check_weights)
    tokenizer = load_tokenizer(Model(path=str(folder)))
    return OpenModel(weights, folder, arch, tokenizer, stop_ids_of(tokenizer, folder))


@dataclass(frozen=True)
class ProblemSets:
    """The problems of a run, the same on every rank."""

    training: list[Problem]
    held_out: list[Problem]
    benchmarks: dict[str, list[Problem]]
    longest: int
    """Tokens that the benchmarks' longest prompt and its response need; 0 without benchmarks."""


def read_data(
    recipe: Recipe,
    here: Ranks,
    model: OpenModel,
    teacher: OpenTeacher | None,
    verifier: Verifier | None,
    say: Say,
) -> ProblemSets:
    """Read all problems, and keep those that can be used; a collective.

    RecipeError where the run folder was begun with others, or nothing usable is left.
    """
    from red_mcore.data.problems import read_problems
    from red_mcore.data.seams import example
    from red_mcore.evaluation.asking import digests
    from red_mcore.evaluation.standalone import report_faults
    from red_mcore.megatron import ranks
    from red_mcore.rewards import functions

    columns = ranks.on_main(here, lambda: functions.columns(recipe.reward))
    benchmarks, longest = load_benchmarks(recipe, model.arch, model.tokenizer, columns)
    loaded = read_problems(recipe.data, recipe.data.seed, columns)
    begun = resume.begun(recipe)

    def try_out() -> None:  # again, where they are to run, and with what a hub's rows hold
        asked = {"the data": loaded.training, **benchmarks}
        functions.try_out(recipe.reward, lambda _: asked)

    def claim() -> None:
        scores = None if teacher is None else teacher.weights
        identity.claim(recipe, model.weights, loaded, digests(benchmarks), begun, say, scores)

    ranks.on_main(here, try_out)
    ranks.on_main(here, claim)
    loaded, able = trace_use.settle(recipe, loaded, model.tokenizer, here)
    training, held_out = take_in(
        recipe, loaded, benchmarks, model.tokenizer, verifier, here, say, able
    )
    ranks.on_main(here, lambda: identity.claim_used(recipe, training, held_out, begun))
    learns_traces = bool(recipe.algorithm.traces or recipe.algorithm.needs_traces)
    for line in example(model.tokenizer, training, recipe.data, model.stop_ids, learns_traces):
        say(line)
    if here.is_main and verifier:
        report_faults(verifier, benchmarks)
    return ProblemSets(training, held_out, benchmarks, longest)


def last_state(recipe: Recipe, here: Ranks, say: Say) -> tuple[Manifest | None, State]:
    """(Newest sound checkpoint, state of then); (None, the first state) where a run begins."""
    from red_mcore.megatron import ranks

    folder = resume.checkpoints(recipe)
    # Rank 0 alone reads the checkpoint for its checksums: all have to go on from the same one.
    manifest, faults = ranks.on_main(here, lambda: manifests.newest(folder, checksums=True))
    if manifest is None:
        stage = "main"
        if recipe.base:
            stage = "base"
        return None, State(stage=stage)
    for fault in faults:
        say(f"red_mcore: warning: {fault}; going back to checkpoint {manifest['tag']}")
    return manifest, State(**manifest["state"])


def build_policies(
    recipe: Recipe,
    here: Ranks,
    model: OpenModel,
    manifest: Manifest | None,
    state: State,
    say: Say,
) -> tuple[Policy, Policy | None]:
    """(Policy, frozen reference where the algorithm uses one), with weights and optimizers."""
    from red_mcore.checkpoints import saving
    from red_mcore.convert import hf
    from red_mcore.megatron import ranks, shim
    from red_mcore.megatron.policy import Policy

    say(plan.layers(recipe.model, model.arch, on_gpu=not shim.needed()))
    policy = Policy(recipe, model.arch, here)
    if manifest is None:
        with ranks.together():
            hf.load_first(policy.model, model.arch, model.weights)
    policy.start_optimizers(optimizers_of(recipe, state.stage))
    reference = build_reference(recipe, here, model, state)
    if manifest:
        saving.load(resume.checkpoints(recipe), manifest, policy)
    return policy, reference


def build_reference(recipe: Recipe, here: Ranks, model: OpenModel, state: State) -> Policy | None:
    """The policy as it was before the first step, frozen, where the algorithm uses it."""
    from red_mcore.convert import hf
    from red_mcore.megatron.offload import to_host
    from red_mcore.megatron.policy import Policy

    if not recipe.algorithm.uses_reference:
        return None
    reference = Policy(recipe, model.arch, here)
    if state.stage == "main":  # the base stage, which makes the weights, loads them at its end
        weights = model.weights
        if recipe.base:
            weights = recipe.folder / "base"
        hf.load_first(reference.model, model.arch, weights)
    if recipe.offload.reference:
        to_host(reference.model.parameters())
    return reference


def open_tracker(
    recipe: Recipe,
    here: Ranks,
    model: OpenModel,
    manifest: Manifest | None,
    state: State,
    say: Say,
) -> Tracker | None:
    """The tracker, on rank 0 alone, its rows as they were at the checkpoint; a collective.

    ``state.tracker_run`` becomes, on every rank, the id of the run in MLflow.
    """
    from red_mcore.megatron import ranks
    from red_mcore.tracking import Tracker, provenance
    from red_mcore.tracking.rows import FILES

    tracker: Tracker | None = None

    def begin() -> str | None:
        nonlocal tracker
        run_id: str | None = None
        kept: dict[str, str] = {}
        if manifest:
            kept = manifests.copies(resume.checkpoints(recipe), manifest, FILES.values())
            if resume.same_tracker(recipe, manifest["recipe"]):
                run_id = state.tracker_run
        tracker = Tracker(recipe, recipe.folder, run_id)
        # The last step of each stage whose rows stay; before the first evaluation the main stage
        # has none, not even of step 0.
        steps = {"main": state.step}
        if state.before is None:
            steps["main"] = -1
        if state.stage == "base":
            steps["base"] = state.step
        for fault in tracker.begin(steps, kept or None):
            say(f"red_mcore: warning: {fault}")
        disk.write_atomic(recipe.folder / "recipe.yaml", to_yaml(recipe))
        provenance.begin(recipe, model.weights, state.stage, state.step)
        return tracker.run_id

    state.tracker_run = ranks.on_main(here, begin)
    return tracker


@contextmanager
def closing(run: Run) -> Iterator[None]:
    """A block at whose end the run's tracker, verifier and engine are closed."""
    from red_mcore.megatron import ranks

    status: Literal["FINISHED", "FAILED", "KILLED"] = "FAILED"
    try:
        yield
        status = "FINISHED"
        if run.stopping:
            status = "KILLED"
    finally:
        if run.tracker:
            run.tracker.close(status)
        if run.sampler.verifier:
            run.sampler.verifier.close()
        if status != "FAILED":  # after an error other ranks may wait in another collective
            run.sampler.engine.close()
            ranks.stop()
