"""Comparisons: what is refused, read, extended, left to do and reported; on written run folders,
and once for real."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import ClassVar

import pytest

from red_mcore import stats
from red_mcore.checkpoints import identity, manifests, resume
from red_mcore.cli import compare
from red_mcore.comparison import drive, legs, plan, results
from red_mcore.comparison.curves import AXES, Curves, budgets, read_curves, training_seconds
from red_mcore.config.recipe import RecipeError, Until
from red_mcore.config.tree import flatten
from red_mcore.data.problems import read_problems
from red_mcore.planning.plan import find_architecture
from red_mcore.reports.comparison import report, sweep, tables

ROOT = Path(__file__).parent.parent.parent

TINY = {name: f"recipes/tiny/{name}.py" for name in ("red", "grpo", "sft", "sft_then_grpo")}
OFF = ["tracking.mlflow=false"]


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def make(tmp_path):
    """A comparison of tiny recipes: the reference runs 10 steps and is evaluated at each."""

    def make(*names: str, seeds: int = 3, overrides: tuple[str, ...] = ()) -> plan.Plan:
        small = [*OFF, "steps=10", "evaluation.every=1", *overrides]
        return plan.comparison(
            [TINY[name] for name in names], small, tmp_path / "out", list(range(seeds)), None
        )

    return make


@pytest.fixture
def written(tmp_path):
    """Path of a recipe file: red under another name, with a line of changes; and perhaps more in
    the file."""

    def written(name: str, change: str = "", more: str = "") -> str:
        file = tmp_path / f"{name}.py"
        lines = [
            "from recipes.tiny.red import recipe as red",
            more,
            "def recipe():",
            "    r = red()",
        ]
        file.write_text(
            "\n".join([*lines, f"    r.name = {name!r}", f"    {change}", "    return r"])
        )
        return str(file)

    return written


def row(
    step: int, pass1: float | None = None, *, tokens: float = 100.0, seconds: float = 1.0
) -> dict:
    """One line of metrics.jsonl; ``seconds`` of training in two phases, beside those that do not
    count."""
    if step == 0:
        tokens = seconds = 0.0
    found = {
        "step": step,
        "rollout/generated_tokens": tokens,
        "time/sample_seconds": seconds * 0.25,
    }
    found |= {
        "time/update_seconds": seconds * 0.75,
        "time/evaluate_seconds": 9.0,
        "time/publish_engine_seconds": 5.0,
    }
    if pass1 is not None:
        others = {
            "pass1_stderr": 0.02,
            "pass8": pass1 + 0.3,
            "length_tokens": 30 + step,
            "truncated": 0.0,
        }
        found |= {"evaluation/pass1": pass1} | {
            f"evaluation/{name}": value for name, value in others.items()
        }
    return found


def write_run(
    folder: Path, steps: int, pass1=lambda step: 0.2 + 0.01 * step, **spent: float
) -> None:
    """A finished run that is evaluated at every step."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row(step, pass1(step), **spent) for step in range(steps + 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    summary = {"steps": steps, "seconds": 60.0, "held_out_problems": 512}
    summary["generated_tokens"] = sum(r["rollout/generated_tokens"] for r in rows)
    summary["train_seconds"] = sum(training_seconds(r) for r in rows)
    (folder / "summary.json").write_text(json.dumps(summary))


def write_all(made: plan.Plan, heights: dict[str, list[float]], **spent: float) -> None:
    """Runs that end at ``heights[name][seed]``, each with the base it starts from."""
    for i, seed in enumerate(made.seeds):
        write_run(made.folder(seed, "base"), 0)
        for name, ends in heights.items():
            write_run(
                made.folder(seed, name),
                10,
                lambda step, end=ends[i]: 0.2 + (end - 0.2) * step / 10,
                **spent,
            )


class Refused:
    @pytest.fixture(autouse=True)
    def use(self, tmp_path, capsys):
        self.out, self.capsys = tmp_path / "out", capsys

    def line(self, *arguments: str) -> str:
        assert compare.main([*arguments, f"--out={self.out}"]) == 2
        done = self.capsys.readouterr()
        assert done.out == ""
        assert done.err.count("\n") == 1
        return done.err


class TestRefusals(Refused):
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([TINY["red"]], "1 recipe is no comparison"),
            ([TINY["red"], TINY["grpo"], TINY["red"]], "2 recipes are named red"),
            (
                [TINY["red"], TINY["grpo"], "--reference=rde"],
                "--reference rde: no recipe has that name, there are red,",
            ),
            (
                [TINY["red"], TINY["grpo"], "seed=3"],
                "override seed=3: use --seeds and --first-seed",
            ),
            ([TINY["red"], TINY["grpo"], "--seeds=0"], "--seeds 0 --jobs 1: use 1 or more of each"),
            (
                [TINY["red"], TINY["grpo"], "optimizer.schedule=cosine"],
                "red: optimizer.schedule=cosine depends on the",
            ),
            (
                [TINY["red"], TINY["grpo"], "evaluation.every=0"],
                "red: evaluation.every=0 leaves nothing to read",
            ),
            ([TINY["red"], TINY["grpo"], "steps=0"], "red: steps=0"),
            (
                [TINY["red"], TINY["grpo"], "until={}"],
                "red: until is set by the command, use until=null",
            ),
            ([TINY["red"], TINY["grpo"], "parallel.tensor=3"], "parallel.tensor=3 does not divide"),
        ],
    )
    def test_one_line_says_what_is_wrong(self, arguments, message):
        assert message in self.line(*arguments)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ("r.data.held_out = 64", "data.held_out is 512 in red and 64 in other: make it equal"),
            ("r.base = None", " in red and None in other"),
            (
                "r.model.config = {**r.model.config, 'hidden_size': 64}",
                "model.config.hidden_size is 128 in red and 64",
            ),
            ("r.batch.prompts_per_step = 8", "batch.prompts_per_step is 24 in red and 8 in other"),
            ("r.rollout.temperature = 0.5", "rollout.temperature is 1.0 in red and 0.5 in other"),
            ("r.reward.boxed_only = False", "reward.boxed_only is True in red and False in other"),
            ("r.evaluation.samples = 4", "evaluation.samples is 8 in red and 4 in other"),
            ("r.parallel.ranks = 1", "parallel.ranks is 2 in red and 1 in other"),
            ("r.steps = 3", "other: steps=3 end before the reference's"),
            ("r.name = 'base'", "a recipe is named base"),
        ],
    )
    def test_what_must_be_equal(self, written, change, message):
        assert message in self.line(TINY["red"], written("other", change))

    def test_what_may_differ(self, written, tmp_path):
        change = "r.evaluation.every = 7; r.optimizer.lr = 1e-4; "
        change += "r.batch.samples_per_prompt = 5; r.steps += 9"
        plan.comparison([TINY["red"], written("other", change)], OFF, tmp_path / "out", [0], None)

    def test_traces_may_differ_where_the_held_out_problems_cannot(self, written, tmp_path):
        for name in ("problems", "mixed", "held_out"):
            lines = [
                json.dumps({"problem": f"{i} in {name}?", "answer": "1", "trace": "\\boxed{1}"})
                for i in range(2)
            ]
            (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
        chosen = "r.data.trace_choice = 'longest'; r.data.trace_sources = ['large']"
        plan.comparison([TINY["red"], written("chosen", chosen)], OFF, tmp_path / "out", [0], None)
        files = [
            written(name, f"r.data.path = {str(tmp_path / f'{name}.jsonl')!r}")
            for name in ("problems", "mixed")
        ]
        own = f"data.held_out_path={tmp_path / 'held_out.jsonl'}"
        plan.comparison(files, [*OFF, own, "data.held_out=1"], tmp_path / "out", [0], None)
        assert "data.path is" in self.line(*files, "data.held_out=1")

    def test_every_method_is_evaluated_where_the_reference_ends(self, written, tmp_path):
        files = [
            TINY["red"],
            *(written(f"every{n}", f"r.evaluation.every = {n}") for n in (5, 7, 100)),
        ]
        made = plan.comparison(files, [*OFF, "steps=50"], tmp_path / "out", [0], None)
        assert [m.recipe.evaluation.every for m in made.methods[1:]] == [5, 5, 50]
        assert made.methods[3].overrides[-1] == "evaluation.every=50"
        assert made.reference in made.methods

    def test_a_schedule_of_an_optimizer_of_its_own(self):
        line = self.line(TINY["sft_then_grpo"], TINY["grpo"], "optimizer.schedule=cosine")
        assert "sft_then_grpo: optimizer.schedule=cosine" in line

    def test_runs_of_another_recipe_in_the_folder(self, make):
        made = make("red", "grpo", seeds=1)
        folder = made.folder(0, "grpo") / "checkpoints" / "main-000012"
        folder.mkdir(parents=True)
        (folder.parent / "latest").write_text(folder.name)
        earlier = flatten(made.recipe(0, made.methods[1]))
        for changed in ({}, {"optimizer.lr": 0.5}):
            manifest = {"recipe": earlier | changed, "state": {"stage": "main", "step": 12}}
            manifests.write(folder, {**manifest, "tag": folder.name, "files": {}})
            if changed:
                with pytest.raises(RecipeError, match=r"was started with optimizer\.lr=0\.5"):
                    make("red", "grpo", seeds=1)
            else:
                make("red", "grpo", seeds=1)

    def test_runs_of_other_code_or_data_in_the_folder(self, written, tmp_path):
        """The recipe's file may have changed where its fields have not; and its data under the same
        name."""
        data = tmp_path / "problems.jsonl"
        overrides = [*OFF, "steps=10", "evaluation.every=1", "data.held_out=2", f"data.path={data}"]

        def made(losses: str, problem: str) -> plan.Plan:
            texts = [problem, *(f"{i} + {i}?" for i in range(9))]
            data.write_text(
                "".join(json.dumps({"problem": text, "answer": "1"}) + "\n" for text in texts)
            )
            own = "from red_mcore.algorithms.red import RED\nfrom dataclasses import dataclass\n"
            own += "@dataclass\nclass Own(RED):\n"
            own += f"    def components(self, sample):\n        return {losses}\n"
            other = written("other", "r.algorithm = Own()", own)
            return plan.comparison([TINY["red"], other], overrides, self.out, [0], None)

        first = made("{'rl': 'token'}", "1?")
        recipe = first.recipe(0, first.methods[1])
        folder = resume.checkpoints(recipe) / "main-000010"
        folder.mkdir(parents=True)
        state = {"stage": "main", "step": 10}
        manifests.write(
            folder, {"recipe": flatten(recipe), "state": state, "tag": folder.name, "files": {}}
        )
        problems = read_problems(recipe.data, 0)
        kept = replace(recipe, model=replace(recipe.model, path=None))  # the base is not there
        identity.claim(kept, folder, problems, {}, begun=False, say=print)
        made("{'rl': 'token'}", "1?")
        with pytest.raises(
            RecipeError,
            match=r"seed0/other was started with other code of the class Own \(algorithm\)",
        ):
            made("{'rl': 'sequence'}", "1?")
        with pytest.raises(
            RecipeError,
            match=r"started with other data: .* training problem 0 \(id 0\): '1\?' then, '2\?'",
        ):
            made("{'rl': 'token'}", "2?")

    def test_another_comparison_in_the_folder(self, tmp_path):
        self.out.mkdir()
        program = (
            "import sys; from pathlib import Path; from red_mcore.system import disk\n"
            "with disk.alone(Path(sys.argv[1]), ''): print(flush=True); sys.stdin.read()"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", program, self.out / ".lock"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with other:
            other.stdout.readline()
            assert "another comparison is at work" in self.line(TINY["red"], TINY["grpo"], *OFF)


class TestReading:
    def test_seconds_are_those_of_training(self):
        assert training_seconds(row(1, seconds=2.0)) == 2.0

    def test_a_repeated_step_counts_as_it_was_last(self, tmp_path):
        rows = [row(0, 0.1), row(0, 0.2), row(1, 0.3), row(2, 0.9), row(2, 0.4, tokens=50)]
        (tmp_path / "metrics.jsonl").write_text(
            "".join(json.dumps(r) + "\n" for r in rows) + '{"step": 3, "to'
        )
        curves = read_curves(tmp_path, 8)
        assert [r["evaluation/pass1"] for r in curves.rows] == [0.2, 0.3, 0.4]
        assert curves.spending["tokens"].tolist() == [0, 100, 150]

    def test_between_evaluations_lies_the_straight_line(self):
        rows = [
            row(0, 0.2),
            row(1),
            row(2, 0.4),
            row(3, tokens=300, seconds=5),
            row(4, 0.8, tokens=100, seconds=1),
        ]
        curves = Curves(rows, 8)
        assert budgets(curves, 3) == {"steps": 3, "tokens": 500, "seconds": 7}
        assert curves.read("steps", 1).pass1 == pytest.approx(0.3)
        assert curves.read("tokens", 300).pass1 == pytest.approx(
            0.5
        )  # a quarter of the tokens from step 2 to 4
        at = curves.read("seconds", 5)
        assert (at.pass1, at.passk, at.length, at.note) == pytest.approx((0.6, 0.9, 33, ""))
        assert curves.read("seconds", 8).note == ""
        late = curves.read("seconds", 8.1)
        assert (late.pass1, late.note) == (0.8, "short")

    def test_the_step_that_spends_the_budget_is_read_where_it_is_evaluated(self):
        curves = Curves([row(0, 0.2), row(1, 0.4), row(2), row(3, 0.5, tokens=0), row(4, 0.9)], 8)
        assert [curves.read("tokens", budget).pass1 for budget in (60, 100, 201, 300)] == [
            0.4,
            0.4,
            0.9,
            0.9,
        ]
        assert curves.read("tokens", 150).pass1 == pytest.approx(0.45)  # step 2 is not evaluated
        assert curves.read("seconds", 2.5).pass1 == 0.5

    def test_steps_without_tokens_before_those_with(self):
        """SFT, then GRPO: at few tokens it has all of its imitation behind it."""
        rows = [row(step, 0.2 + step / 10, tokens=0 if step < 4 else 100) for step in range(6)]
        rows[4] = row(4)
        assert Curves(rows, 8).read("tokens", 50).pass1 == pytest.approx(0.55)
        assert Curves(rows, 8).read("tokens", 0).pass1 == pytest.approx(0.5)

    def test_updates_and_trained_tokens_to_the_end(self):
        rows = [row(0, 0.2), row(1), row(2), row(3, 0.4)]
        assert (Curves(rows, 8).updates, Curves(rows, 8).trained_tokens) == (0, None)
        rows[1] |= {"publish/version": 3, "update/tokens": 70.0, "lesson/tokens": 20}
        rows[2] |= {"publish/version": 5, "update/tokens": 50.0}
        rows[3] |= {"update/tokens": 0.0}
        assert (Curves(rows, 8).updates, Curves(rows, 8).trained_tokens) == (5, 140)


class TestBudgets:
    WANTED: ClassVar = {"steps": 10, "tokens": 1000.0, "seconds": 12.5}

    def until(self, made: plan.Plan) -> list[Until]:
        return [method.until(self.WANTED) for method in made.methods]

    def test_a_run_goes_on_until_it_has_spent_as_much(self, make):
        full = Until(1000.0, 12.5, 2000)
        assert self.until(make("red", "grpo", "sft")) == [
            full,
            full,
            Until(0.0, 12.5, 2000),
        ]  # SFT generates none

    def test_the_first_stage_of_a_method_that_has_two(self, make):
        red, staged = make("red", "sft_then_grpo").methods
        last = staged.recipe.algorithm.sft_steps
        assert [staged.in_first_stage(steps) for steps in (1, last, last + 1)] == [
            True,
            True,
            False,
        ]
        assert not red.in_first_stage(1)


class TestLegs:
    def names(self, made: plan.Plan, failed=()) -> list[str]:
        return [str(leg) for leg in legs.legs(made, set(failed))]

    def test_base_then_reference_then_the_others(self, make):
        made = make("grpo", "red", "sft", seeds=1)
        assert self.names(made) == ["seed 0  base"]
        write_run(made.folder(0, "base"), 0)
        assert self.names(made) == ["seed 0  grpo"]
        write_run(made.folder(0, "grpo"), 10)
        assert self.names(made) == ["seed 0  red", "seed 0  sft"]
        red, sft = legs.legs(made, set())
        assert {
            "until.generated_tokens=1000.0",
            "until.train_seconds=10.0",
            "until.most_steps=2000",
        } < {*red.arguments}
        assert "until.generated_tokens=0.0" in sft.arguments
        write_run(made.folder(0, "red"), 10, tokens=50)
        write_run(made.folder(0, "sft"), 80, tokens=0, seconds=0.125)
        assert self.names(made) == ["seed 0  red"]  # whose tokens are only half as many
        write_run(made.folder(0, "red"), 20, tokens=50)
        assert self.names(made) == []

    def test_what_failed_is_left_out_with_what_needs_it(self, make):
        made = make("grpo", "red", seeds=2)
        write_run(made.folder(1, "base"), 0)
        left = self.names(made, [(0, "base"), (1, "grpo")])
        assert left == ["seed 1  red"]
        write_run(made.folder(1, "red"), 10, tokens=50)
        assert self.names(made, [(0, "base"), (1, "grpo")]) == []

    def test_a_leg_is_the_command_that_the_log_shows(self, make):
        made = make("grpo", "red", seeds=1)
        out = made.out
        (base,) = legs.legs(made, set())
        small = ("tracking.mlflow=false", "steps=10", "evaluation.every=1")
        place = (f"runs={out}/seed0", "seed=0")
        assert base.arguments == (TINY["grpo"], *small, "name=base", *place, "steps=0")
        write_run(made.folder(0, "base"), 0)
        (grpo,) = legs.legs(made, set())
        start = (f"model.path={out}/seed0/base/base", "base=null")
        assert grpo.arguments == (TINY["grpo"], *small, "name=grpo", *place, *start)
        assert base.log == out / "seed0" / "base.log"

    def test_a_folder_stays_as_it_was_given(self):
        made = plan.comparison([TINY["red"], TINY["grpo"]], OFF, Path("runs/a_folder"), [0], None)
        assert {"runs=runs/a_folder/seed0", "model.path=runs/a_folder/seed0/base/base"} < {
            *made.own(0, "grpo")
        }

    def test_without_a_base_stage_there_is_no_base_run(self, make):
        made = make("grpo", "red", seeds=1, overrides=("base=null",))
        (first,) = legs.legs(made, set())
        assert first.arguments[-1] == "seed=0"
        assert not any(text.startswith("model.path=") for text in first.arguments)

    def test_the_time_left_is_as_other_seeds_took(self):
        seconds = {(0, "a"): 10.0, (0, "b"): 50.0}
        left = [(1, "a"), (1, "b"), (1, "c")]
        assert drive.seconds_left(left, seconds, {(1, "b"): 20.0}, jobs=2) == (10 + 30 + 30) / 2
        assert drive.seconds_left(left, {}, {}, jobs=1) is None

    def test_the_time_left_is_what_the_first_run_says_before_any_has_ended(self):
        left = [(0, "a"), (0, "b"), (1, "a")]
        assert (
            drive.seconds_left(left, {}, {(0, "a"): 20.0}, 1, says={(0, "a"): 40.0}) == 40 + 60 + 60
        )
        done = {(0, "b"): 90.0}
        assert (
            drive.seconds_left(left[::2], done, {(0, "a"): 20.0}, 1, says={(0, "a"): 40.0})
            == 40 + 60
        )


class TestStatistics:
    def test_intervals(self):
        errors = [0.03, 0.04, 0.0]
        assert stats.half_width([0.5], [0.02], over_seeds=False) == pytest.approx(1.96 * 0.02)
        # the seeds share the problems
        assert stats.half_width([0.5, 0.7], errors[:2], over_seeds=False) == pytest.approx(
            1.96 * 0.035
        )
        # t at 2 degrees of freedom x standard deviation .1 / sqrt 3
        assert stats.half_width([0.4, 0.5, 0.6], errors, over_seeds=True) == pytest.approx(
            4.302653 * 0.1 / 3**0.5
        )
        assert stats.half_width([0.5], [0.02], over_seeds=True) == pytest.approx(1.96 * 0.02)

    @pytest.mark.parametrize(
        ("one", "sign"),
        [
            ({0: 0.5, 1: 0.6, 2: 0.7}, 1),
            ({0: 0.3, 1: 0.3, 2: 0.3}, -1),
            ({0: 0.5, 1: 0.6, 2: 0.4}, 0),  # equal in one seed
            ({0: 0.5, 1: 0.6, 2: 0.3}, 0),
            ({0: 0.5, 1: 0.6}, 0),  # failed in one seed
            ({0: 0.5, 1: 0.6, 2: float("nan")}, 0),
            ({0: float("nan"), 1: 0.3, 2: 0.3}, 0),
        ],
    )
    def test_a_sign_has_to_hold_in_all_seeds(self, one, sign):
        assert stats.gap(one, {0: 0.4, 1: 0.4, 2: 0.4}, 3).sign == sign

    def test_one_seed_has_no_sign(self):
        assert stats.gap({0: 0.9}, {0: 0.1}, 1).sign == 0
        assert stats.gap({}, {0: 0.1}, 1) is None


class Page(HTMLParser):
    """Tags that are open, text, and what a self-contained page must not have."""

    VOID = ("meta", "br", "dt", "dd")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href"):
                assert value.startswith("#"), f"{tag} loads {value}"

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += f" {data}"


class TestReport:
    @pytest.fixture
    def found(self, make) -> results.Results:
        made = make("red", "grpo", "sft")
        write_all(made, {"red": [0.5, 0.6, 0.7], "grpo": [0.4, 0.5, 0.6], "sft": [0.8, 0.5, 0.9]})
        return results.collect(made, ())

    def test_the_page_holds_every_method_and_loads_nothing(self, found):
        failed = {(2, "sft"): ["ValueError: <boom>"]}
        files = report.write_comparison(found, failed, ["python", "tools/compare.py", "a b"], 2)
        assert [file.name for file in files] == [
            "results.json",
            "table.md",
            "report.html",
            "accuracy.svg",
        ]
        page = Page(files[2].read_text())
        assert page.open == []
        # Two quantities at three budgets, the dots, two methods beside the reference, and what they
        # log.
        assert page.tags.count("svg") == 2 * 3 + 1 + 2 + 2
        assert "script" not in page.tags
        cells = set(re.findall(r"[\w.]+", page.text))
        assert {"red", "grpo", "sft", ".600", "512"} <= cells
        for part in (
            "ValueError: <boom>",
            "python tools/compare.py 'a b'",
            "2 runs shared the machine",
            "torch",
        ):
            assert part in page.text

    def test_the_table_is_sorted_by_equal_seconds(self, found):
        report.write_comparison(found, {}, [], 1)
        rows = (found.plan.out / "table.md").read_text().splitlines()
        assert [line.split(" | ")[0] for line in rows[2:5]] == ["| sft", "| red", "| grpo"]
        assert "| .600 ± .248 [.500 .600 .700] |" in rows[3]

    def test_numbers(self, found):
        report.write_comparison(found, {}, [], 1)
        numbers = json.loads((found.plan.out / "results.json").read_text())
        assert numbers["reference"] == "red"
        assert numbers["budgets"]["1"] == {"steps": 10, "tokens": 1000, "seconds": 10}
        grpo, sft = (numbers["methods"][name] for name in ("grpo", "sft"))
        assert grpo["pass1"]["tokens"]["mean"] == pytest.approx(0.5)
        assert grpo["against_reference"]["seconds"]["differences"] == pytest.approx([-0.1] * 3)
        assert [grpo["against_reference"][axis]["sign"] for axis in AXES] == [-1, -1, -1]
        assert sft["against_reference"]["steps"]["sign"] == 0
        assert sft["readings"]["tokens"]["0"]["note"] == "end"
        assert len(sft["evaluations"]["2"]) == 11

    def test_verdicts_need_the_same_sign_in_all_seeds(self, found):
        line = tables.verdicts(found)[0]
        wanted = "At equal steps, above red in all 3 seeds: none; below it in all: grpo (-.100); "
        wanted += "neither: sft (+.133)."
        assert line == wanted
        assert "in 1 of 4 cases" in tables.chance(found)
        _, rows = tables.pairs(found, "seconds")
        assert [[cell.text for cell in line] for line in rows] == [
            ["sft", "", "·", "·"],
            ["red", "·", "", "▲"],
            ["grpo", "·", "▼", ""],
        ]

    def test_marks_stay_with_the_values(self, make):
        made = make("red", "sft", "sft_then_grpo", seeds=2)
        write_all(
            made, {"red": [0.5, 0.6], "sft": [0.6, 0.7], "sft_then_grpo": [0.3, 0.5]}, seconds=0.5
        )
        for seed, end in (
            (0, 0.8),
            (1, 0.9),
        ):  # half as fast: at equal seconds it has done half of its steps
            write_run(
                made.folder(seed, "sft"),
                10,
                lambda step, end=end: end - 0.4 + 0.04 * step,
                tokens=0,
            )
        found = results.collect(made, ())
        sft = found.all[1]
        assert sft.values("tokens") == sft.values("seconds") == pytest.approx({0: 0.6, 1: 0.7})
        steps, tokens, seconds = tables.verdicts(found)
        assert steps.endswith("below it in all: sft_then_grpo§ (-.150); neither: none.")
        assert "sft† (+.100)" in tokens
        assert "sft (+.100)" in seconds
        gaps = {
            line[0].text: [cell.text for cell in line[1:]]
            for line in tables.against_reference(found)[1]
        }
        assert gaps["sft"] == ["▲ +.300", "▲ +.100†", "▲ +.100"]
        assert gaps["sft_then_grpo"][0] == "▼ -.150§"
        assert [cell.text for cell in tables.pairs(found, "tokens")[1][0]] == [
            "sft",
            "",
            "▲†",
            "▲†",
        ]
        assert [line[0] for line in tables.legend(found)] == ["†", "§"]
        assert set(tables.legend(found)) < set(report.notes(found, 1))
        sft_as_reference = replace(found, plan=replace(made, reference=made.methods[1]))
        assert tables.against_reference(sft_as_reference)[1][0][2].text == "▼ -.100†"

    def test_what_a_run_spent(self, make):
        made = make("red", "grpo", seeds=2)
        write_all(made, {"red": [0.5, 0.6], "grpo": [0.4, 0.5]})
        for seed, tokens in ((0, 100), (1, 300)):
            file = made.folder(seed, "red") / "metrics.jsonl"
            lines = [json.loads(line) for line in file.read_text().splitlines()]
            for line in lines[1:]:
                line |= {"publish/version": 4 * line["step"], "update/tokens": tokens}
            file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        header, rows = tables.methods(results.collect(made, ()))
        red, grpo = (
            {name: cell.text for name, cell in zip(header, line, strict=True)} for line in rows
        )
        names = ("steps", "updates", "generated tokens", "trained tokens")
        assert [red[name] for name in names] == ["10", "40", "1k", "2k"]
        parameters = find_architecture(made.reference.recipe).parameters
        assert red["FLOPs"] == f"{(6 * 2000 + 2 * 1000) * parameters:.2e}"
        assert (grpo["trained tokens"], grpo["FLOPs"]) == ("-", "-")  # not counted

    def test_one_seed_says_nothing_about_signs(self, make):
        made = make("red", "grpo", seeds=1)
        write_all(made, {"red": [0.5], "grpo": [0.4]})
        files = report.write_comparison(results.collect(made, ()), {}, [], 1)
        assert "With one seed nothing can be said about signs" in files[2].read_text()
        assert "▲" not in files[1].read_text()
        assert "| .500 ± .039 |" in files[1].read_text()  # from the error over problems

    def test_what_failed_is_marked_and_the_rest_is_there(self, make):
        made = make("red", "grpo", "sft", seeds=2)
        write_all(made, {"red": [0.5, 0.6], "grpo": [0.4, 0.5]})
        (made.folder(1, "red") / "summary.json").unlink()
        failed = {(0, "sft"): ["a"], (1, "sft"): ["b"], (1, "red"): ["c"]}
        found = results.collect(made, failed)
        text = report.write_comparison(found, failed, [], 1)[1].read_text()
        assert "| sft (failed in seed 0, 1) | - | - |" in text
        assert "| red (failed in seed 1) | .500" in text
        assert found.all[1].values("steps") == pytest.approx({0: 0.4, 1: 0.5})
        assert found.all[1].values("tokens") == pytest.approx({0: 0.4})  # no budget in seed 1

    def test_nothing_at_all(self, make):
        made = make("red", "grpo")
        made.out.mkdir()
        Page(
            report.write_comparison(results.collect(made, ()), {(0, "base"): []}, [], 1)[
                2
            ].read_text()
        )


class TestSweep(Refused):
    ONE = "TRIALS = [['optimizer.lr=1e-4'], ['optimizer.lr=6e-4'], ['optimizer.lr=3e-3']]"

    def test_refusals(self, written):
        one, two = (
            written("one", more=self.ONE),
            written("two", more="TRIALS = [['optimizer.lr=1e-4']]"),
        )
        other = ("--sweep", "data.seed=1")
        assert "these have: one 3, two 1" in self.line(one, two, *other)
        assert "none.py has no TRIALS" in self.line(
            one, written("none", more="TRIALS = []"), *other
        )
        assert "one would be tuned on its own problems" in self.line(one, "--sweep")
        assert "add data.seed=1" in self.line(one, "--sweep", "data.seed=0")
        bad = written("bad", more="TRIALS = [['optimizer.lrr=1']]")
        assert "'optimizer' has no field 'lrr'" in self.line(bad, *other)

    @pytest.fixture
    def made(self, written, tmp_path) -> plan.Plan:
        files = [
            written("one", more=self.ONE),
            written("two", "r.optimizer.lr = 5e-5", more=self.ONE),
        ]
        small = [*OFF, "data.seed=1", "steps=10", "evaluation.every=1"]
        return plan.sweep(files, small, tmp_path / "out", [100], "two")

    def test_a_trial_is_a_method_and_the_reference_runs_as_it_is(self, made, written, tmp_path):
        assert [m.name for m in made.all] == [
            "two",
            *(f"{name}-{i}" for name in ("one", "two") for i in range(3)),
        ]
        assert made.reference.recipe.optimizer.lr == 5e-5
        assert made.methods[5].recipe.optimizer.lr == 3e-3
        same = plan.sweep(
            [written("one", more=self.ONE)], [*OFF, "data.seed=1"], tmp_path, [100], None
        )
        assert [m.name for m in same.all] == [
            "one",
            "one-0",
            "one-2",
        ]  # its second trial is the recipe as it is

    def test_the_best_is_named_with_its_edge(self, made):
        ends = {
            "two": 0.3,
            "one-0": 0.4,
            "one-1": 0.6,
            "one-2": 0.5,
            "two-0": 0.5,
            "two-1": 0.4,
            "two-2": 0.8,
        }
        write_all(made, {name: [end] for name, end in ends.items()})
        found = results.collect(made, {(100, "two-2")})
        assert sweep.choices(found) == [
            "one: optimizer.lr=6e-4",
            "two: optimizer.lr=1e-4; at the edge: optimizer.lr=0.0001 is the lowest tried",
        ]
        files = sweep.write_sweep(found, {(100, "two-2"): ["boom"]}, [], 1)
        text = files[1].read_text()
        assert "| one-1 | optimizer.lr=6e-4 | .600 | .600 | .600 | .600 | best |" in text
        assert "| two-2 | optimizer.lr=3e-3 | .800 | .800 | .800 | .800 | failed |" in text
        assert "| two |" not in text
        assert json.loads(files[0].read_text())["best"] == {"one": "one-1", "two": "two-0"}
        assert {f"{name}-{i}" for name in ("one", "two") for i in range(3)} <= set(
            re.findall(r"\w+-\d", Page(files[2].read_text()).text)
        )

    def test_trials_that_are_close_are_named(self, made):
        ends = {
            "two": 0.3,
            "one-0": 0.56,
            "one-1": 0.6,
            "one-2": 0.5,
            "two-0": 0.5,
            "two-1": 0.4,
            "two-2": 0.49,
        }
        write_all(
            made, {name: [end] for name, end in ends.items()}
        )  # each with a standard error of .02
        assert [
            line.partition("; not")[2]
            for line in sweep.choices(results.collect(made, {(100, "two-2")}))
        ] == [
            " told apart from one-0",
            "",  # its second failed
        ]


SAVES = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: (print("saved"), sys.exit(130)))
print("ready", flush=True)
time.sleep(600)
"""


class TestDriving:
    def test_a_leg_is_a_run_of_its_own(self):
        command = [sys.executable, "-c", drive._START, str(os.getpid()), "recipes/none.py"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2
        assert "recipe file recipes/none.py does not exist" in done.stderr

    def test_a_failing_run_is_told_and_leaves_code_1(self, make, tmp_path, capsys):
        out = tmp_path / "out"
        for seed in (0, 1):
            (out / f"seed{seed}").mkdir(parents=True)
            (out / f"seed{seed}" / "base").write_text("in the way")
        assert compare.main([TINY["red"], TINY["grpo"], *OFF, "--seeds=2", f"--out={out}"]) == 1
        printed = capsys.readouterr().out
        for seed in (0, 1):
            assert (
                f"FAILED   seed {seed}  base: exit code 2, the end of {out}/seed{seed}/base.log:"
                in printed
            )
        assert "run folder" in printed
        assert "red (failed in seed 0, 1)" in (out / "table.md").read_text()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_is_passed_on_and_the_runs_are_waited_for(
        self, make, monkeypatch, capsys, number
    ):
        monkeypatch.setattr(drive, "_START", SAVES)
        made = make("red", "grpo")
        logs = [made.folder(seed, "base.log") for seed in (0, 1)]

        def interrupt() -> None:
            while not all(log.exists() and "ready" in log.read_text() for log in logs):
                time.sleep(0.05)
            os.kill(os.getpid(), number)

        threading.Thread(target=interrupt, daemon=True).start()
        outcome = drive.drive(made, jobs=2)
        assert outcome.interrupted
        assert outcome.failed == {}
        assert all("saved" in log.read_text() for log in logs)
        assert not made.folder(2, "base.log").exists()
        printed = capsys.readouterr().out
        assert printed.count("stopped") == 2
        assert all(
            f"start    seed {seed}  base, log {log}" in printed for seed, log in enumerate(logs)
        )

    def test_a_file_gets_the_time_left_and_the_warnings_of_runs(
        self, make, tmp_path, monkeypatch, capsys
    ):
        made = make("red", "grpo", seeds=2)
        for seed in (0, 1):
            write_run(made.folder(seed, "base"), 0)
            folder = made.folder(seed, "red")
            write_run(folder, 10)
            warnings = {"warnings": [{"code": "x", "text": "nothing was learnt", "step": 3}] * seed}
            summary = json.loads((folder / "summary.json").read_text()) | warnings
            (folder / "summary.json").unlink()
            (folder / "kept.json").write_text(json.dumps(summary))
        seen = tmp_path / "seen"
        runs = f"""
import sys, time
from pathlib import Path
place = dict(text.split("=", 1) for text in sys.argv if "=" in text)
folder = Path(place["runs"], place["name"])
if folder.name != "red":
    sys.exit(1)
print("held-out responses 3/9  0:00:01  left 9:00:00")
print("RED 1/10  0:00:01  left 1:00:00  loss 0.5", flush=True)
while not Path({str(seen)!r}).exists():
    time.sleep(0.05)
(folder / "kept.json").rename(folder / "summary.json")
"""

        class Looked(drive.Screen):
            def report(self, running):
                super().report(running)
                if all(one.tail(1)[0].startswith("RED") for one in running):
                    seen.touch()

        monkeypatch.setattr(drive, "_START", runs)
        monkeypatch.setattr(drive, "REPORT_SECONDS", 0.0)
        monkeypatch.setattr(drive, "Screen", Looked)
        drive.drive(made, jobs=2)
        printed = capsys.readouterr().out
        # The bases took a minute each, the two that run take an hour, the others as long as the
        # mean run.
        assert re.search(
            r"2 of 6 runs, about 1:3\d:\d\d left\n  seed 0  red  \S+  RED 1/10 .*\n  seed 1  red",
            printed,
        )
        assert "warning  seed 1  red: nothing was learnt" in printed
        assert "warning  seed 0" not in printed


def test_no_tool_imports_mlflow_itself():
    package = ROOT / "red_mcore"
    files = [package / "cli/compare.py"]
    for room in ("comparison", "reports"):
        files += (package / room).rglob("*.py")
    assert len(files) > 8
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] == "mlflow" for name in names), file
