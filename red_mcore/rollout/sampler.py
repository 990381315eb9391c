"""From problems to graded groups: every engine samples its share, its leader grades it, all ranks
get everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from red_mcore.config.recipe import Recipe
from red_mcore.data.seams import encode_prompt, encode_trace, encode_words
from red_mcore.megatron.ranks import together
from red_mcore.rewards.terms import reward_terms
from red_mcore.rewards.verifier import VERDICTS, Verifier
from red_mcore.rollout.answering import as_samples, ask, grade
from red_mcore.rollout.exchange import gather_samples, sample_seed, split_prompts
from red_mcore.rollout.protocol import Engine
from red_mcore.samples.records import Group, Problem, Sample
from red_mcore.tracking.console import Watch, unwatched

Key = tuple[int, ...]
"""Numbers that make a call's seeds differ from those of every other call of the run."""


@dataclass
class _Asked:
    """A problem of this engine's share, and how its samples are to be drawn."""

    problem: Problem
    prompt: np.ndarray
    """[P] int32, the begun response included."""
    begun: np.ndarray
    """[B] int32 that the responses go on from."""
    limit: int
    """Most tokens of a response."""
    seed: int


@dataclass
class Sampler:
    """Sampling and grading on this rank's engine; ``groups`` and ``continuations`` are collectives
    of all ranks."""

    recipe: Recipe
    tokenizer: Any
    engine: Engine
    verifier: Verifier | None
    """Of the engine's leader; None on its other ranks."""
    watch: Watch = unwatched
    """Told how many of this engine's responses to a call are there; for whoever shows progress to
    set."""

    def groups(
        self,
        problems: Sequence[Problem],
        count: int,
        key: Key,
        *,
        with_traces: bool = False,
        prefixes: Sequence[np.ndarray] | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
    ) -> list[Group]:
        """``count`` graded samples of each problem, in order, the same on every rank.

        The trace comes first where asked for; one that is not ``usable`` is left out. The tokens
        depend on the weights, the recipe's seed, ``key`` and each problem's id, not on what was
        sampled before.

        ``prefixes``: token ids that begin each problem's responses, fewer than
        ``rollout.max_response_tokens``. They are part of a sample's prompt; its response goes on
        from there, is graded alone, and has what they leave of ``max_response_tokens``.
        """
        engine = self.engine
        share = self._share(problems, key, prefixes)
        prompts = [asked.prompt for asked in share]
        completions = ask(
            engine,
            prompts,
            count,
            [asked.seed for asked in share],
            max_tokens=[asked.limit for asked in share],
            temperature=temperature,
            top_p=top_p,
            watch=self.watch,
        )
        mine: list[list[Sample]] = []
        with together():  # a verifier that fails is its leader's alone
            if engine.is_leader:
                rank = engine.replica * self.recipe.rollout.tensor
                own = [asked.problem for asked in share]
                mine = as_samples(own, prompts, completions, f"on rank {rank}")
                self._finish(share, mine, with_traces)
        gathered = gather_samples(
            mine,
            len(problems),
            replicas=engine.replicas,
            replica=engine.replica,
            is_leader=engine.is_leader,
        )
        return [
            Group(problem, samples) for problem, samples in zip(problems, gathered, strict=True)
        ]

    def continuations(
        self, problems: Sequence[Problem], characters: Sequence[int], count: int, key: Key
    ) -> list[Group]:
        """As ``groups``, each response going on after the first ``characters[i]`` of problem i's
        trace.

        A problem whose trace is not ``usable`` has a group without samples. ``key`` has to differ
        from call to call.
        """
        found = [Group(problem, []) for problem in problems]
        able = [i for i, problem in enumerate(problems) if self.usable(problem)]
        prefixes = [self._leading(problems[i], characters[i]) for i in able]
        groups = self.groups([problems[i] for i in able], count, key, prefixes=prefixes)
        for i, group in zip(able, groups, strict=True):
            found[i] = group
        return found

    def traces(self, problems: Sequence[Problem]) -> list[Group]:
        """The traces alone, ungraded, a group each, in order; problems whose trace is not
        ``usable`` are left out."""
        found = []
        for problem in problems:
            if trace := self.trace(problem):
                found.append(Group(problem, [trace]))
        return found

    def usable(self, problem: Problem) -> bool:
        """Whether there is a trace, neither empty nor longer than
        ``rollout.max_response_tokens``."""
        return self._trace_tokens(problem) is not None

    def trace(self, problem: Problem) -> Sample | None:
        """The problem's trace, ungraded; None where it is not ``usable``."""
        response = self._trace_tokens(problem)
        if response is None:
            return None
        return Sample(prompt=self._prompt(problem), response=response, is_offline=True)

    def _trace_tokens(self, problem: Problem) -> np.ndarray | None:
        return encode_trace(
            self.tokenizer, problem, self.recipe.rollout.max_response_tokens, self.recipe.data
        )

    def _leading(self, problem: Problem, characters: int) -> np.ndarray:
        """[P] int32 ids of the first ``characters`` of the trace."""
        tokens = encode_words(self.tokenizer, problem.trace, self._prompt(problem), characters)
        # Where a cut splits a token its parts may be more than one, in theory as many as the rest
        # of the trace has.
        return tokens[: self.recipe.rollout.max_response_tokens - 1]

    def _prompt(self, problem: Problem) -> np.ndarray:
        return encode_prompt(self.tokenizer, problem, self.recipe.data)

    def _share(
        self, problems: Sequence[Problem], key: Key, prefixes: Sequence[np.ndarray] | None
    ) -> list[_Asked]:
        """What this engine is asked of ``problems``, all of whose seeds are counted on every
        rank."""
        mine = set(split_prompts(len(problems), self.engine.replicas, self.engine.replica))
        drawn: Counter[int] = Counter()
        found = []
        for i, problem in enumerate(problems):
            # A problem that comes twice (a step over the end of an epoch) is sampled anew the
            # second time.
            again = drawn[problem.id]
            drawn[problem.id] += 1
            if i not in mine:
                continue
            own = (*key, problem.id, again) if again else (*key, problem.id)
            begun = np.zeros(0, np.int32) if prefixes is None else prefixes[i]
            asked = _Asked(
                problem,
                np.concatenate([self._prompt(problem), begun]),
                begun,
                self.recipe.rollout.max_response_tokens - len(begun),
                sample_seed(self.recipe.seed, *own),
            )
            found.append(asked)
        return found

    def _finish(
        self, share: Sequence[_Asked], groups: list[list[Sample]], with_traces: bool
    ) -> None:
        """Put the trace before the samples of each problem, where asked for, and grade all."""
        problems, limits, begun = [], [], []
        for asked, samples in zip(share, groups, strict=True):
            if with_traces and (trace := self.trace(asked.problem)):
                samples.insert(0, trace)
            problems.append(asked.problem)
            limits.append(asked.limit)
            begun.append(asked.begun)
        self._grade(problems, groups, limits, begun)

    def _grade(
        self,
        problems: Sequence[Problem],
        groups: list[list[Sample]],
        limits: Sequence[int],
        begun: Sequence[np.ndarray],
    ) -> None:
        """Set verdicts, the reward's terms and their sum; on the engine's leader."""
        settings = self.recipe.reward
        asked, prefixes, room = [], [], []
        for i, samples in enumerate(groups):
            for sample in samples:
                asked.append((problems[i], sample))
                prefixes.append(begun[i])
                room.append(limits[i])
        grade(asked, self.tokenizer, self.engine.stop_ids, self.verifier, settings, begun=prefixes)
        for (_, sample), limit in zip(asked, room, strict=True):
            sample.terms = reward_terms(sample, settings, limit)
        for path, weight in settings.functions.items():
            name = path.partition(":")[2]
            values = self.verifier.call(path, [_call(problem, sample) for problem, sample in asked])
            for (_, sample), value in zip(asked, values, strict=True):
                sample.terms[name] = None if value is None else weight * value
        for _, sample in asked:
            sample.reward = sum(value for value in sample.terms.values() if value is not None)


def _call(problem: Problem, sample: Sample) -> tuple[Any, ...]:
    """What a reward function may ask for; columns only where the problem has them."""
    given = (problem.text, problem.gold, sample.text, len(sample.response))
    return given if problem.columns is None else (*given, problem.columns)


def rollout_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Accuracy, reward, lengths, verdicts and zero-variance shares of a step's rollouts, and of its
    traces."""
    rollouts: list[Sample] = []
    traces: list[Sample] = []
    for group in groups:
        for sample in group.samples:
            (traces if sample.is_offline else rollouts).append(sample)
    found: dict[str, float] = {}
    if rollouts:
        found |= _of_rollouts(rollouts) | _shares_without_variance(groups)
        verdicts = Counter(sample.verdict for sample in rollouts)
        for verdict in VERDICTS:
            found[f"reward/{verdict}"] = float(verdicts[verdict])
        if len(rollouts[0].terms) > 1:
            found |= _of_terms(rollouts)
    if traces:
        found["trace/accuracy"] = sum(s.accuracy for s in traces) / len(traces)
        found["trace/length_tokens"] = sum(len(s.response) for s in traces) / len(traces)
    return found


def _of_rollouts(rollouts: Sequence[Sample]) -> dict[str, float]:
    accuracy = reward = 0.0
    tokens = truncated = 0
    for sample in rollouts:
        accuracy += sample.accuracy
        reward += sample.reward
        tokens += len(sample.response)
        truncated += sample.truncated
    count = len(rollouts)
    return {
        "rollout/accuracy": accuracy / count,
        "rollout/reward_mean": reward / count,
        "rollout/length_tokens": tokens / count,
        "rollout/truncated": truncated / count,
        "rollout/generated_tokens": float(tokens),
    }


def _shares_without_variance(groups: Sequence[Group]) -> dict[str, float]:
    wrong = right = 0
    for group in groups:
        accuracies = {sample.accuracy for sample in group.rollouts}
        wrong += accuracies <= {0.0}
        right += accuracies <= {1.0}
    return {"groups/all_wrong": wrong / len(groups), "groups/all_right": right / len(groups)}


def _of_terms(rollouts: Sequence[Sample]) -> dict[str, float]:
    """Mean of each of the reward's terms, a failed one counted as 0, and how many failed."""
    found = {}
    for name in rollouts[0].terms:
        total, failed = 0.0, 0
        for sample in rollouts:
            value = sample.terms[name]
            if value is None:
                failed += 1
            else:
                total += value
        found[f"reward/{name}_mean"] = total / len(rollouts)
        found[f"reward/{name}_failed"] = float(failed)
    return found
