import numpy as np
import pytest

from red_mcore.data import arithmetic, tokenizer
from red_mcore.data.problems import load_problems
from red_mcore.recipe import Arithmetic, Data, Model, RecipeError
from red_mcore.records import Problem

QUESTION = Problem(id=0, text="1a+2?", gold="3")


@pytest.fixture(scope="module")
def built():
    return tokenizer.build_tokenizer()


@pytest.mark.parametrize("text", ["a9*8=2\\boxed{7}", "naïve 你好 🙂\n\t'don't'  x", "\\boxed{\\frac{1}{2}}", ""])
def test_any_text_survives_the_round_trip(built, text):
    ids = tokenizer.encode_response(built, text)
    assert ids.dtype == np.int32
    assert built.decode(ids, skip_special_tokens=True) == text


def test_one_token_per_byte_and_one_for_the_box(built):
    assert len(built) == tokenizer.VOCABULARY_SIZE == 262
    assert len(tokenizer.encode_response(built, "a9*8=2w\\boxed{7}")) == 7 + 3 + 1
    assert len(tokenizer.encode_response(built, "é")) == 2 + 1


def test_a_trace_ends_in_exactly_one_stop_token(built):
    for text in ("\\boxed{7}", "\\boxed{7}<|im_end|>"):
        ids = tokenizer.encode_response(built, text).tolist()
        assert ids[-1] == built.eos_token_id
        assert ids.count(built.eos_token_id) == 1


def test_traces_stay_within_the_limit(built):
    settings = Arithmetic()
    lengths = [
        len(tokenizer.encode_response(built, problem.trace))
        for problem in load_problems(Data(problems=500, held_out=0), seed=0)[0]
    ]
    assert max(lengths) <= arithmetic.trace_limit(settings) == 80
    assert max(lengths) > 70


def test_prompt_is_the_chat_template_up_to_the_answer(built):
    plain = tokenizer.encode_prompt(built, QUESTION, Data())
    assert plain.dtype == np.int32
    assert built.decode(plain) == "<|user|>1a+2?<|assistant|>"
    told = tokenizer.encode_prompt(built, QUESTION, Data(system_prompt="Be brief.", instruction="Box it."))
    assert built.decode(told) == "<|im_start|>Be brief.<|user|>1a+2?\nBox it.<|assistant|>"
    turns = [{"role": "user", "content": "1a+2?"}, {"role": "assistant", "content": "3"}]
    assert built.apply_chat_template(turns, tokenize=False) == "<|user|>1a+2?<|assistant|>3<|im_end|>"


def test_saved_folder_loads_as_the_same_tokenizer(built, tmp_path):
    built.save_pretrained(tmp_path)
    loaded = tokenizer.load_tokenizer(Model(path=str(tmp_path)))
    text = "a1+2=3\\boxed{3} é🙂"
    assert tokenizer.encode_response(loaded, text).tolist() == tokenizer.encode_response(built, text).tolist()
    assert loaded.decode(tokenizer.encode_response(loaded, text), skip_special_tokens=True) == text
    prompts = [tokenizer.encode_prompt(t, QUESTION, Data()).tolist() for t in (loaded, built)]
    assert prompts[0] == prompts[1]
    assert loaded.pad_token == "<|endoftext|>"
    assert loaded.eos_token == "<|im_end|>"


def test_all_stop_tokens_are_found_whichever_one_the_model_names(built):
    ids = built.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert tokenizer.stop_ids(built, {}) == sorted(ids)
    assert tokenizer.stop_ids(built, {"eos_token_id": ids[1]}) == sorted(ids)
    assert tokenizer.stop_ids(built, {"eos_token_id": [5, ids[0]]}) == sorted([5, *ids])


def test_a_tokenizer_that_cannot_be_used_is_named(built, tmp_path):
    with pytest.raises(RecipeError, match="has no tokenizer"):
        tokenizer.load_tokenizer(Model(path=str(tmp_path)))
    bare = tokenizer.build_tokenizer()
    bare.chat_template = None
    bare.save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match="has no chat template"):
        tokenizer.load_tokenizer(Model(path=str(tmp_path)))
