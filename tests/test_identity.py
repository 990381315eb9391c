"""A run goes on only with what it was started with: problems, tokenizer, model, classes, users'
code."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from red_mcore.algorithms.dft import DFT
from red_mcore.algorithms.opd import OPD
from red_mcore.algorithms.red import RED
from red_mcore.algorithms.relift import ReLIFT
from red_mcore.algorithms.sft import SFT
from red_mcore.checkpoints import fingerprints, identity, manifests, resume
from red_mcore.config.loading import load
from red_mcore.config.recipe import (
    Benchmarks,
    Data,
    Evaluation,
    Model,
    Optimizer,
    Recipe,
    RecipeError,
    Reward,
    Teacher,
)
from red_mcore.config.tree import flatten
from red_mcore.data.problems import read_problems
from red_mcore.data.tokenizer import build_tokenizer, load_tokenizer
from red_mcore.samples.records import Problem, Trace

FIX = r"go on with the old \w+, choose another name=\.\.\., or delete the folder$"


@pytest.fixture
def model(tmp_path) -> Path:
    """A Hugging Face folder: the built-in tokenizer, a configuration, two files of weights."""
    folder = tmp_path / "model"
    folder.mkdir()
    build_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text(
        json.dumps({"model_type": "qwen2", "rope_theta": 10000, "dtype": "float32"})
    )
    for number in (1, 2):
        save_file(
            {"weight": np.full(200_000, number, np.float32)}, folder / f"model-{number}.safetensors"
        )
    return folder


@pytest.fixture
def data(tmp_path) -> Path:
    return write_data(tmp_path / "problems.jsonl")


def write_data(file: Path, changed: int | None = None, count: int = 12, **change: object) -> Path:
    rows = [
        {"problem": f"{i} + {i}?", "answer": f"{2 * i}", "trace": f"It is {2 * i}."}
        for i in range(count)
    ]
    if changed is not None:
        rows[changed] |= change
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def recipe(tmp_path, model, data) -> Recipe:
    return Recipe(
        name="r",
        runs=str(tmp_path / "runs"),
        model=Model(path=str(model)),
        data=Data(path=str(data), held_out=3),
        algorithm=RED(),
    )


def start(
    recipe: Recipe,
    benchmarks: dict[str, str] | None = None,
    columns: frozenset[str] = frozenset(),
    **state: int,
) -> list[str]:
    """What rank 0 does with the identity at a start; then a checkpoint of it. What was said."""
    said: list[str] = []
    problems = read_problems(recipe.data, recipe.data.seed, columns)
    teacher = recipe.algorithm.teacher
    identity.claim(
        recipe,
        Path(recipe.model.path),
        problems,
        benchmarks or {},
        resume.begun(recipe),
        said.append,
        None if teacher is None else Path(teacher.path),
    )
    folder = resume.checkpoints(recipe) / "main-000002"
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {
        "tag": folder.name,
        "recipe": flatten(recipe),
        "state": {"stage": "main", "step": 2},
        "files": {},
    }
    manifests.write(folder, manifest)
    return said


def refused(recipe: Recipe, message: str) -> None:
    """Before a rank starts, and by rank 0 where the first had to pass, as with data of the hub."""
    before = (recipe.folder / identity.FILE).read_text()
    with pytest.raises(RecipeError, match=f"was started with {message}.*: {FIX}"):
        resume.check(recipe)
    with pytest.raises(RecipeError, match=f"was started with {message}.*: {FIX}"):
        start(recipe)
    assert (recipe.folder / identity.FILE).read_text() == before


def test_the_same_goes_on(recipe):
    resume.check(recipe)
    assert start(recipe) == []
    for _ in range(2):
        resume.check(recipe)
        assert start(recipe) == []


def test_another_teacher(recipe, model, tmp_path):
    """Of the same path with other weights or another shape, or of another path."""
    folder = shutil.copytree(model, tmp_path / "teacher")
    recipe.algorithm = OPD(teacher=Teacher(str(folder)))
    for _ in range(2):
        assert start(recipe) == []
        resume.check(recipe)
    other = shutil.copytree(folder, tmp_path / "other")
    moved = replace(recipe, algorithm=OPD(teacher=Teacher(str(other))))
    with pytest.raises(RecipeError, match=rf"algorithm\.teacher\.path={folder}, now it is {other}"):
        resume.check(moved)
    save_file({"weight": np.full(200_000, 7, np.float32)}, folder / "model-2.safetensors")
    what = "another teacher under algorithm.teacher.path: "
    refused(recipe, rf"{what}model-2\.safetensors has other weights")
    (folder / "config.json").write_text('{"model_type": "qwen2", "rope_theta": 500}')
    refused(recipe, rf"{what}config\.json had rope_theta=10000, now it is 500")


def test_problems_that_can_no_longer_be_used_are_counted(recipe):
    start(recipe)
    loaded = read_problems(recipe.data, recipe.data.seed)
    identity.claim_used(recipe, loaded.training, loaded.held_out, begun=False)
    identity.claim_used(recipe, loaded.training, loaded.held_out, begun=True)
    fewer = (
        f"{len(loaded.training)} training and 3 held-out problems .* now .*"
        f" {len(loaded.training) - 1} training"
    )
    with pytest.raises(RecipeError, match=rf"was started with {fewer}"):
        identity.claim_used(recipe, loaded.training[1:], loaded.held_out, begun=True)
    assert start(recipe) == []  # which keeps what is known of them
    with pytest.raises(RecipeError, match="was started with"):
        identity.claim_used(recipe, loaded.training[1:], loaded.held_out, begun=True)


def test_a_start_that_never_saved_binds_nothing(recipe, data):
    start(recipe)
    (resume.checkpoints(recipe) / "main-000002" / "manifest.json").unlink()
    (resume.checkpoints(recipe) / "main-000002").rmdir()
    write_data(data, 0, problem="1?")
    resume.check(recipe)
    assert start(recipe) == []
    resume.check(recipe)


@pytest.mark.parametrize(
    ("changed", "change", "message"),
    [
        (4, {"problem": "Who?"}, r"training problem 4 \(id 4\): '4 \+ 4\?' then, 'Who\?' now"),
        (4, {"answer": "9"}, r"training problem 4 \(id 4\): '4 \+ 4\?' has another gold"),
        (4, {"trace": "It is 8!"}, r"training problem 4 \(id 4\): '4 \+ 4\?' has another trace"),
        (10, {"problem": "Who?"}, r"held-out problem 1 \(id 10\): '10 \+ 10\?' then, 'Who\?' now"),
    ],
)
def test_other_problems_in_the_same_file(recipe, data, changed, change, message):
    start(recipe)
    write_data(data, changed, **change)
    refused(
        recipe,
        "other data: 9 training and 3 held-out problems then, 9 and 3 now; the first that differs"
        f" is {message}",
    )


def test_more_problems_in_the_same_file(recipe, data):
    start(recipe)
    write_data(data, count=14)
    # Held-out problems are a file's last ones.
    refused(
        recipe,
        r"other data: 9 training and 3 held-out problems then, 11 and 3 now; the first .*"
        r" held-out problem 0",
    )


def test_a_difference_far_down_in_a_long_problem_is_found(recipe, data):
    write_data(data, 2, problem="a" * 500 + "b")
    start(recipe)
    write_data(data, 2, problem="a" * 500 + "c")
    refused(recipe, r"other data: .* training problem 2 \(id 2\): 'a+' has another text further on")


def test_the_same_content_written_again_is_the_same(recipe, data, model):
    start(recipe)
    for file in (data, model / "tokenizer.json", model / "model-1.safetensors"):
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)
        os.utime(file, ns=(1, 1))
    resume.check(recipe)
    assert start(recipe) == []


def test_data_that_look_unchanged_are_refused_by_rank_0(recipe, data):
    """As those of the hub, of which nothing is known before."""
    start(recipe)
    about = data.stat()
    write_data(data, 4, answer="9")
    os.utime(data, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert data.stat().st_size == about.st_size
    resume.check(recipe)
    with pytest.raises(RecipeError, match="has another gold"):
        start(recipe)


def other_tokenizer(model: Path, change) -> None:
    tokenizer = load_tokenizer(Model(path=str(model)))
    change(tokenizer)
    tokenizer.save_pretrained(model)


def longer_template(tokenizer) -> None:
    tokenizer.chat_template = tokenizer.chat_template.replace("<|user|>", "<|user|>Q: ")


def another_end(tokenizer) -> None:
    tokenizer.eos_token = "<|endoftext|>"


def one_token_more(tokenizer) -> None:
    tokenizer.add_tokens(["<answer>"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (one_token_more, "262 tokens then, 263 now"),
        (another_end, r"eos_token '<\|im_end\|>' then, '<\|endoftext\|>' now"),
        (
            longer_template,
            r"its chat template had .*'<\|user\|>' \+ message.*, now .*'<\|user\|>Q: '",
        ),
    ],
)
def test_another_tokenizer_in_the_same_folder(recipe, model, change, message):
    start(recipe)
    other_tokenizer(model, change)
    with pytest.raises(
        RecipeError, match=f"another tokenizer under model.path={model}: {message}.*: {FIX}"
    ):
        start(recipe)


def test_other_tokens_of_the_same_number(recipe, model):
    start(recipe)
    core = json.loads((model / "tokenizer.json").read_text())
    vocabulary = core["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    (model / "tokenizer.json").write_text(json.dumps(core))
    with pytest.raises(
        RecipeError,
        match=f"another tokenizer under model.path={model}: its 262 tokens, merges or rules",
    ):
        start(recipe)


def test_a_tokenizer_that_is_gone_is_told_in_one_line(recipe, model):
    start(recipe)
    (model / "chat_template.jinja").unlink()
    with pytest.raises(RecipeError, match=r"^the tokenizer of model.path .* has no chat template"):
        resume.check(recipe)


def test_another_model_in_the_same_folder(recipe, model):
    start(recipe)
    weights = np.full(200_000, 1, np.float32)
    weights[150_000:] = 3  # same names, shapes and sizes: a later checkpoint of the same training
    save_file({"weight": weights}, model / "model-1.safetensors")
    refused(recipe, "another model .*: model-1.safetensors has other weights .* bytes as before")
    save_file({"weight": weights[1:]}, model / "model-1.safetensors")
    refused(recipe, r"another model .*: model-1.safetensors had \d+ bytes, now it has \d+")
    (model / "model-1.safetensors").unlink()
    refused(recipe, "another model .*: model-1.safetensors is gone")


def test_another_configuration_in_the_same_folder(recipe, model):
    start(recipe)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(
        json.dumps(config | {"dtype": "bfloat16", "transformers_version": "9"})
    )
    start(recipe)  # how the file was written
    (model / "config.json").write_text(json.dumps(config | {"rope_theta": 500000}))
    refused(recipe, "another model .*: config.json had rope_theta=10000, now it is 500000")


@pytest.mark.parametrize("finished", [False, True])
def test_another_algorithm_with_the_same_fields(recipe, finished):
    recipe.algorithm = SFT()
    start(recipe)
    if finished:
        (recipe.folder / "summary.json").write_text('{"steps": 500}')
    recipe.algorithm = DFT()
    with pytest.raises(RecipeError, match=f"was started with algorithm SFT, now it is DFT: {FIX}"):
        resume.check(recipe)


@dataclass
class Restarts(Optimizer):
    """As if it had a schedule of its own."""


def test_another_class_within_the_algorithm(recipe):
    recipe.algorithm = ReLIFT(imitation=Optimizer())
    start(recipe)
    recipe.algorithm = ReLIFT(imitation=Restarts())
    with pytest.raises(RecipeError, match=r"algorithm\.imitation Optimizer, now it is Restarts"):
        resume.check(recipe)


def test_a_folder_of_an_earlier_version_goes_on_and_says_so_once(recipe, data):
    start(recipe)
    (recipe.folder / identity.FILE).unlink()
    (recipe.folder / identity.PROBLEMS).unlink()
    write_data(data, 0, problem="1?")
    resume.check(recipe)
    (said,) = start(recipe)
    assert "kept no fingerprints" in said
    assert "\n" not in said
    assert start(recipe) == []
    write_data(data)
    refused(recipe, "other data: .* training problem 0")


def test_of_an_earlier_version_the_name_of_the_algorithm_is_known(recipe):
    start(recipe)
    (recipe.folder / identity.FILE).unlink()
    (recipe.folder / "recipe.yaml").write_text("# algorithm: SFT\nname: r\n")
    with pytest.raises(RecipeError, match="was started with algorithm SFT, now it is RED"):
        resume.check(recipe)
    recipe.algorithm = SFT()
    (recipe.folder / "recipe.yaml").write_text("name: r\n")
    with pytest.raises(
        RecipeError, match=r"was started with algorithm\.\w+="
    ):  # by its fields, at least
        resume.check(recipe)


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda file: file.write_text("{"), lambda file: file.write_text("[]")]
)
def test_a_damaged_identity_is_that_of_the_checkpoint(recipe, damage):
    start(recipe)
    folder = resume.checkpoints(recipe) / "main-000002"
    for name, text in identity.copy(recipe.folder).items():
        (folder / name).write_text(text)
    manifest = manifests.read(folder)
    manifests.write(
        folder, manifest | {"files": manifests.digests(folder, [folder / identity.FILE])}
    )
    then = identity.read(recipe.folder)
    damage(recipe.folder / identity.FILE)
    assert identity.read(recipe.folder) == then
    resume.check(recipe)
    (Path(recipe.model.path) / "config.json").write_text('{"model_type": "qwen2", "rope_theta": 5}')
    with pytest.raises(RecipeError, match="was started with another model"):
        resume.check(recipe)


def test_a_broken_identity_is_named(recipe):
    start(recipe)
    (recipe.folder / identity.FILE).write_text("{")
    with pytest.raises(
        RecipeError, match=r"identity\.json is damaged .*: put it back, or delete it"
    ):
        resume.check(recipe)


def test_a_finished_run_whose_checkpoints_are_gone_is_not_shown_for_another_recipe(recipe):
    start(recipe)
    (recipe.folder / "summary.json").write_text('{"steps": 500}')
    (resume.checkpoints(recipe) / "main-000002" / "manifest.json").unlink()
    (resume.checkpoints(recipe) / "main-000002").rmdir()
    resume.check(recipe)
    assert resume.finished(recipe) == {"steps": 500}
    with pytest.raises(RecipeError, match=r"was started with optimizer\.lr=2e-06, now it is 0\.5"):
        resume.check(replace(recipe, optimizer=Optimizer(lr=0.5)))


def test_users_reward_functions(recipe, tmp_path, monkeypatch):
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('nothing is imported')\n")
    module = package / "terms.py"
    module.write_text("def brief(problem, gold, response, tokens):\n    return -tokens\n")
    monkeypatch.syspath_prepend(tmp_path)
    recipe.reward = Reward(functions={"mine.terms:brief": 0.1})
    start(recipe)
    module.write_text(
        "# of 2026\ndef brief(problem, gold, response, tokens):\n\n    return -tokens  # short\n"
    )
    resume.check(recipe)
    module.write_text("def brief(problem, gold, response, tokens):\n    return -2 * tokens\n")
    refused(
        recipe, r"other code in the module mine\.terms of reward\.functions 'mine\.terms:brief'"
    )


def test_a_users_verdict_and_the_columns_that_it_reads(recipe, data, tmp_path, monkeypatch):
    """A changed cell is other data, though text, gold and trace are the same."""
    module = tmp_path / "my_verdicts.py"
    module.write_text("def judge(gold, response, level):\n    return gold in response\n")
    monkeypatch.syspath_prepend(tmp_path)
    recipe.reward = Reward(verdict="my_verdicts:judge")
    write_data(data, 2, level=3)
    columns = frozenset({"level"})
    start(recipe, columns=columns)
    resume.check(recipe)
    write_data(data, 2, level=4)
    asked = "another cell in a column that a reward function asks for"
    with pytest.raises(
        RecipeError, match=f"first that differs is training problem 2 .id 2.: '2 . 2.' has {asked}"
    ):
        resume.check(recipe)
    with pytest.raises(RecipeError, match=asked):
        start(recipe, columns=columns)
    write_data(data, 2, level=3)
    resume.check(recipe)
    module.write_text("def judge(gold, response, level):\n    return gold == response\n")
    refused(recipe, r"other code in the module my_verdicts of reward\.verdict 'my_verdicts:judge'")


OWN = """
from dataclasses import dataclass
from red_mcore.algorithms.{base} import {Base}
from red_mcore.config.recipe import Model, Recipe

@dataclass
class Mine({Base}):
    def at(self, step):
        return {at}

def recipe():
    return Recipe(name="r", model=Model(), algorithm=Mine())
"""


def test_a_users_algorithm_is_known_by_its_code(recipe, tmp_path):
    file = tmp_path / "own.py"

    def algorithm(at: str, base: str = "sft"):
        file.write_text(OWN.format(base=base, Base=base.upper(), at=at))
        return load(str(file)).algorithm

    recipe.algorithm = algorithm("self")
    start(recipe)
    recipe.algorithm = algorithm("self  # as ever")
    resume.check(recipe)
    recipe.algorithm = algorithm("self if step else self")
    with pytest.raises(
        RecipeError, match=r"was started with other code of the class Mine \(algorithm\)"
    ):
        resume.check(recipe)


def test_benchmarks_may_join_but_not_change(recipe):
    start(recipe, {"AMC": "a"})
    assert start(recipe, {"AIME24": "b"}) == []
    assert start(recipe, {}) == []
    with pytest.raises(RecipeError, match="was started with other problems of the benchmark AMC"):
        start(recipe, {"AMC": "c", "AIME24": "b"})


def test_how_benchmarks_are_asked_may_not_change_between_before_and_after(recipe):
    asked = Benchmarks(names=["AMC"], data="a")
    start(recipe)
    recipe.evaluation = Evaluation(benchmarks=asked)
    resume.check(recipe)  # none were asked before
    start(recipe)
    recipe.evaluation.benchmarks = replace(asked, names=["AMC", "AIME24"], data="b", every=7)
    resume.check(recipe)
    recipe.evaluation.benchmarks = replace(asked, protocol=replace(asked.protocol, temperature=0.9))
    with pytest.raises(
        RecipeError, match=r"evaluation\.benchmarks\.protocol\.temperature=0\.6, now it is 0\.9"
    ):
        resume.check(recipe)
    recipe.evaluation.benchmarks = None
    resume.check(recipe)


def test_each_part_of_a_problem_counts():
    problem = Problem(3, "text", "gold", trace="trace")
    rows = [
        problem,
        *(replace(problem, **{name: "other"}) for name in ("text", "gold", "trace", "kind")),
    ]
    rows += [replace(problem, id=4), replace(problem, trace=None), replace(problem, trace="")]
    traces = (Trace("t"), Trace("u", "large", True, 3, "stop"))
    rows += [replace(problem, traces=traces[:1]), replace(problem, traces=traces)]
    for name in ("text", "source", "verified", "tokens", "finish_reason"):
        rows.append(replace(problem, traces=(traces[0], replace(traces[1], **{name: None}))))
    rows.append(replace(problem, traces=traces, columns={"a": 1}))
    assert len({json.dumps(row) for row in fingerprints.of_problems(rows)}) == len(rows)
    assert fingerprints.of_problems(
        [Problem(0, "\ud800", "1")]
    )  # half a character, as some files have


def test_only_blocks_of_weights_are_read_but_all_over_the_file(tmp_path):
    size = 40 << 20
    found = set()
    for place in (None, 0, size // 2, size - 1):
        content = bytearray(size)
        if place is not None:
            content[max(0, place - 400_000) : place + 400_000] = b"1" * len(
                content[max(0, place - 400_000) : place + 400_000]
            )
        (tmp_path / "a.safetensors").write_bytes(content)
        (tmp_path / "config.json").write_text("{}")
        found.add(fingerprints.of_model(Model(path=str(tmp_path)))["weights"]["a.safetensors"][1])
    assert len(found) == 4


@dataclass
class Part:
    size: int = 1


@dataclass
class Whole:
    parts: list[Part] = field(default_factory=lambda: [Part()])


def test_classes_are_found_in_lists_too():
    assert {
        name: found["class"] for name, found in fingerprints.of_classes(Whole(), "x").items()
    } == {
        "x": "Whole",
        "x.parts.0": "Part",
    }
    assert (
        fingerprints.of_classes(RED(), "x")["x"]["code"] is None
    )  # ours: another version is no other algorithm


def test_what_is_asked_before_a_rank_starts_needs_no_torch(recipe, model, data):
    """Where nothing has changed, which is the rule."""
    start(recipe)
    code = f"""
import sys
from red_mcore.checkpoints import resume
from red_mcore.algorithms.red import RED
from red_mcore.config.recipe import Data, Model, Recipe
resume.check(Recipe(name="r", runs={recipe.runs!r}, model=Model(path={str(model)!r}),
             algorithm=RED(), data=Data(path={str(data)!r}, held_out=3)))
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "datasets"} & set(done.stdout.split())
