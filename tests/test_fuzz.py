"""Dry runs of every field of every recipe with odd values: a sane plan, or one line that names the
field."""

import random
import re
import signal
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from red_mcore.checkpoints import resume
from red_mcore.config.loading import load
from red_mcore.config.overrides import override
from red_mcore.config.recipe import Recipe, RecipeError
from red_mcore.config.tree import to_yaml
from red_mcore.planning import plan
from red_mcore.planning.checks import validate

ROOT = Path(__file__).parent.parent
RECIPES = sorted(
    file for file in (ROOT / "recipes").rglob("*.py") if file.parent.name != "distillation"
)
"""All but those whose data a function makes, in each dry run anew: they have no other fields."""
PATIENCE_SECONDS = 60
"""After which a dry run hangs."""


def words(text: str) -> list[str]:
    return text.split()


NUMBERS = (
    *words(
        "-1 0 1 2 3 4 7 8 16 100 1000 65536 1000000 -0.0 0.5 1.0 1.5 1e-3 1e-12 1e9 1e308 -1e308"
        " 1e400"
    ),
    *words(".inf -.inf .nan inf nan 100000000000000000000000 12345678901234567890"),
    *words("010 08 1:30 0x10 1_000 1e3 +5 1."),
)
TEXTS = (
    *words(
        "x a/b ../x / . .. /nowhere/x /proc/x /dev/null README.md a%b#c?d a=b ${x} ??? {x} [x] 'x"
        " - // : ~user"
    ),
    *words(
        "http://h:1 http:// sqlite:///x.db pass1 evaluation/pass1 pkg:f <think> x.jsonl \u00e9"
        " \udcff"
    ),
    *("a b", "a\nb", "\u2028", '"a\\0b"', "a" * 300, "a/" * 2500),
)
ANYTHING = ("", *words("null ~ true false yes {} [] [1] [null] x { 1 -"), "{a: 1}", "{1: 2}")
SECTIONS = ("", *words("{} null 3 [1] x"), "{nosuch: 1}", "{a: {b: c}}")
MAPPINGS = (
    *words("{} null x [1]"),
    "{a: 1}",
    "{a: {b: .nan}}",
    "{no_such_module:f: 1}",
    "{a: [1, {}]}",
    "{a: inf}",
)
LISTS = (
    *words("[] null [1] x [null] [[a]] [AIME24]"),
    "[a, a]",
    "[a b]",
    "[0.5, 0.5]",
    "[1, 2, 3]",
    "[nan, 1]",
)
ON = (
    *("base={}", "until={}", "reward.format={}", "reward.overlong={}", "reward.repetition={}"),
    "evaluation.benchmarks={names: [GSM8K], protocol: {max_tokens: 64}}",
)
"""What turns on the sections that may be off."""
USUAL = (
    *(
        "steps=1",
        "parallel.ranks=1",
        "parallel.ranks=4",
        "parallel.tensor=2",
        "parallel.pipeline=2",
        "seed=3",
    ),
    *(
        "batch.prompts_per_step=4",
        "batch.samples_per_prompt=2",
        "rollout.max_response_tokens=64",
        "base=null",
    ),
    *(
        "evaluation.benchmarks={}",
        "reward.overlong={}",
        "reward.format={}",
        "reward.repetition={}",
        "until={}",
    ),
    *(
        "model.path=null",
        "model.path=owner/name",
        "tracking.mlflow=false",
        "checkpoint.every=1",
        "offload={}",
    ),
)


hints_of = cache(get_type_hints)


def leaves(section: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """(name, type, value) of all fields; a section that is off stands for its own."""
    found = []
    for field in fields(section):
        name, value = f"{prefix}{field.name}", getattr(section, field.name)
        found.append((name, hints_of(type(section))[field.name], value))
        if is_dataclass(value):
            found += leaves(value, f"{name}.")
        elif isinstance(value, dict):
            found += [(f"{name}.{key}", Any, item) for key, item in value.items() if "." not in key]
    return found


def values(hint: Any, value: Any) -> tuple[str, ...]:
    """What may be typed for a field of that type: right, wrong and odd."""
    options = [
        option
        for part in (hint, *get_args(hint))
        if get_origin(part) is Literal
        for option in get_args(part)
    ]
    kinds = {hint, *get_args(hint)} if get_origin(hint) is not dict else {dict}
    out = [*ANYTHING, *map(str, options)]
    if {int, float} & kinds or (type(value) in (int, float)):
        out += NUMBERS * 2
    if isinstance(value, int) and not isinstance(value, bool):
        out += [f"{number}" for number in (value + 1, value - 1, 2 * value, value // 2)] * 2
    if isinstance(value, float):
        out += [f"{number!r}" for number in (value + 1, -value, 2 * value, value / 2)] * 2
    if str in kinds:
        out += TEXTS
    if any(is_dataclass(kind) for kind in kinds):
        out += SECTIONS * 2
    if dict in kinds:
        out += MAPPINGS * 2
    if isinstance(value, list | tuple):
        out += LISTS * 2
    return tuple(out)


def dry_run(recipe: Recipe, changes: list[str], whole: bool) -> str | None:
    """What ``run.main`` does for ``--dry-run`` before it looks at files in another process; the
    refusal, if any."""
    try:
        changed = override(recipe, changes)
        validate(changed)
        resume.check(changed)
        described = plan.describe(changed)
        if whole:
            assert yaml.safe_load(to_yaml(changed))["name"] == changed.name
    except RecipeError as error:
        return str(error)
    assert not re.search(
        r"\b(nan|inf|None)\b|(?<![\w.-])-(?!0\b)\d", described.replace(str(changed.folder), "")
    ), described
    assert described.count("\n") < 120
    assert max(map(len, described.splitlines())) < 1500, described
    return None


def is_named(refusal: str, recipe: Recipe, changes: list[str]) -> bool:
    """Whether it is one line, not too long, that names a field: what was changed, or what does not
    go with it."""
    names = {change.partition("=")[0].split(".")[-1] for change in changes} | {
        name for name, *_ in leaves(recipe)
    }
    return "\n" not in refusal and len(refusal) < 1200 and any(name in refusal for name in names)


def hung(number: int, frame: Any) -> None:
    raise TimeoutError(f"a dry run takes more than {PATIENCE_SECONDS} s")


def trials(file: Path, rng: random.Random):
    """(recipe, changes) for most fields of the recipe, some of them with other changes beside."""
    recipe = load(str(file), ["runs=runs"])
    fields_here = [(name, hint, value, ()) for name, hint, value in leaves(recipe)]
    for section in ON:
        name = section.partition("=")[0]
        if any(field == name and value is None for field, _, value, _ in fields_here):
            on = override(recipe, [section])
            fields_here += [
                (*leaf, (section,)) for leaf in leaves(on) if leaf[0].startswith(f"{name}.")
            ]
    for name, hint, value, first in rng.sample(fields_here, round(0.5 * len(fields_here))):
        change = f"{name}={rng.choice(values(hint, value))}"
        yield recipe, [*rng.sample(USUAL, rng.choice((0, 0, 1, 2))), *first, change]
    for name, *_ in rng.sample(fields_here, 3):  # misspelt, or without its section
        leaf = name.rpartition(".")[2]
        yield recipe, [rng.choice((f"{name}x=1", f"{name[:-1]}=1", f"{leaf}=1"))]


def test_odd_values_of_the_fields_of_every_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("red_mcore.system.devices.host_memory", lambda: 32 * 2**30)
    monkeypatch.setattr("red_mcore.system.devices.has_gpu", lambda: False)
    before = signal.signal(signal.SIGALRM, hung)
    rng, faults, refused, count = random.Random(0), [], 0, 0
    try:
        for file in RECIPES:
            for recipe, changes in trials(file, rng):
                count += 1
                signal.alarm(PATIENCE_SECONDS)
                try:
                    refusal = dry_run(recipe, changes, whole=count % 100 == 0)
                except Exception as error:  # whatever it is, the command would end in a traceback
                    faults.append(f"{file.stem} {changes}: {type(error).__name__}: {error}")
                    continue
                refused += refusal is not None
                if refusal is not None and not is_named(refusal, recipe, changes):
                    faults.append(f"{file.stem} {changes}: {refusal!r}")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert not faults, f"{len(faults)} of {count}:\n" + "\n".join(faults[:50])
    assert count >= 5000
    assert count / 4 < refused < count  # neither does everything pass, nor nothing
    assert list(tmp_path.iterdir()) == []
