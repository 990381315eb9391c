"""Lengths of traces, and what is left of one that is cut."""

import pytest

from red_mcore.config.recipe import RecipeError
from red_mcore.data.tokenizer import build_tokenizer
from red_mcore.preparation.lengths import Measure
from red_mcore.preparation.settings import Rules

TEXT = "So  x = 2,\nand we are done."


@pytest.mark.parametrize(
    ("unit", "length", "beginning"), [("words", 8, "So  x = 2,"), ("characters", 27, "So  ")]
)
def test_words_and_characters(unit, length, beginning):
    measure = Measure(Rules(unit=unit))
    assert measure.lengths([TEXT, ""]) == [length, 0]
    assert measure.cut(TEXT, 4) == beginning
    assert measure.cut(TEXT, 100) == TEXT


def test_tokens_of_a_folder(tmp_path):
    build_tokenizer().save_pretrained(tmp_path)
    measure = Measure(Rules(unit="tokens", tokenizer=str(tmp_path)))
    assert measure.lengths(["é", "\\boxed{7}"]) == [2, 3]
    assert measure.cut("ab\\boxed{7} and more", 4) == "ab\\boxed{7"


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(RecipeError, match=f"--tokenizer {tmp_path} cannot be loaded"):
        Measure(Rules(unit="tokens", tokenizer=str(tmp_path)))
