"""Benchmarks put to an engine: prompts, chunks of problems, graded responses, kept as they come.

The unit of work is a chunk: problems whose responses are sampled in one call of one engine. Chunks are cut by the
protocol alone and dealt to the engines whole, so that the same weights give the same responses however many engines
there are, in training and outside, and whether the evaluation was stopped on its way or not.
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
from red_mcore.data.seams import encode_chat, response_text
from red_mcore.evaluation import items
from red_mcore.evaluation.items import Key, Row
from red_mcore.evaluation.summary import summarise, unjudged
from red_mcore.megatron import ranks
from red_mcore.megatron.ranks import Ranks
from red_mcore.rewards import failures
from red_mcore.rewards.verifier import Grade, Verifier, graded
from red_mcore.rollout.engine import Completion, Engine
from red_mcore.rollout.exchange import sample_seed
from red_mcore.samples.records import Problem
from red_mcore.tracking.console import Watch

Problems = Mapping[str, Sequence[Problem]]
"""Of each benchmark."""

VISIBLE_SECONDS = 90.0
"""How long a file of another node may take to be seen here; network file systems look up to a minute back."""


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
    return {(name, p.id): encode(tokenizer, p, protocol) for name, found in problems.items() for p in found}


def check_lengths(encoded: Mapping[Key, np.ndarray], protocol: Protocol, room: int, whose: str) -> None:
    """RecipeError where a prompt and ``protocol.max_tokens`` do not fit into ``room`` tokens, which are ``whose``."""
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
        size = max(1, protocol.sequences_per_call // protocol.samples_for(name))
        found += [[(name, p.id) for p in asked[first : first + size]] for first in range(0, len(asked), size)]
    return found


def digests(problems: Problems) -> dict[str, str]:
    """16 hexadecimal digits for the texts and golds of each benchmark."""
    found = {}
    for name, asked in problems.items():
        text = json.dumps([[p.text, p.gold, p.kind, *([p.columns] if p.columns else [])] for p in asked])
        found[name] = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return found


@dataclass
class Asker:
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

        The folder is visible to all ranks, and belongs to these weights, this engine, tokenizer, protocol and grading,
        and what else ``about`` tells; RecipeError where it holds something else, which ``renew`` throws away instead.
        ``watch`` is told (responses that this engine has, responses that it is to have), as they come.
        """
        cut = chunks(problems, self.protocol)

        def begin() -> set[Key]:
            identity = {
                **(about or {}),
                **self.engine.about,
                "weights": self.engine.checksum,
                "tokenizer": fingerprints.digest(json.dumps(fingerprints.of_tokenizer(self.tokenizer))),
                "protocol": asdict(self.protocol),
                "grader": self._grader(),
                "timeout_seconds": self.verifier.settings.timeout_seconds,
                "problems": digests(problems),
            }
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
        mine = [chunk for chunk in cut if chunk[0] not in done][self.engine.replica :: self.engine.replicas]
        by_key = {(name, p.id): p for name, found in problems.items() for p in found}
        total, ready = sum(self.protocol.samples_for(name) for chunk in mine for name, _ in chunk), 0
        for chunk in mine:
            asked = [by_key[place] for place in chunk]
            found = self._sample(chunk[0][0], asked, lambda done, _, before=ready: watch(before + done, total))
            if self.engine.is_leader:
                items.append(folder, self.engine.replica, found)
            ready += len(chunk) * self.protocol.samples_for(chunk[0][0])
        ranks.any_rank(False)  # waits for all
        if self.reward.verdict is not None:
            failures.tell(self.verifier, lambda text: print(text, flush=True) if here.is_main else None)
        return ranks.on_main(here, lambda: self._summary(_gathered(folder, cut)))

    def _grader(self) -> str:
        verdict = self.reward.verdict
        if verdict is None:
            return f"math-verify {importlib.metadata.version('math-verify')}"
        return f"{verdict} {fingerprints.of_functions([verdict])[verdict]}"

    def _summary(self, rows: Sequence[Row]) -> dict[str, Any]:
        """RuntimeError where the user's verdict failed on every response of a benchmark."""
        found = summarise(rows)
        if self.reward.verdict is not None and (names := unjudged(found)):
            raise RuntimeError(
                f"{names[0]}: reward.verdict '{self.reward.verdict}' failed on all of its calls;"
                " what the first one said is above"
            )
        return found

    def _sample(self, name: str, problems: Sequence[Problem], watch: Watch) -> list[Row]:
        """Graded responses of one chunk; [] but on the engine's leader."""
        protocol, engine = self.protocol, self.engine
        encoded = [encode(self.tokenizer, p, protocol) for p in problems]
        seeds = [sample_seed(protocol.seed, zlib.crc32(name.encode()), p.id) for p in problems]
        engine.reset()
        completions = engine.sample(
            encoded,
            protocol.samples_for(name),
            seeds,
            temperature=protocol.temperature,
            top_p=protocol.top_p,
            max_tokens=[protocol.max_tokens] * len(problems),
            watch=watch,
        )
        for problem, each in zip(problems, completions, strict=True):
            if not all(np.isfinite(c.logp).all() for c in each):
                raise RuntimeError(
                    f"the engine's log-probs of a response to item {problem.id} of {name} are not finite:"
                    " its weights or its kernels are broken"
                )
        if not engine.is_leader:
            return []
        stops = engine.stop_ids
        texts = [[response_text(self.tokenizer, c.token_ids, stops) for c in each] for each in completions]
        asked = [
            (p, text, len(c.token_ids))
            for p, written, each in zip(problems, texts, completions, strict=True)
            for text, c in zip(written, each, strict=True)
        ]
        grades = iter(graded(self.verifier, self.reward, asked, boxed_only=protocol.boxed_only))
        return [
            {
                "benchmark": name,
                "item": problem.id,
                "problem": problem.text,
                "gold": problem.gold,
                "kind": problem.kind,
                "prompt_ids": prompt.tolist(),
                "responses": [_response(c, text, next(grades)) for c, text in zip(each, written, strict=True)],
            }
            for problem, prompt, each, written in zip(problems, encoded, completions, texts, strict=True)
        ]


def _response(completion: Completion, text: str, grade: Grade) -> Row:
    return {
        "text": text,
        "answer": grade.answer,
        "verdict": grade.verdict,
        "tokens": len(completion.token_ids),
        "finish": "length" if completion.truncated else "stop",
        "token_ids": completion.token_ids.tolist(),
    }


def _gathered(folder: Path, cut: Sequence[Sequence[Key]]) -> list[Row]:
    """All rows, once they are there: another node's file may show a moment late. RecipeError where it never does."""
    deadline = time.monotonic() + VISIBLE_SECONDS
    asked = [place for chunk in cut for place in chunk]
    while missing := len(set(asked) - items.gather(folder).keys()):
        if time.monotonic() > deadline:
            raise RecipeError(
                f"{folder} lacks {missing} of {len(asked)} problems that other ranks have written: it has to be on a"
                f" file system that all ranks share"
            )
        time.sleep(1.0)
    rows = items.merge(folder, cut)
    return [rows[place] for place in asked]
