"""The seams between text and tokens: prompts, traces, where a response ends, and the text that
rewards see.

Everything follows from what the chat template writes, so that a trace has the tokens that the model
would produce:

- A trace goes on where the prompt ends. A tag that the prompt has opened (``<think>``) is not
  opened again, nor is the space after it doubled; a prompt that has opened and closed it takes no
  trace that opens it.
- It ends in one token, the one that the template itself writes after an assistant's turn
  (``<|im_end|>``, ``<|eot_id|>``, ``<end_of_turn>``), else the tokenizer's ``eos_token``. The text
  of an end that a trace brings along is dropped.
- Tokens that structure a chat are written by the template alone: where a problem or a trace spells
  one (``<|im_end|>`` in its midst), it is encoded as plain text. Tags such as ``<think>`` are no
  such tokens.
- A response ends with any token that tokenizer, template, config.json or generation_config.json
  name. The text of a response has all its tokens but those that end or pad it: tags count, special
  tokens or not.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from red_mcore.config.recipe import Data, RecipeError
from red_mcore.data import opened_tags
from red_mcore.data.turns import render, turns
from red_mcore.samples.records import Problem, Turns
from red_mcore.system import disk

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GENERATION_CONFIG = "generation_config.json"

_CUT = "\ufdd0"
"""Where a text is cut into pieces that are encoded apart; no character of any language."""
_CONTEXT = 64
"""Tokens of a prompt's end that tell how a response goes on from it."""
_SHOWN = 8
"""Tokens of a prompt's end that are shown."""


def encode_prompt(tokenizer: PreTrainedTokenizerBase, problem: Problem, data: Data) -> np.ndarray:
    """[P] int32 token ids of the chat up to where the answer begins."""
    return encode_chat(
        tokenizer,
        problem.text,
        data.instruction,
        data.system_prompt,
        arguments=data.template_arguments,
        history=problem.history,
    )


def encode_chat(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    instruction: str,
    system_prompt: str | None,
    opening: str = "",
    arguments: Mapping[str, Any] | None = None,
    history: Turns = (),
) -> np.ndarray:
    """[P] int32 token ids of the chat up to where the answer begins, or goes on after its
    ``opening``.

    ``history`` goes before the text, and ``instruction`` follows it on a line of its own. Where
    ``system_prompt`` is None no system turn is given but that of the history, and the chat
    template's own default, if it has one, applies. ``arguments`` are the template's. A template
    that ends in ``opening`` has it already. RecipeError where the template refuses the chat, or has
    closed the opening.
    """
    text = _guarded(tokenizer, text)
    if instruction:
        text = f"{text}\n{instruction}"
    messages = []
    for role, said in history:
        if role == "assistant":
            said = said[: _end(tokenizer, said)]
        if role != "system" or system_prompt is None:
            messages.append({"role": role, "content": _guarded(tokenizer, said)})
    messages.append({"role": "user", "content": text})
    if system_prompt is not None:
        messages.insert(0, {"role": "system", "content": system_prompt})
    prompt = render(tokenizer, messages, arguments)
    ids = _encode(tokenizer, prompt)
    if opening and not prompt.rstrip().endswith(opening.rstrip()):
        ids += _encode(tokenizer, opened_tags.going_on(opening, prompt), prompt)
    return np.array(ids, dtype=np.int32)


def encode_response(
    tokenizer: PreTrainedTokenizerBase, text: str, prompt: np.ndarray
) -> np.ndarray:
    """[T] int32 token ids of a teacher's trace after ``prompt`` ([P] ids), ending in one end of
    turn: it teaches when to stop. RecipeError where the prompt has closed the tag that the trace
    opens."""
    return np.append(encode_words(tokenizer, text, prompt), np.int32(turns(tokenizer).end))


def encode_words(
    tokenizer: PreTrainedTokenizerBase, text: str, prompt: np.ndarray, characters: int | None = None
) -> np.ndarray:
    """``encode_response`` without its end; of the first ``characters`` of the text alone, where
    that is given, for a response to go on from."""
    before = _text(tokenizer, prompt[-_CONTEXT:])
    start, end = _span(tokenizer, text, before)
    if characters is not None:
        end = min(end, characters)
    words = text[start:end]
    if words and not words[0].isspace():
        words = turns(tokenizer).space + words
    return np.array(_encode(tokenizer, _guarded(tokenizer, words), before), dtype=np.int32)


def encode_trace(
    tokenizer: PreTrainedTokenizerBase, problem: Problem, limit: int, data: Data
) -> np.ndarray | None:
    """[T] int32 token ids of the problem's trace; None where there is none, it is empty or has more
    than ``limit``.

    One that is nothing but its end of turn is empty: it would teach to give no answer.
    """
    if not problem.trace:
        return None
    ids = encode_response(tokenizer, problem.trace, encode_prompt(tokenizer, problem, data))
    return ids if 1 < len(ids) <= limit else None


def stop_ids(tokenizer: PreTrainedTokenizerBase, *configs: Mapping[str, Any]) -> list[int]:
    """Sorted ids of every token that ends a response: the tokenizer's, the template's, and
    ``eos_token_id`` (a number or several) of each of ``configs``. RecipeError for none at all, or
    what is no id."""
    found = set(turns(tokenizer).stops)
    for config in configs:
        named = config.get("eos_token_id")
        if named is None:
            continue
        tokens = named if isinstance(named, list) else [named]
        if not all(isinstance(token, int) and token >= 0 for token in tokens):
            raise RecipeError(
                f"eos_token_id={json.dumps(named)} is no token id, nor a list of them: mend it"
            )
        found.update(tokens)
    return sorted(found)


def stop_ids_of(tokenizer: PreTrainedTokenizerBase, folder: Path) -> list[int]:
    """``stop_ids`` with the folder's config.json and generation_config.json."""
    return stop_ids(tokenizer, _json(folder / "config.json"), _json(folder / GENERATION_CONFIG))


def write_stop_ids(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Let generation_config.json name every token that ends a response: all then stop alike."""
    file = folder / GENERATION_CONFIG
    stops = stop_ids_of(tokenizer, folder)
    config = _json(file) | {"eos_token_id": stops if len(stops) > 1 else stops[0]}
    disk.write_atomic(file, json.dumps(config, indent=2) + "\n")


def prompt_text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """A prompt as the model reads it, the template's tokens spelt out."""
    return _text(tokenizer, ids)


def response_text(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], stops: Collection[int]
) -> str:
    """The words of a response: everything but the tokens at its end that end or pad it."""
    idle = {*stops, *turns(tokenizer).padding}
    ids = list(map(int, ids))
    while ids and ids[-1] in idle:
        ids.pop()
    return _text(tokenizer, ids)


def describe(
    tokenizer: PreTrainedTokenizerBase,
    prompt: np.ndarray,
    trace: np.ndarray | None,
    stops: Sequence[int],
) -> list[str]:
    """The ends of one example's prompt and trace, and what ends a response, to read."""

    def spelt(ids: Sequence[int] | np.ndarray) -> str:
        return " ".join(repr(_text(tokenizer, [token])) for token in ids)

    lines = [f"prompts end in {_text(tokenizer, prompt[-_SHOWN:])!r}"]
    if trace is not None:
        lines.append(f"traces go on, for example, {spelt(trace[:4])} and end {spelt(trace[-3:])}")
    names = ", ".join(f"{token} {tokenizer.convert_ids_to_tokens(int(token))!r}" for token in stops)
    lines.append(f"responses stop at {names}")
    bos = tokenizer.bos_token_id
    if bos is not None and tokenizer.encode("a")[0] == bos != prompt[0]:
        lines.append(
            f"the tokenizer begins texts with {tokenizer.bos_token!r}, which the chat template does"
            " not write"
        )
    return lines


def example(
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    data: Data,
    stops: Sequence[int],
    with_traces: bool,
) -> list[str]:
    """``describe`` for the first problem (that has a trace), and how many texts spell tokens of the
    template.

    RecipeError where traces open a tag that the end of the prompt has closed.
    """
    chosen = problems[0]
    traces: dict[int, str] = {}
    if with_traces:
        traces = {problem.id: problem.trace for problem in problems if problem.trace}
        chosen = next((problem for problem in problems if problem.trace), chosen)
    prompt = encode_prompt(tokenizer, chosen, data)
    before = _text(tokenizer, prompt[-_CONTEXT:])
    if closed := [
        number for number, trace in traces.items() if opened_tags.is_closed(trace, before)
    ]:
        raise RecipeError(
            f"{opened_tags.reopened(before)} ({len(closed)} of {len(traces)}, the first of problem"
            f" {closed[0]})"
        )
    trace = encode_response(tokenizer, traces[chosen.id], prompt) if traces else None
    lines = describe(tokenizer, prompt, trace, stops)
    structure = turns(tokenizer).structure
    found = [structure.search(problem.text) for problem in problems]
    for text in traces.values():
        found.append(structure.search(text, 0, _span(tokenizer, text, before)[1]))
    if spelt := list(filter(None, found)):
        lines.append(
            f"{len(spelt)} of {len(found)} problems and traces spell a token of the chat template,"
            f" such as {spelt[0][0]}: it is encoded as plain text there"
        )
    return lines


def _text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int] | np.ndarray) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _guarded(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """``text`` with a cut within everything that would be read as a token of the template."""
    return turns(tokenizer).structure.sub(lambda found: found[0][0] + _CUT + found[0][1:], text)


def _encode(tokenizer: PreTrainedTokenizerBase, guarded: str, before: str = "") -> list[int]:
    """Ids of the pieces of a guarded text; each as it reads after ``before``, or after the piece
    ahead of it.

    Alone, a piece may get a space in front of it (SentencePiece).
    """
    ids: list[int] = []
    for piece in guarded.split(_CUT):
        alone, given = _plain(tokenizer, piece), _plain(tokenizer, before)
        joint = _plain(tokenizer, before + piece) if before else alone
        ids += joint[len(given) :] if joint[: len(given)] == given else alone
        before = "\n"
    return ids


def _plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False) if text else []


def _span(tokenizer: PreTrainedTokenizerBase, trace: str, before: str) -> tuple[int, int]:
    """Where a trace's words begin and end: behind the open tag, before what ends it."""
    end = _end(tokenizer, trace)
    return end - len(opened_tags.going_on(trace[:end], before)), end


def _end(tokenizer: PreTrainedTokenizerBase, trace: str) -> int:
    """Where the words of an assistant's turn end: before the texts of what ends it."""
    ends, end = turns(tokenizer).ends, len(trace)
    while True:
        kept = trace[:end].rstrip()
        found = next((text for text in ends if kept.endswith(text)), None)
        if found is None:
            return end
        end = len(kept) - len(found)


def _json(file: Path) -> dict[str, Any]:
    return disk.read_object(file) or {}
