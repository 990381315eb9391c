"""Rollouts come back token for token, or not at all."""

import json
import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from poison import Runs

from red_mcore.algorithms.bread import BREAD
from red_mcore.config.recipe import (
    Batch,
    Data,
    Model,
    Overlong,
    Recipe,
    RecipeError,
    Reward,
    Rollout,
)
from red_mcore.data.cursor import Cursor
from red_mcore.data.tokenizer import build_tokenizer
from red_mcore.rollout.recording import Recording, recorded_of
from red_mcore.samples.records import Group, Problem, Sample
from red_mcore.train.groups import collect

HERE = SimpleNamespace(is_main=True)
PROBLEMS = [Problem(i, "", "") for i in range(3)]
ASKED = {"count": 2, "with_traces": True}


pytestmark = pytest.mark.usefixtures("one_rank")


def groups() -> list[Group]:
    """A trace and two rollouts, one of which is empty; nothing; a rollout."""
    rng = np.random.default_rng(0)

    def sample(tokens: int, **fields) -> Sample:
        logp = None if fields.get("is_offline") else -rng.random(tokens, np.float32)
        ids = rng.integers(0, 2**31 - 1, tokens, np.int32)
        return Sample(
            prompt=np.arange(3, dtype=np.int32),
            response=ids,
            sampler_logp=logp,
            text="\\é",
            **fields,
        )

    return [
        Group(
            PROBLEMS[0],
            [sample(5, is_offline=True), sample(0), sample(7, truncated=True, verdict="timeout")],
        ),
        Group(PROBLEMS[1], []),
        Group(
            PROBLEMS[2], [sample(4, reward=0.1 + 0.2, accuracy=1.0, answer="7", policy_version=9)]
        ),
    ]


def replay(folder, name="step-000001-sample", asked=ASKED, problems=PROBLEMS) -> list[Group]:
    return Recording(Rollout(replay=str(folder)), HERE).groups(name, asked, problems, sample=None)


@pytest.fixture
def folder(tmp_path):
    sampled = groups()
    recorded = Recording(Rollout(record=str(tmp_path / "new")), HERE).groups(
        "step-000001-sample", ASKED, PROBLEMS, lambda: sampled
    )
    assert recorded is sampled
    return tmp_path / "new"


def test_every_field_comes_back(folder):
    found = replay(folder)
    assert [g.problem for g in found] == PROBLEMS
    assert [len(g.samples) for g in found] == [3, 0, 1]
    for group, expected in zip(found, groups(), strict=True):
        for sample, wanted in zip(group.samples, expected.samples, strict=True):
            for name, value in vars(wanted).items():
                if isinstance(value, np.ndarray):
                    assert getattr(sample, name).dtype == value.dtype
                np.testing.assert_array_equal(getattr(sample, name), value)


def test_a_recording_of_an_earlier_version_is_read_without_answers(folder):
    file = folder / "step-000001-sample.npz"
    with np.load(file) as found:
        arrays = dict(found)
    about = json.loads(str(arrays["about"]))
    del about["answer"]
    np.savez(file, **arrays | {"about": np.array(json.dumps(about))})
    (sample,) = replay(folder)[2].samples
    assert (sample.answer, sample.policy_version) == (None, 9)


def test_another_question_gets_no_answer(folder):
    with pytest.raises(
        RecipeError,
        match=r"step-000001-sample.npz was recorded for count=2, now it is 3: replay with",
    ):
        replay(folder, asked={**ASKED, "count": 3})
    with pytest.raises(
        RecipeError, match=r"recorded for problems=\['0-\w+', '1-\w+.*, now it is \['2-\w+', '1-"
    ):
        replay(folder, problems=PROBLEMS[::-1])
    others = [
        replace(problem, text=problem.text + "?") for problem in PROBLEMS
    ]  # of another data set
    with pytest.raises(RecipeError, match=r"recorded for problems=\['0-"):
        replay(folder, problems=others)


def test_another_trace_tokenizer_or_reward_gets_no_answer(folder, tmp_path):
    others = [replace(problem, trace="of another teacher") for problem in PROBLEMS]
    with pytest.raises(
        RecipeError, match=r"was recorded for traces=\[None, None, None\], now it is \['"
    ):
        replay(folder, problems=others)

    recipe = Recipe(name="x", model=Model(), algorithm=BREAD())
    tokenizer = build_tokenizer()
    other = build_tokenizer()
    other.chat_template = other.chat_template.replace("<|user|>", "<|user|> ")
    about = recorded_of(recipe, tokenizer)
    name = "step-000002-sample"
    Recording(Rollout(record=str(folder)), HERE, about).groups(name, ASKED, PROBLEMS, groups)

    def replayed(about) -> list[Group]:
        return Recording(Rollout(replay=str(folder)), HERE, about).groups(
            name, ASKED, PROBLEMS, sample=None
        )

    moved = replace(
        recipe, reward=Reward(workers=9), rollout=Rollout(kv_cache_mib=9)
    )  # nothing that samples depend on
    assert len(replayed(recorded_of(moved, tokenizer))) == 3
    for change, message in (
        (
            {"reward": Reward(overlong=Overlong())},
            r"reward\.terms=\['accuracy'\], now it is \['accuracy', 'overlong'\]",
        ),
        ({"reward": Reward(boxed_only=False)}, r"reward\.boxed_only=True, now it is False"),
        ({"rollout": Rollout(temperature=0.5)}, r"rollout\.temperature=1\.0, now it is 0\.5"),
        ({"data": Data(instruction="Think.")}, r"data\.instruction=, now it is Think\."),
    ):
        with pytest.raises(RecipeError, match=f"was recorded for {message}"):
            replayed(recorded_of(replace(recipe, **change), tokenizer))
    with pytest.raises(
        RecipeError, match=r"was recorded for tokenizer=\w+, now it is \w+: replay with the recipe"
    ):
        replayed(recorded_of(recipe, other))


def test_a_missing_or_broken_file_is_named(folder):
    with pytest.raises(
        RecipeError, match=r"rollout.replay: .*step-000002-sample.npz is missing: record that step"
    ):
        replay(folder, "step-000002-sample")
    file = folder / "step-000001-sample.npz"
    content = file.read_bytes()
    for broken in (b"", content[:-30], content[:100] + b"?" + content[101:], content[:200]):
        file.write_bytes(broken)
        with pytest.raises(
            RecipeError, match=r"step-000001-sample.npz cannot be read \(.*\): record it anew"
        ):
            replay(folder)


def test_a_recording_of_somebody_else_runs_nothing(folder):
    file = folder / "step-000001-sample.npz"
    with np.load(file) as found:
        whole = dict(found)
    evil = np.array([Runs(folder / "ran")], dtype=object)
    strange = np.array(
        json.dumps(json.loads(str(whole["about"])) | {"samples": "many", "is_offline": None})
    )
    for change in ({"prompts": evil}, {"about": evil}, {"extra": evil}, {"about": strange}):
        np.savez(file, allow_pickle=True, **whole | change)
        with pytest.raises(
            RecipeError, match=r"step-000001-sample.npz cannot be read \(.*\): record it anew"
        ):
            replay(folder)
    file.write_bytes(pickle.dumps(Runs(folder / "ran")))
    with pytest.raises(
        RecipeError, match=r"step-000001-sample.npz cannot be read \(.*\): record it anew"
    ):
        replay(folder)
    assert not (folder / "ran").exists()


class Engine:
    """Stands for the sampler: prompts alone are never answered right; of those that go on, one in
    two is."""

    def groups(self, problems, count, key, *, with_traces):
        return [Group(p, [self.sample(0.0, *key, p.id, i) for i in range(count)]) for p in problems]

    def continuations(self, problems, characters, count, key):
        return [
            Group(p, [self.sample(p.id % 2 * (i % 2), *key, p.id, i) for i in range(count)])
            for p in problems
        ]

    @staticmethod
    def sample(right: float, *key: int) -> Sample:
        ids, logp = np.array(key, np.int32), -np.array(key, np.float32)
        return Sample(
            prompt=ids,
            response=ids,
            sampler_logp=logp,
            accuracy=right,
            reward=right,
            verdict="wrong",
        )


def step(rollout: Rollout, sampler: Engine | None):
    batch = Batch(prompts_per_step=4, samples_per_prompt=2, refills=2)
    recipe = Recipe(
        name="x", model=Model(), algorithm=BREAD(episodes=4), batch=batch, rollout=rollout
    )
    run = SimpleNamespace(
        recipe=recipe,
        state=SimpleNamespace(step=7, algorithm={}),
        cursor=Cursor(40, seed=0),
        problems=[Problem(i, "", "", trace="1a2b3c\\boxed{7}") for i in range(40)],
        sampler=sampler,
        recording=Recording(rollout, HERE),
    )
    groups, sampled, metrics = collect(run, recipe.algorithm)
    return [
        (g.problem, [s.response.tolist() for s in g.samples]) for g in groups + sampled
    ], metrics


def test_a_step_that_branches_and_refills_is_replayed_without_an_engine(tmp_path):
    recorded = step(Rollout(record=str(tmp_path)), Engine())
    assert recorded[1]["groups/refills"] > 0
    files = sorted(path.name for path in tmp_path.iterdir())
    assert {name[:20] for name in files} == {
        "step-000008-continue",
        "step-000008-refill-1",
        "step-000008-refill-2",
        "step-000008-sample.n",
    }
    assert step(Rollout(replay=str(tmp_path)), None) == recorded


def test_other_cells_for_reward_functions_are_refused(tmp_path):
    problems = [Problem(i, "", "", columns={"level": i}) for i in range(3)]
    Recording(Rollout(record=str(tmp_path)), HERE).groups("x", ASKED, problems, groups)
    replay(tmp_path, "x", problems=problems)
    with pytest.raises(RecipeError, match="was recorded for columns="):
        replay(tmp_path, "x", problems=[Problem(i, "", "", columns={"level": 7}) for i in range(3)])
