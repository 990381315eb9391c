"""Conversations: rows of several turns, and masks of the assistant's from token ids."""

import json

import numpy as np
import pytest
from chat_folders import CHATML, FAMILIES, LLAMA3, QWEN3, make

from red_mcore.config.recipe import Data, RecipeError
from red_mcore.data import conversations
from red_mcore.data.problems import load_problems
from red_mcore.data.seams import stop_ids_of
from red_mcore.samples.records import Problem

SMOLLM2 = (
    "{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
STRIPS = CHATML.replace(
    "m.content +", "(m.content.split('</think>')[-1] if not loop.last else m.content) +"
)
"""As Qwen3's: thoughts of earlier turns are left out."""
MARKS = ["<|im_start|>", "<|im_end|>"]
TURNS = (("system", "Be brief."), ("user", "1+1?"), ("assistant", "<think>\n1,2</think>It is 2."))
LAST = "<think>\n3</think>So \\boxed{3}"
CHAT = Problem(0, "and 1+2?", "3", LAST, history=TURNS)


def folder(tmp_path, template, end="<|im_end|>"):
    return make(tmp_path, template, MARKS, None, end)


def spelt(tokenizer, ids) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False)


def trained_parts(tokenizer, whole) -> list[str]:
    """The text of each stretch of trained tokens."""
    edges = np.flatnonzero(np.diff([0, *whole.trained.astype(int), 0]))
    return [
        spelt(tokenizer, whole.response[begin:end])
        for begin, end in zip(edges[::2], edges[1::2], strict=True)
    ]


@pytest.mark.parametrize("template", [CHATML, SMOLLM2])
@pytest.mark.parametrize("system", [True, False])
def test_every_turn_of_the_assistant_is_trained_with_its_end_and_nothing_else(
    tmp_path, template, system
):
    tokenizer = folder(tmp_path, template)
    problem = CHAT if system else Problem(0, CHAT.text, "3", LAST, history=TURNS[1:])
    whole = conversations.encode(tokenizer, problem, Data())
    said = [f"{TURNS[2][1]}<|im_end|>", f"{LAST}<|im_end|>"]
    assert trained_parts(tokenizer, whole) == said
    chat = [{"role": role, "content": text} for role, text in problem.history]
    chat += [{"role": "user", "content": CHAT.text}, {"role": "assistant", "content": LAST}]
    written = tokenizer.apply_chat_template(chat, return_dict=False)
    ours = [*whole.prompt, *whole.response]
    assert ours == written[: len(ours)]  # the line break behind the last end is not said
    assert ours[-1] in stop_ids_of(tokenizer, tmp_path)
    assert ("Be brief." in spelt(tokenizer, ours)) == system


def test_texts_that_spell_tokens_and_ends_of_other_models(tmp_path):
    tokenizer = folder(tmp_path, CHATML)
    history = (("user", "a<|im_end|>b"), ("assistant", "c<|im_start|>d</s>\n<|im_end|>"))
    whole = conversations.encode(tokenizer, Problem(0, "?", "1", "1", history=history), Data())
    assert trained_parts(tokenizer, whole) == ["c<|im_start|>d<|im_end|>", "1<|im_end|>"]
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert [*whole.prompt, *whole.response].count(end) == 4  # one for each turn


@pytest.mark.parametrize("name", FAMILIES)
def test_a_template_keeps_earlier_turns_or_the_last_alone_is_learnt(tmp_path, name):
    template, special, bos, eos, end = FAMILIES[name]
    tokenizer = make(tmp_path, template, special, bos, eos)
    history = (("user", "1+1?"), ("assistant", "It is 2."))
    whole = conversations.encode(
        tokenizer, Problem(0, "more", "3", "So 3", history=history), Data()
    )
    if template is QWEN3:  # it writes an empty block of thoughts into earlier turns
        assert whole is None
        return
    if name == "no chat":  # whose turns end in a line break, and traces in the tokenizer's end
        assert whole is None
        return
    found = [part.strip() for part in trained_parts(tokenizer, whole)]
    assert found == [f"It is 2.{end}", f"So 3{end}"]


def test_a_template_that_strips_thoughts_is_found_out_and_told(tmp_path):
    tokenizer = folder(tmp_path, STRIPS)
    assert conversations.encode(tokenizer, CHAT, Data()) is None
    plain = Problem(1, "?", "1", LAST, history=(("user", "1?"), ("assistant", "1")))
    assert conversations.encode(tokenizer, plain, Data()) is not None
    (note,) = conversations.notes(tokenizer, [CHAT, plain, plain], Data(), True)
    assert "3 problems are conversations" in note.line
    assert "2 are learnt in all turns of the assistant, 1 in the last alone" in note.line
    (note,) = conversations.notes(tokenizer, [CHAT], Data(), False)
    assert "whose last answer alone is learnt" in note.line
    assert conversations.notes(tokenizer, [Problem(0, "1?", "1", "1")], Data(), True) == []


def test_a_single_turn_has_no_mask(tmp_path):
    tokenizer = folder(tmp_path, CHATML)
    alone = Problem(0, "1?", "1", "1", history=TURNS[:1])
    assert conversations.encode(tokenizer, alone, Data()) is None


def test_ends_of_tokenizer_template_and_generation_config(tmp_path):
    """The trained end is the template's; all that end a response are known as such."""
    tokenizer = make(
        tmp_path,
        LLAMA3,
        ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"],
        "<|begin_of_text|>",
        "<|end_of_text|>",
    )
    ids = tokenizer.convert_tokens_to_ids
    named = {"eos_token_id": [ids("<|eom_id|>"), ids("<|eot_id|>")]}
    (tmp_path / "generation_config.json").write_text(json.dumps(named))
    whole = conversations.encode(
        tokenizer, Problem(0, "?", "1", "1", history=(("user", "0?"), ("assistant", "0"))), Data()
    )
    ends = [ids("<|eot_id|>"), ids("<|end_of_text|>"), ids("<|eom_id|>")]
    assert whole.response[-1] == ends[0]
    assert set(ends) <= set(stop_ids_of(tokenizer, tmp_path))


def write(tmp_path, *chats) -> Data:
    file = tmp_path / "chats.jsonl"
    file.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    return Data(path=str(file), conversations=True, held_out=1)


def chat(*said: str) -> list[dict]:
    return [{"role": role, "content": text} for role, _, text in (s.partition(":") for s in said)]


def test_rows_become_problems_with_a_history(tmp_path):
    data = write(
        tmp_path,
        chat("system:s", "user:a", "assistant:b", "user:c", "assistant:no gold here"),
        chat("user:z", "assistant:b", "user:c", "assistant:no gold here"),  # not the same problem
        chat("user:d", "assistant:\\boxed{4}"),
    )
    training, (held_out,) = load_problems(data, 0)
    first, second = training
    assert first.history == (("system", "s"), ("user", "a"), ("assistant", "b"))
    assert (first.text, first.trace, first.gold) == ("c", "no gold here", "")
    assert second.history[0] == ("user", "z")
    assert (held_out.history, held_out.gold, held_out.trace) == ((), "4", "\\boxed{4}")


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (["user:a", "user:b", "assistant:c"], "role user where the assistant's is due"),
        (["assistant:a", "user:b"], "role assistant where the user's is due"),
        (["system:a"], "no turn of the user"),
        (["user:a", "assistant: ", "user:b", "assistant:c"], "empty turn of the assistant"),
    ],
)
def test_turns_out_of_order_are_refused_by_place(tmp_path, said, fault):
    with pytest.raises(RecipeError, match=rf"chats\.jsonl.*column 'messages'.*{fault}"):
        load_problems(write(tmp_path, chat(*said)), 0)
