"""Whole runs of ``recipes/red_tiny.py`` through the command line: real ranks, engines, verifier and
tracker."""

from __future__ import annotations

import json
import math
import shutil
import signal
import sys
from pathlib import Path

import psutil
import pytest
import warm

from red_mcore.checkpoints import manifests, resume
from red_mcore.config.loading import load

ROOT = Path(__file__).parent.parent
SMALL = [
    "base=null",
    "batch.prompts_per_step=8",
    "data.held_out=12",
    "evaluation.samples=2",
    "tracking.mlflow=false",
]
STEPS = 3
ONE = "parallel.ranks=1"
"""Where more ranks would show nothing more: they cost time."""


def command(
    folder: Path, name: str, *overrides: str, recipe: str = "recipes/red_tiny.py"
) -> list[str]:
    patient = "reward.timeout_seconds=600"  # whatever else the machine has to do, the same verdicts
    return [
        sys.executable,
        "-m",
        "red_mcore.run",
        recipe,
        f"name={name}",
        f"runs={folder}",
        patient,
        *overrides,
    ]


def run(folder: Path, name: str, *overrides: str, recipe: str = "recipes/red_tiny.py") -> str:
    done = warm.run(command(folder, name, *overrides, recipe=recipe))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(folder: Path, name: str, *overrides: str, recipe: str = "recipes/red_tiny.py") -> str:
    """The one line of a run that is not started."""
    done = warm.run(command(folder, name, *overrides, recipe=recipe))
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
    return done.stderr


def rows(folder: Path, name: str) -> list[dict]:
    """Metrics of the steps; the row before them, of step 0, holds the evaluation at start."""
    first, *rest = [
        json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()
    ]
    assert first["step"] == 0
    assert all(key == "step" or key.startswith("evaluation/") for key in first)
    return rest


def without_seconds(row: dict) -> dict:
    return {
        key: value
        for key, value in row.items()
        if not key.startswith(("time/", "memory/", "speed/"))
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


def base_run(name: str) -> list[str]:
    """Name and overrides of a run with a base stage."""
    base = [
        "base.steps=60",
        "base.sequences_per_step=48",
        "checkpoint.every=2",
        "checkpoint.keep=99",
        "evaluation.every=2",
    ]
    return [name, *SMALL[1:4], *base, f"steps={STEPS}"]


@pytest.fixture(scope="module")
def base(folder) -> str:
    """A model with some skill, and the run of two data-parallel ranks that made it, with MLflow and
    a base stage."""
    run(folder, *base_run("data2"))
    return f"model.path={folder}/data2/base"


@pytest.fixture(scope="module")
def converted(folder, base) -> str:
    """The same model as a checkpoint in Megatron's format."""
    from red_mcore.convert.conversion import from_hf

    from_hf(
        folder / "data2/base",
        folder / "converted",
        dtype=None,
        replace=False,
        watch=lambda done, total: None,
    )
    return f"model.path={folder}/converted"


@pytest.fixture(scope="module")
def undisturbed(folder, base) -> list[dict]:
    run(folder, "undisturbed", base, *SMALL, f"steps={STEPS}")
    return rows(folder, "undisturbed")


def test_a_run_leaves_what_the_readme_promises(folder, base):
    made = folder / "data2"
    summary = json.loads((made / "summary.json").read_text())
    wanted = {"accuracy_before", "accuracy_after", "mean_length_after", "steps", "seconds"}
    assert wanted <= summary.keys()
    assert summary["steps"] == STEPS
    for file in ("recipe.yaml", "base.jsonl", "export/model.safetensors", "export/tokenizer.json"):
        assert (made / file).is_file()
    assert [row["step"] for row in rows(folder, "data2")] == [1, 2, 3]
    trained = [row for row in rows(folder, "data2") if row["update/tokens"]]
    assert all(row["speed/update_tflops"] > 0 for row in trained)
    assert trained[-1]["speed/update_tokens_per_second"] == pytest.approx(
        trained[-1]["update/tokens"] / trained[-1]["time/update_seconds"] / 2
    )
    assert (made / "rollouts" / "evaluation-000002.jsonl").read_text().count("verdict") > 0
    import mlflow

    found = mlflow.tracking.MlflowClient(f"sqlite:///{folder}/mlruns.db").search_runs(["1"])
    assert found[0].info.status == "FINISHED"
    assert (
        found[0].data.metrics["rollout/accuracy"] == rows(folder, "data2")[-1]["rollout/accuracy"]
    )


def test_the_export_loads_in_transformers_and_in_vllm(folder, base):
    """As any user would load it: nothing of ours but the folder."""
    done = warm.run([sys.executable, "tests/parity/vllm_export.py", folder / "data2/export"])
    assert done.returncode == 0, done.stdout + done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    assert answers["vllm"] == answers["transformers"]
    assert len(set(answers["vllm"])) > 1


def test_trainer_and_engine_agree_after_every_publication(folder, undisturbed):
    for row in undisturbed:
        assert row["rollout/logprob_gap_max_nats"] < 1e-3
        assert row["rollout/logprob_gap_max_nats"] > 0  # two programs never agree to the last bit
        assert row["publish/version"] == row["step"]
    after_the_last = undisturbed[-1]["evaluation/logprob_gap_max_nats"]
    assert 0 < after_the_last < 1e-3
    summary = json.loads((folder / "undisturbed" / "summary.json").read_text())
    assert summary["logprob_gap_max_nats"] == after_the_last


def test_first_step_is_the_same_under_another_layout(folder, converted, undisturbed):
    """And from a converted checkpoint, which every rank reads its part of. For pipelines see
    tests/soak."""
    name = "tensor2"
    run(folder, name, converted, *SMALL, f"steps={STEPS}", "parallel.tensor=2")
    first, other = undisturbed[0], rows(folder, name)[0]
    # The same rollouts: the engines of both layouts sampled the same tokens.
    for key in ("rollout/generated_tokens", "rollout/accuracy", "trace/length_tokens"):
        assert other[key] == first[key]
    assert abs(first["loss/total"]) > 1e-6
    for key in (
        "loss/total",
        "loss/rl",
        "loss/offline",
        "update/grad_norm",
        "entropy/offline_nats",
    ):
        assert other[key] == pytest.approx(first[key], rel=1e-4, abs=1e-7), key
    assert len(rows(folder, name)) == STEPS


def set_back(folder: Path, name: str, copy: Path, tag: str) -> None:
    """Make ``copy/name`` the run as a kill would have left it whose newest checkpoint was
    ``tag``."""
    shutil.copytree(folder / name, copy / name)
    checkpoints = copy / name / "checkpoints"
    tags = sorted((path.name for path in checkpoints.iterdir() if path.is_dir()), key=manifests.age)
    for later in tags[tags.index(tag) + 1 :]:
        shutil.rmtree(checkpoints / later)
    (checkpoints / "latest").write_text(tag)
    (copy / name / "summary.json").unlink()


def test_killed_while_the_base_is_trained(folder, base):
    set_back(folder, "data2", folder / "cut", "base-000030")
    shutil.rmtree(folder / "cut/data2/base")
    assert "going on from checkpoint base-000030" in run(folder / "cut", *base_run("data2"))
    assert [without_seconds(row) for row in rows(folder / "cut", "data2")] == [
        without_seconds(row) for row in rows(folder, "data2")
    ]


def saved_step(folder: Path, name: str) -> int:
    return resume.latest(folder / name / "checkpoints")["state"]["step"]


def test_ctrl_c_saves_and_the_same_command_goes_on(folder, base, tmp_path):
    arguments = [base, *SMALL, "steps=500", "checkpoint.every=0"]
    program = warm.start(command(folder, "interrupted", *arguments), tmp_path / "output")
    warm.wait_for(folder / "interrupted" / "metrics.jsonl", program)
    everybody = [launcher := psutil.Process(program.pid), *launcher.children(recursive=True)]
    listening = {
        c.laddr.ip for p in everybody for c in p.net_connections() if c.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}, "launcher, ranks, engines and verifiers"
    program.send_signal(signal.SIGINT)
    code, output = program.wait(), program.output()
    assert code == 130, output
    assert "run the same command to go on" in output
    assert "Traceback" not in output
    assert saved_step(folder, "interrupted") == len(rows(folder, "interrupted")) > 0


def test_grade_school_problems_train_under_tensor_parallel(folder, tmp_path):
    """The file format of GSM8K: problems with worked solutions, from a fresh model, whose accuracy
    is near zero."""
    file = tmp_path / "gsm8k_train.jsonl"
    file.write_text(
        "".join(
            json.dumps(
                {
                    "question": f"Ann has {i} apples and buys {i + 2} more."
                    " How many apples has she now?",
                    "answer": f"It is {i}+{i + 2}=<<{i}+{i + 2}={2 * i + 2}>>{2 * i + 2} apples.\n"
                    f"#### {2 * i + 2}",
                }
            )
            + "\n"
            for i in range(40)
        )
    )
    arguments = [
        f"data.path={file}",
        *SMALL,
        "steps=2",
        "parallel.tensor=2",
        "batch.prompts_per_step=4",
        "rollout.max_prompt_tokens=128",
        "rollout.max_response_tokens=128",
    ]
    printed = run(folder, "gsm8k", *arguments)
    first, *_ = json.loads((folder / "gsm8k/summary.json").read_text())["warnings"]
    assert first["code"] == "warm_up_main"  # two steps of warm-up
    assert (
        printed.count(f"red_mcore: warning: {first['text']}\n") == 2
    )  # before the ranks and in the end
    for row in rows(folder, "gsm8k"):
        assert all(math.isfinite(value) for value in row.values())
        assert row["trace/accuracy"] == 1.0
        assert row["update/grad_norm"] > 0
    file.write_text(file.read_text().replace("Ann has 39", "Bob has 39"))
    assert "the first that differs is held-out problem 11 (id 39): 'Ann has 39" in refused(
        folder, "gsm8k", *arguments
    )


def test_a_mixture_of_experts_over_two_ranks(folder):
    """Each publication reaches the engine's experts, too, which it packs in an order of its own.

    The folder is of a start that never saved: another recipe under the same name must not train the
    model left there.
    """
    stale = folder / "experts" / "model"
    stale.mkdir(parents=True)
    (stale / "complete").write_text("of an earlier recipe")
    (stale / "config.json").write_text("{}")
    fields = (
        "model_type=qwen3_moe",
        "num_experts=4",
        "num_experts_per_tok=2",
        "moe_intermediate_size=64",
    )
    model = [f"model.config.{field}" for field in (*fields, "norm_topk_prob=true", "head_dim=32")]
    run(folder, "experts", *SMALL, *model, "parallel.expert=2", "steps=2")
    assert [row["publish/version"] for row in rows(folder, "experts")] == [1, 2]
    for row in rows(folder, "experts"):
        assert row["update/grad_norm"] > 0
        assert 0 < row["rollout/logprob_gap_max_nats"] < 1e-3
    assert (
        json.loads((folder / "experts/export/config.json").read_text())["model_type"] == "qwen3_moe"
    )


RELIFT = [
    "recipes/tiny/relift.py",
    "algorithm.demonstrations=3",
    "checkpoint.every=2",
    "steps=4",
    ONE,
]


def test_relift_goes_on_from_a_checkpoint_as_if_undisturbed(folder, base):
    """A buffer of problems and a second optimizer have to come back, too. The second run is a copy
    of the first as a
    kill after its second step would have left it."""
    recipe, *overrides = RELIFT
    arguments = [base, *SMALL, *overrides]
    run(folder, "relift", *arguments, recipe=recipe)
    undisturbed = rows(folder, "relift")
    cut = folder / "cut"
    set_back(folder, "relift", cut, "main-000002")
    assert saved_step(cut, "relift") == 2
    identity = cut / "relift" / "identity.json"
    identity.unlink()  # the checkpoint has it, too
    output = run(cut, "relift", *arguments, recipe=recipe)
    assert "going on from checkpoint" in output
    assert "kept no fingerprints" not in output
    now, then = (
        json.loads(file.read_text()) for file in (identity, folder / "relift" / "identity.json")
    )
    assert {**now, "recipe": None} == {**then, "recipe": None}  # where its runs are has changed
    assert [without_seconds(row) for row in rows(cut, "relift")] == [
        without_seconds(row) for row in undisturbed
    ]
    seen, whole = (
        resume.latest(place / "relift/checkpoints")["state"]["health"] for place in (cut, folder)
    )
    assert seen == whole
    assert seen["no_update"]["seen"] == 4
    assert any(row.get("lesson/traces") == 3 for row in undisturbed[:2])
    assert any(row.get("lesson/traces") == 3 for row in undisturbed[2:])
    lr = load(str(ROOT / recipe)).algorithm.imitation.lr
    assert all(
        row["lesson/update_lr"] == pytest.approx(lr)
        for row in undisturbed[2:]
        if "lesson/update_lr" in row
    )


def test_sft_goes_over_into_grpo_and_a_run_can_be_made_longer(folder, base):
    recipe, stage = "recipes/tiny/sft_then_grpo.py", "algorithm.sft_steps=2"
    run(folder, "staged", base, *SMALL, ONE, stage, "steps=3", recipe=recipe)
    assert "going on from checkpoint" in run(
        folder, "staged", base, *SMALL, ONE, stage, "steps=4", recipe=recipe
    )
    found = rows(folder, "staged")
    assert ["loss/sft" in row for row in found] == [True, True, False, False]
    assert ["rollout/generated_tokens" in row for row in found] == [False, False, True, True]
    assert [row["publish/version"] for row in found] == [1, 2, 3, 4]
    # Warm-up of three updates in each stage.
    assert [row["update/lr"] / found[2]["update/lr"] for row in found[2:]] == pytest.approx([1, 2])


def test_branches_and_refills(folder, base):
    """A base this weak solves few groups: most go on from a part of their trace, and some give way
    to fresh prompts."""
    run(
        folder,
        "bread",
        base,
        *SMALL,
        ONE,
        "steps=2",
        "batch.refills=1",
        recipe="recipes/tiny/bread.py",
    )
    for row in rows(folder, "bread"):
        assert row["groups/branched"] > 0
        assert 8 <= row["groups/sampled"] <= 16
        assert row["groups/kept"] + row["groups/dropped"] == 8
        assert (
            row["rollout/generated_tokens"]
            > row["groups/sampled"] * 8 * row["rollout/length_tokens"]
        )
        assert row["update/grad_norm"] > 0


ASKED = {
    "samples": 4,
    "competition_samples": None,
    "max_tokens": 60,
    "temperature": 1.0,
    "instruction": "",
    "sequences_per_call": 16,
}


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory) -> Path:
    """Two benchmarks of problems that the model learns to solve."""
    from red_mcore.config.recipe import Data
    from red_mcore.data.problems import load_problems

    problems = load_problems(Data(problems=32, held_out=0), seed=5)[0]
    folder = tmp_path_factory.mktemp("benchmarks")
    for name, some in {"AIME24": problems[:18], "AMC23": problems[18:]}.items():
        (folder / f"{name}.json").write_text(
            json.dumps([{"prompt": p.text, "answer": p.gold} for p in some])
        )
    return folder


@pytest.fixture(scope="module")
def benchmarked(folder, base, benchmarks) -> Path:
    """GRPO with a reference from the base stage and a teacher of another run, on two ranks, which
    evaluates benchmarks on its way."""
    asked = {"names": ["AIME24", "AMC23"], "data": str(benchmarks), "every": 1, "protocol": ASKED}
    run(
        folder,
        "grpo",
        *SMALL[1:],
        "base.steps=100",
        "base.sequences_per_step=48",
        "steps=2",
        "algorithm.kl_coefficient=0.01",
        f"algorithm.teacher={{path: {folder}/data2/base, coefficient: 0.1}}",
        f"evaluation.benchmarks={json.dumps(asked)}",
        recipe="recipes/tiny/grpo.py",
    )
    return folder / "grpo"


def test_benchmarks_are_evaluated_on_the_way(folder, benchmarked):
    made = rows(folder, "grpo")
    assert [row["publish/version"] for row in made] == [1, 2]
    summary = json.loads((benchmarked / "evaluation/step-000002/summary.json").read_text())
    found = summary["benchmarks"]
    assert {name: (n["items"], n["samples"]) for name, n in found.items()} == {
        "AIME24": (18, 4),
        "AMC23": (14, 4),
    }
    assert made[-1]["evaluation/AIME24_mean"] == found["AIME24"]["mean"] > 0
    assert made[-1]["evaluation/AIME24_pass4"] == found["AIME24"]["pass"]["4"]
    assert made[-1]["evaluation/average_mean"] == summary["average"]["mean"]
    assert all("evaluation/AMC23_mean" in row for row in made)
    ends = json.loads((benchmarked / "summary.json").read_text())
    first = json.loads((benchmarked / "evaluation/step-000000/summary.json").read_text())
    assert ends["AMC23_after"] == found["AMC23"]["mean"]
    assert ends["AMC23_before"] == first["benchmarks"]["AMC23"]["mean"]
    assert (benchmarked / "rollouts/benchmarks-000002.jsonl").read_text().count("verdict") > 0


def test_a_teacher_scores_every_step_and_belongs_to_the_run(folder, benchmarked):
    """Two models from bases of their own: they differ by as much as both have learnt otherwise."""
    assert all(0.01 < row["teacher/reverse_kl_nats"] < 10 for row in rows(folder, "grpo"))
    path = f"{folder}/data2/base"
    assert f"path: {path}" in (benchmarked / "recipe.yaml").read_text()
    manifest = manifests.newest(benchmarked / "checkpoints")[0]
    assert manifest["recipe"]["algorithm.teacher.path"] == path
    assert json.loads((benchmarked / "identity.json").read_text())["teacher"]["weights"]


def test_evaluated_alone_a_checkpoint_has_the_same_numbers_also_after_a_kill(
    benchmarked, benchmarks, tmp_path
):
    """One engine instead of two, another program, killed on its way: every token is the same."""
    overrides = [f"{name}={json.dumps(value)}" for name, value in ASKED.items()]
    command = [
        *(
            sys.executable,
            "tools/evaluate.py",
            "--model",
            str(benchmarked),
            "--benchmarks",
            "AIME24,AMC23",
        ),
        *(
            "--data",
            str(benchmarks),
            "--out",
            str(tmp_path),
            "--kv-cache-mib",
            "128",
            "--timeout",
            "600",
        ),
        *overrides,
    ]
    program = warm.start(command, tmp_path / "output")
    try:
        warm.wait_for(tmp_path / "items.part-0.jsonl", program)
        ranks = psutil.Process(program.pid).children(recursive=True)
    finally:
        program.kill()
        program.wait()
    psutil.wait_procs(
        ranks
    )  # they have groups of their own and die with their launcher, a moment later
    before = (tmp_path / "items.part-0.jsonl").read_text()
    done = warm.run(command)
    assert done.returncode == 0, done.stdout + done.stderr
    left = 32 * 4 - 4 * 4 * (len(before.splitlines()) // 4)
    assert f"responses {left}/{left}" in done.stdout
    after = (tmp_path / "items.jsonl").read_text()
    assert after == (benchmarked / "evaluation/step-000002/items.jsonl").read_text()
    assert after.startswith("".join(before.splitlines(keepends=True)[:4]))
    alone, training = (
        json.loads((place / "summary.json").read_text())
        for place in (tmp_path, benchmarked / "evaluation/step-000002")
    )
    assert alone["benchmarks"] == training["benchmarks"]
    import mlflow

    client = mlflow.tracking.MlflowClient(f"sqlite:///{tmp_path.parent}/mlruns.db")
    logged = client.get_run(alone["mlflow_run"])
    assert logged.data.metrics["evaluation/AIME24_mean"] == training["benchmarks"]["AIME24"]["mean"]
    assert logged.data.params["protocol.max_tokens"] == "60"


def test_a_changed_recipe_is_refused_in_the_same_folder(folder, undisturbed, base):
    arguments = [base, *SMALL, f"steps={STEPS}"]
    assert "was started with optimizer.lr=" in refused(
        folder, "undisturbed", *arguments, "optimizer.lr=5e-4"
    )
    algorithm = refused(folder, "undisturbed", *arguments, recipe="recipes/tiny/grpo.py")
    assert "was started with algorithm RED, now it is GRPO" in algorithm


def test_a_finished_run_says_so_at_once(folder, undisturbed, base):
    assert "has done its 3 steps" in run(folder, "undisturbed", base, *SMALL, f"steps={STEPS}")
