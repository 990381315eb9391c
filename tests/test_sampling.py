"""What the sampler asks of its engine and makes of the answers; a stand-in gives them."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from red_mcore.algorithms.grpo import GRPO
from red_mcore.config.recipe import Model, Overlong, Recipe, Reward, Rollout
from red_mcore.data.episodes import split
from red_mcore.data.seams import encode_prompt, encode_response, encode_words, stop_ids
from red_mcore.data.tokenizer import build_tokenizer
from red_mcore.rewards.verifier import Grade, Verifier
from red_mcore.rollout.answering import Request
from red_mcore.rollout.protocol import Completion
from red_mcore.rollout.sampler import Sampler, rollout_metrics
from red_mcore.samples.records import Problem, Sample

LIMIT = 50
TRACE = "a8*7=6b6+9=5c5@5=1w5@5=1d1-4=7\\boxed{7}"
PROBLEMS = [
    Problem(0, "8a*7b+9c@5d-4?", "7", TRACE),
    Problem(1, "no trace", "7"),
    Problem(2, "an empty one", "7", ""),
    Problem(3, "nothing but its end", "7", "<|im_end|>"),
    Problem(4, "one too long", "7", "a" * LIMIT),
    Problem(5, "one that just fits", "7", "a" * (LIMIT - 1)),
    Problem(0, "8a*7b+9c@5d-4?", "7", TRACE),
]


@dataclass
class Parrot:
    """Answers every prompt with the last digit of the seed, boxed."""

    tokenizer: object
    replica: int = 0
    replicas: int = 1
    is_leader: bool = True
    asked: dict = field(default_factory=dict)

    @property
    def stop_ids(self):
        return stop_ids(self.tokenizer)

    def reset(self):
        self.asked = {}

    def sample(self, prompts, n, seeds, **options):
        self.asked = {"prompts": prompts, "seeds": seeds, **options}
        pairs = zip(prompts, seeds, strict=True)
        answers = [
            encode_response(self.tokenizer, f"\\boxed{{{seed % 10}}}", prompt)
            for prompt, seed in pairs
        ]
        return [[Completion(a, np.zeros(len(a), np.float32), False, 3)] * n for a in answers]


EVEN = {f"\\boxed{{{digit}}}" for digit in "02468"}


class Judge:
    def grade(self, questions):
        verdicts = [
            "correct" if text == f"\\boxed{{{gold}}}" else "wrong" for gold, text, _ in questions
        ]
        return [Grade(verdict, None) for verdict in verdicts]

    def call(self, path, arguments):
        assert path == "some.module:bonus"
        return [None if response in EVEN else tokens / 10 for _, _, response, tokens in arguments]


pytestmark = pytest.mark.usefixtures("one_rank")


@pytest.fixture
def sampler() -> Sampler:
    tokenizer = build_tokenizer()
    rollout = Rollout(max_prompt_tokens=32, max_response_tokens=LIMIT)
    recipe = Recipe(
        "x", Model(), GRPO(), rollout=rollout, reward=Reward(overlong=Overlong(buffer=LIMIT))
    )
    return Sampler(recipe, tokenizer, Parrot(tokenizer), Judge())


@pytest.mark.parametrize(
    ("text", "judged"),
    [
        ("<think>\\boxed{3}</think> \\boxed{7}", " \\boxed{7}"),
        ("a</think>b</think>\\boxed{7}", "\\boxed{7}"),
        ("\\boxed{7}", ""),
        ("\\boxed{7}</think>", ""),
        ("", ""),
    ],
)
def test_only_what_stands_behind_the_mark_is_judged(sampler, text, judged):
    """Of rollouts and traces alike; without the mark there is no answer."""
    asked = []

    class Watching(Judge):
        def grade(self, questions):
            asked.extend(questions)
            return super().grade(questions)

    sampler.verifier = Watching()
    prompt = encode_prompt(sampler.tokenizer, PROBLEMS[0], sampler.recipe.data)
    sample = Sample(prompt, encode_response(sampler.tokenizer, text, prompt))
    for mark, expected in (("</think>", judged), (None, text)):
        sampler.recipe.reward.answer_after = mark
        sampler._grade([Request(PROBLEMS[0], prompt, LIMIT, 0, np.zeros(0, int), [sample])])
        assert asked.pop()[1] == expected
        assert sample.text == text
    sampler.recipe.reward.answer_after = "</think>"
    begun = encode_words(sampler.tokenizer, "a</think> so ", prompt)
    sampler._grade([Request(PROBLEMS[0], prompt, LIMIT, 0, begun, [sample])])
    assert asked.pop()[1] == (
        judged or f" so {text}" * ("</think>" not in text)
    )  # what goes on from a prefix


def test_usable_traces_have_an_answer_and_fit(sampler):
    assert [p.id for p in PROBLEMS if sampler.usable(p)] == [0, 5, 0]
    groups = sampler.traces(PROBLEMS)
    assert [g.problem for g in groups] == [PROBLEMS[0], PROBLEMS[5], PROBLEMS[6]]
    (trace,) = groups[0].samples
    assert trace.is_offline
    assert (
        trace.prompt.tolist()
        == encode_prompt(sampler.tokenizer, PROBLEMS[0], sampler.recipe.data).tolist()
    )
    assert (
        trace.response.tolist() == encode_response(sampler.tokenizer, TRACE, trace.prompt).tolist()
    )
    assert len(groups[1].samples[0].response) == LIMIT


def test_groups_have_the_trace_first_and_the_whole_budget(sampler):
    groups = sampler.groups(PROBLEMS, 2, (1, 0), with_traces=True)
    assert [[s.is_offline for s in g.samples] for g in groups] == [
        [True, False, False] if g.problem.id in (0, 5) else [False, False] for g in groups
    ]
    assert sampler.engine.asked["max_tokens"] == [LIMIT] * len(PROBLEMS)
    assert len(set(sampler.engine.asked["seeds"])) == len(PROBLEMS)


def test_an_engine_without_a_share_of_the_problems_grades_nothing(sampler):
    assert sampler.groups([], 2, (1, 0)) == []


@pytest.mark.parametrize("leading", [1, 3, 4])
def test_a_continuation_goes_on_after_the_leading_episodes(sampler, leading):
    prefix = "".join(split(TRACE, 10)[:leading])
    groups = sampler.continuations(PROBLEMS, [len(prefix)] * len(PROBLEMS), 4, (2, 0))
    bare = sampler.groups(PROBLEMS[:1], 1, (1, 0))[0].samples[0].prompt
    prompt = bare.tolist() + sampler.tokenizer.encode(prefix)
    assert [g.problem for g in groups] == PROBLEMS
    assert [len(g.samples) for g in groups] == [4, 0, 0, 0, 0, 4, 4]
    assert all(s.prompt.tolist() == prompt for g in (groups[0], groups[6]) for s in g.samples)
    assert all(s.prompt.dtype == np.int32 and not s.is_offline for g in groups for s in g.samples)


def test_a_continuation_has_the_budget_that_its_prefix_leaves(sampler):
    given = [len("".join(split(TRACE, 10)[:k])) for k in (2, 4)]
    sampler.continuations(PROBLEMS[:1] * 2, given, 4, (2, 0))
    assert sampler.engine.asked["max_tokens"] == [LIMIT - tokens for tokens in given]


def test_a_continuation_is_graded_alone_and_charged_for_its_whole_length(sampler):
    prefix = "".join(split(TRACE, 10)[:4])
    (group,) = sampler.continuations(PROBLEMS[:1], [len(prefix)], 1, (2, 0))
    (sample,) = group.samples
    assert sample.text == f"\\boxed{{{sampler.engine.asked['seeds'][0] % 10}}}"
    whole = len(prefix) + len(sample.response)
    assert sample.reward - sample.accuracy == pytest.approx(-whole / LIMIT)


def test_rewards_are_sums_of_terms_and_a_failed_function_adds_nothing(sampler):
    sampler.recipe.reward = Reward(accuracy=2.0, functions={"some.module:bonus": 0.5})
    groups = sampler.groups(PROBLEMS, 2, (1, 0), with_traces=True)
    samples = [s for g in groups for s in g.samples]
    failed = [s for s in samples if s.text in EVEN]
    assert 0 < len(failed) < len(samples)
    for sample in samples:
        bonus = None if sample.text in EVEN else 0.5 * len(sample.response) / 10
        assert sample.terms == {"accuracy": 2 * sample.accuracy, "bonus": bonus}
        assert sample.reward == pytest.approx(2 * sample.accuracy + (bonus or 0))
    metrics = rollout_metrics(groups)
    assert metrics["reward/bonus_failed"] == sum(not s.is_offline for s in failed)
    assert metrics["reward/accuracy_mean"] == pytest.approx(2 * metrics["rollout/accuracy"])


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_an_engine_that_gives_no_numbers_is_told_by_rank_and_sample(sampler, value):
    """Wherever it samples: an evaluation with broken weights would be a measurement."""

    def sample(prompts, n, seeds, **options):
        answers = Parrot.sample(sampler.engine, prompts, n, seeds, **options)
        answers[1][0].logp[1] = value
        return answers

    sampler.engine.sample = sample
    with pytest.raises(
        RuntimeError,
        match=f"log-prob of token 1 of rollout . of problem 1 is {value}, sampled on rank 0",
    ):
        sampler.groups(PROBLEMS[:3], 2, (1, 0), with_traces=True)


def test_a_verdict_of_the_users_own_is_the_accuracy(sampler):
    """Of rollouts and traces, with the row's columns; the terms see it as that of math-verify."""
    reward = Reward(
        verdict="own_verdicts:is_the_unit", accuracy=2.0, wrong=-0.5, timeout_seconds=20
    )
    sampler.recipe.reward = reward
    problems = [
        Problem(i, f"{i}?", "7", f"so \\boxed{{{i}}}", columns={"unit": i}) for i in range(10)
    ]
    with Verifier(reward) as sampler.verifier:
        groups = sampler.groups(problems, 2, (1, 0), with_traces=True)
    samples = [(g.problem.id, s) for g in groups for s in g.samples]
    assert len(samples) == 30
    for unit, sample in samples:
        verdict = (
            "crash"
            if "4}" in sample.text
            else "correct"
            if sample.text.endswith(f"{unit}}}")
            else "wrong"
        )
        assert sample.verdict == verdict
        assert sample.accuracy == float(verdict == "correct")
        assert sample.terms == {"accuracy": 2.0 if verdict == "correct" else -1.0}
    assert {s.verdict for _, s in samples if s.is_offline} == {"correct", "crash"}
