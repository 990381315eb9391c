"""A teacher is looked at before anything starts: its folder, shape, tokenizer and memory."""

import json
import shutil
from dataclasses import replace

import pytest
from hf_folder import write_hf

from red_mcore.algorithms.opd import OPD
from red_mcore.config.overrides import override
from red_mcore.config.recipe import Batch, Parallel, RecipeError, Teacher
from red_mcore.data import vocabulary
from red_mcore.data.tokenizer import build_tokenizer
from red_mcore.models.teacher import teacher_architecture
from red_mcore.planning import memory, plan
from red_mcore.planning.checks import validate


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A teacher that is narrower than the policy and has as many tokens."""
    folder = tmp_path_factory.mktemp("teachers") / "teacher"
    write_hf(folder, tied=False, vocab_size=513, max_position_embeddings=512)
    return folder


@pytest.fixture
def recipe(recipe, made, tmp_path, monkeypatch):
    folder = shutil.copytree(made, tmp_path / "teacher")
    monkeypatch.setattr(vocabulary, "check_apart", lambda model, teacher: None)
    return replace(
        recipe,
        algorithm=OPD(teacher=Teacher(str(folder))),
        parallel=Parallel(ranks=4, tensor=2),
        batch=Batch(prompts_per_step=24, samples_per_prompt=1, tokens_per_micro_batch=2048),
    )


def test_a_teacher_of_another_shape_and_groups_of_one(recipe):
    validate(recipe)
    folder = recipe.algorithm.teacher.path
    arch = teacher_architecture(recipe)
    told = f"teacher: {folder}, {arch.parameters:,} parameters in all, "
    assert told in plan.describe(recipe)
    assert arch.hidden_size != plan.find_architecture(recipe).hidden_size


def test_a_teacher_of_the_hub_is_known_once_it_is_fetched(recipe):
    recipe.algorithm.teacher.path = "somebody/teacher"
    validate(recipe)
    assert "teacher: somebody/teacher, of a size that is known once" in plan.describe(recipe)


@pytest.mark.parametrize(
    ("overrides", "config", "message"),
    [
        ("algorithm.teacher.path=null", {}, r"algorithm\.teacher\.path=null: name the folder"),
        ("algorithm.teacher=null", {}, r"algorithm\.teacher=null: OPD learns from a teacher"),
        ("algorithm.teacher.path=runs/none/export", {}, "is neither a folder .* nor a hub name"),
        ("algorithm.teacher.coefficient=0", {}, r"algorithm\.teacher\.coefficient=0.* too small"),
        ("", {"num_key_value_heads": 1}, r"algorithm\.teacher: parallel\.tensor=2 does not divide"),
        (
            "parallel.pipeline=2",
            {"num_hidden_layers": 3},
            r"algorithm\.teacher: parallel\.pipeline=2",
        ),
        ("", {"max_position_embeddings": 100}, r"algorithm\.teacher: .* exceeds max_position_emb"),
        ("", {"vocab_size": 300}, r"algorithm\.teacher: vocab_size=300 is smaller than .* 513"),
        ("", {"hidden_size": 128}, r"algorithm\.teacher: .* has shape \(513, 64\)"),
        ("", {"model_type": "gpt2"}, r"algorithm\.teacher: .*model_type"),
    ],
)
def test_refusals(recipe, overrides, config, message):
    file = f"{recipe.algorithm.teacher.path}/config.json"
    with open(file, encoding="utf-8") as stream:
        changed = json.load(stream) | config
    with open(file, "w", encoding="utf-8") as stream:
        json.dump(changed, stream)
    with pytest.raises(RecipeError, match=message):
        validate(override(recipe, overrides.split()))


def test_its_memory_counts_and_can_be_given_back(recipe, monkeypatch):
    monkeypatch.setattr("red_mcore.planning.memory.has_transformer_engine", lambda: True)
    recipe = override(recipe, ["model.dtype=bfloat16", "model.layers=local"])
    arch, moved = plan.find_architecture(recipe), override(recipe, ["offload.teacher=true"])
    before, after = (memory.estimate(r, arch, 0, on_gpu=True) for r in (recipe, moved))
    teacher = teacher_architecture(recipe)
    assert before.teacher == 2 * memory.parameters_per_rank(teacher, 2, 1)[0] > 0 == after.teacher
    assert after.scoring - before.scoring == before.rollout - after.rollout == before.teacher
    assert before.scoring > 0
    # On CPUs there is nowhere to move it to.
    assert memory.estimate(moved, arch, 0, False) == memory.estimate(recipe, arch, 0, False)


def test_what_tokenizers_differ_in():
    ours = build_tokenizer()
    assert vocabulary.difference(ours, build_tokenizer()) is None
    more = build_tokenizer()
    more.add_tokens(["more"])
    assert vocabulary.difference(ours, more) == "it has 263 tokens, the policy's has 262"
    ours.add_tokens(["other"])
    assert vocabulary.difference(ours, more).startswith("the token 'other' has id none, in the")
    ended = build_tokenizer()
    ended.eos_token = "<|endoftext|>"
    found = vocabulary.difference(build_tokenizer(), ended)
    assert found == "its eos_token_id is 257, the policy's is 259"
    other = build_tokenizer()
    other.chat_template, other.pad_token = "{{ messages }}", "<|user|>"
    assert vocabulary.difference(build_tokenizer(), other) is None


def test_another_tokenizer_is_refused_before_anything_starts(made, tmp_path):
    """By a process of its own, which has no torch."""
    vocabulary.check_apart(None, str(made))
    folder = shutil.copytree(made, tmp_path / "other")
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(["more"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(
        RecipeError, match=r"algorithm\.teacher\.path .*/other has another token.*263"
    ):
        vocabulary.check_apart(str(made), str(folder))
