from dataclasses import replace

import pytest

from red_mcore.algorithms.dft import DFT
from red_mcore.algorithms.red import RED
from red_mcore.algorithms.sft import SFT
from red_mcore.algorithms.sft_then_grpo import SFTThenGRPO
from red_mcore.checkpoints import manifests, resume
from red_mcore.config.recipe import (
    Base,
    Benchmarks,
    Evaluation,
    Hub,
    Model,
    Optimizer,
    Overlong,
    Parallel,
    Protocol,
    Recipe,
    RecipeError,
    Reward,
    Until,
    Validation,
)
from red_mcore.config.tree import flatten, is_within


@pytest.fixture
def recipe(tmp_path) -> Recipe:
    return Recipe(
        name="r", runs=str(tmp_path), model=Model(config={"vocab_size": 9}), algorithm=RED()
    )


def asked(**protocol) -> Evaluation:
    return Evaluation(benchmarks=Benchmarks(names=["AMC"], protocol=Protocol(**protocol)))


def saved(recipe: Recipe, tag: str = "main-000002") -> None:
    folder = resume.checkpoints(recipe)
    (folder / tag).mkdir(parents=True)
    stage, step = tag.split("-")
    manifest = {
        "tag": tag,
        "recipe": flatten(recipe),
        "state": {"stage": stage, "step": int(step)},
        "files": {},
    }
    manifests.write(folder / tag, manifest)
    (folder / "latest").write_text(tag)


def test_nothing_to_resume(recipe):
    resume.check(recipe)
    assert resume.latest(resume.checkpoints(recipe)) is None
    assert resume.finished(recipe) is None


def test_the_same_recipe_goes_on(recipe):
    saved(recipe)
    resume.check(recipe)
    assert resume.latest(resume.checkpoints(recipe))["tag"] == "main-000002"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": Optimizer(lr=0.5)}, r"was started with optimizer\.lr=2e-06, now it is 0\.5"),
        ({"algorithm": RED(shift="autograd")}, r"algorithm\.shift=detached, now it is autograd"),
        ({"model": Model(config={"vocab_size": 10})}, r"model\.config\.vocab_size=9, now it is 10"),
        (
            {"steps": 7},
            r"steps=500, now it is 7: go on with the old value, choose another name=\.\.\., or"
            r" delete",
        ),
    ],
)
def test_another_recipe_is_refused_by_the_changed_field(recipe, change, message):
    saved(recipe)
    with pytest.raises(RecipeError, match=message):
        resume.check(replace(recipe, **change))


def test_another_method_is_refused_by_the_recipe_itself(recipe):
    """SFT and DFT have the same fields; nothing but the recipe in the manifest is there."""
    recipe.algorithm = SFT()
    saved(recipe)
    resume.check(recipe)
    recipe.algorithm = DFT()
    was, now = r"red_mcore\.algorithms\.sft:SFT", r"red_mcore\.algorithms\.dft:DFT"
    with pytest.raises(
        RecipeError, match=rf"was started with algorithm\.class={was}, now it is {now}"
    ):
        resume.check(recipe)


@pytest.mark.parametrize("then", [None, "my.older.place:RED"])
def test_a_class_may_move_and_an_earlier_version_kept_none(recipe, then):
    saved(recipe)
    folder = resume.checkpoints(recipe) / "main-000002"
    manifest = manifests.read(folder)
    assert manifest["recipe"].pop("algorithm.class") == "red_mcore.algorithms.red:RED"
    if then is not None:
        manifest["recipe"]["algorithm.class"] = then
    manifests.write(folder, manifest)
    resume.check(recipe)


def test_layout_may_change(recipe):
    saved(recipe)
    resume.check(replace(recipe, parallel=Parallel(ranks=8, tensor=2, pipeline=2)))


def test_fields_that_are_new_since_a_run_was_started_have_been_as_by_default(recipe):
    saved(recipe)
    folder = resume.checkpoints(recipe) / "main-000002"
    manifest = manifests.read(folder)
    assert manifest["recipe"].pop("model.fp8") == "none"
    manifests.write(folder, manifest)
    resume.check(recipe)
    recipe.model.fp8 = "tensorwise"
    with pytest.raises(
        RecipeError, match=r"was started with model\.fp8=none, now it is tensorwise"
    ):
        resume.check(recipe)


@pytest.mark.parametrize(
    ("missing", "change"),
    [
        ("algorithm.shift", {"algorithm": RED(shift="autograd")}),
        ("base.sequences_per_step", {"base": Base(sequences_per_step=3)}),
        ("reward.overlong.buffer", {"reward": Reward(overlong=Overlong(buffer=3))}),
        ("evaluation.benchmarks.protocol.top_p", {"evaluation": asked(top_p=0.5)}),
    ],
)
def test_new_fields_of_algorithms_and_optional_sections_too(recipe, missing, change):
    recipe = replace(recipe, base=Base(), reward=Reward(overlong=Overlong()), evaluation=asked())
    saved(recipe)
    folder = resume.checkpoints(recipe) / "main-000002"
    manifest = manifests.read(folder)
    del manifest["recipe"][missing]
    manifests.write(folder, manifest)
    resume.check(recipe)
    with pytest.raises(RecipeError, match=f"was started with {missing}="):
        resume.check(replace(recipe, **change))


@pytest.mark.parametrize("change", [{"base": Base()}, {"reward": Reward(overlong=Overlong())}])
def test_a_section_that_was_off_has_no_defaults(recipe, change):
    saved(recipe)
    with pytest.raises(RecipeError, match=r"was started with \w+\.[\w.]+=None"):
        resume.check(replace(recipe, **change))


def test_a_name_that_only_begins_like_a_section_is_another():
    names = ["until", "rollout.tensor", "parallel"]
    free = ("until", "until.most_steps", "rollout.tensor", "parallel.ranks")
    assert all(is_within(field, names) for field in free)
    assert not any(
        is_within(field, names)
        for field in ("until_loss", "rollout.tensors", "parallelism", "rollout")
    )


def test_what_a_run_may_change_when_it_goes_on(recipe):
    """What changes neither what is learnt nor how it is measured; the list is by hand."""
    recipe = replace(recipe, until=Until(), evaluation=asked(), hub=Hub(), base=Base())
    recipe.validation = Validation()
    then = flatten(recipe)
    sections = ("until", "parallel", "offload", "hub", "tracking", "checkpoint", "imports")
    names = (
        "runs",
        "patience",
        "strict",
        "model.layers",
        "rollout.tensor",
        "rollout.kv_cache_mib",
        "rollout.eager",
    )
    names += (
        "rollout.logprob_gap_limit",
        "rollout.record",
        "rollout.replay",
        "batch.tokens_per_micro_batch",
    )
    names += (
        "reward.workers",
        "reward.failed_share",
        "evaluation.every",
        "evaluation.benchmarks.every",
    )
    names += ("evaluation.benchmarks.names", "evaluation.benchmarks.data")
    of_validation = ("every", "patience", "min_delta", "keep_best", "export")
    names += tuple(f"validation.{name}" for name in of_validation)
    free = {field for field in then if resume._may_differ(recipe, field, then, then)}
    assert free == {field for field in then if is_within(field, [*sections, *names])}


def test_mlflow_goes_on_only_where_its_run_is(recipe):
    earlier = flatten(recipe)
    assert resume.same_tracker(recipe, earlier)
    recipe.tracking.rollout_rows = 3
    assert resume.same_tracker(recipe, earlier)
    recipe.tracking.uri = "http://elsewhere"
    assert not resume.same_tracker(recipe, earlier)


def test_a_broken_checkpoint_is_refused_before_a_rank_starts(recipe):
    saved(recipe)
    (resume.checkpoints(recipe) / "main-000002" / "manifest.json").unlink()
    with pytest.raises(
        RecipeError, match=r"main-000002/manifest\.json is missing: put it back, or delete"
    ):
        resume.check(recipe)


def test_rollouts_may_be_recorded_and_replayed(recipe):
    saved(recipe)
    recipe.rollout.record = "recorded"
    resume.check(recipe)


@pytest.mark.parametrize(("tag", "fewest"), [("main-000040", 40), ("base-000300", 0)])
def test_steps_may_change_down_to_those_done_where_the_rate_is_constant(recipe, tag, fewest):
    recipe.optimizer.schedule = "constant"
    saved(recipe, tag)
    for steps in (fewest, 499, 5000):
        resume.check(replace(recipe, steps=steps))
    if fewest:
        with pytest.raises(
            RecipeError, match=r"has done 40 steps, more than steps=39: use steps=40 or more"
        ):
            resume.check(replace(recipe, steps=39))


@pytest.mark.parametrize(
    ("main", "imitation", "steps", "differing"),
    [
        ("constant", "cosine", 900, []),  # its own stage of 300 updates is as long as before
        ("cosine", "constant", 900, ["main"]),
        ("cosine", "cosine", 250, ["main"]),
        ("constant", "constant", 250, []),
    ],
)
def test_every_schedule_counts(recipe, main, imitation, steps, differing):
    recipe.optimizer.schedule = main
    staged = replace(
        recipe, algorithm=SFTThenGRPO(sft_steps=300, imitation=Optimizer(schedule=imitation))
    )
    assert resume.schedules_that_differ(staged, steps) == differing


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"steps": "3"}', '{"steps": NaN}', '{"steps": null}']
)
def test_a_damaged_summary_is_made_anew_from_a_checkpoint(recipe, content, capsys):
    saved(recipe)
    file = recipe.folder / "summary.json"
    file.write_text(content)
    resume.check(recipe)
    assert resume.finished(recipe) is None
    told = capsys.readouterr().err
    assert told.startswith(f"red_mcore: warning: {file} is damaged (")
    assert told.endswith("): it is made anew from the newest checkpoint\n")
    assert told.count("\n") == 1


def test_a_damaged_summary_that_nothing_can_make_anew_is_refused(recipe):
    recipe.folder.mkdir()
    (recipe.folder / "summary.json").write_text('{"steps": 3')
    with pytest.raises(
        RecipeError,
        match=r"summary\.json is damaged .*, and no checkpoint is left to make it from: put",
    ):
        resume.check(recipe)


def test_what_a_budget_is_compared_with_has_to_be_there(recipe):
    saved(recipe)
    recipe.until = Until(most_steps=900)
    (recipe.folder / "summary.json").write_text('{"steps": 500, "train_seconds": 3.0}')
    assert resume.finished(recipe) is None


@pytest.mark.parametrize(
    "name", ["summary.json", "metrics.jsonl", "bad_golds.json", "identity.json"]
)
def test_a_folder_where_a_file_is_to_be_is_told_before_anything_starts(recipe, name):
    (recipe.folder / name).mkdir(parents=True)
    with pytest.raises(
        RecipeError, match=rf"{name} is a folder, where the run writes a file: move it away"
    ):
        resume.check(recipe)


def test_a_run_is_finished_once_its_summary_has_the_steps(recipe):
    recipe.folder.mkdir()
    (recipe.folder / "summary.json").write_text('{"steps": 3}')
    for steps in (0, 3):
        assert resume.finished(replace(recipe, steps=steps)) == {"steps": 3}
    assert resume.finished(replace(recipe, steps=4)) is None
