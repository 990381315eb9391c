"""Every number of every recipe refuses what nobody can mean, by its name."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest

from red_mcore.config.bounds import check_numbers
from red_mcore.config.fields import bound_of
from red_mcore.config.loading import load
from red_mcore.config.overrides import override
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.config.tree import hints_of
from red_mcore.planning.checks import validate

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "recipes").rglob("*.py"))
VALUES = ("-1", "0", ".nan", "1e30")
ON = (
    *(
        "base={}",
        "until={}",
        "hub={}",
        "reward.format={}",
        "reward.overlong={}",
        "reward.repetition={}",
    ),
    *(
        "evaluation.benchmarks={}",
        "reward.functions={my.rewards:brevity: 1}",
        "data.mixture=[{path: a.jsonl}]",
    ),
)
"""What turns on all that may be off."""


def leaves(section: Any, prefix: str = "") -> Iterator[tuple[str, type, str]]:
    """(name of the leaf, class of its section, field) of all that may be a number; {} stands for
    the value."""
    for field in fields(section):
        name, value = f"{prefix}{field.name}", getattr(section, field.name)
        hint = hints_of(type(section))[field.name]
        kinds = {hint, *get_args(hint)}
        if is_dataclass(value):
            yield from leaves(value, f"{name}.")
        elif field.name == "mixture":
            for of_source, kind, inner in leaves(value[0]):
                yield f"{name}=[{{{{path: a.jsonl, {of_source.replace('=', ': ')}}}}}]", kind, inner
        elif get_origin(hint) is tuple:
            yield f"{name}=[{{}}, 0.5]", type(section), field.name
            yield f"{name}=[0.5, {{}}]", type(section), field.name
        elif get_origin(hint) is dict and float in kinds:
            yield from ((f"{name}.{key}={{}}", type(section), field.name) for key in value)
        elif {int, float} & kinds:
            yield f"{name}={{}}", type(section), field.name


def everything_on(file: Path) -> Recipe:
    return override(load(str(file)), ON)


def test_every_number_takes_what_its_bounds_hold_and_nothing_else():
    seen: set[tuple[type, str, str]] = set()
    for file in FILES:
        recipe = everything_on(file)
        for change, kind, field in leaves(recipe):
            if (kind, field, change) in seen:
                continue
            seen.add((kind, field, change))
            bound = bound_of(kind, field)
            assert bound is not None, f"{file}: {change}"
            for value in VALUES:
                refusal = None
                try:
                    check_numbers(override(recipe, [change.format(value)]))
                except RecipeError as error:
                    refusal = str(error)
                assert (refusal is None) == bound.holds(float(value.lstrip("."))), (
                    f"{change.format(value)}: {refusal}"
                )
                assert refusal is None or field in refusal, refusal
    assert len(seen) > 150


@pytest.mark.parametrize("file", ["red_tiny.py", "red_1p5b.py"])
def test_every_number_of_a_model_s_configuration_is_refused(file):
    recipe = load(str(ROOT / "recipes" / file))
    numbers = [name for name, value in recipe.model.config.items() if type(value) in (int, float)]
    assert len(numbers) > 7
    for name in numbers:
        for value in VALUES:
            with pytest.raises(RecipeError, match=name):
                validate(override(recipe, [f"model.config.{name}={value}"]))


ACCEPTED = {
    "0": [
        *("steps", "seed", "base.optimizer.warmup_steps", "batch.refills"),
        *(
            "optimizer.warmup_steps",
            "optimizer.weight_decay",
            "optimizer.clip_grad",
            "optimizer.skip_grad",
        ),
        *(
            "optimizer.min_lr_ratio",
            "checkpoint.every",
            "checkpoint.keep_every",
            "evaluation.every",
        ),
        *(
            "evaluation.temperature",
            "reward.accuracy",
            "reward.wrong",
            "algorithm.weight_min",
            "data.seed",
        ),
    ],
    "-1": ["reward.wrong", "reward.functions.my.rewards:brevity"],
}
"""By hand, apart from what the fields say: where 0 turns something off, is a first number, or a
penalty is below 0."""
REFUSED = [
    *(
        "batch.prompts_per_step",
        "batch.samples_per_prompt",
        "batch.updates_per_step",
        "batch.tokens_per_micro_batch",
    ),
    *(
        "parallel.ranks",
        "parallel.tensor",
        "rollout.max_prompt_tokens",
        "rollout.max_response_tokens",
    ),
    *(
        "rollout.temperature",
        "rollout.top_p",
        "rollout.kv_cache_mib",
        "optimizer.lr",
        "optimizer.eps",
        "base.steps",
    ),
    *(
        "data.held_out",
        "data.problems",
        "reward.workers",
        "reward.timeout_seconds",
        "checkpoint.keep",
        "patience",
    ),
    *(
        "evaluation.samples",
        "evaluation.top_p",
        "reward.overlong.buffer",
        "reward.repetition.ngram",
    ),
    *(
        "algorithm.constant",
        "algorithm.clip_low",
        "algorithm.clip_high",
        "algorithm.clip_dual",
        "algorithm.gamma",
    ),
    *(
        "until.most_steps",
        "evaluation.benchmarks.protocol.max_tokens",
        "data.arithmetic.operations",
    ),
]


def test_the_important_ones():
    recipe = everything_on(ROOT / "recipes" / "red_tiny.py")

    def refusal(change: str) -> str:
        with pytest.raises(RecipeError) as error:
            check_numbers(override(recipe, [change]))
        return str(error.value)

    for value, names in ACCEPTED.items():
        for name in names:
            check_numbers(override(recipe, [f"{name}={value}"]))
    for name in REFUSED:
        for value in VALUES:
            assert name in refusal(f"{name}={value}")
    for name in (
        "steps",
        "seed",
        "optimizer.lr",
        "algorithm.weight_max",
        "reward.wrong",
        "reward.accuracy",
    ):
        for value in (".nan", "1e30", "-.inf"):
            assert name in refusal(f"{name}={value}")
    for name in (
        "algorithm.weight_min",
        "algorithm.weight_max",
        "reward.accuracy",
        "checkpoint.every",
    ):
        assert name in refusal(f"{name}=-1")


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        (
            "red_tiny",
            ["algorithm.weight_max=0.5"],
            r"algorithm\.weight_min=1.0 is above algorithm\.weight_max=0.5",
        ),
        (
            "tiny/chord",
            ["algorithm.peak=0.01"],
            r"algorithm\.valley=0.05 is above algorithm\.peak=0.01",
        ),
        (
            "tiny/bread",
            ["algorithm.band_low=0.9", "algorithm.band_high=0.1"],
            r"algorithm\.band_low=0.9, band_high=0.1",
        ),
        (
            "tiny/grpo",
            ["algorithm.clip_low=0.2", "algorithm.clip_dual=0.5"],
            r"algorithm\.clip_dual=0.5",
        ),
        (
            "tiny/grpo",
            ["reward.overlong={buffer: 81}"],
            r"reward\.overlong\.buffer=81 is longer than rollout",
        ),
        (
            "tiny/grpo",
            ["batch.updates_per_step=25"],
            r"batch\.updates_per_step=25 exceeds batch\.prompts_per_step=24",
        ),
        ("tiny/grpo", ["until={most_steps: 5}"], r"until\.most_steps=5 is less than steps="),
        (
            "tiny/grpo",
            ["checkpoint.keep_every=7"],
            r"checkpoint\.keep_every=7 is no multiple of checkpoint\.every",
        ),
        ("tiny/grpo", ["reward.wrong=1"], r"reward\.wrong=1.0 is no less than the 1"),
    ],
)
def test_numbers_that_do_not_go_together(file, changes, message):
    with pytest.raises(RecipeError, match=message):
        validate(override(load(str(ROOT / "recipes" / f"{file}.py")), changes))
