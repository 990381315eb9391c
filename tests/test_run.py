"""The command itself: exit codes, one-line errors, and a dry run that imports nothing heavy."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

HEAVY = (
    "torch",
    "vllm",
    "megatron",
    "transformers",
    "mlflow",
    "datasets",
    "math_verify",
    "pyarrow",
    "pandas",
)
RECIPE = """
from red_mcore.algorithms.red import RED
from red_mcore.config.recipe import Base, Batch, Model, Parallel, Recipe, Rollout

def recipe():
    return Recipe(
        name="small",
        runs="{runs}",
        algorithm=RED(),
        base=Base(),
        model=Model(config=dict(
            model_type="qwen2", vocab_size=262, hidden_size=64, intermediate_size=128,
            num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        )),
        parallel=Parallel(ranks=2),
        batch=Batch(prompts_per_step=24, samples_per_prompt=7, tokens_per_micro_batch=2048),
        rollout=Rollout(max_prompt_tokens=64, max_response_tokens=96, kv_cache_mib=64),
    )
"""


@pytest.fixture
def recipe(tmp_path) -> str:
    file = tmp_path / "small.py"
    file.write_text(RECIPE.replace("{runs}", str(tmp_path / "runs")))
    return str(file)


def red(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "red_mcore.run", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.path=nowhere.jsonl", "nowhere.jsonl"),
        ("parallel.tensr=2", "'parallel' has no field 'tensr'; nearest is 'tensor'"),
        (
            "parallel.tensor=3",
            "parallel.tensor=3 does not divide num_attention_heads=2: use 1 or 2",
        ),
        ("runs=/proc/red", "run folder /proc/red/small cannot be made"),
        ("model.config.model_type=gpt2", "model_type 'gpt2' is not supported; supported: llama"),
    ],
)
def test_bad_input_ends_with_one_line_and_code_2(recipe, override, message):
    done = red(recipe, override)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("red_mcore: error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_recipe_and_a_bad_option():
    assert red("nowhere.py").stderr == "red_mcore: error: recipe file nowhere.py does not exist\n"
    done = red("nowhere.py", "--dry")
    assert done.returncode == 2
    assert "--dry" in done.stderr


def test_a_recipe_that_can_learn_nothing_is_told_and_not_started_where_it_is_strict(
    recipe, tmp_path
):
    idle = [recipe, "optimizer.warmup_steps=600"]
    done = red(*idle, "--dry-run")
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith(
        "red_mcore: warning: optimizer.warmup_steps=600 is no less than the 500 updates of"
        " steps=500"
    )
    assert red(*idle, "--dry-run", "strict=true").returncode == 4
    done = red(*idle, "strict=true")
    assert done.returncode == 4
    assert done.stderr.splitlines() == [last, "red_mcore: error: not started, for strict=true"]
    assert not (tmp_path / "runs").exists()


def test_a_strict_run_that_has_ended_with_warnings_says_so_again(recipe, tmp_path):
    folder = tmp_path / "runs" / "small"
    folder.mkdir(parents=True)
    for found, code in (
        ([], 0),
        ([{"code": "no_update", "text": "nothing was learnt", "step": 9}], 4),
    ):
        (folder / "summary.json").write_text(json.dumps({"steps": 500, "warnings": found}))
        done = red(recipe, "strict=true")
        assert done.returncode == code, done.stderr
        assert ("nothing was learnt" in done.stdout) == bool(found)


def test_a_dry_run_prints_recipe_layout_and_arithmetic(recipe, tmp_path):
    done = red(recipe, "--dry-run", "steps=3")
    assert done.returncode == 0, done.stderr
    for part in (
        "steps: 3\n",
        "24 prompts x (7 rollouts + 1 trace) = 192 sequences",
        "ranks: 2 = 1 tensor x 2 data",
    ):
        assert part in done.stdout
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("data", ["arithmetic", "file"])
def test_a_dry_run_imports_nothing_heavy(recipe, tmp_path, data):
    problems = tmp_path / "problems.jsonl"
    lines = (
        f'{{"question": "1 + {n}?", "answer": "It is {n + 1}. #### {n + 1}"}}\n' for n in range(8)
    )
    problems.write_text("".join(lines))
    path = "null" if data == "arithmetic" else problems
    code = f"""
import sys
from red_mcore.cli.run import main
code = main([{recipe!r}, "--dry-run", "data.path={path}", "data.held_out=2"])
print("heavy:", [name for name in {HEAVY!r} if name in sys.modules], code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("heavy: [] 0\n"), done.stdout + done.stderr


def test_help_lists_every_field_also_in_a_pipe():
    done = red("--help")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout, "no colours where no terminal is"
    assert max(map(len, done.stdout.splitlines())) <= 120
    for field, default, may_be, meaning in (
        ("steps", "500", "0 or more steps", "Steps of the algorithm"),
        ("rollout.temperature", "1", "0.01 to 2", "Temperature of the sampling"),
        ("reward.workers*", "1", "1 to 1024 processes", "Verifier processes per engine"),
        ("reward.overlong.buffer", "2000", "1 or more tokens", "Tokens before"),
        ("base.optimizer.lr", "2e-06", "above 0 to 1", "Largest learning rate"),
        ("evaluation.benchmarks.protocol.temperature", "0.6", "0, 0.01 to 2", "Temperature"),
        ("data.mixture[0].weight", "1", "above 0", "Share of the"),
        ("algorithm.weight_max", "7", "0 or more", "Largest weight of a trace"),
        ("algorithm.kl_estimator", "k3", "k1, k2, k3", "Estimate of the KL"),
    ):
        words = r"\s+".join(map(re.escape, (field, default, may_be, meaning.split()[0])))
        assert re.search(rf"^  {words}", done.stdout, re.MULTILINE), field
    assert "Off by default; until={} turns it on" in " ".join(done.stdout.split())
    assert "red_mcore.algorithms.dft:DFT" in done.stdout


def test_help_of_a_recipe_has_its_values_and_its_own_algorithm(recipe):
    done = red(recipe, "optimizer.lr=0.125", "tracking.uri=https://me:hunter2@host", "--help")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^  optimizer.lr +0.125 ", done.stdout, re.MULTILINE)
    assert "algorithm: red_mcore.algorithms.red:RED" in done.stdout
    assert "DFT" not in done.stdout
    assert "hunter2" not in done.stdout


def test_version_and_no_recipe():
    done = red("--version")
    assert (done.returncode, done.stdout) == (0, f"red-mcore {version('red-mcore')}\n")
    done = red()
    assert done.returncode == 2
    assert "give a RECIPE, or --help" in done.stderr


def test_what_is_printed_is_a_recipe_too(recipe, tmp_path):
    kept = tmp_path / "kept.yaml"
    kept.write_text(red(recipe, "--print-config", "yaml", "steps=7").stdout)
    done = red(str(kept), "--print-config", "yaml")
    assert (done.returncode, done.stdout) == (0, kept.read_text()), done.stderr
    done = red(str(kept), "--dry-run", "name=anew")
    assert done.returncode == 0, done.stderr
    assert "steps: 7\n" in done.stdout
    assert f"{tmp_path / 'runs'}/anew/" in done.stdout


def test_print_config_is_the_resolved_recipe(recipe):
    done = red(recipe, "--print-config", "yaml", "parallel.tensor=2")
    assert done.stdout.startswith("name: small\n")
    assert "algorithm:\n  class: red_mcore.algorithms.red:RED\n" in done.stdout
    assert "  tensor: 2\n" in done.stdout


@pytest.mark.parametrize(
    "launcher",
    [
        {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "3"},
        {
            "SLURM_JOB_ID": "1",
            "SLURM_STEP_ID": "0",
            "SLURM_STEP_NUM_TASKS": "3",
            "SLURM_STEP_NODELIST": "localhost",
            "SLURM_PROCID": "0",
            "SLURM_LOCALID": "0",
        },
    ],
    ids=["torchrun", "srun"],
)
def test_a_launcher_has_to_start_as_many_ranks_as_the_recipe_wants(recipe, launcher):
    done = red(recipe, **launcher)
    assert done.returncode == 2
    assert done.stderr == (
        "red_mcore: error: parallel.ranks=2, but the launcher started 3: set parallel.ranks=3 or"
        " start 2\n"
    )


def test_the_recipes_of_the_repository_pass_a_dry_run():
    recipes = sorted((Path(__file__).parent.parent / "recipes").glob("*.py"))
    assert recipes
    for file in recipes:
        done = red(str(file), "--dry-run")
        assert done.returncode == 0, done.stderr


TERMS = """
def good(problem, gold, response, tokens):
    return -tokens

def bad(problem, gold, response, tokens):
    return good(problem, gold, response)
"""


def test_reward_functions_are_tried_before_anything_is_started(recipe, tmp_path):
    (tmp_path / "my_terms.py").write_text(TERMS)

    def tried(name: str) -> subprocess.CompletedProcess:
        return red(
            recipe,
            "--dry-run",
            f"reward.functions={{my_terms:{name}: 0.1}}",
            PYTHONPATH=str(tmp_path),
        )

    assert tried("good").returncode == 0
    done = tried("goood")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "red_mcore: error: reward.functions: 'my_terms:goood' fails: AttributeError: module my"
    )
    assert done.stderr.endswith("my_terms.py) has no function 'goood'; nearest is 'good'\n")
    assert done.stderr.count("\n") == 1
    done = tried("bad")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("Traceback") == 1
    assert 'my_terms.py", line 6, in bad' in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "red_mcore: error: reward.functions: 'my_terms:bad' fails on each of the 9 calls tried with"
    )
    assert last.endswith("TypeError: good() missing 1 required positional argument: 'tokens'")
