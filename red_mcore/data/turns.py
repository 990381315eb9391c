"""What tokenizer and chat template write around a response: how its turn begins and ends, and what
only the template may write."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from red_mcore.config.recipe import RecipeError
from red_mcore.data.template import refusal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DOCUMENT_ENDS = ("<|im_end|>", "<|endoftext|>")
"""End a response wherever the vocabulary has them: base models end with the latter, whatever their
template says."""
ENDS = (
    *DOCUMENT_ENDS, "</s>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<eos>", "<|end_of_text|>",
    "<|return|>", "<｜end▁of▁sentence｜>",
)  # fmt: skip
"""How models end their turns. At the end of a trace they are no words, whichever model wrote it."""

_TAG = re.compile(r"<(/?)(\w+)>")
_REPLY = "Understood"


class Turns(NamedTuple):
    """What tokenizer and template write around a response."""

    end: int
    """Token that ends an assistant's turn, and a trace."""
    stops: frozenset[int]
    """All that end a response, as far as tokenizer and template tell."""
    padding: frozenset[int]
    """The tokens that begin or pad a text."""
    ends: tuple[str, ...]
    """Texts that are dropped at the end of a trace."""
    structure: re.Pattern[str]
    """Tokens that only the template may write."""
    space: str
    """What the template puts between a prompt and its answer."""


def turns(tokenizer: PreTrainedTokenizerBase) -> Turns:
    """The turns of its template; RecipeError where nothing ends one, or none can be written."""
    return _turns(tokenizer, tokenizer.chat_template)


@lru_cache(maxsize=16)
def _turns(tokenizer: PreTrainedTokenizerBase, template: str | None) -> Turns:
    written = prompt = ""
    if template is not None:
        # What stands around a reply tells what a turn begins and ends with.
        question, reply = {"role": "user", "content": "?"}, {"role": "assistant", "content": _REPLY}
        prompt = render(tokenizer, [question])
        written = render(tokenizer, [question, reply], generation=False)
    before, _, after = written.rpartition(_REPLY)
    vocabulary = tokenizer.get_vocab()
    names = {name: getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad", "unk")}
    own = _known(names.values())
    # The template's end goes before the tokenizer's, which may be that of a whole document.
    end = names["eos"]
    for token in _added(tokenizer, after):
        if token in own or not _is_tag(token, tokenizer, vocabulary):
            end = token
            break
    if end is None:
        raise RecipeError(
            f"nothing ends a turn in {tokenizer.name_or_path}: its tokenizer has no eos_token, and"
            " its chat template writes no special token after an answer: set eos_token in"
            " tokenizer_config.json"
        )
    stops = _known([end, names["eos"], *map(vocabulary.get, DOCUMENT_ENDS)])
    structure = own | stops
    for token in _added(tokenizer, written):
        if not _is_tag(token, tokenizer, vocabulary):
            structure.add(token)
    # A token of a single sign has no middle to be cut in.
    words = filter(lambda word: len(word) > 1, _spelt(tokenizer, structure))
    ends = {*ENDS, after.strip(), *_spelt(tokenizer, stops)} - {""}
    space = ""
    if before.startswith(prompt) and before[len(prompt) :].isspace():
        space = before[len(prompt) :]
    return Turns(
        end=end,
        stops=frozenset(stops),
        padding=frozenset(_known([names["bos"], names["pad"]])),
        ends=_longest_first(ends),
        structure=re.compile("|".join(map(re.escape, _longest_first(words))) or "(?!)"),
        space=space,
    )


def _spelt(tokenizer: PreTrainedTokenizerBase, tokens: Iterable[int]) -> set[str]:
    return set(map(tokenizer.convert_ids_to_tokens, tokens))


def _longest_first(texts: Iterable[str]) -> tuple[str, ...]:
    """So that none is taken for its beginning."""
    return tuple(sorted(texts, key=len, reverse=True))


def _known(tokens: Iterable[int | None]) -> set[int]:
    """The tokens that a tokenizer has."""
    return {token for token in tokens if token is not None}


def _added(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The tokens of a text that are no words: those that were added to the vocabulary."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    return [token for token in ids if token in tokenizer.added_tokens_decoder]


def _is_tag(token: int, tokenizer: PreTrainedTokenizerBase, vocabulary: Mapping[str, int]) -> bool:
    """Whether it is one of a pair ``<x>`` and ``</x>``."""
    found = _TAG.fullmatch(tokenizer.convert_ids_to_tokens(token))
    return found is not None and {f"<{found[2]}>", f"</{found[2]}>"} <= vocabulary.keys()


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, str]],
    arguments: Mapping[str, Any] | None = None,
    generation: bool = True,
) -> str:
    """The chat as the template writes it; RecipeError where the template refuses it."""
    try:
        return tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=generation, **(arguments or {})
        )
    except Exception as error:  # a template is a program
        raise RecipeError(refusal(tokenizer.name_or_path or "the tokenizer", error)) from None
