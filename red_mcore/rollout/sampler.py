"""From problems to graded groups: every engine samples its share, its leader grades it, all ranks
get everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from red_mcore.config.recipe import Recipe
from red_mcore.data import conversations
from red_mcore.data.seams import encode_prompt, encode_trace, encode_words
from red_mcore.megatron.ranks import together
from red_mcore.rewards.terms import reward_terms
from red_mcore.rewards.verifier import VERDICTS, Verifier
from red_mcore.rollout.answering import Request, ask, grade, take
from red_mcore.rollout.exchange import as_groups, gather_samples, sample_seed, split_prompts
from red_mcore.rollout.protocol import Engine
from red_mcore.samples.records import Group, Problem, Sample, samples_of
from red_mcore.tracking.console import Watch, unwatched

Key = tuple[int, ...]
"""Numbers that make a call's seeds differ from those of every other call of the run."""


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
        completions = ask(
            engine, share, count, temperature=temperature, top_p=top_p, watch=self.watch
        )
        with together():  # a verifier that fails is its leader's alone
            if engine.is_leader:
                rank = engine.replica * self.recipe.rollout.tensor
                take(share, completions, f"on rank {rank}")
                if with_traces:
                    self._add_traces(share)
                self._grade(share)
        gathered = gather_samples(
            [request.samples for request in share],
            len(problems),
            replicas=engine.replicas,
            replica=engine.replica,
            is_leader=engine.is_leader,
        )
        return as_groups(problems, gathered)

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
        for place, group in enumerate(groups):
            found[able[place]] = group
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
        prompt, trained = self._prompt(problem), None
        # What rollouts are compared with is the answer to their own prompt.
        if problem.history and not self.recipe.algorithm.rollouts:
            whole = conversations.encode(self.tokenizer, problem, self.recipe.data)
            if whole is not None:
                prompt, response, trained = whole
        return Sample(prompt=prompt, response=response, trained=trained, is_offline=True)

    def _trace_tokens(self, problem: Problem) -> np.ndarray | None:
        return encode_trace(
            self.tokenizer, problem, self.recipe.rollout.max_response_tokens, self.recipe.data
        )

    def _leading(self, problem: Problem, characters: int) -> np.ndarray:
        """[P] int32 ids of the first ``characters`` of the trace."""
        assert problem.trace is not None, "it is usable"
        tokens = encode_words(self.tokenizer, problem.trace, self._prompt(problem), characters)
        # Where a cut splits a token its parts may be more than one, in theory as many as the rest
        # of the trace has.
        return tokens[: self.recipe.rollout.max_response_tokens - 1]

    def _prompt(self, problem: Problem) -> np.ndarray:
        return encode_prompt(self.tokenizer, problem, self.recipe.data)

    def _share(
        self, problems: Sequence[Problem], key: Key, prefixes: Sequence[np.ndarray] | None
    ) -> list[Request]:
        """What this engine is asked of ``problems``, all of whose seeds are counted on every
        rank."""
        mine = set(split_prompts(len(problems), self.engine.replicas, self.engine.replica))
        most = self.recipe.rollout.max_response_tokens
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
            prompt = np.concatenate([self._prompt(problem), begun])
            seed = sample_seed(self.recipe.seed, *own)
            found.append(Request(problem, prompt, most - len(begun), seed, begun))
        return found

    def _add_traces(self, share: Sequence[Request]) -> None:
        """Put the trace before the samples of each problem that has one."""
        for request in share:
            if trace := self.trace(request.problem):
                request.samples.insert(0, trace)

    def _grade(self, share: Sequence[Request]) -> None:
        """Set verdicts, the reward's terms and their sum; on the engine's leader."""
        settings, verifier = self.recipe.reward, self.verifier
        assert verifier is not None, "the leader of an engine has one"
        grade(share, self.tokenizer, self.engine.stop_ids, verifier, settings)
        samples, calls = [], []
        for request in share:
            for sample in request.samples:
                sample.terms = {**reward_terms(sample, settings, request.limit)}
                samples.append(sample)
                calls.append(_call(request.problem, sample))
        for path, weight in settings.functions.items():
            name = path.partition(":")[2]
            for sample, value in zip(samples, verifier.call(path, calls), strict=True):
                # None stays: a function that failed is told apart from one that gave nothing.
                sample.terms[name] = None if value is None else weight * value
        for sample in samples:
            sample.reward = sum(filter(None, sample.terms.values()), 0.0)


def _call(problem: Problem, sample: Sample) -> tuple[Any, ...]:
    """What a reward function may ask for; columns only where the problem has them."""
    given = (problem.text, problem.gold, sample.text, len(sample.response))
    return given if problem.columns is None else (*given, problem.columns)


def rollout_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Accuracy, reward, lengths, verdicts and zero-variance shares of a step's rollouts, and of its
    traces."""
    samples = samples_of(groups)
    rollouts = [sample for sample in samples if not sample.is_offline]
    traces = [sample for sample in samples if sample.is_offline]
    found: dict[str, float] = {}
    if rollouts:
        found |= _of_rollouts(rollouts) | _shares_without_variance(groups)
        verdicts = Counter(sample.verdict for sample in rollouts)
        found |= {f"reward/{verdict}": float(verdicts[verdict]) for verdict in VERDICTS}
        if len(rollouts[0].terms) > 1:  # else the one is the accuracy
            found |= _of_terms(rollouts)
    if traces:
        found["trace/accuracy"] = fmean(sample.accuracy for sample in traces)
        found["trace/length_tokens"] = fmean(len(sample.response) for sample in traces)
    return found


def _of_rollouts(rollouts: Sequence[Sample]) -> dict[str, float]:
    tokens = [len(sample.response) for sample in rollouts]
    return {
        "rollout/accuracy": fmean(sample.accuracy for sample in rollouts),
        "rollout/reward_mean": fmean(sample.reward for sample in rollouts),
        "rollout/length_tokens": fmean(tokens),
        "rollout/truncated": fmean(sample.truncated for sample in rollouts),
        "rollout/generated_tokens": float(sum(tokens)),
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
        values = [sample.terms[name] for sample in rollouts]
        found[f"reward/{name}_mean"] = sum(filter(None, values), 0.0) / len(values)
        found[f"reward/{name}_failed"] = float(values.count(None))
    return found
