"""Benchmarks put to an engine: prompts, chunks of problems, graded responses, kept as they come.

The unit of work is a chunk: problems whose responses are sampled in one call of one engine. Chunks
are cut by the protocol alone and dealt to the engines whole, so that the same weights give the same
responses however many engines there are, in training and outside, and whether the evaluation was
stopped on its way or not.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from red_mcore.checkpoints import fingerprints
from red_mcore.config.recipe import Protocol, RecipeError, Reward
from red_mcore.data.seams import encode_chat
from red_mcore.evaluation import items
from red_mcore.evaluation.summary import summarise, unjudged
from red_mcore.megatron import ranks
from red_mcore.megatron.ranks import Ranks
from red_mcore.rewards import failures
from red_mcore.rewards.verifier import Verifier
from red_mcore.rollout.answering import Request, ask, grade, take
from red_mcore.rollout.exchange import sample_seed
from red_mcore.rollout.protocol import Engine
from red_mcore.samples.records import Problem
from red_mcore.samples.responses import Key, Response, of_sample
from red_mcore.tracking.console import Watch

Problems = Mapping[str, Sequence[Problem]]
"""Of each benchmark."""

VISIBLE_SECONDS = 90.0
"""How long a file of another node may take to be seen here; network file systems look up to a
minute back."""


def encode(tokenizer: object, problem: Problem, protocol: Protocol) -> np.ndarray:
    """[P] int32 token ids of the prompt."""
    instruction = protocol.instruction
    if problem.kind == "choice":
        instruction = protocol.choice_instruction
    return encode_chat(
        tokenizer,
        problem.text,
        instruction,
        protocol.system_prompt,
        opening=protocol.opening,
        arguments=protocol.template_arguments,
    )


def by_key(problems: Problems) -> dict[Key, Problem]:
    """All problems in one, in order."""
    found = {}
    for name, asked in problems.items():
        for problem in asked:
            found[name, problem.id] = problem
    return found


def prompts(tokenizer: object, problems: Problems, protocol: Protocol) -> dict[Key, np.ndarray]:
    """The prompt of each problem."""
    asked = by_key(problems)
    return {key: encode(tokenizer, problem, protocol) for key, problem in asked.items()}


def check_lengths(
    encoded: Mapping[Key, np.ndarray], protocol: Protocol, room: int, whose: str
) -> None:
    """RecipeError where a prompt and ``protocol.max_tokens`` do not fit into ``room`` tokens, which
    are ``whose``."""
    (name, item), longest = max(encoded.items(), key=lambda pair: len(pair[1]))
    length, left = len(longest), room - len(longest)
    if protocol.max_tokens <= left:
        return
    what = f"item {item} of {name} has {length} prompt tokens"
    if left <= 0:  # no max_tokens would help
        raise RecipeError(f"{what}, but {whose} is {room}")
    needed = f"it needs {length + protocol.max_tokens}, but {whose} is {room}"
    raise RecipeError(
        f"{what}; with the protocol's max_tokens={protocol.max_tokens} {needed}:"
        f" use max_tokens={left} or less"
    )


def chunks(problems: Problems, protocol: Protocol) -> list[list[Key]]:
    """Which problems are sampled together."""
    found = []
    for name, asked in problems.items():
        keys = list(by_key({name: asked}))
        # A problem with more samples than a call takes is a chunk of its own.
        size = max(1, protocol.sequences_per_call // protocol.samples_for(name))
        for first in range(0, len(keys), size):
            found.append(keys[first : first + size])
    return found


def digests(problems: Problems) -> dict[str, str]:
    """16 hexadecimal digits for the texts and golds of each benchmark."""
    found = {}
    for name, asked in problems.items():
        rows = []
        for problem in asked:
            row: list[Any] = [problem.text, problem.gold, problem.kind]
            if problem.columns:  # else the digest is that of versions that knew no columns
                row.append(problem.columns)
            rows.append(row)
        text = json.dumps(rows)
        found[name] = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return found


@dataclass
class Evaluator:
    """Puts problems to this rank's engine; ``ask`` is a collective of all ranks."""

    protocol: Protocol
    tokenizer: object
    engine: Engine
    verifier: Verifier | None
    """Of the engine's leader; None on its other ranks."""
    reward: Reward = field(default_factory=Reward)
    """Whose verdict judges."""

    def ask(
        self,
        problems: Problems,
        folder: Path,
        here: Ranks,
        watch: Watch,
        *,
        about: Mapping[str, Any] | None = None,
        renew: bool = False,
    ) -> dict[str, Any]:
        """The summary of all ``problems``; those that ``folder`` has already are not asked again.

        The folder is visible to all ranks, and belongs to these weights, this engine, tokenizer,
        protocol and grading, and what else ``about`` tells; RecipeError where it holds something
        else, which ``renew`` throws away instead. ``watch`` is told (responses that this engine
        has, responses that it is to have), as they come.
        """
        cut = chunks(problems, self.protocol)

        def begin() -> set[Key]:
            identity = {**(about or {}), **self._identity(problems)}
            try:
                items.claim(folder, identity)
            except RecipeError:
                if not renew:
                    raise
                shutil.rmtree(folder)  # of other weights: nothing in it can be of use
                items.claim(folder, identity)
            for line in items.damage(folder):
                print(f"warning: {line}", flush=True)
            return set(items.merge(folder, cut))

        def say(text: str) -> None:
            if here.is_main:
                print(text, flush=True)

        done = ranks.on_main(here, begin)
        # Chunks are whole or not at all (``items.merge``): the first problem tells.
        left = [chunk for chunk in cut if chunk[0] not in done]
        self._ask_all(problems, left[self.engine.replica :: self.engine.replicas], folder, watch)
        ranks.any_rank(False)  # waits for all, whose parts are then written
        if self.reward.verdict is not None:
            failures.tell(self.verifier, say)
        return ranks.on_main(here, lambda: self._summary(_gathered(folder, cut)))

    def _identity(self, problems: Problems) -> dict[str, Any]:
        """What decides the responses and their verdicts; on rank 0, whose verifier is there."""
        assert self.verifier is not None, "rank 0 leads its engine"
        tokenizer = fingerprints.of_tokenizer(self.tokenizer)
        return {
            **self.engine.about,
            "weights": self.engine.checksum,
            "tokenizer": fingerprints.digest(json.dumps(tokenizer)),
            "protocol": asdict(self.protocol),
            "grader": self._grader(),
            "timeout_seconds": self.verifier.settings.timeout_seconds,
            "problems": digests(problems),
        }

    def _ask_all(
        self, problems: Problems, chunks: Sequence[Sequence[Key]], folder: Path, watch: Watch
    ) -> None:
        """Sample and grade this engine's chunks, and keep each as it comes."""
        problem_of = by_key(problems)
        total, ready = sum(map(self._responses, chunks)), 0
        for chunk in chunks:
            # By default, for the loop changes ``ready``. The engine counts within its call.
            def tell(done: int, _: int, ready: int = ready) -> None:
                watch(ready + done, total)

            found = self._sample(chunk[0][0], [problem_of[key] for key in chunk], tell)
            # At once: an evaluation that is killed loses no more than a chunk.
            if self.engine.is_leader:
                items.append(folder, self.engine.replica, found)
            ready += self._responses(chunk)

    def _responses(self, chunk: Sequence[Key]) -> int:
        """How many are sampled of a chunk, whose problems are of one benchmark."""
        return len(chunk) * self.protocol.samples_for(chunk[0][0])

    def _grader(self) -> str:
        verdict = self.reward.verdict
        if verdict is None:
            return f"math-verify {importlib.metadata.version('math-verify')}"
        return f"{verdict} {fingerprints.of_functions([verdict])[verdict]}"

    def _summary(self, responses: Sequence[Response]) -> dict[str, Any]:
        """RuntimeError where the user's verdict failed on every response of a benchmark."""
        found = summarise(responses)
        if self.reward.verdict is not None and (names := unjudged(found)):
            raise RuntimeError(
                f"{names[0]}: reward.verdict '{self.reward.verdict}' failed on all of its calls;"
                " what the first one said is above"
            )
        return found

    def _sample(self, name: str, problems: Sequence[Problem], watch: Watch) -> list[Response]:
        """Graded responses of one chunk; [] but on the engine's leader."""
        protocol, engine, verifier = self.protocol, self.engine, self.verifier
        requests = []
        # By name and problem, so that other benchmarks of a command do not change the tokens.
        benchmark = zlib.crc32(name.encode())
        for problem in problems:
            prompt = encode(self.tokenizer, problem, protocol)
            seed = sample_seed(protocol.seed, benchmark, problem.id)
            requests.append(Request(problem, prompt, protocol.max_tokens, seed))
        completions = ask(
            engine,
            requests,
            protocol.samples_for(name),
            temperature=protocol.temperature,
            top_p=protocol.top_p,
            watch=watch,
        )
        take(requests, completions, f"for {name} on engine {engine.replica}")
        if not engine.is_leader:
            return []
        assert verifier is not None, "the leader of an engine has one"
        boxed_only = protocol.boxed_only
        grade(
            requests, self.tokenizer, engine.stop_ids, verifier, self.reward, boxed_only=boxed_only
        )
        found = []
        for request in requests:
            for number, sample in enumerate(request.samples):
                found.append(of_sample(name, request.problem, number, sample))
        return found


def _gathered(folder: Path, cut: Sequence[Sequence[Key]]) -> list[Response]:
    """All responses, once they are there: another node's file may show a moment late.

    RecipeError where it never does.
    """
    deadline = time.monotonic() + VISIBLE_SECONDS
    asked = list(chain.from_iterable(cut))
    while missing := len(set(asked) - items.gather(folder).keys()):
        if time.monotonic() > deadline:
            raise RecipeError(
                f"{folder} lacks {missing} of {len(asked)} problems that other ranks have written:"
                " it has to be on a file system that all ranks share"
            )
        time.sleep(1.0)
    there = items.merge(folder, cut)  # not before all is there: it drops chunks that are not whole
    return list(chain.from_iterable(there[key] for key in asked))
