"""Bad recipes are refused by name."""

import json
import math
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_model import QWEN2

from red_mcore.algorithms.grpo import GRPO
from red_mcore.algorithms.red import RED
from red_mcore.config.loading import load
from red_mcore.config.overrides import override
from red_mcore.config.recipe import Model, RecipeError
from red_mcore.models.architecture import read_architecture
from red_mcore.models.rules import hf_shapes
from red_mcore.planning import plan
from red_mcore.planning.checks import validate

RECIPES = Path(__file__).parent.parent / "recipes"

MOE = "model.config.model_type=qwen3_moe " + " ".join(
    f"model.config.{field}"
    for field in (
        "num_experts=8",
        "num_experts_per_tok=2",
        "moe_intermediate_size=64",
        "head_dim=32",
    )
)
BAD = [
    ("parallel.tensor=4", "parallel.tensor=4 does not divide num_key_value_heads=2: use 1 or 2"),
    ("rollout.tensor=4", "rollout.tensor=4 does not divide num_key_value_heads=2: use 1 or 2"),
    (
        "parallel.tensor=2 model.config.intermediate_size=255",
        "does not divide intermediate_size=255: use 1",
    ),
    (
        "parallel.pipeline=3",
        "parallel.pipeline=3 does not divide num_hidden_layers=4: use 1, 2 or 4",
    ),
    (
        "parallel.ranks=5 parallel.tensor=2",
        "parallel.ranks=5 is not a multiple of parallel.tensor x parallel.pipeline",
    ),
    (
        "parallel.ranks=6 parallel.context=4",
        "parallel.ranks=6 is not a multiple of parallel.tensor x parallel.pipeline x"
        " parallel.context = 1 x 1 x 4 = 4: use 4 or 8 ranks",
    ),
    ("parallel.context=0", "parallel.context=0 is too small: use 1 or more"),
    ("parallel.virtual=2", "parallel.virtual=2 needs parallel.pipeline above 1"),
    (
        "parallel.virtual=2 parallel.pipeline=2",
        "parallel.virtual=2 with parallel.pipeline=2 gives wrong results on CPUs",
    ),
    (
        "parallel.virtual=3 parallel.pipeline=2",
        "does not divide num_hidden_layers / parallel.pipeline = 4 / 2 = 2: use 1 or 2",
    ),
    (
        "parallel.ranks=3 rollout.tensor=2",
        "rollout.tensor=2 does not divide parallel.ranks=3: use 1 or 3",
    ),
    ("parallel.sequence=true", "parallel.sequence=true needs parallel.tensor above 1"),
    ("model.config.head_dim=48", "head_dim=48 is none that vLLM's CPU attention knows: use 32, 64"),
    (
        "model.config.num_key_value_heads=3",
        "num_key_value_heads=3 does not divide num_attention_heads=4: use 1, 2 or 4",
    ),
    (
        "model.config.max_position_embeddings=128",
        "64 + 96 = 160 exceeds max_position_embeddings=128",
    ),
    (
        "model.config.model_type=phi3",
        "model_type 'phi3' is not supported; supported: llama, mistral, qwen2",
    ),
    (
        "model.config.model_type=mistral model.config.sliding_window=159",
        "64 + 96 = 160 exceeds sliding_window=159",
    ),
    (
        f"{MOE} parallel.ranks=2 parallel.expert=4",
        "parallel.expert=4 does not divide the 2 data-parallel ranks",
    ),
    ("parallel.expert=2", "parallel.expert=2, but the model has no experts: use 1"),
    (
        f"{MOE} parallel.ranks=3 parallel.expert=3",
        "parallel.expert=3 does not divide num_experts=8: use 1, 2, 4 or 8",
    ),
    (
        f"{MOE} model.config.num_hidden_layers=8 parallel.pipeline=4 parallel.virtual=2",
        "parallel.virtual=2 is not supported for a model with experts: use 1",
    ),
    (
        f"{MOE} parallel.tensor=2",
        "parallel.tensor=2 of a model with experts needs sequence parallel",
    ),
    (
        f"{MOE} rollout.tensor=2 model.config.moe_intermediate_size=96",
        "moe_intermediate_size / rollout.tensor=48 is",
    ),
    (
        f"{MOE} parallel.tensor=8",
        "parallel.tensor=8 does not divide num_attention_heads=4: use 1 or 2",
    ),
    ("model.config.rope_scaling='{type: yarn}'", "rope type 'yarn' is not supported"),
    (
        "rollout.kv_cache_mib=1 model.config.num_hidden_layers=16",
        "cannot hold one sequence of 160 tokens at 8192 bytes each",
    ),
    (
        "batch.tokens_per_micro_batch=159",
        "batch.tokens_per_micro_batch=159 cannot hold one sequence",
    ),
    ("batch.updates_per_step=25", "batch.updates_per_step=25 exceeds batch.prompts_per_step=24"),
    ("batch.samples_per_prompt=0", "batch.samples_per_prompt=0 is too small: use 1 or more"),
    ("parallel.ranks=0", "parallel.ranks=0 is too small: use 1 or more"),
    ("base.steps=0", "base.steps=0 is too small: use 1 or more"),
    (
        "rollout.temperature=0",
        "rollout.temperature=0.0 is too small: use 0.01 or more (what vLLM samples at)",
    ),
    ("optimizer.skip_grad=-1", "optimizer.skip_grad=-1.0 is too small: use 0 or more"),
    ("algorithm.clip_low=0", "algorithm.clip_low=0.0 is too small: use a number above 0"),
    ("algorithm.clip_dual=1", "algorithm.clip_dual=1.0 would cut off tokens that have not changed"),
    ("algorithm.beta=2", "algorithm.beta=2 is too large: use 1 or less"),
    (
        "batch.updates_per_step=2",
        "batch.updates_per_step=2: RED makes one update and clips nothing",
    ),
    ("optimizer.lr=.nan", "optimizer.lr=nan is no finite number: use a number above 0, at most 1"),
    ("evaluation.top_p=1.5", "evaluation.top_p=1.5 is too large: use 1 or less"),
    ("optimizer.betas=[0.9,1]", "optimizer.betas[1]=1.0 is too large: use a number below 1"),
    (
        "reward.overlong='{buffer: 97}'",
        "reward.overlong.buffer=97 is longer than rollout.max_response_tokens=96",
    ),
    ("reward.wrong=1", "reward.wrong=1.0 is no less than the 1 of a correct answer: use 0 or -1"),
    (
        "reward.answer_after='\"\"'",
        "reward.answer_after is an empty text, which stands everywhere: use null",
    ),
    ("reward.repetition='{ngram: 0}'", "reward.repetition.ngram=0 is too small: use 1 or more"),
    (
        "reward.format='{tags: [a, a]}'",
        "reward.format.tags=['a', 'a']: use one or more different names",
    ),
    (
        "reward.functions='{math.sin: 1}'",
        "'math.sin' is no import path: write package.module:function",
    ),
    (
        "reward.functions='{json:format: 1}'",
        "there is another term named 'format': rename that of 'json:format'",
    ),
    ("reward.functions='{json:dumps: 1, pickle:dumps: 1}'", "there is another term named 'dumps'"),
    (
        "reward.verdict=json",
        "reward.verdict: 'json' is no import path: write package.module:function",
    ),
    (
        "reward.verdict=no_such_module:f",
        "reward.verdict: no module 'no_such_module' for 'no_such_module:f'",
    ),
    ("reward.functions='{json:dunp: 1}'", "has no function 'dunp'; nearest is 'dump'"),
    (
        "reward.functions='{json:dumps: 1}'",
        "'json:dumps' fails on each of the 9 calls tried with problems of the data",
    ),
    (
        "reward.verdict=json:loads",
        "reward.verdict: 'json:loads' fails on each of the 9 calls tried",
    ),
    ("reward.functions='{json:decoder: 1}'", "has no function 'decoder'"),
    ("reward.failed_share=2", "reward.failed_share=2.0 is too large: use 1 or less"),
    (
        "reward.functions='{no_such_module:f: 1}'",
        "no module 'no_such_module' for 'no_such_module:f'",
    ),
    ("evaluation.benchmarks={}", "no benchmarks are named: use some of MATH-500"),
    ("evaluation.benchmarks='{names: [AIME2]}'", "benchmark AIME2 is unknown: use MATH-500"),
    (
        "evaluation.benchmarks='{names: [AIME24]}'",
        "protocol.max_tokens=8192 leaves no room for a prompt in",
    ),
    (
        "evaluation.benchmarks='{names: [AIME24], protocol: {max_tokens: 9, temperature: 0}}'",
        "temperature=0 of the protocol gives 32 equal samples",
    ),
    (
        "evaluation.benchmarks='{names: [AIME24], data: /nowhere}'",
        "the folder of benchmarks /nowhere does not exist",
    ),
    (
        "evaluation.benchmarks='{names: [AMC], protocol: {max_tokens:"
        " 9}}' checkpoint.keep_best=evaluation/AMC_mean",
        "checkpoint.every=50 is no multiple of evaluation.benchmarks.every=0",
    ),
    ("name=../x", "name='../x' becomes a folder"),
    ("data.path=nowhere.jsonl", "nowhere.jsonl does not exist"),
    ("runs=/proc", "run folder /proc/small cannot be made"),
    (
        "checkpoint.keep_every=60",
        "checkpoint.keep_every=60 is no multiple of checkpoint.every=50: use a multiple of 50",
    ),
    (
        "checkpoint.keep_every=60 checkpoint.every=0",
        "of checkpoint.every=0: use checkpoint.every above 0",
    ),
    (
        "checkpoint.keep_best=evaluation/pass2",
        "use evaluation/pass1, evaluation/pass8, evaluation/reward_mean, evaluation/",
    ),
    (
        "checkpoint.keep_best=evaluation/pass1",
        "checkpoint.every=50 is no multiple of evaluation.every=0",
    ),
    ("checkpoint.timeout_seconds=0", "checkpoint.timeout_seconds=0.0 is too small: use 1 or more"),
    (
        "rollout.record=a rollout.replay=b",
        "rollout.record=a and rollout.replay=b exclude each other",
    ),
    ("rollout.replay=nowhere", "rollout.replay=nowhere is no folder"),
    (
        "model.fp8=tensorwise",
        "model.fp8=tensorwise needs an NVIDIA GPU, and this machine has none: use fp8=none",
    ),
    (
        "model.layers=transformer_engine",
        "model.layers=transformer_engine needs an NVIDIA GPU, and this machine has none",
    ),
    (f"seed={10**23}", "seed=about 10^23 is too large: use 4294967295 or less (what numpy takes)"),
    (f"evaluation.seed={2**32}", "evaluation.seed=4294967296 is too large"),
    (f"data.arithmetic.world={10**30}", "data.arithmetic.world=about 10^30 is too large"),
    (
        "rollout.temperature=2.5",
        "rollout.temperature=2.5 is too large: use 2 or less (what vLLM samples at)",
    ),
    ("rollout.temperature=0.005", "rollout.temperature=0.005 is too small: use 0.01 or more"),
    (
        "evaluation.temperature=0.005",
        "evaluation.temperature=0.005 is too small: use 0, or 0.01 or more",
    ),
    (
        "evaluation.temperature=0",
        "evaluation.temperature=0 gives 8 equal samples: use evaluation.samples=1",
    ),
    (
        "optimizer.weight_decay=inf",
        "optimizer.weight_decay=inf is no finite number: use 0 or more, at most 10",
    ),
    ("optimizer.lr=20", "optimizer.lr=20.0 is too large: use 1 or less"),
    ("optimizer.clip_grad=inf", "optimizer.clip_grad=inf is no finite number"),
    ("base.optimizer.eps=inf", "base.optimizer.eps=inf is no finite number"),
    ("until.train_seconds=inf", "'until' is off"),
    (
        "until='{train_seconds: .inf}' optimizer.schedule=constant",
        "until.train_seconds=inf is no finite number",
    ),
    ("checkpoint.timeout_seconds=1e300", "checkpoint.timeout_seconds=1e+300 is too large"),
    ("reward.accuracy=inf", "reward.accuracy=inf is no finite number"),
    ("reward.accuracy=1e308", "reward.accuracy=1e+308 is too large"),
    ("reward.wrong=-1e308", "reward.wrong=-1e+308 is too small"),
    (
        "reward.functions='{json:dumps: .nan}'",
        "reward.functions.json:dumps=nan is no finite number",
    ),
    (
        "reward.functions='{json:dumps: .inf}'",
        "reward.functions.json:dumps=inf is no finite number",
    ),
    ("reward.workers=100000", "reward.workers=100000 is too large"),
    (
        "algorithm.weight_min=8",
        "algorithm.weight_min=8.0 is above algorithm.weight_max=7.0: use at most that",
    ),
    ("algorithm.weight_max=nan", "algorithm.weight_max=nan is no finite number"),
    ("algorithm.entropy_ema=1", "algorithm.entropy_ema=1.0 is too large: use a number below 1"),
    ("rollout.kv_cache_mib=16777216", "use "),
    (
        "model.config.hidden_size=-128",
        "model.config.hidden_size=-128: want a whole number from 1 to",
    ),
    ("model.config.hidden_size=128.0", "model.config.hidden_size=128.0: want a whole number"),
    (
        "model.config.num_hidden_layers=true",
        "model.config.num_hidden_layers=true: want a whole number",
    ),
    ("model.config.vocab_size=many", 'model.config.vocab_size="many": want a whole number'),
    (
        "model.config.vocab_size=261",
        "model.config.vocab_size=261 does not hold the 262 tokens of the built-in tokenizer",
    ),
    (
        "model.config.head_dim=33",
        "model: head_dim=33 (or hidden_size / num_attention_heads) is odd",
    ),
    ("model.config.hidden_size=130", "hidden_size=130 is no multiple of num_attention_heads=4"),
    ("model.config.rms_norm_eps=.nan", "model.config.rms_norm_eps=nan is no finite number"),
    ("model.config.rms_norm_eps=0", "model.config.rms_norm_eps=0: want a number above 0"),
    ("model.config.rope_theta=-1", "model.config.rope_theta=-1: want a number above 0"),
    (
        "model.config.initializer_range=[1]",
        "model.config.initializer_range=[1]: want a number above 0, at most 0.5",
    ),
    (
        "model.config.tie_word_embeddings=2",
        "model.config.tie_word_embeddings=2: want true or false",
    ),
    (
        "model.config.rope_scaling=linear",
        'model.config.rope_scaling="linear": want a mapping, or null',
    ),
    ("model.config.rope_scaling='{type: llama3, factor: x}'", "rope parameter factor=x"),
    (
        "model.config.architectures=Qwen2ForCausalLM",
        'model.config.architectures="Qwen2ForCausalLM": want a list',
    ),
    ("model.config.model_type='[qwen2]'", "model_type '['qwen2']' is not supported"),
    (f"runs={'a' * 300}", "has a name of 300 bytes in it: use at most 200"),
    (f"data.path={'a/' * 2000}b.jsonl", "has 4007 characters: use at most 3000"),
    ("rollout.record='\"\"'", "rollout.record is an empty text"),
    ("data.problems=100000000", "100000512 problems asked for (data.problems and data.held_out)"),
    ("data.arithmetic.operations=1 data.held_out=200", "data: 2248 problems asked for"),
    (
        "tracking.uri=./mlruns",
        "tracking.uri=./mlruns of the scheme './mlruns' is none of MLflow's: use sqlite",
    ),
    ("tracking.uri=http://me:secret@", "tracking.uri=http:// names no host"),
    ("tracking.uri=sqlite://", "tracking.uri=sqlite:// names no file"),
    ("tracking.uri=http://a:b:c", "tracking.uri is no address"),
    ("tracking.experiment=''", "tracking.experiment is an empty text"),
    (
        "model.path=Qwen/x base.steps=3",
        "base trains a fresh model, but model.path=Qwen/x is a trained one",
    ),
    (
        "model.path=/nowhere base=null",
        "model.path /nowhere is neither a folder with a config.json nor a hub name",
    ),
]


def write_headers(file: Path, shapes: dict, type_name: str = "F32") -> None:
    """A safetensors file of zeros, of which the disk keeps the header alone."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": type_name, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(file, 8 + len(text) + end)


@pytest.mark.parametrize(
    ("overrides", "message"), BAD, ids=[overrides[:80] for overrides, _ in BAD]
)
def test_a_bad_recipe_is_refused_in_one_line(recipe, overrides, message):
    with pytest.raises(RecipeError) as error:
        validate(override(recipe, shlex.split(overrides)))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            "model.fp8=blockwise",
            "model.fp8=blockwise needs bfloat16, and model.dtype is float32: use fp8=none",
        ),
        (
            "model.fp8=blockwise model.dtype=bfloat16 model.layers=local",
            "model.fp8=blockwise needs Transformer Engine's layers, and model.layers is local",
        ),
        (
            "model.fp8=tensorwise model.dtype=bfloat16 model.config.intermediate_size=264",
            "intermediate_size / parallel.tensor = 264 is no multiple of 16: use fp8=none",
        ),
        (
            "model.fp8=blockwise model.dtype=bfloat16",
            "key-value heads x head_dim / parallel.tensor = 64 is no multiple of 128: use fp8=none",
        ),
        (
            f"{MOE} model.layers=transformer_engine model.dtype=bfloat16",
            "model.layers=transformer_engine needs a model without experts: use layers=auto",
        ),
    ],
)
def test_what_transformer_engine_cannot_do_is_refused(recipe, monkeypatch, overrides, message):
    for name in ("has_gpu", "has_transformer_engine"):
        monkeypatch.setattr(f"red_mcore.models.layers.{name}", lambda: True)
    with pytest.raises(RecipeError, match=re.escape(message)):
        validate(override(recipe, shlex.split(overrides)))


def test_fp8_wants_transformer_engine_installed(recipe, monkeypatch):
    monkeypatch.setattr("red_mcore.models.layers.has_gpu", lambda: True)
    monkeypatch.setattr("red_mcore.models.layers.has_transformer_engine", lambda: False)
    with pytest.raises(
        RecipeError, match="needs Transformer Engine, which is not installed: use fp8=none"
    ):
        validate(override(recipe, ["model.fp8=tensorwise"]))


def test_experts_over_data_parallel_ranks_pass(recipe):
    validate(
        override(
            recipe,
            [*MOE.split(), "parallel.expert=2", "parallel.tensor=2", "parallel.sequence=true"],
        )
    )


def test_a_good_recipe_passes_and_leaves_no_trace(recipe, tmp_path):
    validate(recipe)
    assert list(tmp_path.iterdir()) == []


def test_groups_of_one_rollout_need_a_trace(recipe):
    recipe.batch.samples_per_prompt = 1
    validate(recipe)
    recipe.algorithm = GRPO()
    with pytest.raises(
        RecipeError,
        match=r"batch\.samples_per_prompt=1 makes groups of 1, which GRPO cannot compare",
    ):
        validate(recipe)


def test_an_algorithm_may_refuse_a_recipe(recipe):
    @dataclass
    class Picky(RED):
        def check(self, recipe):
            raise RecipeError("algorithm: no")

    recipe.algorithm = Picky()
    with pytest.raises(RecipeError, match="algorithm: no"):
        validate(recipe)


def test_a_run_folder_below_a_file(recipe, tmp_path):
    (tmp_path / "file").touch()
    recipe.runs = str(tmp_path / "file")
    with pytest.raises(RecipeError, match="file: Not a directory"):
        validate(recipe)


def test_recordings_below_a_file(recipe, tmp_path):
    (tmp_path / "file").touch()
    recipe.rollout.record = str(tmp_path / "file" / "kept")
    with pytest.raises(
        RecipeError, match=r"kept cannot be made: .*file: Not a directory; set rollout\.record="
    ):
        validate(recipe)


def test_a_hub_model_s_layers_are_checked_as_far_as_they_can_be(recipe):
    recipe.base, recipe.model = None, Model(path="Qwen/Qwen2.5-Math-1.5B", fp8="tensorwise")
    with pytest.raises(RecipeError, match="needs an NVIDIA GPU, and this machine has none"):
        validate(recipe)


def test_a_model_folder_has_to_hold_what_its_config_says(recipe, tmp_path):
    recipe.base, recipe.model = (
        None,
        Model(path=str(tmp_path), config={"max_position_embeddings": 256}),
    )
    with pytest.raises(RecipeError, match=r"has no config\.json"):
        validate(recipe)
    (tmp_path / "config.json").write_text(json.dumps(QWEN2))
    with pytest.raises(RecipeError, match=r"model\.path: .* holds neither model\.safetensors nor"):
        validate(recipe)
    shapes = hf_shapes(read_architecture(QWEN2))
    write_headers(tmp_path / "model.safetensors", shapes)
    validate(recipe)
    assert plan.find_architecture(recipe).max_positions == 256
    for broken, message in (
        (
            {"model.norm.weight": (64,)},
            r"model\.norm\.weight has shape \(64,\), config\.json implies \(128,\)",
        ),
        ({"score.weight": (2, 128)}, r"has tensor score\.weight that the model does not know"),
    ):
        write_headers(tmp_path / "model.safetensors", shapes | broken)
        with pytest.raises(RecipeError, match=message):
            validate(recipe)
    write_headers(tmp_path / "model.safetensors", shapes, type_name="F8_E4M3")
    with pytest.raises(RecipeError, match="is of type F8_E4M3; supported: F32, F16, BF16"):
        validate(recipe)
    (tmp_path / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    )
    with pytest.raises(RecipeError, match="it is Git LFS's note"):
        validate(recipe)


def test_a_lost_and_a_short_shard_are_named(recipe, tmp_path):
    recipe.base, recipe.model = None, Model(path=str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(QWEN2))
    shapes = list(hf_shapes(read_architecture(QWEN2)).items())
    parts = {"a.safetensors": dict(shapes[:9]), "b.safetensors": dict(shapes[9:])}
    places = {name: file for file, part in parts.items() for name in part}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    write_headers(tmp_path / "a.safetensors", parts["a.safetensors"])
    with pytest.raises(
        RecipeError, match=r"lacks b\.safetensors, which model.safetensors.index.json names"
    ):
        validate(recipe)
    write_headers(tmp_path / "b.safetensors", parts["b.safetensors"])
    validate(recipe)
    os.truncate(tmp_path / "b.safetensors", 5000)
    with pytest.raises(
        RecipeError, match=r"b\.safetensors has 5000 bytes and should have \d+: fetch it again"
    ):
        validate(recipe)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize(
    "text", ["", "{", "[1]", "3", "[" * 10**5, "\udcff", '{"weight_map": [1]}']
)
def test_damaged_files_of_a_model_folder_are_named(recipe, tmp_path, file, text):
    recipe.base, recipe.model = None, Model(path=str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(QWEN2))
    (tmp_path / file).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RecipeError, match=r"config\.json|lacks|model_type|index") as error:
        validate(recipe)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        (
            {"hidden_size": 64},
            r"model\.config\.hidden_size=64 contradicts .*config\.json, where it is 128",
        ),
        ({"model_type": "llama"}, "model_type=llama contradicts"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings=False contradicts"),
        ({"num_hidden_layers": 2}, "num_hidden_layers=2 contradicts"),
        ({"head_dim": 64}, r"config\.json implies \(256, 128\)"),
    ],
)
def test_what_is_laid_over_a_folder_s_config_must_not_contradict_it(
    recipe, tmp_path, overlay, message
):
    (tmp_path / "config.json").write_text(json.dumps(QWEN2))
    write_headers(tmp_path / "model.safetensors", hf_shapes(read_architecture(QWEN2)))
    recipe.base, recipe.model = None, Model(path=str(tmp_path), config=overlay)
    with pytest.raises(RecipeError, match=message):
        validate(recipe)


def test_a_file_is_no_model_folder(recipe, tmp_path):
    (tmp_path / "x").touch()
    recipe.base, recipe.model = None, Model(path=str(tmp_path / "x"))
    with pytest.raises(RecipeError, match="is a file: name the folder that holds it"):
        validate(recipe)


def test_a_cache_beyond_the_machine_is_refused(recipe, monkeypatch):
    monkeypatch.setattr("red_mcore.system.devices.host_memory", lambda: 32 * 2**30)
    validate(override(recipe, ["rollout.kv_cache_mib=4096"]))
    with pytest.raises(
        RecipeError, match=r"rollout\.kv_cache_mib=8192: with it a rank needs 9\.\d GiB at least"
    ) as error:
        validate(override(recipe, ["rollout.kv_cache_mib=8192"]))
    most = int(re.search(r"use (\d+) or less", str(error.value))[1])
    validate(override(recipe, [f"rollout.kv_cache_mib={most}"]))
    with pytest.raises(
        RecipeError,
        match=r"reward\.workers=500: with it a rank needs \d+\.\d GiB .*: use \d\d or less",
    ):
        validate(override(recipe, ["reward.workers=500"]))
    monkeypatch.setattr(
        "red_mcore.system.devices.ranks_here", lambda ranks: 1
    )  # the others are elsewhere
    validate(override(recipe, ["rollout.kv_cache_mib=8192"]))


def test_a_model_beyond_the_machine_may_be_planned_but_not_started(recipe, monkeypatch):
    monkeypatch.setattr("red_mcore.system.devices.host_memory", lambda: 32 * 2**30)
    large = override(
        recipe, ["model.config.hidden_size=8192", "model.config.num_attention_heads=64"]
    )
    large.rollout.kv_cache_mib = 50000
    validate(large)
    assert "which does not fit: this machine for 4 ranks has 32.0 GiB" in plan.describe(large)
    with pytest.raises(
        RecipeError,
        match=r"model: a rank needs \d+\.\d GiB for weights, gradients, optimizer and engine",
    ):
        validate(large, here=True)


def test_a_gpu_has_to_hold_a_rank(recipe, monkeypatch):
    monkeypatch.setattr("red_mcore.system.devices.has_gpu", lambda: True)
    monkeypatch.setattr("red_mcore.system.devices.gpu_memory", lambda: 2**30)
    validate(recipe)
    with pytest.raises(
        RecipeError,
        match=r"rollout\.kv_cache_mib=1024: with it .* a GPU here has 1\.0 GiB: use \d+ or less",
    ):
        validate(override(recipe, ["rollout.kv_cache_mib=1024"]))


def test_a_hub_model_s_shape_is_unknown_until_fetched(recipe):
    recipe.base, recipe.model = None, Model(path="Qwen/Qwen2.5-Math-1.5B")
    validate(recipe)
    assert "known once Qwen/Qwen2.5-Math-1.5B is fetched" in plan.describe(recipe)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["until={}"],
            "until makes the number of steps unknown, which optimizer.schedule=cosine depends on",
        ),
        (["until.most_steps=10"], "until.most_steps=10 is less than steps=150"),
        (["until.train_seconds=-1"], "until.train_seconds=-1.0 is too small"),
    ],
)
def test_open_end(tmp_path, overrides, message):
    recipe = load(str(RECIPES / "red_tiny.py"), ["until={}", *overrides, f"runs={tmp_path}"])
    with pytest.raises(RecipeError, match=re.escape(message)):
        validate(recipe)


def test_a_method_without_rollouts_cannot_wait_for_tokens(tmp_path):
    file = str(RECIPES / "tiny/sft.py")
    recipe = load(file, ["until={}", "until.generated_tokens=5", f"runs={tmp_path}"])
    with pytest.raises(RecipeError, match="SFT generates none, use 0"):
        validate(recipe)
