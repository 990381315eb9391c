"""How long traces are, in the unit that the rules name, and how an over-long one is cut."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from red_mcore.config.recipe import RecipeError
from red_mcore.preparation.settings import Rules

_WORD = re.compile(r"\S+")


class Measure:
    """The lengths of texts by the rules: tokens of a tokenizer's folder (special tokens left out),
    words (what stands between white space) or characters."""

    def __init__(self, rules: Rules) -> None:
        """RecipeError where the tokenizer cannot be loaded."""
        self._unit = rules.unit
        self._tokenizer = _tokenizer(rules.tokenizer) if rules.tokenizer else None

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """The length of each text."""
        if self._tokenizer is not None:
            return [len(ids) for ids in self._encode(texts, "input_ids")] if texts else []
        if self._unit == "words":
            return [len(text.split()) for text in texts]
        return [len(text) for text in texts]

    def cut(self, text: str, length: int) -> str:
        """The beginning of ``text`` that is ``length`` units long; nothing is spelled anew."""
        if self._tokenizer is not None:
            (offsets,) = self._encode([text], "offset_mapping")
            return text[: offsets[length - 1][1]] if len(offsets) > length else text
        if self._unit == "words":
            for number, word in enumerate(_WORD.finditer(text), start=1):
                if number == length:
                    return text[: word.end()]
            return text
        return text[:length]

    def _encode(self, texts: Sequence[str], what: str) -> list[Any]:
        assert self._tokenizer is not None
        found = self._tokenizer(
            list(texts),
            add_special_tokens=False,
            return_attention_mask=False,
            return_offsets_mapping=what == "offset_mapping",
            verbose=False,  # else it warns of texts that are longer than a model's context
        )
        return found[what]


def _tokenizer(folder: str) -> Any:
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # a damaged file may fail anywhere in transformers
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RecipeError(f"--tokenizer {folder} cannot be loaded: {reason}") from error
    if not found.is_fast:
        raise RecipeError(
            f"--tokenizer {folder} has no tokenizer.json, which tells where words end"
        )
    return found
