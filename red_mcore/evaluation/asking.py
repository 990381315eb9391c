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
from red_mcore.rollout.answering import as_samples, ask, grade
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
    instruction = protocol.choice_instruction if problem.kind == "choice" else protocol.instruction
    return encode_chat(
        tokenizer,
        problem.text,
        instruction,
        protocol.system_prompt,
        opening=protocol.opening,
        arguments=protocol.template_arguments,
    )


def prompts(tokenizer: object, problems: Problems, protocol: Protocol) -> dict[Key, np.ndarray]:
    """The prompt of each problem."""
    found = {}
    for name, asked in problems.items():
        for problem in asked:
            found[name, problem.id] = encode(tokenizer, problem, protocol)
    return found


def check_lengths(
    encoded: Mapping[Key, np.ndarray], protocol: Protocol, room: int, whose: str
) -> None:
    """RecipeError where a prompt and ``protocol.max_tokens`` do not fit into ``room`` tokens, which
    are ``whose``."""
    (name, item), longest = max(encoded.items(), key=lambda pair: len(pair[1]))
    if len(longest) + protocol.max_tokens > room:
        raise RecipeError(
            f"item {item} of {name} has {len(longest)} prompt tokens; with the protocol's max_tokens="
            f"{protocol.max_tokens} it needs {len(longest) + protocol.max_tokens}, but {whose} is {room}:"
            f" use max_tokens={room - len(longest)} or less"
            if len(longest) < room
            else f"item {item} of {name} has {len(longest)} prompt tokens, but {whose} is {room}"
        )


def chunks(problems: Problems, protocol: Protocol) -> list[list[Key]]:
    """Which problems are sampled together."""
    found = []
    for name, asked in problems.items():
        keys = [(name, problem.id) for problem in asked]
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
            if problem.columns:
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
                shutil.rmtree(folder)
                items.claim(folder, identity)
            for line in items.damage(folder):
                print(f"warning: {line}", flush=True)
            return set(items.merge(folder, cut))

        done = ranks.on_main(here, begin)
        left = [chunk for chunk in cut if chunk[0] not in done]
        self._ask_all(problems, left[self.engine.replica :: self.engine.replicas], folder, watch)
        ranks.any_rank(False)  # waits for all
        if self.reward.verdict is not None:
            failures.tell(
                self.verifier, lambda text: print(text, flush=True) if here.is_main else None
            )
        return ranks.on_main(here, lambda: self._summary(_gathered(folder, cut)))

    def _identity(self, problems: Problems) -> dict[str, Any]:
        """What decides the responses and their verdicts; on rank 0, whose verifier is there."""
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
        by_key: dict[Key, Problem] = {}
        for name, asked in problems.items():
            for problem in asked:
                by_key[name, problem.id] = problem
        ready, total = 0, 0
        for chunk in chunks:
            total += len(chunk) * self.protocol.samples_for(chunk[0][0])
        for chunk in chunks:
            before = ready

            def tell(done: int, _: int, before: int = before) -> None:
                watch(before + done, total)

            found = self._sample(chunk[0][0], [by_key[place] for place in chunk], tell)
            if self.engine.is_leader:
                items.append(folder, self.engine.replica, found)
            ready += len(chunk) * self.protocol.samples_for(chunk[0][0])

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
        protocol, engine = self.protocol, self.engine
        encoded = [encode(self.tokenizer, problem, protocol) for problem in problems]
        seeds = [
            sample_seed(protocol.seed, zlib.crc32(name.encode()), problem.id)
            for problem in problems
        ]
        completions = ask(
            engine,
            encoded,
            protocol.samples_for(name),
            seeds,
            max_tokens=[protocol.max_tokens] * len(problems),
            temperature=protocol.temperature,
            top_p=protocol.top_p,
            watch=watch,
        )
        groups = as_samples(
            problems, encoded, completions, f"for {name} on engine {engine.replica}"
        )
        if not engine.is_leader:
            return []
        asked = []
        for problem, samples in zip(problems, groups, strict=True):
            for sample in samples:
                asked.append((problem, sample))
        grade(
            asked,
            self.tokenizer,
            engine.stop_ids,
            self.verifier,
            self.reward,
            boxed_only=protocol.boxed_only,
        )
        found = []
        for problem, samples in zip(problems, groups, strict=True):
            for number, sample in enumerate(samples):
                found.append(of_sample(name, problem, number, sample))
        return found


def _gathered(folder: Path, cut: Sequence[Sequence[Key]]) -> list[Response]:
    """All responses, once they are there: another node's file may show a moment late.

    RecipeError where it never does.
    """
    deadline = time.monotonic() + VISIBLE_SECONDS
    asked = [place for chunk in cut for place in chunk]
    while missing := len(set(asked) - items.gather(folder).keys()):
        if time.monotonic() > deadline:
            raise RecipeError(
                f"{folder} lacks {missing} of {len(asked)} problems that other ranks have written: it has to be on a"
                f" file system that all ranks share"
            )
        time.sleep(1.0)
    there = items.merge(folder, cut)
    return [response for place in asked for response in there[place]]
