"""From problems to graded groups: every engine samples its share, its leader grades it, all ranks get everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from red_mcore.data.tokenizer import encode_prompt, encode_response
from red_mcore.recipe import Recipe
from red_mcore.records import Group, Problem, Sample
from red_mcore.rewards.terms import reward
from red_mcore.rewards.verifier import VERDICTS, Verifier
from red_mcore.rollout.engine import Engine
from red_mcore.rollout.exchange import gather_samples, sample_seed, split_prompts


@dataclass
class Sampler:
    """Sampling and grading on this rank's engine; ``groups`` is a collective of all ranks."""

    recipe: Recipe
    tokenizer: object
    engine: Engine
    verifier: Verifier | None
    """Of the engine's leader; None on its other ranks."""

    def groups(
        self,
        problems: Sequence[Problem],
        count: int,
        key: tuple[int, ...],
        *,
        with_traces: bool = False,
        temperature: float | None = None,
        top_p: float | None = None,
    ) -> list[Group]:
        """``count`` graded samples of each problem, in order, the same on every rank; the trace first where asked for.

        The tokens depend on the weights, the recipe's seed, ``key`` and each problem's id, not on what was sampled
        before. A trace that is missing, empty or longer than ``rollout.max_response_tokens`` is left out.
        """
        engine = self.engine
        mine_of = split_prompts(len(problems), engine.replicas, engine.replica)
        share = [problems[i] for i in mine_of]
        prompts = [encode_prompt(self.tokenizer, p, self.recipe.data) for p in share]
        # A problem that comes twice (a step over the end of an epoch) is sampled anew the second time.
        drawn: Counter[int] = Counter()
        keys = []
        for problem in problems:
            again = drawn[problem.id]
            drawn[problem.id] += 1
            keys.append((*key, problem.id, again) if again else (*key, problem.id))
        seeds = [sample_seed(self.recipe.seed, *keys[i]) for i in mine_of]
        completions = [[] for _ in share]
        if count:
            engine.reset()
            completions = engine.sample(prompts, count, seeds, temperature=temperature, top_p=top_p)
        mine: list[list[Sample]] = []
        if engine.is_leader:
            for problem, prompt, responses in zip(share, prompts, completions, strict=True):
                samples = [
                    Sample(
                        prompt=prompt,
                        response=c.token_ids,
                        sampler_logp=c.logp,
                        truncated=c.truncated,
                        policy_version=c.version,
                    )
                    for c in responses
                ]
                trace = self.trace(problem, prompt) if with_traces else None
                mine.append([trace, *samples] if trace else samples)
            self._grade(share, mine)
        gathered = gather_samples(
            mine,
            len(problems),
            replicas=engine.replicas,
            replica=engine.replica,
            is_leader=engine.is_leader,
        )
        return [Group(problem, samples) for problem, samples in zip(problems, gathered, strict=True)]

    def trace(self, problem: Problem, prompt: np.ndarray) -> Sample | None:
        if not problem.trace:
            return None
        response = encode_response(self.tokenizer, problem.trace)
        if len(response) > self.recipe.rollout.max_response_tokens:
            return None
        return Sample(prompt=prompt, response=response, is_offline=True)

    def _grade(self, problems: Sequence[Problem], groups: list[list[Sample]]) -> None:
        flat = [(p, s) for p, samples in zip(problems, groups, strict=True) for s in samples]
        texts = self.tokenizer.batch_decode([s.response for _, s in flat], skip_special_tokens=True)
        verdicts = self.verifier.grade([(p.gold, text) for (p, _), text in zip(flat, texts, strict=True)])
        for (_, sample), text, verdict in zip(flat, texts, verdicts, strict=True):
            sample.text, sample.verdict, sample.accuracy = text, verdict, float(verdict == "correct")
            sample.reward = reward(sample, self.recipe.reward, self.recipe.rollout.max_response_tokens)


def rollout_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Accuracy, reward, lengths, verdicts and zero-variance shares of a step's rollouts, and of its traces."""
    rollouts = [s for g in groups for s in g.rollouts]
    traces = [s for g in groups for s in g.samples if s.is_offline]
    out: dict[str, float] = {}
    if rollouts:
        count = len(rollouts)
        out = {
            "rollout/accuracy": sum(s.accuracy for s in rollouts) / count,
            "rollout/reward_mean": sum(s.reward for s in rollouts) / count,
            "rollout/length_tokens": sum(len(s.response) for s in rollouts) / count,
            "rollout/truncated": sum(s.truncated for s in rollouts) / count,
            "rollout/generated_tokens": float(sum(len(s.response) for s in rollouts)),
            "groups/all_wrong": sum(all(s.accuracy == 0 for s in g.rollouts) for g in groups) / len(groups),
            "groups/all_right": sum(all(s.accuracy == 1 for s in g.rollouts) for g in groups) / len(groups),
        }
        for verdict in VERDICTS:
            out[f"reward/{verdict}"] = float(sum(s.verdict == verdict for s in rollouts))
    if traces:
        out["trace/accuracy"] = sum(s.accuracy for s in traces) / len(traces)
        out["trace/length_tokens"] = sum(len(s.response) for s in traces) / len(traces)
    return out


def table(groups: Sequence[Group], rows: int) -> list[dict[str, object]]:
    """The first rollouts of as many problems as give ``rows`` rows, with their verdicts, to read."""
    picked = [(g.problem, s) for g in groups for s in g.rollouts[:2]][:rows]
    return [
        {
            "problem": problem.text,
            "gold": problem.gold,
            "response": sample.text,
            "verdict": sample.verdict,
            "reward": sample.reward,
            "tokens": len(sample.response),
            "truncated": sample.truncated,
        }
        for problem, sample in picked
    ]
