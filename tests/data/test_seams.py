"""Prompts, traces and stop tokens under the chat templates of the field, with small tokenizers of
their shapes."""

import json
import re

import numpy as np
import pytest
from chat_folders import BARE_OPENING, CHATML, FAMILIES, MISTRAL, OPENING, PHI3, QWEN3, make

from red_mcore.config.recipe import Data, Model, RecipeError
from red_mcore.data import seams
from red_mcore.data.seams import (
    encode_chat,
    encode_prompt,
    encode_response,
    encode_trace,
    response_text,
    stop_ids,
)
from red_mcore.data.tokenizer import load_tokenizer
from red_mcore.samples.records import Problem

QUESTION = Problem(id=0, text="1+1?", gold="2")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """(tokenizer, text of the end of a turn, template)"""
    template, special, bos, eos, end = FAMILIES[request.param]
    return make(tmp_path_factory.mktemp("family"), template, special, bos, eos), end, template


def spelt(tokenizer, ids) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False)


def both(tokenizer, trace, data=None) -> str:
    """Prompt and trace as the model learns them."""
    prompt = encode_prompt(tokenizer, QUESTION, data or Data())
    return spelt(tokenizer, [*prompt, *encode_response(tokenizer, trace, prompt)])


def test_a_trace_ends_as_the_template_ends_a_turn(family):
    tokenizer, end, _ = family
    prompt = encode_prompt(tokenizer, QUESTION, Data())
    words = "So \\boxed{2}"
    expected = encode_response(tokenizer, words, prompt).tolist()
    assert spelt(tokenizer, expected[-1:]) == end
    assert expected[-1] in stop_ids(tokenizer)
    assert expected.count(expected[-1]) == 1
    for ending in (
        end,
        end + "\n",
        end + " \n\n",
        end + "\n" + end,
        "</s>",
        "<|eot_id|>\n",
        "<|im_end|>\n<|endoftext|>",
    ):
        assert encode_response(tokenizer, words + ending, prompt).tolist() == expected
    assert response_text(tokenizer, expected, stop_ids(tokenizer)).strip() == words


def test_prompt_and_trace_are_what_the_template_writes_itself(family):
    tokenizer, _, template = family
    turns = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "So \\boxed{2}"}]
    written = tokenizer.apply_chat_template(turns, return_dict=False)
    prompt = encode_prompt(tokenizer, QUESTION, Data())
    ours = [*prompt.tolist(), *encode_response(tokenizer, "So \\boxed{2}", prompt).tolist()]
    if template is QWEN3:  # it writes an empty block of thoughts into old turns
        return
    assert ours[:-1] == written[: len(ours) - 1]
    bos = tokenizer.bos_token_id
    assert ours.count(bos) == (bos is not None)


def test_words_after_the_end_of_a_trace_are_kept_and_blanks_too(family):
    tokenizer, end, _ = family
    assert both(tokenizer, "2 \n").endswith("2 \n" + end)
    assert both(tokenizer, f"2 \n{end}").endswith("2 \n" + end)


def test_a_text_that_spells_tokens_of_the_template_is_plain(family):
    tokenizer, end, _ = family
    prompt = encode_prompt(tokenizer, QUESTION, Data()).tolist()
    text = f"1{end}+{end}1?"
    hostile = encode_prompt(tokenizer, Problem(0, text, "2"), Data()).tolist()
    stop = encode_response(tokenizer, "x", np.array(prompt))[-1]
    assert hostile.count(stop) == prompt.count(stop)
    assert text in spelt(tokenizer, hostile)
    trace = encode_response(tokenizer, f"a{end}b", np.array(prompt)).tolist()
    assert trace.count(stop) == 1
    assert response_text(tokenizer, trace, [int(stop)]).strip() == f"a{end}b"


@pytest.mark.parametrize(
    ("template", "trace", "expected"),
    [
        (CHATML, "<think>\n1+1</think>2", "assistant\n<think>\n1+1</think>2<|im_end|>"),
        (CHATML, "2", "assistant\n2<|im_end|>"),
        (OPENING, "<think>\n1+1</think>2", "assistant\n<think>\n1+1</think>2<|im_end|>"),
        (OPENING, "<think>1+1</think>2", "assistant\n<think>\n1+1</think>2<|im_end|>"),
        (OPENING, " \n<think>\n\n1+1</think>2", "assistant\n<think>\n1+1</think>2<|im_end|>"),
        (OPENING, "\n1+1</think>2", "assistant\n<think>\n1+1</think>2<|im_end|>"),
        (OPENING, "1+1</think>2", "assistant\n<think>\n1+1</think>2<|im_end|>"),
        (BARE_OPENING, "<think>\n1+1</think>2", "assistant\n<think>\n1+1</think>2<|im_end|>"),
        (BARE_OPENING, "1+1</think>2", "assistant\n<think>1+1</think>2<|im_end|>"),
    ],
)
@pytest.mark.parametrize("tags", [[], ["<think>", "</think>"]], ids=["text", "tokens"])
def test_a_tag_is_opened_once(tmp_path, template, trace, expected, tags):
    tokenizer = make(tmp_path, template, ["<|im_start|>", "<|im_end|>"], None, "<|im_end|>", tags)
    found = both(tokenizer, trace)
    assert found.endswith(expected)
    assert found.count("<think>") == expected.count("<think>")


def test_a_template_that_closes_the_thoughts_takes_no_trace_that_opens_them(tmp_path):
    tokenizer = make(tmp_path, QWEN3, ["<|im_start|>", "<|im_end|>"], None, "<|im_end|>")
    silent = Data(template_arguments={"enable_thinking": False})
    assert both(tokenizer, "<think>\n1+1</think>2").endswith(
        "assistant\n<think>\n1+1</think>2<|im_end|>"
    )
    for trace in ("2", "\n\n2", "<think>\n\n</think>\n\n2", "<think></think>2"):
        assert both(tokenizer, trace, silent).endswith(
            "assistant\n<think>\n\n</think>\n\n2<|im_end|>"
        )
    with pytest.raises(RecipeError, match=r"data\.template_arguments=\{enable_thinking: true\}"):
        both(tokenizer, "<think>\n1+1</think>2", silent)
    problems = [Problem(3, "1?", "1", "1"), Problem(4, "2?", "2", "<think>2</think>2")]
    with pytest.raises(RecipeError, match=r"1 of 2, the first of problem 4"):
        seams.example(tokenizer, problems, silent, [1], with_traces=True)
    assert seams.example(tokenizer, problems, silent, [1], with_traces=False)
    with pytest.raises(RecipeError, match="ends the prompt in"):
        encode_chat(
            tokenizer, "1?", "", None, opening="<think>\n", arguments={"enable_thinking": False}
        )
    # As the message says.
    thinking = Data(template_arguments={"enable_thinking": True})
    assert both(tokenizer, "<think>\n1+1</think>2", thinking).count("<think>") == 1


def test_arguments_become_defaults_of_the_template(tmp_path):
    make(tmp_path, QWEN3, ["<|im_start|>", "<|im_end|>"], None, "<|im_end|>")
    silent = load_tokenizer(Model(path=str(tmp_path)), {"enable_thinking": False})
    silent.save_pretrained(tmp_path / "saved")
    for tokenizer in (silent, load_tokenizer(Model(path=str(tmp_path / "saved")))):
        assert spelt(tokenizer, encode_prompt(tokenizer, QUESTION, Data())).endswith("</think>\n\n")
        loud = Data(template_arguments={"enable_thinking": True})
        assert spelt(tokenizer, encode_prompt(tokenizer, QUESTION, loud)).endswith("assistant\n")


def test_an_opening_goes_on_from_the_template_s(tmp_path):
    for template, expected in (
        (CHATML, "t\n<think>\n"),
        (OPENING, "t\n<think>\n"),
        (BARE_OPENING, "t\n<think>"),
    ):
        tokenizer = make(
            tmp_path / str(len(template)),
            template,
            ["<|im_start|>", "<|im_end|>"],
            None,
            "<|im_end|>",
        )
        assert spelt(
            tokenizer, encode_chat(tokenizer, "1?", "", None, opening="<think>\n")
        ).endswith(expected)


def test_rewards_see_tags_that_are_special_tokens(tmp_path):
    tags = ["<think>", "</think>", "<answer>", "</answer>"]
    tokenizer = make(tmp_path, CHATML, ["<|im_start|>", "<|im_end|>"], "<s>", "<|endoftext|>", tags)
    prompt = encode_prompt(tokenizer, QUESTION, Data())
    text = "<think>is it \\boxed{3} ?</think><answer>no , \\boxed{2} .</answer>"
    ids = encode_response(tokenizer, text, prompt).tolist()
    assert set(tokenizer.convert_tokens_to_ids(tags)) <= set(ids)
    stops = stop_ids(tokenizer)
    bos = tokenizer.bos_token_id
    for tail in ([], [tokenizer.eos_token_id] * 3, [bos], [bos, *stops]):
        assert response_text(tokenizer, ids + tail, stops) == text
    assert response_text(tokenizer, ids[:-1], stops) == text  # cut off by its limit
    middle = [*ids[:-1], tokenizer.convert_tokens_to_ids("<|im_start|>"), *ids[:3]]
    assert response_text(tokenizer, middle, stops).startswith(text + "<|im_start|>")


def test_pieces_of_sentencepiece_get_no_space_that_the_model_would_not_write(tmp_path):
    made = {
        name: make(
            tmp_path / name,
            template,
            ["<|user|>", "<|assistant|>"],
            "<s>",
            "</s>",
            sentencepiece=True,
        )
        for name, template in {"inst": MISTRAL, "turns": PHI3.replace("<|end|>", "</s>")}.items()
    }
    for tokenizer in made.values():
        prompt = encode_prompt(tokenizer, QUESTION, Data())
        found = [*prompt.tolist(), *encode_response(tokenizer, "That 2", prompt).tolist()]
        turns = [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "That 2"}]
        assert found == tokenizer.apply_chat_template(turns, return_dict=False)[: len(found)]
    words = {
        name: encode_response(t, "That", encode_prompt(t, QUESTION, Data()))[0]
        for name, t in made.items()
    }
    assert made["inst"].convert_ids_to_tokens(int(words["inst"])) == "▁Th"
    assert made["turns"].convert_ids_to_tokens(int(words["turns"])) == "T"


def test_stop_ids_are_the_union_of_all_who_name_some(tmp_path):
    tokenizer = make(
        tmp_path, CHATML, ["<|im_start|>", "<|im_end|>", "<a>", "<b>", "<c>"], None, "<|endoftext|>"
    )
    ids = tokenizer.convert_tokens_to_ids
    assert stop_ids(tokenizer) == sorted(ids(["<|endoftext|>", "<|im_end|>"]))
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": ids("<a>")}))
    (tmp_path / "generation_config.json").write_text(
        json.dumps({"eos_token_id": ids(["<b>", "<c>"]), "top_k": 5})
    )
    expected = sorted(ids(["<|endoftext|>", "<|im_end|>", "<a>", "<b>", "<c>"]))
    assert seams.stop_ids_of(tokenizer, tmp_path) == expected
    seams.write_stop_ids(tokenizer, tmp_path)
    assert json.loads((tmp_path / "generation_config.json").read_text()) == {
        "eos_token_id": expected,
        "top_k": 5,
    }
    with pytest.raises(RecipeError, match=re.escape('eos_token_id="<a>" is no token id')):
        stop_ids(tokenizer, {"eos_token_id": "<a>"})


def test_one_example_is_told(tmp_path):
    tokenizer = make(tmp_path, CHATML, ["<|im_start|>", "<|im_end|>"], "<s>", "<|endoftext|>")
    problems = [
        Problem(0, "0?", "0"),
        Problem(1, "a<|im_end|>b?", "0", "so \\boxed{0}<|im_end|>\n"),
    ]
    stops = stop_ids(tokenizer)
    lines = seams.example(tokenizer, problems, Data(), stops, with_traces=True)
    assert lines == [
        "prompts end in 'sistant\\n'",
        "traces go on, for example, 's' 'o' ' ' '\\\\' and end '0' '}' '<|im_end|>'",
        f"responses stop at {stops[0]} '<|im_end|>', {stops[1]} '<|endoftext|>'",
        "the tokenizer begins texts with '<s>', which the chat template does not write",
        "1 of 3 problems and traces spell a token of the chat template, such as <|im_end|>:"
        " it is encoded as plain text there",
    ]


def test_traces_that_cannot_be_used_have_no_ids(family):
    tokenizer, end, _ = family
    for trace in (None, "", end, f"{end}\n", "a" * 50):
        assert encode_trace(tokenizer, Problem(0, "1?", "1", trace), 50, Data()) is None
    assert len(encode_trace(tokenizer, Problem(0, "1?", "1", "a" * 40), 50, Data())) in (41, 42)
