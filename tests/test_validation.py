"""Bad recipes are refused by name."""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

from red_mcore import planning
from red_mcore.algorithms.grpo import GRPO
from red_mcore.algorithms.red import RED
from red_mcore.overrides import load, override
from red_mcore.recipe import Model, RecipeError
from red_mcore.validation import validate

RECIPES = Path(__file__).parent.parent / "recipes"

MOE = "model.config.model_type=qwen3_moe " + " ".join(
    f"model.config.{field}"
    for field in ("num_experts=8", "num_experts_per_tok=2", "moe_intermediate_size=64", "head_dim=32")
)
BAD = [
    ("parallel.tensor=4", "parallel.tensor=4 does not divide num_key_value_heads=2: use 1 or 2"),
    ("rollout.tensor=4", "rollout.tensor=4 does not divide num_key_value_heads=2: use 1 or 2"),
    ("parallel.tensor=2 model.config.intermediate_size=255", "does not divide intermediate_size=255: use 1"),
    ("parallel.pipeline=3", "parallel.pipeline=3 does not divide num_hidden_layers=4: use 1, 2 or 4"),
    ("parallel.ranks=5 parallel.tensor=2", "parallel.ranks=5 is not a multiple of parallel.tensor x parallel.pipeline"),
    (
        "parallel.ranks=6 parallel.context=4",
        "parallel.ranks=6 is not a multiple of parallel.tensor x parallel.pipeline x parallel.context = 1 x 1 x 4 = 4:"
        " use 4 or 8 ranks",
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
    ("parallel.ranks=3 rollout.tensor=2", "rollout.tensor=2 does not divide parallel.ranks=3: use 1 or 3"),
    ("parallel.sequence=true", "parallel.sequence=true needs parallel.tensor above 1"),
    ("model.config.head_dim=48", "head_dim=48 is none that vLLM's CPU attention knows: use 32, 64"),
    (
        "model.config.num_key_value_heads=3",
        "num_key_value_heads=3 does not divide num_attention_heads=4: use 1, 2 or 4",
    ),
    ("model.config.max_position_embeddings=128", "64 + 96 = 160 exceeds max_position_embeddings=128"),
    ("model.config.model_type=phi3", "model_type 'phi3' is not supported; supported: qwen2, qwen3, llama, mistral"),
    ("model.config.model_type=mistral model.config.sliding_window=159", "64 + 96 = 160 exceeds sliding_window=159"),
    (f"{MOE} parallel.ranks=2 parallel.expert=4", "parallel.expert=4 does not divide the 2 data-parallel ranks"),
    ("parallel.expert=2", "parallel.expert=2, but the model has no experts: use 1"),
    (f"{MOE} parallel.ranks=3 parallel.expert=3", "parallel.expert=3 does not divide num_experts=8: use 1, 2, 4 or 8"),
    (
        f"{MOE} model.config.num_hidden_layers=8 parallel.pipeline=4 parallel.virtual=2",
        "parallel.virtual=2 is not supported for a model with experts: use 1",
    ),
    (f"{MOE} parallel.tensor=2", "parallel.tensor=2 of a model with experts needs sequence parallel"),
    (f"{MOE} rollout.tensor=2 model.config.moe_intermediate_size=96", "moe_intermediate_size / rollout.tensor=48 is"),
    (f"{MOE} parallel.tensor=8", "parallel.tensor=8 does not divide num_attention_heads=4: use 1 or 2"),
    ("model.config.rope_scaling='{type: yarn}'", "rope type 'yarn' is not supported"),
    (
        "rollout.kv_cache_mib=1 model.config.num_hidden_layers=16",
        "cannot hold one sequence of 160 tokens at 8192 bytes each",
    ),
    ("batch.tokens_per_micro_batch=159", "batch.tokens_per_micro_batch=159 cannot hold one sequence"),
    ("batch.updates_per_step=25", "batch.updates_per_step=25 exceeds batch.prompts_per_step=24"),
    ("batch.samples_per_prompt=0", "batch.samples_per_prompt=0 is too small: use 1 or more"),
    ("parallel.ranks=0", "parallel.ranks=0 is too small: use 1 or more"),
    ("base.steps=0", "base.steps=0 is too small: use 1 or more"),
    ("rollout.temperature=0", "rollout.temperature=0.0 is not a positive number"),
    ("optimizer.skip_grad=-1", "optimizer.skip_grad=-1.0 is too small: use 0 or more"),
    ("algorithm.clip_low=0", "algorithm.clip_low=0.0 is not a positive number"),
    ("algorithm.clip_dual=1", "algorithm.clip_dual=1.0 would cut off tokens that have not changed"),
    ("algorithm.beta=2", "algorithm.beta=2 stands for an accuracy: use 0 to 1, or group"),
    ("batch.updates_per_step=2", "batch.updates_per_step=2: RED makes one update and clips nothing"),
    ("optimizer.lr=.nan", "optimizer.lr=nan is not a positive number"),
    ("evaluation.top_p=1.5", "evaluation.top_p=1.5 is not a fraction"),
    ("optimizer.betas=[0.9,1]", "optimizer.betas=[0.9, 1.0] has to lie in [0, 1)"),
    ("reward.overlong='{buffer: 97}'", "reward.overlong.buffer=97 is longer than rollout.max_response_tokens=96"),
    ("reward.wrong=1", "reward.wrong=1.0 is no less than the 1 of a correct answer: use 0 or -1"),
    ("reward.answer_after='\"\"'", "reward.answer_after is an empty text, which stands everywhere: use null"),
    ("reward.repetition='{ngram: 0}'", "reward.repetition.ngram=0 is too small: use 1 or more"),
    ("reward.format='{tags: [a, a]}'", "reward.format.tags=['a', 'a']: use one or more different names"),
    ("reward.functions='{math.sin: 1}'", "'math.sin' is no import path: write package.module:function"),
    ("reward.functions='{json:format: 1}'", "there is another term named 'format': rename that of 'json:format'"),
    ("reward.functions='{json:dumps: 1, pickle:dumps: 1}'", "there is another term named 'dumps'"),
    ("reward.functions='{no_such_module:f: 1}'", "no module 'no_such_module' for 'no_such_module:f'"),
    ("evaluation.benchmarks={}", "no benchmarks are named: use some of MATH-500"),
    ("evaluation.benchmarks='{names: [AIME2]}'", "benchmark AIME2 is unknown: use MATH-500"),
    ("evaluation.benchmarks='{names: [AIME24]}'", "protocol.max_tokens=8192 leaves no room for a prompt in"),
    (
        "evaluation.benchmarks='{names: [AIME24], protocol: {max_tokens: 9, temperature: 0}}'",
        "temperature=0 of the protocol gives 32 equal samples",
    ),
    ("evaluation.benchmarks='{names: [AIME24], data: /nowhere}'", "the folder of benchmarks /nowhere does not exist"),
    (
        "evaluation.benchmarks='{names: [AMC], protocol: {max_tokens: 9}}' checkpoint.keep_best=evaluation/AMC_mean",
        "checkpoint.every=50 is no multiple of evaluation.benchmarks.every=0",
    ),
    ("name=../x", "name='../x' becomes a folder"),
    ("data.path=nowhere.jsonl", "nowhere.jsonl does not exist"),
    ("runs=/proc", "run folder /proc/small cannot be made"),
    (
        "checkpoint.keep_every=60",
        "checkpoint.keep_every=60 is no multiple of checkpoint.every=50: use a multiple of 50",
    ),
    ("checkpoint.keep_every=60 checkpoint.every=0", "of checkpoint.every=0: use checkpoint.every above 0"),
    ("checkpoint.keep_best=evaluation/pass2", "use evaluation/pass1, evaluation/pass8, evaluation/length_tokens or"),
    ("checkpoint.keep_best=evaluation/pass1", "checkpoint.every=50 is no multiple of evaluation.every=0"),
    ("checkpoint.timeout_seconds=0", "checkpoint.timeout_seconds=0.0 is not a positive number"),
    ("rollout.record=a rollout.replay=b", "rollout.record=a and rollout.replay=b exclude each other"),
    ("rollout.replay=nowhere", "rollout.replay=nowhere is no folder"),
    ("model.fp8=tensorwise", "model.fp8=tensorwise needs an NVIDIA GPU, and this machine has none: use fp8=none"),
    (
        "model.layers=transformer_engine",
        "model.layers=transformer_engine needs an NVIDIA GPU, and this machine has none",
    ),
    ("model.path=Qwen/x base.steps=3", "base trains a fresh model, but model.path=Qwen/x is a trained one"),
    ("model.path=/nowhere base=null", "model.path /nowhere is neither a folder with a config.json nor a hub name"),
]


@pytest.mark.parametrize(("overrides", "message"), BAD, ids=[overrides for overrides, _ in BAD])
def test_a_bad_recipe_is_refused_in_one_line(recipe, overrides, message):
    with pytest.raises(RecipeError) as error:
        validate(override(recipe, shlex.split(overrides)))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("model.fp8=blockwise", "model.fp8=blockwise needs bfloat16, and model.dtype is float32: use fp8=none"),
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
        monkeypatch.setattr(f"red_mcore.devices.{name}", lambda: True)
    with pytest.raises(RecipeError, match=re.escape(message)):
        validate(override(recipe, shlex.split(overrides)))


def test_fp8_wants_transformer_engine_installed(recipe, monkeypatch):
    monkeypatch.setattr("red_mcore.devices.has_gpu", lambda: True)
    monkeypatch.setattr("red_mcore.devices.has_transformer_engine", lambda: False)
    with pytest.raises(RecipeError, match="needs Transformer Engine, which is not installed: use fp8=none"):
        validate(override(recipe, ["model.fp8=tensorwise"]))


def test_experts_over_data_parallel_ranks_pass(recipe):
    validate(override(recipe, [*MOE.split(), "parallel.expert=2", "parallel.tensor=2", "parallel.sequence=true"]))


def test_a_good_recipe_passes_and_leaves_no_trace(recipe, tmp_path):
    validate(recipe)
    assert list(tmp_path.iterdir()) == []


def test_groups_of_one_rollout_need_a_trace(recipe):
    recipe.batch.samples_per_prompt = 1
    validate(recipe)
    recipe.algorithm = GRPO()
    with pytest.raises(RecipeError, match=r"batch\.samples_per_prompt=1 makes groups of 1, which GRPO cannot compare"):
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
    with pytest.raises(RecipeError, match=r"kept cannot be made: .*file: Not a directory; set rollout\.record="):
        validate(recipe)


def test_a_hub_model_s_layers_are_checked_as_far_as_they_can_be(recipe):
    recipe.base, recipe.model = None, Model(path="Qwen/Qwen2.5-Math-1.5B", fp8="tensorwise")
    with pytest.raises(RecipeError, match="needs an NVIDIA GPU, and this machine has none"):
        validate(recipe)


def test_a_model_folder_is_read_and_one_without_config_refused(recipe, tmp_path):
    config = recipe.model.config
    recipe.base, recipe.model = None, Model(path=str(tmp_path), config={"num_hidden_layers": 2})
    with pytest.raises(RecipeError, match=r"has no config\.json"):
        validate(recipe)
    (tmp_path / "config.json").write_text(json.dumps(config))
    validate(recipe)
    assert planning.find_architecture(recipe).layers == 2


def test_a_hub_model_s_shape_is_unknown_until_fetched(recipe):
    recipe.base, recipe.model = None, Model(path="Qwen/Qwen2.5-Math-1.5B")
    validate(recipe)
    assert "known once Qwen/Qwen2.5-Math-1.5B is fetched" in planning.describe(recipe)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["until={}"], "until makes the number of steps unknown, which optimizer.schedule=cosine depends on"),
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
