import numpy as np
import pytest

from red_mcore.config.recipe import Arithmetic, Data, Model, RecipeError
from red_mcore.data import arithmetic, tokenizer
from red_mcore.data.problems import load_problems
from red_mcore.data.seams import encode_prompt, encode_response, response_text, stop_ids
from red_mcore.samples.records import Problem

QUESTION = Problem(id=0, text="1a+2?", gold="3")


@pytest.fixture(scope="module")
def built():
    return tokenizer.build_tokenizer()


@pytest.fixture(scope="module")
def prompt(built):
    return encode_prompt(built, QUESTION, Data())


@pytest.mark.parametrize(
    "text", ["a9*8=2\\boxed{7}", "naïve 你好 🙂\n\t'don't'  x", "\\boxed{\\frac{1}{2}}", ""]
)
def test_any_text_survives_the_round_trip(built, prompt, text):
    ids = encode_response(built, text, prompt)
    assert ids.dtype == np.int32
    assert response_text(built, ids, stop_ids(built)) == text


def test_one_token_per_byte_and_one_for_the_box(built, prompt):
    assert len(built) == tokenizer.VOCABULARY_SIZE == 262
    assert len(encode_response(built, "a9*8=2w\\boxed{7}", prompt)) == 7 + 3 + 1
    assert len(encode_response(built, "é", prompt)) == 2 + 1


def test_traces_stay_within_the_limit(built, prompt):
    settings = Arithmetic()
    lengths = [
        len(encode_response(built, problem.trace, prompt))
        for problem in load_problems(Data(problems=500, held_out=0), seed=0)[0]
    ]
    assert max(lengths) <= arithmetic.trace_limit(settings) == 80
    assert max(lengths) > 70


def test_prompt_is_the_chat_template_up_to_the_answer(built, prompt):
    assert prompt.dtype == np.int32
    assert built.decode(prompt) == "<|user|>1a+2?<|assistant|>"
    told = encode_prompt(built, QUESTION, Data(system_prompt="Be brief.", instruction="Box it."))
    assert built.decode(told) == "<|im_start|>Be brief.<|user|>1a+2?\nBox it.<|assistant|>"
    turns = [{"role": "user", "content": "1a+2?"}, {"role": "assistant", "content": "3"}]
    assert (
        built.apply_chat_template(turns, tokenize=False) == "<|user|>1a+2?<|assistant|>3<|im_end|>"
    )


def test_saved_folder_loads_as_the_same_tokenizer(built, prompt, tmp_path):
    built.save_pretrained(tmp_path)
    loaded = tokenizer.load_tokenizer(Model(path=str(tmp_path)))
    text = "a1+2=3\\boxed{3} é🙂"
    ids = encode_response(loaded, text, prompt)
    assert ids.tolist() == encode_response(built, text, prompt).tolist()
    assert response_text(loaded, ids, stop_ids(loaded)) == text
    assert encode_prompt(loaded, QUESTION, Data()).tolist() == prompt.tolist()
    assert loaded.pad_token == "<|endoftext|>"
    assert loaded.eos_token == "<|im_end|>"


def test_a_tokenizer_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(RecipeError, match="has no tokenizer"):
        tokenizer.load_tokenizer(Model(path=str(tmp_path)))
    bare = tokenizer.build_tokenizer()
    bare.chat_template = None
    bare.save_pretrained(tmp_path)
    with pytest.raises(
        RecipeError, match=r"has no chat template: name a file with one, model\.chat_template=FILE"
    ):
        tokenizer.load_tokenizer(Model(path=str(tmp_path)))
    file = tmp_path / "mine.jinja"
    file.write_text("{% for m in messages %}{{ m.content }}\n{% endfor %}")
    loaded = tokenizer.load_tokenizer(
        Model(path=str(tmp_path), chat_template=str(file))
    )  # as the message says
    assert loaded.decode(encode_prompt(loaded, QUESTION, Data())) == "1a+2?\n"
    bare.eos_token = None
    bare.save_pretrained(tmp_path)
    with pytest.raises(
        RecipeError, match=r"nothing ends a turn .*: set eos_token in tokenizer_config\.json"
    ):
        tokenizer.load_tokenizer(Model(path=str(tmp_path), chat_template=str(file)))
