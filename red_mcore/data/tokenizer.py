"""Tokenizers: the small built-in one, and those of model folders.

The built-in tokenizer needs no download and takes any text: one token per UTF-8 byte, ``\\boxed{``
as one token more (so that an answer costs three tokens), and five special tokens; 262 in all,
nothing padded. Its chat template is as short as can be, because the tiny models that use it pay for
every token::

    <|im_start|>{system}<|user|>{question}<|assistant|>{answer}<|im_end|>
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from red_mcore.config.recipe import Model, RecipeError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

PAD, EOS = "<|endoftext|>", "<|im_end|>"
SPECIAL_TOKENS = (PAD, "<|im_start|>", EOS, "<|user|>", "<|assistant|>")
BOX = "\\boxed{"
"""Added, but not special: decoding keeps it, since the verifier reads it."""
VOCABULARY_SIZE = 256 + 1 + len(SPECIAL_TOKENS)
"""Bytes, the box, the special tokens; ids in this order. ``vocab_size`` of a model made for this
tokenizer."""
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{- '<|im_start|>' + message['content'] -}}"
    "{%- elif message['role'] == 'user' -%}{{- '<|user|>' + message['content'] -}}"
    "{%- elif message['role'] == 'assistant' -%}"
    "{{- '<|assistant|>' + message['content'] + '<|im_end|>' -}}"
    "{%- else -%}{{- raise_exception('unknown role ' + message['role']) -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The built-in tokenizer; transformers and vLLM load what ``save_pretrained`` writes."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    # One printable character stands for each byte.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_tokens([AddedToken(BOX, normalized=False, special=False)])
    core.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=EOS,
        pad_token=PAD,
        extra_special_tokens=[token for token in SPECIAL_TOKENS if token not in (PAD, EOS)],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(
    model: Model, arguments: Mapping[str, Any] | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer of ``model.path``, or the built-in one where that is None; with
    ``model.chat_template``, if any.

    ``arguments`` become defaults of its chat template. Raises RecipeError where the folder or hub
    name has no tokenizer, or one without chat template or a token that ends a turn.
    """
    from red_mcore.data import seams, template

    if model.path is None:
        tokenizer = build_tokenizer()
    else:
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(model.path, trust_remote_code=False)
        except Exception as error:  # a damaged file may fail anywhere in transformers
            reason = str(error).partition("\n")[0]
            if not isinstance(error, OSError | ValueError):  # others say little without their name
                reason = f"{type(error).__name__}: {reason}"
            raise RecipeError(
                f"model.path {model.path} has no tokenizer that can be loaded: {reason}"
            ) from error
    # The recipe's template goes before the folder's.
    text = tokenizer.chat_template
    if isinstance(text, dict):  # several, by name
        text = text.get("default")
    if model.chat_template is not None:
        text = template.read(model.chat_template)
    if text is not None and not isinstance(text, str):
        raise RecipeError(f"the chat template of model.path {model.path} is no text")
    if text is None:
        raise RecipeError(template.missing(f"model.path {model.path}"))
    tokenizer.chat_template = template.with_defaults(text, arguments or {})
    seams.turns(tokenizer)  # an error where nothing ends one
    return tokenizer
