"""Whether two models speak of the same tokens, so that one can score what the other has sampled.

Chat templates may differ: ids are scored, not texts.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from red_mcore.config.recipe import Model, RecipeError
from red_mcore.system import apart

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SPECIAL = ("bos_token_id", "eos_token_id")
"""What begins and ends a text. Padding is no matter, for nothing is padded with it here; nor is
which other tokens count as special, for that changes texts and no ids."""


def difference(ours: PreTrainedTokenizerBase, theirs: PreTrainedTokenizerBase) -> str | None:
    """The first difference between a policy's tokenizer and its teacher's, in words; None where all
    ids mean the same."""
    mine, other = ours.get_vocab(), theirs.get_vocab()
    if len(mine) != len(other):
        return f"it has {len(other)} tokens, the policy's has {len(mine)}"
    for token, number in mine.items():
        if other.get(token) != number:
            there = other.get(token, "none")
            return f"the token {token!r} has id {there}, in the policy's it has {number}"
    for name in _SPECIAL:
        first, second = getattr(ours, name), getattr(theirs, name)
        if first != second:
            return f"its {name} is {second}, the policy's is {first}"
    return None


def load(path: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a teacher's folder, which needs no chat template. RecipeError where there is
    none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except Exception as error:  # a damaged file may fail anywhere in transformers
        reason = (str(error).splitlines() or [""])[0]
        raise RecipeError(
            f"algorithm.teacher.path {path} has no tokenizer that can be loaded: {reason}"
        ) from error


def check(ours: PreTrainedTokenizerBase, teacher: str) -> None:
    """RecipeError where the tokenizer in the folder ``teacher`` is another than the policy's."""
    if fault := difference(ours, load(teacher)):
        raise RecipeError(
            f"algorithm.teacher.path {teacher} has another tokenizer than the policy: {fault}. A"
            " teacher scores token by token: take one with the policy's tokens, or give both"
            " folders the same"
        )


def check_apart(model: str | None, teacher: str) -> None:
    """``check`` for two folders (``model`` None: the built-in tokenizer), in a process of its
    own."""
    try:
        apart.ask("red_mcore.data.vocabulary", json.dumps([model, teacher]))
    except apart.Unanswered as end:
        raise RecipeError(
            f"algorithm.teacher.path {teacher}: its tokenizer cannot be compared with the policy's:"
            f" {end}"
        ) from None


def _check(settings: str) -> None:
    apart.without_torch()
    from red_mcore.data.tokenizer import load_tokenizer

    model, teacher = json.loads(settings)
    check(load_tokenizer(Model()) if model is None else load(model), teacher)


if __name__ == "__main__":
    sys.exit(apart.answer(_check))
