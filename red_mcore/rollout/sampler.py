"""From problems to graded groups: every engine samples its share, its leader grades it, all ranks get everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from red_mcore.config.recipe import Recipe
from red_mcore.data.seams import encode_prompt, encode_trace, encode_words, response_text
from red_mcore.megatron.ranks import together
from red_mcore.rewards.terms import reward_terms
from red_mcore.rewards.verifier import VERDICTS, Verifier, graded
from red_mcore.rollout.engine import Completion, Engine
from red_mcore.rollout.exchange import gather_samples, sample_seed, split_prompts
from red_mcore.samples import guards
from red_mcore.samples.records import Group, Problem, Sample
from red_mcore.tracking.console import Watch, unwatched


@dataclass
class Sampler:
    """Sampling and grading on this rank's engine; ``groups`` and ``continuations`` are collectives of all ranks."""

    recipe: Recipe
    tokenizer: object
    engine: Engine
    verifier: Verifier | None
    """Of the engine's leader; None on its other ranks."""
    watch: Watch = unwatched
    """Told how many of this engine's responses to a call are there; for whoever shows progress to set."""

    def groups(
        self,
        problems: Sequence[Problem],
        count: int,
        key: tuple[int, ...],
        *,
        with_traces: bool = False,
        prefixes: Sequence[np.ndarray] | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
    ) -> list[Group]:
        """``count`` graded samples of each problem, in order, the same on every rank; the trace first where asked for.

        The tokens depend on the weights, the recipe's seed, ``key`` and each problem's id, not on what was sampled
        before. A trace that is not ``usable`` is left out.
        ``prefixes``: token ids that begin each problem's responses, fewer than ``rollout.max_response_tokens``. They
        are part of a sample's prompt; its response goes on from there, is graded alone, and has what they leave of
        ``max_response_tokens``.
        """
        engine = self.engine
        mine_of = split_prompts(len(problems), engine.replicas, engine.replica)
        share = [problems[i] for i in mine_of]
        prompts = [self._prompt(p) for p in share]
        limits = [self.recipe.rollout.max_response_tokens] * len(share)
        begun = [np.zeros(0, np.int32)] * len(share)
        if prefixes is not None:
            begun = [prefixes[i] for i in mine_of]
            prompts = [np.concatenate(pair) for pair in zip(prompts, begun, strict=True)]
            limits = [limit - len(prefix) for limit, prefix in zip(limits, begun, strict=True)]
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
            completions = engine.sample(
                prompts, count, seeds, temperature=temperature, top_p=top_p, max_tokens=limits, watch=self.watch
            )
        with together():  # a verifier that fails is its leader's alone
            mine = self._graded(share, prompts, completions, limits, begun, with_traces) if engine.is_leader else []
        gathered = gather_samples(
            mine,
            len(problems),
            replicas=engine.replicas,
            replica=engine.replica,
            is_leader=engine.is_leader,
        )
        return [Group(problem, samples) for problem, samples in zip(problems, gathered, strict=True)]

    def continuations(
        self, problems: Sequence[Problem], characters: Sequence[int], count: int, key: tuple[int, ...]
    ) -> list[Group]:
        """As ``groups``, each response going on after the first ``characters[i]`` of problem i's trace.

        A problem whose trace is not ``usable`` has a group without samples. ``key`` has to differ from call to call.
        """
        able = [i for i, problem in enumerate(problems) if self.usable(problem)]
        prefixes = [self._leading(problems[i], characters[i]) for i in able]
        found = dict(zip(able, self.groups([problems[i] for i in able], count, key, prefixes=prefixes), strict=True))
        return [found.get(i, Group(problem, [])) for i, problem in enumerate(problems)]

    def traces(self, problems: Sequence[Problem]) -> list[Group]:
        """The traces alone, ungraded, a group each, in order; problems whose trace is not ``usable`` are left out."""
        found = [(problem, self.trace(problem)) for problem in problems]
        return [Group(problem, [trace]) for problem, trace in found if trace]

    def usable(self, problem: Problem) -> bool:
        """Whether there is a trace, neither empty nor longer than ``rollout.max_response_tokens``."""
        return self._trace_tokens(problem) is not None

    def trace(self, problem: Problem) -> Sample | None:
        """The problem's trace, ungraded; None where it is not ``usable``."""
        response = self._trace_tokens(problem)
        if response is None:
            return None
        return Sample(prompt=self._prompt(problem), response=response, is_offline=True)

    def _trace_tokens(self, problem: Problem) -> np.ndarray | None:
        return encode_trace(self.tokenizer, problem, self.recipe.rollout.max_response_tokens, self.recipe.data)

    def _leading(self, problem: Problem, characters: int) -> np.ndarray:
        """[P] int32 ids of the first ``characters`` of the trace."""
        tokens = encode_words(self.tokenizer, problem.trace, self._prompt(problem), characters)
        # Where a cut splits a token its parts may be more than one, in theory as many as the rest of the trace has.
        return tokens[: self.recipe.rollout.max_response_tokens - 1]

    def _prompt(self, problem: Problem) -> np.ndarray:
        return encode_prompt(self.tokenizer, problem, self.recipe.data)

    def _graded(
        self,
        problems: Sequence[Problem],
        prompts: Sequence[np.ndarray],
        completions: Sequence[Sequence[Completion]],
        limits: Sequence[int],
        begun: Sequence[np.ndarray],
        with_traces: bool,
    ) -> list[list[Sample]]:
        """The samples of each problem, the trace first where asked for."""
        found = []
        for problem, prompt, responses in zip(problems, prompts, completions, strict=True):
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
            if bad := guards.culprit([Group(problem, samples)], ("sampler_logp",)):
                rank = self.engine.replica * self.recipe.rollout.tensor
                raise RuntimeError(f"{bad}, sampled on rank {rank}: the engine's weights or its kernels are broken")
            trace = self.trace(problem) if with_traces else None
            found.append([trace, *samples] if trace else samples)
        self._grade(problems, found, limits, begun)
        return found

    def _grade(
        self,
        problems: Sequence[Problem],
        groups: list[list[Sample]],
        limits: Sequence[int],
        begun: Sequence[np.ndarray],
    ) -> None:
        flat = [(p, s, n) for p, samples, n in zip(problems, groups, limits, strict=True) for s in samples]
        # One by one: batch_decode makes a text of no sample at all, and an engine may have no share of a few problems.
        texts = [response_text(self.tokenizer, s.response, self.engine.stop_ids) for _, s, _ in flat]
        settings = self.recipe.reward
        judged = texts
        if settings.answer_after is not None:  # a prefix may have the mark already
            given = [self.tokenizer.decode(p) for p, samples in zip(begun, groups, strict=True) for _ in samples]
            judged = [_behind(settings.answer_after, first + text) for first, text in zip(given, texts, strict=True)]
        asked = [(p, text, len(s.response)) for (p, s, _), text in zip(flat, judged, strict=True)]
        grades = graded(self.verifier, settings, asked)
        for (_, sample, limit), text, grade in zip(flat, texts, grades, strict=True):
            sample.text, sample.verdict, sample.accuracy = text, grade.verdict, float(grade.verdict == "correct")
            sample.terms = reward_terms(sample, settings, limit)
        for path, weight in settings.functions.items():
            arguments = [
                (p.text, p.gold, s.text, len(s.response), *([] if p.columns is None else [p.columns]))
                for p, s, _ in flat
            ]
            for (_, sample, _), value in zip(flat, self.verifier.call(path, arguments), strict=True):
                sample.terms[path.partition(":")[2]] = None if value is None else weight * value
        for _, sample, _ in flat:
            sample.reward = sum(value for value in sample.terms.values() if value is not None)


def _behind(mark: str, text: str) -> str:
    """What stands behind the last ``mark`` of ``text``, nothing where it has none."""
    _, found, behind = text.rpartition(mark)
    return behind if found else ""


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
        if len(rollouts[0].terms) > 1:
            for name in rollouts[0].terms:
                values = [s.terms[name] for s in rollouts if s.terms[name] is not None]
                out[f"reward/{name}_mean"] = sum(values) / count
                out[f"reward/{name}_failed"] = float(count - len(values))
    if traces:
        out["trace/accuracy"] = sum(s.accuracy for s in traces) / len(traces)
        out["trace/length_tokens"] = sum(len(s.response) for s in traces) / len(traces)
    return out
