"""CONTRIBUTING.md: the files that its table names are there, and for two of its rows nothing else
has to be touched."""

import re
import sys
from pathlib import Path

import pytest

from red_mcore.config.loading import load
from red_mcore.models import architecture, families, rules
from red_mcore.planning.checks import validate

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
ROWS = dict(re.findall(r"^\| (an? [^|]+?) \| ([^|]+) \|", TEXT, re.MULTILINE))

FAMILY = '''
"""A family with weights of its own name, and norms of query and key."""

from red_mcore.models import parts
from red_mcore.models.family import Family


def shape(config):
    return {"qk_norm": config["has_norms"]}


def rules(arch):
    for rule in parts.decoder(arch):
        names = tuple((name.replace("model.", "body."), size) for name, size in rule.hf)
        yield parts.Rule(rule.megatron, names, rule.layer, rule.split, rule.merge, rule.expert)


FAMILY = Family(
    "toy",
    "ToyForCausalLM",
    shape,
    needed=("has_norms",),
    switches=("has_norms",),
    rules=rules,
)
'''
CONFIG = {
    "model_type": "toy",
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "has_norms": True,
}


@pytest.mark.parametrize("row", ROWS)
def test_what_the_table_names_is_there(row):
    for name in re.findall(r"`((?:red_mcore|tests|recipes)/[\w./]+)`", ROWS[row]):
        folder = name.replace("NAME.py", "")
        assert (ROOT / folder).exists(), name


def test_a_model_family_is_one_file(tmp_path, monkeypatch):
    assert ROWS["a model family"].strip() == "`red_mcore/models/families/NAME.py`"
    (tmp_path / "toy.py").write_text(FAMILY)
    monkeypatch.setattr(families, "__path__", [*families.__path__, str(tmp_path)])
    found = families.found()
    monkeypatch.delitem(sys.modules, "red_mcore.models.families.toy", raising=False)
    assert set(found) == {*families.FAMILIES, "toy"}
    monkeypatch.setitem(families.FAMILIES, "toy", found["toy"])
    arch = architecture.read_architecture(CONFIG)
    assert arch.qk_norm
    shapes = rules.hf_shapes(arch)
    assert shapes["body.layers.1.self_attn.q_norm.weight"] == (8,)
    assert (
        sum(size[0] * (size[1] if len(size) > 1 else 1) for size in shapes.values())
        == arch.parameters
    )


def test_an_algorithm_of_ones_own_is_one_class(tmp_path, monkeypatch):
    assert ROWS["an algorithm of your own, elsewhere"].startswith("nothing here")
    (tmp_path / "ours.py").write_text(
        "from dataclasses import dataclass\n"
        "from red_mcore.algorithms.sft import SFT\n"
        "@dataclass\n"
        "class Ours(SFT):\n"
        '    """Imitation, sharper."""\n'
        "    sharpness: float = 2.0\n"
    )
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\n"
        "from ours import Ours\n"
        "from recipes.tiny.sft import recipe as sft\n"
        "def recipe():\n"
        "    return replace(sft(), name='mine', algorithm=Ours())\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(ROOT))
    recipe = load(str(tmp_path / "mine.py"), ["algorithm.sharpness=3", f"runs={tmp_path}"])
    validate(recipe)
    assert recipe.algorithm.sharpness == 3.0
