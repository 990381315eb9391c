"""From text to token ids: the small built-in tokenizer, prompts, traces, and where to stop.

The built-in tokenizer needs no download and takes any text: one token per UTF-8 byte, ``\\boxed{`` as one token more
(so that an answer costs three tokens), and five special tokens; 262 in all, nothing padded. Its chat template is as
short as can be, because the tiny models that use it pay for every token::

    <|im_start|>{system}<|user|>{question}<|assistant|>{answer}<|im_end|>
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from red_mcore.recipe import Data, Model, RecipeError
from red_mcore.records import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

PAD, EOS = "<|endoftext|>", "<|im_end|>"
SPECIAL_TOKENS = (PAD, "<|im_start|>", EOS, "<|user|>", "<|assistant|>")
BOX = "\\boxed{"
"""Added, but not special: decoding keeps it, since the verifier reads it."""
VOCABULARY_SIZE = 256 + 1 + len(SPECIAL_TOKENS)
"""Bytes, the box, the special tokens; ids in this order. ``vocab_size`` of a model made for this tokenizer."""
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{- '<|im_start|>' + message['content'] -}}"
    "{%- elif message['role'] == 'user' -%}{{- '<|user|>' + message['content'] -}}"
    "{%- elif message['role'] == 'assistant' -%}{{- '<|assistant|>' + message['content'] + '<|im_end|>' -}}"
    "{%- else -%}{{- raise_exception('unknown role ' + message['role']) -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)
STOP_TOKENS = ("<|im_end|>", "<|endoftext|>")
"""End a response wherever the vocabulary has them. A Qwen2.5 base model's ``eos_token`` is only the second one, while
its chat template ends a turn with the first: an engine told of one alone may sample on to the length limit."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The built-in tokenizer; ``save_pretrained`` writes a folder that transformers and vLLM load."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())  # one printable character stands for each byte
    core = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_tokens([AddedToken(BOX, normalized=False, special=False)])
    core.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=EOS,
        pad_token=PAD,
        extra_special_tokens=[token for token in SPECIAL_TOKENS if token not in (PAD, EOS)],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(model: Model) -> PreTrainedTokenizerBase:
    """The tokenizer of ``model.path``, or the built-in one where that is None.

    Raises RecipeError where the folder or hub name has none, or one without chat template or end-of-sequence token.
    """
    if model.path is None:
        return build_tokenizer()
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model.path)
    except (OSError, ValueError) as error:
        raise RecipeError(f"model.path {model.path} has no tokenizer: {str(error).splitlines()[0]}") from error
    if tokenizer.chat_template is None:
        raise RecipeError(f"the tokenizer of model.path {model.path} has no chat template: add chat_template.jinja")
    if tokenizer.eos_token_id is None:
        raise RecipeError(f"the tokenizer of model.path {model.path} has no eos_token: set it in tokenizer_config.json")
    return tokenizer


def encode_prompt(tokenizer: PreTrainedTokenizerBase, problem: Problem, data: Data) -> np.ndarray:
    """[P] int32 token ids of the chat up to where the answer begins."""
    return encode_chat(tokenizer, problem.text, data.instruction, data.system_prompt)


def encode_chat(
    tokenizer: PreTrainedTokenizerBase, text: str, instruction: str, system_prompt: str | None, opening: str = ""
) -> np.ndarray:
    """[P] int32 token ids of the chat up to where the answer begins, or goes on after its ``opening``.

    ``instruction`` follows the text on a line of its own. Where ``system_prompt`` is None no system turn is given, and
    the chat template's own default, if it has one, applies. A template that ends in ``opening`` has it already.
    """
    messages = [{"role": "user", "content": f"{text}\n{instruction}" if instruction else text}]
    if system_prompt is not None:
        messages.insert(0, {"role": "system", "content": system_prompt})
    ids = list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
    if opening and not tokenizer.decode(ids).rstrip().endswith(opening.rstrip()):
        ids += tokenizer.encode(opening, add_special_tokens=False)
    return np.array(ids, dtype=np.int32)


def encode_response(tokenizer: PreTrainedTokenizerBase, text: str) -> np.ndarray:
    """[T] int32 token ids of a teacher's trace, always ending in one end-of-sequence token: it teaches when to stop."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    if ids[-1:] != [tokenizer.eos_token_id]:
        ids = [*ids, tokenizer.eos_token_id]
    return np.array(ids, dtype=np.int32)


def encode_trace(tokenizer: PreTrainedTokenizerBase, problem: Problem, limit: int) -> np.ndarray | None:
    """[T] int32 token ids of the problem's trace; None where there is none, it is empty or has more than ``limit``.

    One that is nothing but its end-of-sequence token is empty: it would teach to give no answer.
    """
    ids = encode_response(tokenizer, problem.trace or "")
    return ids if 1 < len(ids) <= limit else None


def stop_ids(tokenizer: PreTrainedTokenizerBase, config: dict[str, Any]) -> list[int]:
    """Sorted ids of every token that ends a response: the tokenizer's, ``config.json``'s, and STOP_TOKENS it knows.

    Raises RecipeError where that is none at all: each response would run to the length limit.
    """
    named = config.get("eos_token_id")
    found = set(named if isinstance(named, list) else [named])
    vocabulary = tokenizer.get_vocab()
    found |= {tokenizer.eos_token_id, *(vocabulary.get(token) for token in STOP_TOKENS)}
    found.discard(None)
    if not found:
        raise RecipeError("neither tokenizer nor config.json names an end-of-sequence token: set eos_token_id")
    return sorted(found)
