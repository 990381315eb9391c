"""A dry run looks at what a run would be given, and refuses what it could not use."""

import json
import math
import os
import shutil
from contextlib import suppress

import pytest
from chat_folders import CHATML, make

from red_mcore.cli.run import main
from red_mcore.config.overrides import override
from red_mcore.config.recipe import Model, RecipeError
from red_mcore.data import template
from red_mcore.data.tokenizer import load_tokenizer
from red_mcore.models.architecture import read_architecture
from red_mcore.models.rules import hf_shapes
from red_mcore.planning import rehearsal

RECIPE = """
from red_mcore.algorithms.{module} import {algorithm}
from red_mcore.config.recipe import Batch, Data, Model, Recipe, Rollout

def recipe():
    return Recipe(
        name="seen",
        runs={runs!r},
        algorithm={algorithm}(),
        model=Model(path={model!r}),
        batch=Batch(prompts_per_step=4, samples_per_prompt=4),
        rollout=Rollout(max_prompt_tokens=60, max_response_tokens=40, kv_cache_mib=64),
        data=Data(path={data!r}, held_out=2),
    )
"""
QWEN2 = {
    "model_type": "qwen2",
    "vocab_size": 400,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder as a hub has it: configuration, tokenizer, weights of zeros of which the disk keeps
    the header alone."""
    folder = tmp_path_factory.mktemp("model")
    make(folder, CHATML, ["<|im_start|>", "<|im_end|>"], None, "<|endoftext|>")
    (folder / "config.json").write_text(json.dumps(QWEN2))
    header, end = {}, 0
    for name, shape in hf_shapes(read_architecture(QWEN2)).items():
        begin, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(folder / "model.safetensors", 8 + len(text) + end)
    return folder


@pytest.fixture
def recipe_of(tmp_path, model):
    """(rows, algorithm) -> recipe file of problems with those rows."""

    def write(rows: list[dict], algorithm: str = "RED") -> str:
        (tmp_path / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        file = tmp_path / "recipe.py"
        data, runs = str(tmp_path / "problems.jsonl"), str(tmp_path / "runs")
        names = {"module": algorithm.lower(), "algorithm": algorithm}
        file.write_text(RECIPE.format(**names, runs=runs, model=str(model), data=data))
        return str(file)

    return write


def rows(count: int, words: int = 1, steps: int | None = 3) -> list[dict]:
    found = [
        {"problem": f"What is {n} + {n}{' please' * words}?", "answer": str(2 * n)}
        for n in range(count)
    ]
    if steps is not None:
        found = [row | {"trace": f"{'so ' * steps}\\boxed{{{row['answer']}}}"} for row in found]
    return found


def test_what_is_seen_of_a_folder_and_a_file(recipe_of, tmp_path, capsys):
    long = {"problem": "What? " * 30, "answer": "1", "trace": "\\boxed{1}"}
    dull = {"problem": "What is 90?", "answer": "90", "trace": "so " * 50 + "\\boxed{90}"}
    file = recipe_of([*rows(9), {"problem": "No gold", "answer": ""}, long, dull, *rows(13)[11:]])
    assert main([file, "--dry-run"]) == 0
    told = capsys.readouterr().out
    for line in (
        "data: 11 training problems, 2 held out",
        "data: left out 1 rows whose gold (column 'answer') is empty",
        "1 of 11 looked at is longer than rollout.max_prompt_tokens=60, to be left out",
        "traces: 11 of 11 training problems have one; 10 of 11 looked at have a trace that can be"
        " used; of the others' traces 1 are longer than rollout.max_response_tokens=40",
        "'<|im_start|>user\\nWhat is 0 + 0 please?<|im_end|>\\n<|im_start|>assistant\\n'",
        "its tokens: '<|im_start|>' 'u' 's' 'e' 'r' '\\n' 'W' 'h' 'a' 't' ' ' 'i' 's'",
        "responses stop at ",
    ):
        assert line in told
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("problems", "algorithm", "change", "message"),
    [
        (
            rows(9, words=20),
            "RED",
            [],
            r"rollout\.max_prompt_tokens=60: none of the 7 training problems looked at fits",
        ),
        (
            rows(9, steps=None),
            "RED",
            [],
            r"RED learns from traces, but none of the 7 problems has one .*7 are missing",
        ),
        (
            rows(9, steps=40),
            "SFT",
            [],
            r"SFT learns from traces, .*7 are longer than rollout\.max_response_tokens=40",
        ),
        (
            rows(9),
            "GRPO",
            ["tracking.uri=http://127.0.0.1:1"],
            r"tracking\.uri=http://127\.0\.0\.1:1 does not answer",
        ),
    ],
)
def test_what_could_not_be_used_is_refused(recipe_of, capsys, problems, algorithm, change, message):
    with pytest.raises(RecipeError, match=message):
        rehearsal.lines(rehearsal.load(recipe_of(problems, algorithm), change))


def test_a_refusal_is_one_line_and_exit_code_2(recipe_of, capsys):
    assert main([recipe_of(rows(9, words=20)), "--dry-run"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(
        "red_mcore: error: rollout.max_prompt_tokens=60: none of the 7 training problems"
    )
    assert told.err.count("\n") == 1


def test_a_vocabulary_has_to_hold_the_tokenizer_s(recipe_of, model, monkeypatch):
    recipe = rehearsal.load(recipe_of(rows(9)), [])
    monkeypatch.setattr(
        rehearsal, "find_architecture", lambda recipe: read_architecture(QWEN2 | {"vocab_size": 9})
    )
    with pytest.raises(
        RecipeError, match=r"model\.config\.vocab_size=9 does not hold the tokenizer's \d+ tokens"
    ):
        rehearsal.lines(recipe)


@pytest.mark.parametrize(
    "file", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
)
def test_damaged_files_of_a_tokenizer_are_told_in_one_line(model, tmp_path, file):
    shutil.copytree(model, tmp_path / "model")
    named = Model(path=str(tmp_path / "model"))
    texts = [
        "",
        "{",
        "[1]",
        "3",
        "null",
        "{}",
        "\0",
        '{"model": 3}',
        '{"chat_template": 5}',
        '{"eos_token": 7}',
    ]
    refused = 0
    for text in texts:
        (tmp_path / "model" / file).write_text(text)
        with suppress(RecipeError):
            template.find(named)
            load_tokenizer(named)
            continue
        refused += 1
    assert refused > len(texts) / 2


def test_large_data_are_looked_at_by_their_beginning(recipe_of, monkeypatch):
    recipe = rehearsal.load(recipe_of(rows(500)), [])
    monkeypatch.setattr(rehearsal, "LARGE", 1000)
    monkeypatch.setattr(rehearsal, "BEGINNING", 40)
    told = rehearsal.lines(recipe)
    assert told[0].endswith("MiB; of its first 40 rows 40 can be used")
    assert "none of 40 looked at are longer" in told[1]


def test_what_a_hub_has_is_known_later(recipe_of, monkeypatch):
    monkeypatch.setattr(
        "huggingface_hub.constants.HF_HUB_OFFLINE", True
    )  # as in the process of a dry run
    recipe = rehearsal.load(recipe_of(rows(9)), [])
    hub = override(recipe, ["model.path=nobody/nothing", "data.path=nobody/no-data"])
    assert rehearsal.lines(hub) == [
        "data: known once nobody/no-data is fetched",
        "tokenizer: known once nobody/nothing is fetched",
    ]


def test_the_shortest_and_the_longest_are_looked_at():
    texts = ["x" * n for n in range(2000)]
    some = rehearsal._spread(
        [rehearsal.Problem(i, text, "") for i, text in enumerate(texts)], lambda p: p.text
    )
    assert len(some) == rehearsal.LOOKED_AT
    assert (some[0].id, some[-1].id) == (0, 1999)
