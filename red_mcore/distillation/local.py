"""A teacher in this process: vLLM with the weights of a Hugging Face folder."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from red_mcore.checkpoints import fingerprints
from red_mcore.config.recipe import Data, Model, RecipeError
from red_mcore.convert.folder import fetch
from red_mcore.data import seams, template
from red_mcore.data.tokenizer import load_tokenizer
from red_mcore.distillation.settings import Sampling
from red_mcore.distillation.teacher import Answer, Request, Task, Work, whole

_OPENING = re.compile(r"<(\w+)>\s*\Z")
"""A tag that a prompt opens at its end."""


class Local:
    """``teacher.Teacher``; the constructor reads tokenizer and prompts, ``work`` the weights."""

    def __init__(
        self,
        name: str,
        tasks: Sequence[Task],
        sampling: Sampling,
        *,
        concurrency: int,
        chat_template: str | None = None,
        tensor: int = 1,
        dtype: str = "auto",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """``name``: folder or hub name. RecipeError where it is no model, or its chat template
        refuses the prompts."""
        self._folder = Path(name) if Path(name).is_dir() else Path(fetch(name))
        if not (self._folder / "config.json").is_file():
            raise RecipeError(
                f"--teacher {name} has no config.json: name a Hugging Face folder, a hub name or an"
                " address (http://...)"
            )
        model = Model(path=str(self._folder), chat_template=chat_template)
        data = sampling.prompt_of(Data())
        if found := template.find(model):
            template.check(found, sampling.system_prompt, sampling.template_arguments)
        self._tokenizer = load_tokenizer(model)
        self._prompts = {
            task.entry.id: seams.encode_prompt(self._tokenizer, task.problem, data)
            for task in tasks
        }
        self._sampling, self._concurrency = sampling, concurrency
        self._settings: dict[str, Any] = {
            "tensor": tensor,
            "dtype": dtype,
            "options": dict(options or {}),
        }
        self._stops = seams.stop_ids_of(self._tokenizer, self._folder)
        self.name = self._folder.resolve().name if Path(name).is_dir() else name
        self.place = self.name
        lengths = [len(prompt) for prompt in self._prompts.values()]
        self.prompt_tokens: float | None = sum(lengths) / len(lengths)
        weights = json.dumps(fingerprints.of_model(Model(path=str(self._folder))), sort_keys=True)
        self.about = {
            "model": self.name,
            "weights": fingerprints.digest(weights),
            "chat_template": fingerprints.digest(self._tokenizer.chat_template),
            "dtype": dtype,
        }

    def work(self, work: Work) -> None:
        """As ``Teacher`` has it. RecipeError where the model has no room for prompt and answer."""
        from red_mcore.rollout.stored import StoredEngine

        longest = max(map(len, self._prompts.values()))
        room = longest + self._sampling.max_tokens
        self._engine = StoredEngine(self._folder, room=room, stop_ids=self._stops, **self._settings)
        underway: dict[str, tuple[Request, float]] = {}
        while not (work.is_over and not underway):
            while len(underway) < self._concurrency:
                request = work.take(wait=not underway)
                if request is None:
                    break
                key = f"{request.task.entry.id}/{request.index}"
                underway[key] = (request, time.monotonic())
                self._add(key, request)
            if not underway:
                break
            for done in self._engine.step():
                request, begin = underway.pop(done.key)
                work.tell(request, self._answer(request, done.token_ids, done.truncated, begin))

    def close(self) -> None:
        """As ``Teacher`` has it."""
        self._engine.close()

    def _add(self, key: str, request: Request) -> None:
        sampling = self._sampling
        fields: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        if sampling.banned:
            fields["bad_words"] = list(sampling.banned)
        prompt = self._prompts[request.task.entry.id]
        self._engine.add(key, prompt, request.seed, sampling.max_tokens, **fields, **sampling.extra)

    def _answer(self, request: Request, ids: np.ndarray, truncated: bool, begin: float) -> Answer:
        prompt = self._prompts[request.task.entry.id]
        found = _OPENING.search(seams.prompt_text(self._tokenizer, prompt[-16:].tolist()))
        opening = f"<{found[1]}>" if found else ""
        text = seams.response_text(self._tokenizer, ids.tolist(), self._stops)
        return Answer(
            text=whole(text, opening),
            tokens=len(ids),
            prompt_tokens=len(prompt),
            finish_reason="length" if truncated else "stop",
            seconds=time.monotonic() - begin,
        )
