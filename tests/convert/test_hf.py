"""What loading says of a broken folder; the program under tests/parallel made the folders and
tried."""

import pytest
import torch
from family_models import FAMILIES

from red_mcore.config.recipe import RecipeError
from red_mcore.convert.hf import make_fresh
from red_mcore.data.tokenizer import build_tokenizer
from red_mcore.models import architecture
from red_mcore.models.architecture import fresh_fields, read_architecture
from red_mcore.models.families import FAMILIES as FILES

NAME = r"model\.layers\.1\.mlp\.up_proj\.weight"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", rf"broken-missing lacks tensor {NAME} \(1 missing in all\)"),
        (
            "unexpected",
            r"broken-unexpected has tensor model\.layers\.2\.mlp\.up_proj\.weight that the model"
            r" does not know",
        ),
        ("shape", rf"broken-shape: {NAME} has shape \(96, 63\), config\.json implies \(96, 64\)"),
        (
            "empty",
            r"broken-empty holds neither model\.safetensors nor model\.safetensors\.index\.json",
        ),
    ],
)
def test_broken_folders_are_refused_by_name(layouts, kind, message):
    with pytest.raises(ValueError, match=message):
        raise ValueError(layouts["one"]["load_errors"].get(kind))


def test_a_fresh_model_depends_on_its_seed_alone(tmp_path):
    from layout_samples import config
    from safetensors.torch import load_file

    made = []
    for i, seed in enumerate((1, 1, 2)):
        torch.manual_seed(i)
        before = torch.get_rng_state()
        make_fresh(config(True), build_tokenizer(), tmp_path / str(i), seed, torch.bfloat16)
        assert torch.equal(torch.get_rng_state(), before)
        made.append(load_file(tmp_path / str(i) / "model.safetensors"))
    name = "model.embed_tokens.weight"
    assert torch.equal(made[0][name], made[1][name])
    assert not torch.equal(made[0][name], made[2][name])
    assert made[0][name].dtype == torch.bfloat16


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("value", [None, 0, 1])
def test_what_is_read_otherwise_than_transformers_would_is_spelled_out(name, value):
    """A null means what the reader takes it for, 0 is false, and 1 is a number of any kind."""
    from transformers import AutoConfig

    own, tried = FAMILIES[name], 0
    for field in {*own, *architecture._READ, *architecture._IMPLEMENTED, "use_cache"} | {
        *FILES[own["model_type"]].fields
    }:
        changed = own | {field: value}
        try:
            meant = read_architecture(changed)
        except RecipeError:
            continue
        tried += 1
        made = AutoConfig.for_model(**fresh_fields(changed))
        assert read_architecture(made.to_dict()) == meant, field
    assert tried >= 3
