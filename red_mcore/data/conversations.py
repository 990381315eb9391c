"""Conversations of several turns: how a row becomes a problem with a history, and which tokens of
it are the assistant's.

The problem is the last user turn, its trace the answer to it, and its history what goes before,
the row's own system turn included. A prompt is then the template's writing of history and problem.
A whole conversation is one sequence in which every turn of the assistant is trained: the template
writes the prompt of each of these turns, a prefix of the conversation, and the turn follows it
token by token as a trace does (``seams.encode_response``). So the mask comes of token ids alone.
It holds only where each prefix with its turn is how the whole sequence begins; a template that
writes earlier turns otherwise than as they were said (one that strips their thoughts, say) breaks
that, and then the last turn alone is trained, after the prompt that the template gives it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from red_mcore.config.recipe import Data, RecipeError
from red_mcore.data import cells
from red_mcore.data.duplicates import Note
from red_mcore.data.formats import Content
from red_mcore.data.seams import encode_chat, encode_prompt, encode_response
from red_mcore.samples.records import Problem, Turns

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LOOKED_AT = 200
"""Conversations whose tokens ``notes`` looks at: a second."""


class Whole(NamedTuple):
    """A conversation as one sequence."""

    prompt: np.ndarray
    """[P] int32: up to the assistant's first turn."""
    response: np.ndarray
    """[T] int32: all that follows, turns of the user and the template's tokens included."""
    trained: np.ndarray
    """[T] bool: the tokens of the assistant's turns, the end of each included."""


def opened(row: dict[str, Any], column: str, where: str) -> tuple[dict[str, Any], Turns]:
    """(The row with the last user turn, and its answer, alone in ``column``; the turns before).

    A cell that is no chat stays as it is. RecipeError naming the place where turns do not follow
    one another as system (perhaps), user, assistant, user, ...; a last answer may be in another
    column.
    """
    name = next((key for key in row if key.lower() == column.lower()), None)
    try:
        chat = None if name is None else cells.turns(row[name])
        if name is None or chat is None:
            return row, ()
        _check_order(chat)
    except cells.CellError as error:
        raise RecipeError(f"{where}: column '{column}' {error}") from None
    last = len(chat) - 1 - (chat[-1].role == "assistant")
    kept = [{"role": turn.role, "content": turn.text} for turn in chat[last:]]
    return {**row, name: kept}, tuple((turn.role, turn.text) for turn in chat[:last])


def gold_of(content: Content, data: Data) -> cells.Gold | None:
    """The row's gold; what is imitated as a conversation needs none, and has an empty one."""
    if data.conversations and content.gold is None and content.traces:
        return cells.Gold("")
    return content.gold


def _check_order(chat: Sequence[cells.Turn]) -> None:
    said = chat[1:] if chat[0].role == "system" else chat
    for place, turn in enumerate(said):
        wanted = "assistant" if place % 2 else "user"
        if turn.role != wanted:
            raise cells.CellError(
                f"has a turn of role {turn.role} where the {wanted}'s is due: turns of user and"
                " assistant have to take turns, after at most one system turn"
            )
        if not turn.text.strip():
            raise cells.CellError(f"has an empty turn of the {turn.role}: leave such rows out")
    if not said:
        raise cells.CellError("has no turn of the user")


def encode(tokenizer: PreTrainedTokenizerBase, problem: Problem, data: Data) -> Whole | None:
    """The whole conversation of a problem with history and trace; None where the assistant has no
    earlier turn, or the template changes one."""
    assert problem.trace is not None
    prompt = encode_prompt(tokenizer, problem, data)
    whole = np.concatenate([prompt, encode_response(tokenizer, problem.trace, prompt)])
    trained = np.zeros(len(whole), bool)
    trained[len(prompt) :] = True
    first = None
    for place, (role, text) in enumerate(problem.history):
        if role != "assistant":
            continue
        question, before = problem.history[place - 1][1], problem.history[: place - 1]
        try:
            begin = encode_chat(
                tokenizer,
                question,
                "",
                data.system_prompt,
                arguments=data.template_arguments,
                history=before,
            )
            turn = encode_response(tokenizer, text, begin)
        except RecipeError:  # the template closes a tag that the turn opens
            return None
        end = len(begin) + len(turn)
        if not np.array_equal(whole[:end], np.concatenate([begin, turn])):
            return None
        trained[len(begin) : end] = True
        if first is None:
            first = len(begin)
    if first is None:
        return None
    return Whole(whole[:first], whole[first:], trained[first:])


def notes(
    tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem], data: Data, learns_all: bool
) -> list[Note]:
    """How many conversations of several turns are trained whole, of the first ones; [] where there
    are none. ``learns_all``: the method learns the earlier turns, too."""
    several = []
    for problem in problems:
        if problem.trace and any(role == "assistant" for role, _ in problem.history):
            several.append(problem)
    if not several:
        return []
    line = f"{len(several)} problems are conversations of several turns"
    if not learns_all:
        return [Note("conversations", len(several), f"{line}, whose last answer alone is learnt")]
    some = several[:LOOKED_AT]
    whole = sum(encode(tokenizer, problem, data) is not None for problem in some)
    line += f"; of the first {len(some)}, {whole} are learnt in all turns of the assistant"
    if whole < len(some):
        line += (
            f", {len(some) - whole} in the last alone: the chat template writes earlier turns"
            " otherwise than they were said (it strips thoughts, say)"
        )
    return [Note("conversations", len(several), line)]
