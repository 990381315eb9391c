"""Which runs are told to learn nothing, when, and in which words; on recipes and rows of
metrics."""

from __future__ import annotations

import json

import pytest

from red_mcore.algorithms.chord import CHORD
from red_mcore.algorithms.fading_red import FadingRED
from red_mcore.algorithms.grpo import GRPO
from red_mcore.algorithms.red import RED
from red_mcore.algorithms.relift import ReLIFT
from red_mcore.algorithms.sft import SFT
from red_mcore.config.recipe import (
    Base,
    Batch,
    Benchmarks,
    Data,
    Evaluation,
    Format,
    Model,
    Optimizer,
    Overlong,
    Recipe,
    Reward,
    Rollout,
    Until,
)
from red_mcore.evaluation import summary as summaries
from red_mcore.evaluation.items import parse
from red_mcore.rewards.verifier import VERDICTS
from red_mcore.train import health

TINY = {
    "model_type": "qwen2",
    "vocab_size": 262,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 16384,
}


def recipe(**settings) -> Recipe:
    fields = {
        "algorithm": GRPO(),
        "steps": 50,
        "patience": 4,
        "batch": Batch(prompts_per_step=2, samples_per_prompt=4),
    }
    return Recipe(**{"name": "x", "model": Model(config=TINY)} | fields | settings)


def row(**changes: float) -> dict[str, float]:
    """Metrics of a step with eight healthy rollouts; ``group_share`` stands for ``group/share``."""
    found = {f"reward/{verdict}": 0.0 for verdict in VERDICTS}
    found |= {"reward/correct": 4.0, "reward/wrong": 4.0, "rollout/truncated": 0.0}
    found |= {"groups/all_wrong": 0.5, "groups/all_right": 0.0, "groups/teaching": 1.0}
    found |= {
        "update/grad_norm": 0.1,
        "update/change_norm": 1e-3,
        "update/weight_norm": 10.0,
        "update/skipped": 0.0,
        "update/lr": 1e-6,
    }
    return found | {name.replace("_", "/", 1): value for name, value in changes.items()}


IDLE = {"groups_teaching": 0.0, "groups_all_wrong": 1.0}
UNPARSABLE = {"reward_correct": 0.0, "reward_wrong": 0.0, "reward_unparsable": 8.0}


class Watcher:
    """Rows go in, as a run's steps; codes come out. The state is what a checkpoint would give
    back."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.state, self.step = recipe, {}, 0

    def see(self, metrics: dict[str, float], updated: bool = True, last: bool = False) -> list[str]:
        self.step += 1
        self.state = json.loads(json.dumps(self.state))
        algorithm = self.recipe.algorithm
        found = health.watch(
            self.recipe,
            self.state,
            self.step,
            metrics,
            algorithm,
            updated=updated and "update/lr" in metrics,
            last=last,
        )
        assert all(each["step"] == self.step for each in found)
        return [each["code"] for each in found]

    def left(self) -> list[str]:
        return [each["code"] for each in health.warnings(self.recipe, self.state)]

    def text(self, code: str) -> str:
        (found,) = (
            each["text"]
            for each in health.warnings(self.recipe, self.state)
            if each["code"] == code
        )
        assert "\n" not in found
        return found


@pytest.mark.parametrize(
    ("changes", "code", "text"),
    [
        (
            {"reward": Reward(accuracy=0)},
            "constant_reward",
            "reward.accuracy=0 and there is no other term",
        ),
        (
            {"reward": Reward(accuracy=0, functions={"m:f": 0.0}), "algorithm": RED()},
            "constant_reward",
            "use reward.accuracy=1",
        ),
        (
            {"rollout": Rollout(temperature=1e-6)},
            "greedy",
            "rollout.temperature=1e-06 makes the samples of a prompt",
        ),
        ({"rollout": Rollout(top_p=0.01)}, "greedy", "use rollout.top_p=1"),
        (
            {"optimizer": Optimizer(warmup_steps=100)},
            "warm_up_main",
            "optimizer.warmup_steps=100 is no less than the 50 updates of steps=50:"
            " the learning rate gets no further"
            " than 50% of optimizer.lr=2e-06",
        ),
        ({"optimizer": Optimizer(warmup_steps=50)}, "warm_up_main", "no further than 98%"),
        (
            {"algorithm": FadingRED(imitation=Optimizer(warmup_steps=10**6))},
            "warm_up_imitation",
            "algorithm.imitation.warmup_steps=1000000",
        ),
        (
            {"base": Base(steps=7, optimizer=Optimizer(warmup_steps=8))},
            "warm_up_base",
            "base.optimizer.warmup_steps=8 is no less than the 7 updates of base.steps=7",
        ),
        (
            {"algorithm": CHORD(warmup_steps=50)},
            "warm_up_of_algorithm",
            "algorithm.warmup_steps=50",
        ),
        (
            {"algorithm": ReLIFT(demonstrations=101)},
            "no_lesson",
            "more than the 100 prompts of all steps",
        ),
    ],
)
def test_what_the_recipe_tells(changes, code, text):
    bad = recipe(**changes)
    (found,) = health.of_recipe(bad)
    assert (found["code"], found["step"]) == (code, 0)
    assert text in found["text"]
    assert health.warnings(bad, {}) == [found]
    assert health.exit_code(bad, [found]) == 0
    bad.strict = True
    assert health.exit_code(bad, [found]) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"reward": Reward(accuracy=0, format=Format())},
        {"reward": Reward(accuracy=0, overlong=Overlong())},
        {"reward": Reward(accuracy=0, functions={"m:f": -1.0})},
        {"reward": Reward(accuracy=0), "algorithm": SFT(), "rollout": Rollout(temperature=1e-6)},
        {"optimizer": Optimizer(warmup_steps=49)},
        {
            "optimizer": Optimizer(warmup_steps=50, schedule="constant"),
            "until": Until(most_steps=100),
        },
        {"optimizer": Optimizer(warmup_steps=50), "batch": Batch(updates_per_step=2)},
        {"steps": 0, "base": Base(), "optimizer": Optimizer(warmup_steps=50)},
        {"algorithm": ReLIFT(demonstrations=100)},
    ],
)
def test_what_can_learn_is_not_told(changes):
    assert health.of_recipe(recipe(strict=True, **changes)) == []
    assert health.exit_code(recipe(strict=True), []) == 0


@pytest.mark.parametrize(
    ("changes", "updated", "text"),
    [
        (
            IDLE,
            True,
            "nothing was learnt: of the groups 100% have only wrong answers and 0% only right ones:"
            " use easier",
        ),
        (
            {"groups_teaching": 0.0, "groups_all_wrong": 0.0, "groups_all_right": 1.0},
            False,
            "0% have only wrong answers and 100% only right ones: use harder problems",
        ),
        (
            {"groups_teaching": 0.0, "groups_all_wrong": 0.1},
            False,
            "no answer that counts is better: look at reward.*",
        ),
        (
            {"update_skipped": 1.0, "update_grad_norm": 70.0, "update_change_norm": 0.0},
            False,
            "the gradient's norm, 70 in the mean, is above optimizer.skip_grad",
        ),
        (
            {"update_change_norm": 1e-8, "update_lr": 1e-30},
            True,
            "a learning rate of 1e-30 change the weights by less than",
        ),
        ({"update_grad_norm": 0.0}, True, "the gradient is 0"),
    ],
)
def test_steps_that_change_nothing(changes, updated, text):
    seen = Watcher(recipe())
    assert [seen.see(row(**changes), updated) for _ in range(5)] == [[], [], [], ["no_update"], []]
    assert seen.text("no_update").startswith("in 5 of 5 steps nothing was learnt: ")
    assert text in seen.text("no_update")


def test_a_short_run_that_never_learnt_is_told_at_its_end():
    seen = Watcher(recipe(steps=2))
    assert [seen.see(row(**IDLE)), seen.see(row(**IDLE), last=True)] == [[], ["no_update"]]
    other = Watcher(recipe(steps=2))
    assert [other.see(row()), other.see(row(**IDLE), last=True)] == [[], []]


def test_lessons_are_updates():
    seen = Watcher(recipe(algorithm=ReLIFT()))
    assert [seen.see(row(**IDLE) | {"lesson/updates": 1.0}) for _ in range(5)] == [[]] * 5


def test_what_was_mended_is_no_news_at_the_end():
    seen = Watcher(recipe())
    assert [seen.see(row(**IDLE)) for _ in range(4)][-1] == ["no_update"]
    for _ in range(4):
        assert seen.left() == ["no_update"]
        seen.see(row())
    assert seen.left() == []  # half of them are not most
    assert [seen.see(row(**IDLE)) for _ in range(5)] == [[]] * 5  # it was told
    assert seen.left() == ["no_update"]
    seen.see(row())
    assert seen.text("no_update").startswith("in 9 of 14 steps")  # most of them
    assert health.warnings(seen.recipe, seen.state)[0]["step"] == 4


def test_answers_that_nobody_can_judge():
    data = Data(path="gsm8k.jsonl")
    seen = Watcher(recipe(data=data))
    assert [seen.see(row(**UNPARSABLE)) for _ in range(3)] == [[], ["unparsable"], []]
    assert (
        "in 3 of 3 steps all answers are unparsable: only the last \\boxed{...} counts"
        " and nothing asks for it: set" in (seen.text("unparsable"))
    )
    data.instruction = "Put it into \\boxed{}."
    seen.see(row(**UNPARSABLE))
    assert "teach it by imitation first" in seen.text("unparsable")
    seen.recipe.reward.boxed_only = False
    seen.see(row(**UNPARSABLE))
    assert "read some in runs/x/rollouts" in seen.text("unparsable")
    seen.recipe.reward.answer_after = "</think>"
    seen.see(row(**UNPARSABLE))
    assert "reward.answer_after='</think>'" in seen.text("unparsable")


def test_answers_that_are_cut_off_or_have_no_verdict():
    seen = Watcher(recipe(batch=Batch(prompts_per_step=8, samples_per_prompt=2)))
    assert seen.see(row(**UNPARSABLE, rollout_truncated=0.5)) == ["unparsable"]
    assert (
        "all answers are unparsable (50% are cut off at rollout.max_response_tokens=8192)"
        in seen.text("unparsable")
    )
    assert seen.see(row(**UNPARSABLE, rollout_truncated=0.96)) == ["truncated"]
    assert (
        "96.0% of the answers are cut off at rollout.max_response_tokens=8192: raise"
        in seen.text("truncated")
    )
    failing = {
        "reward_correct": 0.0,
        "reward_wrong": 0.0,
        "reward_timeout": 5.0,
        "reward_crash": 3.0,
    }
    assert seen.see(row(**failing)) == ["no_verdict"]
    assert (
        "all answers have no verdict (timeout or crash): give a verdict more seconds"
        in seen.text("no_verdict")
    )
    healthy = Watcher(recipe())
    assert [healthy.see(row(reward_unparsable=8.0)) for _ in range(9)] == [
        []
    ] * 9  # half of them can be read


def test_traces():
    """None to learn from, or none that is right."""
    seen = Watcher(recipe(algorithm=RED()))
    assert [seen.see(row()) for _ in range(4)] == [[], [], [], ["no_trace"]]
    assert (
        "use problems with traces (data.trace_field) of at most rollout.max_response_tokens=8192"
        in (seen.text("no_trace"))
    )
    seen = Watcher(recipe(algorithm=RED()))
    assert [seen.see(row(trace_unjudged=2.0)) for _ in range(4)][-1] == ["no_trace"]
    assert "no trace has a verdict (timeout or crash)" in seen.text("no_trace")
    seen = Watcher(recipe(algorithm=SFT()))
    bare = {"update/skipped": 0.0}
    assert [seen.see(bare) for _ in range(4)][-1] == ["no_update", "no_trace"]
    assert "no problem that was drawn has a trace that can be used" in seen.text("no_update")
    learning = {
        name: value for name, value in row().items() if name.startswith(("update/", "groups/"))
    }
    seen = Watcher(recipe(algorithm=SFT(), batch=Batch(prompts_per_step=8)))
    assert [seen.see(learning | {"trace/accuracy": 0.0}) for _ in range(3)] == [
        [],
        ["wrong_traces"],
        [],
    ]
    assert "no trace is right by its verdict: do they end in \\boxed{...}?" in seen.text(
        "wrong_traces"
    )
    assert seen.see(learning | {"trace/accuracy": 0.1}) == []


def test_evaluations_are_told_at_once():
    asked = Evaluation(benchmarks=Benchmarks(names=["AMC"]))
    run = recipe(evaluation=asked)
    answer = {"text": "", "verdict": "unparsable", "answer": None, "tokens": 3, "finish": "stop"}
    rows = [
        {"benchmark": "AMC", "item": i, "problem": "", "gold": "1", "responses": [answer]}
        for i in range(8)
    ]
    responses = [response for row in rows for response in parse(row)]
    held_out = {"evaluation/pass1": 0.0, "evaluation/truncated": 1.0}
    held_out |= {f"evaluation/{verdict}": 0.0 for verdict in ("unparsable", "timeout", "crash")}
    state = {}
    found = health.watch(
        run, state, 0, held_out | summaries.metrics(summaries.summarise(responses))
    )
    assert [(each["code"], each["step"]) for each in found] == [
        ("held_out_truncated", 0),
        ("AMC_unparsable", 0),
    ]
    assert (
        "in 1 of 1 evaluations all held-out answers are cut off at"
        " rollout.max_response_tokens=8192: raise the" in (found[0]["text"])
    )
    assert (
        "all answers to AMC are unparsable: set evaluation.benchmarks.protocol.instruction"
        in found[1]["text"]
    )
    assert (
        health.watch(
            run, state, 50, held_out | {"evaluation/truncated": 0.0}, run.algorithm, updated=True
        )
        == []
    )
    assert [each["code"] for each in health.warnings(run, state)] == ["AMC_unparsable"]
