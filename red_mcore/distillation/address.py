"""A teacher behind an OpenAI-compatible address: chat completions, at the pace that it allows,
tried again while it is busy or away.

The key comes from a variable of the environment and goes into requests alone: no file, no message
and no log has it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import openai
import tenacity

from red_mcore.config.recipe import RecipeError
from red_mcore.config.redaction import HIDDEN, redacted
from red_mcore.data.cells import think
from red_mcore.distillation.pace import Pace
from red_mcore.distillation.settings import Limits, Sampling
from red_mcore.distillation.teacher import Answer, Request, Work, whole

CHARACTERS_PER_TOKEN = 4
"""Where nobody counts: of English, by usual tokenizers."""
CONNECT_SECONDS = 20.0
LONGEST_WAIT = 60.0
"""Seconds between two tries, unless the server asks for more."""
_UNFINISHED = (None, "abort", "error")
"""Finish reasons of servers that were stopped in the middle of an answer."""
_REFUSED = (400, 413, 422)
"""Statuses that say that a request is wrong, and the next may be right."""
_BUSY = (408, 409, 425, 429)


class _Interrupted(Exception):
    """The server has ended an answer before its end."""


class Address:
    """``teacher.Teacher``; the constructor asks the address for its models."""

    def __init__(
        self,
        url: str,
        model: str | None,
        sampling: Sampling,
        limits: Limits,
        *,
        key_variable: str = "OPENAI_API_KEY",
        limit_field: str = "max_tokens",
        say: Callable[[str], None] = print,
    ) -> None:
        """``model``: what the server calls it; None is its only one. ``limit_field``: the request's
        field for the most tokens of an answer. ``say`` is told what waits.

        RecipeError where nobody answers, the key is not accepted, or the model is not there.
        """
        if urlsplit(url).path in ("", "/"):
            url = url.rstrip("/") + "/v1"
        self._shown, self._variable = redacted(url), key_variable
        self._key = os.environ.get(key_variable, "")
        self._sampling, self._limits, self._say = sampling, limits, say
        self._limit_field = limit_field
        timeout = openai.Timeout(limits.timeout_seconds, connect=CONNECT_SECONDS)
        self._client = openai.OpenAI(
            base_url=url, api_key=self._key or "none", max_retries=0, timeout=timeout
        )
        self.name = self._model(model)
        self.about = {"model": self.name}
        """Not the address: the same model may stand behind another one tomorrow."""
        self.place = f"{self.name} at {self._shown}"
        self.prompt_tokens: float | None = None
        self._requests = Pace(limits.requests_per_minute)
        self._tokens = Pace(limits.tokens_per_minute)
        self._answered = self._answer_tokens = 0
        self._lock = threading.Lock()
        self._warned = 0.0

    def work(self, work: Work) -> None:
        """As ``Teacher`` has it, with ``Limits.concurrency`` threads."""
        threads = [
            threading.Thread(target=self._serve, args=(work,), daemon=True)
            for _ in range(self._limits.concurrency)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive() and not work.is_over:
                thread.join(0.2)  # so that Ctrl-C is heeded

    def close(self) -> None:
        """As ``Teacher`` has it."""
        self._client.close()

    def _serve(self, work: Work) -> None:
        try:
            while (request := work.take()) is not None:
                try:
                    answer = self._ask(request, work)
                except openai.APIStatusError as error:
                    if error.status_code not in _REFUSED:
                        raise
                    work.refuse(request, self._told(error))
                else:
                    work.tell(request, answer)
        except (openai.APIError, _Interrupted, json.JSONDecodeError) as error:
            work.give_up(RuntimeError(self._failure(error)))
        except BaseException as error:
            work.give_up(error)

    def _ask(self, request: Request, work: Work) -> Answer:
        """The answer, after as many tries as it takes; the last error where patience ends."""
        tries = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: not work.is_over and _may_pass(error)),
            wait=_wait,
            stop=tenacity.stop_after_delay(self._limits.patience_seconds),
            before_sleep=self._warn,
            reraise=True,
        )
        fields = self._fields(request)
        expected = self._expected(fields)
        for attempt in tries:
            with attempt:
                self._requests.take()
                self._tokens.take(expected)
                begin = time.monotonic()
                answer = self._read(self._client.chat.completions.create(**fields), begin)
        used = (answer.prompt_tokens or 0) + (answer.tokens or 0)
        self._tokens.correct(used - expected)
        with self._lock:
            self._answered += 1
            self._answer_tokens += answer.tokens or 0
        return answer

    def _fields(self, request: Request) -> dict[str, Any]:
        sampling, problem = self._sampling, request.task.problem.text
        text = f"{problem}\n{sampling.suffix}" if sampling.suffix else problem
        messages = [{"role": "user", "content": text}]
        if sampling.system_prompt is not None:
            messages.insert(0, {"role": "system", "content": sampling.system_prompt})
        fields: dict[str, Any] = {
            "model": self.name,
            "messages": messages,
            "temperature": sampling.temperature,
            "seed": request.seed,
            self._limit_field: sampling.max_tokens,
        }
        if sampling.top_p != 1:
            fields["top_p"] = sampling.top_p
        extra = dict(sampling.extra)
        if sampling.banned:
            extra["bad_words"] = list(sampling.banned)
        if sampling.template_arguments:
            extra["chat_template_kwargs"] = sampling.template_arguments
        return fields | ({"extra_body": extra} if extra else {})

    def _expected(self, fields: dict[str, Any]) -> float:
        """Tokens that a request is going to take, as far as is known."""
        characters = sum(len(message["content"]) for message in fields["messages"])
        with self._lock:
            mean = self._answer_tokens / self._answered if self._answered else None
        answer = self._sampling.max_tokens if mean is None else mean
        return characters / CHARACTERS_PER_TOKEN + answer

    def _read(self, found: Any, begin: float) -> Answer:
        choice = found.choices[0] if getattr(found, "choices", None) else None
        if choice is None or choice.finish_reason in _UNFINISHED:
            raise _Interrupted("an answer without end")
        message, usage = choice.message, found.usage
        # Servers call it by one of two names.
        reasoning = getattr(message, "reasoning_content", None)
        reasoning = reasoning or getattr(message, "reasoning", None)
        return Answer(
            text=_text(reasoning, message.content),
            tokens=usage.completion_tokens if usage else None,
            prompt_tokens=usage.prompt_tokens if usage else None,
            finish_reason=choice.finish_reason,
            seconds=time.monotonic() - begin,
        )

    def _model(self, name: str | None) -> str:
        try:
            found = {model.id: model for model in self._client.models.list()}
        except openai.NotFoundError:  # not every server tells
            found = {}
        except openai.APIError as error:
            raise RecipeError(self._failure(error)) from None
        if name is None and len(found) == 1:
            (name,) = found
        names = ", ".join(sorted(found)[:20]) or "it names none itself"
        if name is None:
            raise RecipeError(f"--model: {self._shown} has several or none: use one of {names}")
        if found and name not in found:
            raise RecipeError(f"--model {name} is not at {self._shown}: use one of {names}")
        room = getattr(found.get(name), "max_model_len", None)
        if isinstance(room, int) and self._sampling.max_tokens >= room:
            raise RecipeError(
                f"--max-tokens {self._sampling.max_tokens} leaves no room for a prompt: {name} at"
                f" {self._shown} takes {room} tokens in all"
            )
        return name

    def _warn(self, state: tenacity.RetryCallState) -> None:
        """Say that something waits, once a minute for all threads together."""
        with self._lock:
            now = time.monotonic()
            if now - self._warned < 60 and self._warned:
                return
            self._warned = now
        error = state.outcome.exception() if state.outcome else None
        patience = f"{self._limits.patience_seconds:.0f} seconds"
        self._say(f"{self._shown}: {self._told(error)}; trying again, for {patience} at most")

    def _failure(self, error: Exception) -> str:
        """The line on an address that cannot be used."""
        told, status = self._told(error), getattr(error, "status_code", None)
        if status in (401, 403):
            has = "is not accepted" if self._key else "is not set"
            fix = f"the key in the environment variable {self._variable} {has}"
        elif status == 404:
            fix = "check the address (it usually ends in /v1) and --model"
        elif status is None or _may_pass(error):
            fix = "see that the server runs and is reached from here, then run the command again"
        else:
            fix = "mend that, then run the command again"
        return f"{self._shown}: {told}: {fix}"

    def _told(self, error: BaseException | None) -> str:
        """An error in one line, without the key and without the address's secrets."""
        text = " ".join(str(error).split()) or type(error).__name__
        if self._key:
            text = text.replace(self._key, HIDDEN)
        return redacted(text if len(text) <= 300 else text[:300] + "...")


def _text(reasoning: str | None, content: str | None) -> str:
    """The trace of a message's two parts."""
    if reasoning and not content:  # the limit has cut it off while it thought
        return f"<think>\n{reasoning.strip()}"
    return whole(think(reasoning, content) or "")


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, openai.RateLimitError):
        return error.code != "insufficient_quota"
    if isinstance(error, openai.APIStatusError):
        return error.status_code in _BUSY or error.status_code >= 500
    if isinstance(error, openai.APIConnectionError | openai.APIResponseValidationError):
        return True
    return isinstance(error, _Interrupted | json.JSONDecodeError)


_random_wait = tenacity.wait_random_exponential(multiplier=1, max=LONGEST_WAIT)


def _wait(state: tenacity.RetryCallState) -> float:
    """Seconds up to 1, 2, 4, ... by chance, and no less than the server asks for."""
    error = state.outcome.exception() if state.outcome else None
    response = getattr(error, "response", None)
    try:
        asked = float(response.headers.get("retry-after", 0)) if response is not None else 0.0
    except ValueError:  # a date
        asked = 0.0
    return max(_random_wait(state), min(asked, 3600.0))
