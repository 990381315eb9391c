"""Model folders as they are published, from a run's own folder to what is exported from it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from chat_folders import CHATML, QWEN3, make
from hf_folder import tensors_of

from red_mcore.config.recipe import Data, Model, RecipeError
from red_mcore.convert import conversion
from red_mcore.convert.folder import write_model
from red_mcore.data.seams import encode_prompt, stop_ids_of
from red_mcore.data.tokenizer import load_tokenizer
from red_mcore.megatron.ranks import Ranks
from red_mcore.models.rules import hf_shapes
from red_mcore.samples.records import Problem
from red_mcore.train.model_folder import COMPLETE, prepare_model

LLAMA = {
    "_model_name_or_path": "some/where",
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "is_llama_config": True,
    "rope_interleaved": False,
    "transformers.js_config": {"kv_cache_dtype": {"fp16": "float16"}},
    "pretraining_tp": 1,
    "vocab_size": 280,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}
HERE = Ranks(*[0, 1] * 5)


pytestmark = pytest.mark.usefixtures("one_rank")


@pytest.fixture
def published(tmp_path):
    """A folder as a hub's cache has it: links to files under other names, with what programs left
    in them."""
    from safetensors.torch import save_file

    from red_mcore.models.architecture import read_architecture

    blobs, folder = tmp_path / "blobs", tmp_path / "snapshots" / "1"
    make(blobs, QWEN3, ["<|im_start|>", "<|im_end|>", "<|eom|>"], None, "<|endoftext|>")
    generator = torch.Generator().manual_seed(0)
    shapes = hf_shapes(read_architecture(LLAMA))
    tensors = {
        name: torch.randn(shape, generator=generator).bfloat16() for name, shape in shapes.items()
    }
    others = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.ones(16) for i in range(2)}
    others["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors | others, blobs / "model.safetensors", metadata={"format": "pt"})
    (blobs / "config.json").write_text(json.dumps(LLAMA))
    named = {"eos_token_id": [258, 259], "temperature": 0.7, "do_sample": True}
    (blobs / "generation_config.json").write_text(json.dumps(named))
    folder.mkdir(parents=True)
    for number, file in enumerate(sorted(blobs.iterdir())):
        hidden = file.rename(blobs / f"{number:04d}")
        (folder / file.name).symlink_to(hidden)
    return folder, tensors


def ending(folder) -> str:
    tokenizer = load_tokenizer(Model(path=str(folder)))
    return tokenizer.decode(encode_prompt(tokenizer, Problem(0, "1?", "1"), Data()))


def test_a_run_s_folder_says_how_the_model_was_asked_and_where_it_stops(
    recipe, published, tmp_path
):
    from transformers import GenerationConfig

    source, tensors = published
    recipe.model, recipe.base = Model(path=str(source), dtype="bfloat16"), None
    recipe.data.template_arguments = {"enable_thinking": False}
    weights, folder = prepare_model(recipe, HERE)
    assert weights == source
    out = tmp_path / "out"
    write_model(
        out,
        folder,
        tensors.items(),
        {n: tuple(t.shape) for n, t in tensors.items()},
        torch.bfloat16,
        made_from="",
    )
    tokenizer = load_tokenizer(Model(path=str(out)))
    stops = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|eom|>", "<|endoftext|>"])
    for place in (folder, out):
        assert ending(place).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
        assert stop_ids_of(tokenizer, place) == sorted({*stops, 258, 259})
        assert GenerationConfig.from_pretrained(place).eos_token_id == sorted({*stops, 258, 259})
        assert json.loads((place / "generation_config.json").read_text())["temperature"] == 0.7
    assert ending(source).endswith("<|im_start|>assistant\n")
    # Another template under the same name, for a run that has not saved: its folder is made anew.
    file = tmp_path / "mine.jinja"
    for text in (CHATML, CHATML.replace("assistant\n", "helper\n")):
        file.write_text(text)
        recipe.model.chat_template, recipe.data.template_arguments = str(file), {}
        prepare_model(recipe, HERE)
        assert (folder / "chat_template.jinja").read_text() == text


def test_a_fresh_model_s_folder_names_its_stops(recipe):
    _, folder = prepare_model(recipe, HERE)
    tokenizer = load_tokenizer(Model(path=str(folder)))
    expected = sorted(tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]))
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == expected


def test_a_damaged_folder_of_a_run_is_made_anew_as_it_was(recipe, published, capsys):
    for change in (
        lambda: None,
        lambda: vars(recipe).update(model=Model(path=str(published[0])), base=None),
    ):
        change()
        shutil.rmtree(recipe.folder, ignore_errors=True)
        _, folder = prepare_model(recipe, HERE)
        (recipe.folder / "summary.json").write_text("{}")  # of a run that has begun
        whole = {file.name: file.read_bytes() for file in folder.iterdir()}
        prepare_model(recipe, HERE)
        assert capsys.readouterr().out == ""
        damages = {
            "config.json": Path.unlink,
            "tokenizer.json": lambda file: file.write_bytes(file.read_bytes()[:-5]),
            COMPLETE: lambda file: file.write_text("[]"),
        }
        for name, damage in damages.items():
            damage(folder / name)
            prepare_model(recipe, HERE)
            assert {file.name: file.read_bytes() for file in folder.iterdir()} == whole
            (told,) = capsys.readouterr().out.splitlines()
            assert told.startswith(f"red_mcore: warning: {folder / name} ")
            assert told.endswith(f": {folder} is made anew")


def test_first_weights_that_cannot_be_made_again_are_refused(recipe):
    _, folder = prepare_model(recipe, HERE)
    (recipe.folder / "summary.json").write_text("{}")
    (folder / "model.safetensors").unlink()
    recipe.seed += 1  # as another version of transformers might
    with pytest.raises(
        RecipeError,
        match=r"model\.safetensors is not what the run started from, .* put the file back",
    ):
        prepare_model(recipe, HERE)


def test_a_published_folder_goes_there_and_back(published, tmp_path):
    source, tensors = published
    options = {"dtype": None, "replace": False, "watch": lambda done, total: None}
    conversion.from_hf(source, tmp_path / "there", **options)
    conversion.to_hf(tmp_path / "there", tmp_path / "back", shard_bytes=10**9, **options)
    found = tensors_of(tmp_path / "back")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    for name in ("config.json", "generation_config.json", "chat_template.jinja"):
        assert (tmp_path / "back" / name).read_text() == (source / name).read_text()
        assert not (tmp_path / "back" / name).is_symlink()
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "back")
    assert loaded.config.tie_word_embeddings
    assert torch.equal(loaded.lm_head.weight, tensors["model.embed_tokens.weight"])


def test_a_head_of_its_own_under_a_tied_configuration_is_refused_and_the_advice_works(published):
    from safetensors.torch import load_file, save_file

    source, _ = published
    file = (source / "model.safetensors").resolve()
    tensors = load_file(file)
    tensors["lm_head.weight"] = tensors["lm_head.weight"] + 1
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(
        RecipeError,
        match=r"lm_head\.weight differs from model\.embed_tokens\.weight.*set it to false",
    ):
        conversion.open_hf(source)
    (source / "config.json").write_text(json.dumps(LLAMA | {"tie_word_embeddings": False}))
    assert not conversion.open_hf(source).arch.tied
    del tensors["lm_head.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(RecipeError, match=r"lacks tensor lm_head\.weight"):
        conversion.open_hf(source)
    (source / "config.json").write_text(json.dumps(LLAMA))
    assert conversion.open_hf(source).arch.tied
