"""Chat templates before anything is started: read from a model folder and tried, without
transformers.

What a template refuses (a system turn, an argument that it does not know) and what it leaves out is
told in one line that names the field. The ids of prompts come from the tokenizer's own rendering
(``seams.py``), whose rules these are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from red_mcore.config.recipe import Model, Recipe, RecipeError
from red_mcore.data.tokenizer import CHAT_TEMPLATE, EOS, PAD

FILE = "chat_template.jinja"
QUESTION = "What is 1 + 1?"
"""Stands for a problem, with which templates are tried."""
_ANOTHER = "model.chat_template=FILE (--chat-template FILE of tools/evaluate.py)"
_GIVEN = {"messages", "tools", "documents", "add_generation_prompt"}
"""What a template gets from whoever renders it, beside its tokenizer's special tokens."""


class ChatTemplate(NamedTuple):
    """A template with what it is rendered with."""

    text: str
    tokens: Mapping[str, str]
    """Special tokens by the names that templates know them by, such as ``bos_token``."""
    source: str
    """What has it, for messages."""


def find(model: Model) -> ChatTemplate | None:
    """The template of ``model``; None for a hub name, whose files are not here, or a folder without
    a tokenizer.

    RecipeError where there is none, or it cannot be read.
    """
    text: str | None = CHAT_TEMPLATE
    tokens, source = {"eos_token": EOS, "pad_token": PAD}, "the built-in tokenizer"
    if model.path is not None:
        folder = Path(model.path)
        if not folder.is_dir():
            return None
        text, tokens = _of_folder(folder)
        source = f"model.path {model.path}"
    if model.chat_template is not None:
        try:
            text, source = read(model.chat_template), f"model.chat_template {model.chat_template}"
        except RecipeError as error:
            raise RecipeError(f"model.chat_template: {error}") from None
    if text is None:
        if (folder / "tokenizer_config.json").is_file():
            raise RecipeError(missing(source))
        return None
    return ChatTemplate(text, tokens, source)


def missing(source: str) -> str:
    """The line for a model folder without a template."""
    return (
        f"the tokenizer of {source} has no chat template: name a file with one, {_ANOTHER}, or add"
        f" {FILE} to the folder"
    )


def read(file: str | Path) -> str:
    """The text of a template's file. RecipeError where there is none, or it is no text."""
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror
    except UnicodeDecodeError:
        reason = "it is no UTF-8 text"
    raise RecipeError(f"the file {file} of a chat template cannot be read: {reason}")


def check_recipe(recipe: Recipe, model: Model) -> None:
    """RecipeError, naming the field and the fix, where the recipe's prompts cannot be what they are
    meant to be.

    With the template of ``model``, as far as it is known (``find``).
    """
    template = find(model)
    if template is None:
        return
    data, form, asked = recipe.data, recipe.reward.format, recipe.evaluation.benchmarks
    prompt = check(template, data.system_prompt, data.template_arguments, "data.")
    if asked is not None:
        protocol = asked.protocol
        arguments = {**data.template_arguments, **protocol.template_arguments}
        check(template, protocol.system_prompt, arguments, "evaluation.benchmarks.protocol.")
    if form is None:
        return
    opened = prompt.rstrip().endswith(f"<{form.tags[0]}>")
    if opened != form.opened:
        does = "opens" if opened else "does not open"
        raise RecipeError(
            f"reward.format.opened={str(form.opened).lower()}, but the chat template of"
            f" {template.source} {does} <{form.tags[0]}> at the end of the prompt: use"
            f" reward.format.opened={str(opened).lower()}"
        )


def check(
    template: ChatTemplate,
    system_prompt: str | None,
    arguments: Mapping[str, Any],
    prefix: str = "",
) -> str:
    """The prompt of ``QUESTION``; RecipeError for what the template refuses, does not know or
    leaves out.

    ``prefix`` is put before the names of fields, such as ``data.``.
    """
    question = {"role": "user", "content": QUESTION}
    try:
        known = _variables(template.text) - _GIVEN - template.tokens.keys()
        asked = {name: value for name, value in arguments.items() if name in known}
        prompt = render(template, [question], asked)
    except Exception as error:  # a template is a program
        raise RecipeError(refusal(template.source, error)) from None
    if unknown := arguments.keys() - asked.keys():
        has = f"it knows {', '.join(sorted(known))}" if known else "it takes none"
        raise RecipeError(
            f"{prefix}template_arguments: the chat template of {template.source} knows no"
            f" '{min(unknown)}': {has}"
        )
    if QUESTION not in prompt:
        raise RecipeError(
            f"the chat template of {template.source} leaves out the text of the user's turn:"
            f" name another with {_ANOTHER}"
        )
    if system_prompt is None:
        return prompt
    fix = (
        f"put the text into {prefix}instruction, which follows the problem, and use"
        f" {prefix}system_prompt=null"
    )
    system = {"role": "system", "content": system_prompt}
    try:
        prompt = render(template, [system, question], arguments)
    except Exception as error:
        raise RecipeError(
            f"{prefix}system_prompt: the chat template of {template.source} refuses a system turn"
            f" ({_line(error)}): {fix}"
        ) from None
    if system_prompt.strip() not in prompt:
        raise RecipeError(
            f"{prefix}system_prompt: the chat template of {template.source} leaves out the system"
            f" turn: {fix}"
        )
    return prompt


def refusal(source: str, error: Exception) -> str:
    """The line for a template that cannot be rendered."""
    return (
        f"the chat template of {source} cannot write a chat ({_line(error)}): mend it, or name"
        f" another with {_ANOTHER}"
    )


def render(
    template: ChatTemplate, messages: Sequence[Mapping[str, str]], arguments: Mapping[str, Any]
) -> str:
    """The chat up to where the answer begins; raises what the template does."""
    given = {**template.tokens, **arguments, "tools": None, "documents": None}
    return _compiled(template.text).render(messages=messages, add_generation_prompt=True, **given)


def with_defaults(text: str, arguments: Mapping[str, Any]) -> str:
    """The template with ``arguments`` as defaults: it asks the same way wherever it goes."""
    form = "{{% if {0} is not defined %}}{{% set {0} = {1!r} %}}{{% endif +%}}"
    return "".join(form.format(name, value) for name, value in arguments.items()) + text


def _of_folder(folder: Path) -> tuple[str | None, dict[str, str]]:
    """(template, special tokens), from the files where transformers looks and in its order."""
    settings = {
        **_json(folder / "special_tokens_map.json"),
        **_json(folder / "tokenizer_config.json"),
    }
    tokens = {}
    for name, content in settings.items():
        if isinstance(content, dict):  # an added token with its properties
            content = content.get("content")
        if name.endswith("_token") and isinstance(content, str):
            tokens[name] = content
    if (folder / FILE).is_file():
        return read(folder / FILE), tokens
    text = settings.get("chat_template")
    if isinstance(text, list):  # several, by name; of two of one name the last
        named, text = text, None
        for entry in named:
            if isinstance(entry, dict) and entry.get("name") == "default":
                text = entry.get("template")
    if text is not None and not isinstance(text, str):
        raise RecipeError(f"{folder / 'tokenizer_config.json'}: its chat_template is no text")
    return text, tokens


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{file} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise RecipeError(f"{file} holds no JSON object")
    return found


class _Generation(Extension):
    """``{% generation %}``, which marks an assistant's words and writes nothing itself."""

    tags = {"generation"}  # noqa: RUF012 - so its base has it

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)


@lru_cache(maxsize=1)
def _environment() -> ImmutableSandboxedEnvironment:
    """The environment, as transformers makes it."""
    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    made.filters["tojson"] = _tojson
    made.globals |= {
        "raise_exception": _raise,
        "strftime_now": lambda form: datetime.now().strftime(form),
    }
    return made


@lru_cache(maxsize=16)
def _compiled(text: str) -> jinja2.Template:
    return _environment().from_string(text)


@lru_cache(maxsize=16)
def _variables(text: str) -> frozenset[str]:
    return frozenset(meta.find_undeclared_variables(_environment().parse(text)))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
