"""Templates tried without transformers: the same text as transformers makes of them, and what is
refused."""

import json

import pytest
from chat_folders import CHATML, FAMILIES, GEMMA, OPENING, QWEN3, make

from red_mcore.config.overrides import override
from red_mcore.config.recipe import Benchmarks, Format, Model, Protocol, RecipeError
from red_mcore.data import template
from red_mcore.data.template import ChatTemplate, check, find, render
from red_mcore.planning import checks

TURNS = [
    {"role": "user", "content": "<1+1>?"},
    {"role": "assistant", "content": "2 & \\boxed{2}"},
    {"role": "user", "content": "é?"},
]
RARE = (
    "\n{# a remark #}\n{%- set ns = namespace(n=0) %}\n  {% for m in messages %}\n"
    "{% if loop.index > 2 %}{% break %}{% endif %}"
    "{% generation %}{{ m | tojson }}{% endgeneration %}\n{% set ns.n = ns.n + 1 %}{% endfor %}"
    "{{ ns.n }}{{ bos_token }}"
    "{% if tools is not none %}x{% endif %}{{ strftime_now('%Y') }}"
)


@pytest.mark.parametrize("name", [*FAMILIES, "rare"])
def test_the_text_is_that_of_transformers(tmp_path, name):
    text, special, bos, eos, _ = (
        (RARE, [], "<s>", "</s>", None) if name == "rare" else FAMILIES[name]
    )
    tokenizer = make(tmp_path, text, special, bos, eos)
    found = find(Model(path=str(tmp_path)))
    assert found.text == text
    assert {
        key: found.tokens[key] for key in tokenizer.special_tokens_map
    } == tokenizer.special_tokens_map
    expected = tokenizer.apply_chat_template(TURNS, tokenize=False, add_generation_prompt=True)
    assert render(found, TURNS, {}) == expected


def test_templates_are_found_where_transformers_looks(tmp_path):
    def found(**settings):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        return find(Model(path=str(tmp_path)))

    assert found(chat_template="one", bos_token={"content": "<b>"}, add_bos_token=True)[:2] == (
        "one",
        {"bos_token": "<b>"},
    )
    several = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "two"}]
    assert found(chat_template=several).text == "two"
    with pytest.raises(
        RecipeError, match=r"has no chat template: name a file with one, model\.chat_template=FILE"
    ):
        found()
    (tmp_path / "chat_template.jinja").write_text("three")
    assert found(chat_template="one").text == "three"
    (tmp_path / "own").write_text("four")
    assert find(Model(path=str(tmp_path), chat_template=str(tmp_path / "own"))).text == "four"
    assert find(Model(chat_template=str(tmp_path / "own"))).text == "four"
    assert find(Model(path="some/name")) is None
    with pytest.raises(RecipeError, match="cannot be read: No such file"):
        find(Model(chat_template=str(tmp_path / "gone")))


REFUSED = [
    (
        GEMMA,
        "Be brief.",
        {},
        "data.system_prompt: .* refuses a system turn .System role not supported.: .*instruction",
    ),
    (
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}",
        "Be brief.",
        {},
        "leaves out the system turn",
    ),
    (
        "{{ messages[0].name + 1 }}",
        None,
        {},
        "cannot write a chat .*: mend it, or name another with model.chat_template",
    ),
    ("{% if %}", None, {}, "cannot write a chat"),
    ("{{ 1 + none }}", None, {}, "cannot write a chat"),
    ("hello", None, {}, "leaves out the text of the user's turn"),
    (
        CHATML,
        None,
        {"enable_thinking": True},
        "data.template_arguments: .* knows no 'enable_thinking': it takes none",
    ),
    (QWEN3, None, {"enable_thinkin": True}, "knows no 'enable_thinkin': it knows enable_thinking"),
    (QWEN3, None, {"messages": []}, "knows no 'messages'"),
]


@pytest.mark.parametrize(
    ("text", "system", "arguments", "message"), REFUSED, ids=range(len(REFUSED))
)
def test_what_a_template_refuses_is_told_in_a_line_with_the_fix(text, system, arguments, message):
    with pytest.raises(RecipeError, match=message) as error:
        check(ChatTemplate(text, {"bos_token": "<s>"}, "x"), system, arguments, "data.")
    assert "\n" not in str(error.value)


def test_what_a_template_takes_passes():
    assert check(ChatTemplate(QWEN3, {}, "x"), "Be brief.", {"enable_thinking": False}).endswith(
        "</think>\n\n"
    )
    baked = template.with_defaults(QWEN3, {"enable_thinking": False})
    assert check(ChatTemplate(baked, {}, "x"), None, {}).endswith("</think>\n\n")
    assert check(ChatTemplate(baked, {}, "x"), None, {"enable_thinking": True}).endswith(
        "assistant\n"
    )


def test_a_recipe_is_refused_before_anything_is_started(recipe, tmp_path):
    def refused(*changes: str) -> str:
        with pytest.raises(RecipeError) as error:
            checks.validate(override(recipe, changes))
        return str(error.value)

    checks.validate(override(recipe, ["data.system_prompt=Be brief."]))
    for name, text in {"gemma": GEMMA, "opening": OPENING, "qwen3": QWEN3}.items():
        (tmp_path / name).write_text(text)
    gemma, opening, qwen3 = (
        f"model.chat_template={tmp_path / name}" for name in ("gemma", "opening", "qwen3")
    )
    assert refused(gemma, "data.system_prompt=Be brief.").startswith(
        "data.system_prompt: the chat template of model.ch"
    )
    checks.validate(
        override(recipe, [gemma, "data.system_prompt=null", "data.instruction=Be brief."])
    )
    assert refused("data.template_arguments={enable_thinking: true}").startswith(
        "data.template_arguments: "
    )
    checks.validate(override(recipe, [qwen3, "data.template_arguments={enable_thinking: true}"]))
    recipe.reward.format = Format()
    wrong = "reward.format.opened=false, but the chat template of model.chat_template "
    assert refused(opening).startswith(wrong)
    checks.validate(override(recipe, [opening, "reward.format.opened=true"]))
    assert "does not open <think>" in refused("reward.format.opened=true")
    recipe.reward.format = None
    problems = tmp_path / "some.jsonl"
    problems.write_text('{"problem": "1?", "answer": "1"}\n')
    recipe.evaluation.benchmarks = Benchmarks(
        ["some"], str(tmp_path), protocol=Protocol(system_prompt="Hi.", max_tokens=9)
    )
    assert refused(gemma).startswith("evaluation.benchmarks.protocol.system_prompt: ")
