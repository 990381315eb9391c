"""Which groups a step trains on; sampling itself is replaced by a table of accuracies."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from red_mcore.algorithms.bread import BREAD
from red_mcore.algorithms.chord import CHORD
from red_mcore.algorithms.grpo import GRPO, dapo
from red_mcore.algorithms.hpt import HPT
from red_mcore.algorithms.luffy import LUFFY
from red_mcore.algorithms.mixins import JudgedTrace
from red_mcore.algorithms.red import RED
from red_mcore.algorithms.red_coda import REDCoDA
from red_mcore.algorithms.relift import ReLIFT
from red_mcore.algorithms.sft_grpo import SFTGRPO
from red_mcore.algorithms.srft import SRFT
from red_mcore.config.recipe import Batch, Model, Recipe, Reward
from red_mcore.data.cursor import Cursor
from red_mcore.rollout.recording import Recording
from red_mcore.samples.records import Group, Problem, Sample
from red_mcore.train.groups import REFILL, SAMPLE, collect, without_masked

TEACHING = {0, 3, 5}
"""Problems some of whose rollouts are right; the others are all wrong."""
PROBLEMS = [Problem(id=i, text="", gold="") for i in range(40)]


class Table:
    """Stands for the sampler."""

    def __init__(self, teaching: set[int], trace_verdict: str):
        self.teaching, self.trace_verdict, self.asked = teaching, trace_verdict, []

    def groups(self, problems, count, key, *, with_traces):
        self.asked.append((key, [p.id for p in problems]))
        rows = {
            p.id: [self.sample(float(p.id in self.teaching and i == 0)) for i in range(count)]
            for p in problems
        }
        for row in rows.values() if with_traces else ():
            row.insert(0, replace(self.sample(0.0), is_offline=True, verdict=self.trace_verdict))
        return [Group(p, rows[p.id]) for p in problems]

    @staticmethod
    def sample(correct: float) -> Sample:
        return Sample(
            prompt=np.zeros(2),
            response=np.zeros(5),
            accuracy=correct,
            reward=correct,
            verdict="wrong",
        )


def step(
    teaching: set[int],
    refills: int,
    algorithm=None,
    trace_verdict: str = "wrong",
    samples: bool = False,
):
    recipe = Recipe(
        name="x",
        model=Model(),
        algorithm=algorithm or dapo(),
        batch=Batch(prompts_per_step=4, samples_per_prompt=2, refills=refills),
    )
    run = SimpleNamespace(
        recipe=recipe,
        state=SimpleNamespace(step=7, algorithm={}),
        cursor=Cursor(len(PROBLEMS), seed=0),
        problems=PROBLEMS,
        sampler=Table(teaching, trace_verdict),
        recording=Recording(recipe.rollout, here=None),
    )
    groups, sampled, metrics = collect(run, recipe.algorithm)
    assert [g.problem.id for g in sampled] == [i for _, ids in run.sampler.asked for i in ids]
    return groups if samples else [g.problem.id for g in groups], metrics, run


def order() -> list[int]:
    return Cursor(len(PROBLEMS), seed=0).next(len(PROBLEMS))


def test_without_refills_a_step_takes_what_comes():
    groups, metrics, run = step(set(), 0)
    assert groups == order()[:4]
    assert run.sampler.asked == [((SAMPLE, 7), order()[:4])]
    assert "groups/refills" not in metrics


def test_each_round_asks_for_exactly_the_missing_groups():
    ids = order()
    teaching = {ids[1], ids[4], ids[7], ids[8]}
    groups, metrics, run = step(teaching, 10)
    assert groups == [ids[1], ids[4], ids[7], ids[8]]
    assert [asked for _, asked in run.sampler.asked] == [ids[:4], ids[4:7], ids[7:9]]
    assert [key for key, _ in run.sampler.asked] == [(SAMPLE, 7), (REFILL, 7, 1), (REFILL, 7, 2)]
    assert metrics["groups/refills"] == 2
    assert metrics["groups/sampled"] == 9
    # Cost and skill are told of everything that was sampled.
    assert metrics["rollout/generated_tokens"] == 9 * 2 * 5
    assert metrics["rollout/accuracy"] == pytest.approx(4 / 18)


def test_the_limit_holds_and_the_step_keeps_its_size():
    groups, metrics, _ = step({order()[0]}, 3)
    assert groups == [order()[0], *order()[10:13]]
    assert metrics["groups/refills"] == 3


# What a refill replaces: verdict of the trace, of the rollouts -> which algorithms take the group
# as it is.
VARYING = """
trace rollouts     | RED LUFFY SRFT | SFT+GRPO CHORD RED-CoDA | HPT | GRPO DAPO ReLIFT BREAD
right wrong,wrong  | stays          | goes                    | stays | goes
right right,right  | goes           | goes                    | goes  | goes
wrong right,right  | stays          | goes                    | goes  | goes
wrong right,wrong  | stays          | stays                   | stays | stays
"""
ALGORITHMS = {
    "RED": RED(),
    "LUFFY": LUFFY(),
    "SRFT": SRFT(),
    "SFT+GRPO": SFTGRPO(entropy_coefficient=0.001),
    "CHORD": CHORD(),
    "RED-CoDA": REDCoDA(),
    "HPT": HPT(),
    "GRPO": GRPO(kl_coefficient=0.1, entropy_coefficient=0.001),
    "DAPO": dapo(),
    "ReLIFT": ReLIFT(),
    "BREAD": BREAD(),
}


def varying() -> list[tuple]:
    head, *rows = [
        [cell.split() for cell in line.split("|")] for line in VARYING.strip().splitlines()
    ]
    return [
        (name, *case, cell == ["stays"])
        for case, *cells in rows
        for names, cell in zip(head[1:], cells, strict=True)
        for name in names
    ]


@pytest.mark.parametrize(("name", "of_trace", "of_rollouts", "stays"), varying())
def test_what_refills_replace(name, of_trace, of_rollouts, stays):
    """Not what is dropped: many methods keep such groups for a bonus, a KL term or their trace."""
    algorithm, samples = (
        ALGORITHMS[name],
        [Table.sample(float(v == "right")) for v in of_rollouts.split(",")],
    )
    if algorithm.traces:
        samples.insert(0, replace(Table.sample(float(of_trace == "right")), is_offline=True))
    assert algorithm.varies(Group(PROBLEMS[0], samples)) == stays


@pytest.mark.parametrize(
    "algorithm", [GRPO(entropy_coefficient=0.01), GRPO(kl_coefficient=0.01), ReLIFT()]
)
def test_groups_that_stay_for_another_term_are_refilled_all_the_same(algorithm):
    _, metrics, run = step({order()[9]}, 3, algorithm)
    assert [len(ids) for _, ids in run.sampler.asked] == [4, 4, 4, 3]
    assert metrics["groups/refills"] == 3


@pytest.mark.parametrize("verdict", ["timeout", "crash", "wrong", "unparsable"])
@pytest.mark.parametrize(
    "algorithm", [RED(), LUFFY(), SRFT(), SFTGRPO(), HPT()], ids=lambda a: type(a).__name__
)
def test_a_trace_without_verdict_is_left_out_where_the_verdict_sets_advantages(algorithm, verdict):
    groups, metrics, _ = step(set(order()[:2]), 0, algorithm, trace_verdict=verdict, samples=True)
    left_out = isinstance(algorithm, JudgedTrace) and verdict in ("timeout", "crash")
    assert [any(s.is_offline for s in g.samples) for g in groups] == [not left_out] * 4
    assert metrics.get("trace/unjudged") == (
        4 * left_out if isinstance(algorithm, JudgedTrace) else None
    )
    algorithm.compose(groups, {}, 0)
    advantages = [s.advantage for s in groups[0].samples]
    assert (min(advantages[:1]) < 0) == (not left_out and isinstance(algorithm, (RED, LUFFY, SRFT)))


def test_masked_responses_are_left_out_of_what_is_trained_alone():
    samples = [replace(Table.sample(1.0), truncated=cut) for cut in (True, False)]
    groups = [Group(PROBLEMS[0], samples), Group(PROBLEMS[1], samples[:1])]
    assert without_masked(groups, Reward()) == groups
    assert without_masked(groups, Reward(truncated="masked")) == [Group(PROBLEMS[0], samples[1:])]


def test_a_function_that_fails_on_all_that_a_step_samples_ends_the_run(one_rank):
    """Rounds count together: a single refill may fail by chance."""
    bonus = Reward(functions={"some.module:bonus": 1.0})

    class Failing(Table):
        """Fails but for the first ``passing`` problems."""

        verifier = None

        def groups(self, problems, count, key, *, with_traces):
            groups = super().groups(problems, count, key, with_traces=with_traces)
            for group in groups:
                good = group.problem.id in passing
                for sample in group.samples:
                    sample.terms = {"accuracy": sample.accuracy, "bonus": 1.0 if good else None}
            return groups

    def collected(refills: int):
        recipe = Recipe(
            "x",
            Model(),
            dapo(),
            batch=Batch(prompts_per_step=4, samples_per_prompt=2, refills=refills),
            reward=bonus,
        )
        run = SimpleNamespace(
            recipe=recipe,
            state=SimpleNamespace(step=7, algorithm={}),
            cursor=Cursor(len(PROBLEMS), seed=0),
            problems=PROBLEMS,
            sampler=Failing(set(), "wrong"),
            recording=Recording(recipe.rollout, here=None),
            say=print,
        )
        return collect(run, recipe.algorithm)

    passing = set(order()[:1])
    collected(refills=2)
    passing = set()
    with pytest.raises(
        RuntimeError,
        match=r"step 8: reward\.functions 'some\.module:bonus' failed on all of its 24 calls",
    ):
        collected(refills=2)
