"""There and back, from runs' checkpoints, and what is refused; the ranks are those of
tests/parallel."""

import filecmp
import json
import shutil

import numpy as np
import pytest
import torch
from family_models import FAMILIES
from hf_folder import tensors_of, write_hf

from red_mcore.config.recipe import RecipeError
from red_mcore.convert import conversion
from red_mcore.convert.tensors import INDEX
from red_mcore.convert.verify import compare, verify

COMPANIONS = [
    "chat_template.jinja",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
]


def ignore(done: int, total: int) -> None:
    pass


def from_hf(hf, out, dtype=None, replace=False, watch=ignore):
    conversion.from_hf(hf, out, dtype=dtype, replace=replace, watch=watch)
    return out


def to_hf(checkpoint, out, dtype=None, shard_bytes=10**9, replace=False, watch=ignore):
    conversion.to_hf(
        checkpoint, out, dtype=dtype, shard_bytes=shard_bytes, replace=replace, watch=watch
    )
    return out


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """{tied: (HF folder, checkpoint made from it, its tensors)}, not to be changed."""
    folder, found = tmp_path_factory.mktemp("made"), {}
    for tied in (True, False):
        hf = folder / f"hf-{tied}"
        tensors = write_hf(hf, tied)
        found[tied] = hf, from_hf(hf, folder / f"megatron-{tied}"), tensors
    return found


@pytest.fixture
def checkpoint(made, tmp_path):
    """A copy of the untied one, to spoil."""
    return shutil.copytree(made[False][1], tmp_path / "checkpoint")


def change_config(folder, **changes) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    same_names = found.keys() == expected.keys()
    return same_names and all(
        found[n].dtype == t.dtype and torch.equal(found[n], t) for n, t in expected.items()
    )


@pytest.mark.parametrize("tied", [True, False])
def test_there_and_back(made, tmp_path, tied):
    hf, checkpoint, tensors = made[tied]
    told = []
    back = to_hf(
        checkpoint, tmp_path / "back", shard_bytes=50_000, watch=lambda *done: told.append(done)
    )
    assert equal(tensors_of(back), tensors)
    assert told == [(i + 1, len(tensors)) for i in range(len(tensors))]
    same = [*COMPANIONS, "config.json", INDEX, *(file.name for file in hf.glob("*.safetensors"))]
    assert {file.name for file in back.iterdir()} == {*same, "conversion.json"}
    assert filecmp.cmpfiles(hf, back, same, shallow=False)[0] == same
    assert {file.name for file in checkpoint.iterdir()} == {
        *COMPANIONS,
        "config.json",
        "conversion.json",
        "manifest.json",
        "weights",
    }


@pytest.mark.parametrize("tied", [True, False])
def test_a_run_of_tensor_and_pipeline_ranks_is_exported_as_the_run_itself_does(
    layouts, tmp_path, tied
):
    run = layouts.folder / f"run-{tied}"
    checkpoint = run / "checkpoints" / "main-1"
    stored = conversion.open_checkpoint(checkpoint).weights._tensors
    assert stored["embedding.word_embeddings.weight"].size[0] == 264  # padded from 263
    assert ("output_layer.weight" in stored) != tied
    out = to_hf(checkpoint, tmp_path / "out")
    assert filecmp.cmp(
        out / "model.safetensors", run / "export" / "model.safetensors", shallow=False
    )
    source = tensors_of(layouts.folder / ("tied" if tied else "untied"))
    assert not equal(tensors_of(out), source)  # the run has learnt
    assert verify(out, checkpoint, logits=False, watch=ignore).passed


def export_of_run(layouts, tmp_path, model: str, checkpoints: str) -> dict[str, np.ndarray]:
    """Tensors of the folder made from a checkpoint of ranks, once they lie as a run has them."""
    shutil.copytree(layouts.folder / model, tmp_path / "run" / "model")
    shutil.copytree(layouts.folder / checkpoints, tmp_path / "run" / "checkpoints")
    out = to_hf(tmp_path / "run" / "checkpoints" / "main-1", tmp_path / "out")
    return {name: tensor.numpy() for name, tensor in tensors_of(out).items()}


@pytest.mark.parametrize("layout", ["tp2_pp2", "ep2", "ep2_tp2"])
def test_a_run_s_mixture_of_experts_is_exported(layouts, tmp_path, layout):
    found = export_of_run(layouts, tmp_path, "qwen3_moe", f"experts-{layout}")
    np.testing.assert_equal(found, layouts[layout]["experts_continuation"]["saved"])


def test_a_run_of_an_interleaved_pipeline_is_exported(layouts, tmp_path):
    found = export_of_run(layouts, tmp_path, "deep", "checkpoints-deep-pp4_virtual2-4")
    np.testing.assert_equal(found, layouts["pp4_virtual2"]["deep"]["first", 4].weights)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_goes_there_and_back(layouts, tmp_path, name):
    hf = layouts.folder / name
    assert equal(
        tensors_of(to_hf(from_hf(hf, tmp_path / "there"), tmp_path / "back")), tensors_of(hf)
    )


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("layout", ["one", "tp2_sequence", "pp2", "tp2_pp2"])
def test_ranks_start_from_a_converted_checkpoint(layouts, layout, tied):
    expected, found = layouts[layout]["conversion"]["ranks", tied]
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor, err_msg=name)


@pytest.mark.parametrize("tied", [True, False])
def test_megatron_loads_a_converted_checkpoint(layouts, tied):
    assert layouts["one"]["conversion"]["megatron", tied]


def test_rows_beyond_the_vocabulary_are_dropped(made, checkpoint, tmp_path):
    change_config(checkpoint, vocab_size=260)
    found, tensors = tensors_of(to_hf(checkpoint, tmp_path / "out")), made[False][2]
    padded = ("model.embed_tokens.weight", "lm_head.weight")
    assert equal(found, tensors | {name: tensors[name][:260] for name in padded})


def test_another_type(made, tmp_path):
    hf, _, tensors = made[True]
    small = from_hf(hf, tmp_path / "small", torch.bfloat16)
    back = to_hf(small, tmp_path / "back")
    assert equal(tensors_of(back), {name: tensor.bfloat16() for name, tensor in tensors.items()})
    for folder in (small, back):
        assert json.loads((folder / "config.json").read_text())["torch_dtype"] == "bfloat16"
        assert json.loads((folder / "conversion.json").read_text())["dtype"] == "bfloat16"
    wide = tensors_of(to_hf(small, tmp_path / "wide", torch.float32))
    assert equal(wide, {name: tensor.bfloat16().float() for name, tensor in tensors.items()})
    result = verify(hf, small, logits=False, watch=ignore)  # in the smaller type
    assert (result.passed, result.compared_in) == (True, "bfloat16")


@pytest.mark.parametrize("direction", [from_hf, to_hf])
@pytest.mark.parametrize("old", [False, True])
def test_what_is_interrupted_leaves_nothing_and_keeps_what_was_there(
    made, tmp_path, direction, old
):
    def interrupt(done, total):
        if done == 9:
            assert (tmp_path / "out.partial").is_dir()
            raise KeyboardInterrupt

    if old:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "old").touch()
    with pytest.raises(KeyboardInterrupt):
        direction(
            made[False][0 if direction is from_hf else 1],
            tmp_path / "out",
            replace=old,
            watch=interrupt,
        )
    assert [str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*")] == [
        "out",
        "out/old",
    ] * old


@pytest.mark.parametrize("direction", [from_hf, to_hf])
def test_an_existing_folder_is_replaced_only_if_asked(made, tmp_path, direction):
    source, out = made[True][0 if direction is from_hf else 1], tmp_path / "out"
    out.mkdir()
    direction(source, out)  # an empty one
    (out / "old").touch()
    with pytest.raises(
        RecipeError, match="out exists: choose another folder, or add --force to replace it"
    ):
        direction(source, out)
    assert (out / "old").exists()
    direction(source, out, replace=True)
    assert not (out / "old").exists()


def test_a_full_disk_is_told_before_it_is_full(made, tmp_path, monkeypatch):
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**6, 10**6, 1000)
    )
    with pytest.raises(
        RecipeError, match=r"the disk is full: .*out needs [\d,]{7,} bytes, 1,000 are free"
    ):
        to_hf(made[True][1], tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_tensors_of_several_types_want_a_choice(made, tmp_path):
    hf = tmp_path / "mixed"
    shutil.copytree(made[True][0], hf, ignore=shutil.ignore_patterns("*.safetensors", INDEX))
    from safetensors.torch import save_file

    save_file(
        made[True][2] | {"model.norm.weight": torch.ones(64).half()}, hf / "model.safetensors"
    )
    with pytest.raises(
        RecipeError, match="mixed has tensors of several types, float16, float32: choose one with"
    ):
        from_hf(hf, tmp_path / "out")
    from_hf(hf, tmp_path / "out", torch.bfloat16)


def _cut(folder):
    file = folder / "weights" / "__0_0.distcp"
    file.write_bytes(file.read_bytes()[:-5000])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda f: (f / "manifest.json").unlink(),
            "has no manifest.json, so it is no complete checkpoint",
        ),
        (lambda f: shutil.rmtree(f / "weights"), "has no weights folder"),
        (
            lambda f: (f / "config.json").unlink(),
            r"has no config\.json, nor has .*model: copy the files",
        ),
        (lambda f: (f / "config.json").write_text("{"), r"config\.json is damaged"),
        (
            lambda f: change_config(f, model_type="gpt9"),
            r"config\.json: model_type 'gpt9' is not supported",
        ),
        (
            lambda f: (f / "weights" / ".metadata").write_text("?"),
            "is no distributed checkpoint of Megatron",
        ),
        (
            lambda f: (f / "weights" / ".metadata").unlink(),
            "is no distributed checkpoint of Megatron",
        ),
        (
            lambda f: change_config(f, num_hidden_layers=3),
            r"decoder\.layers\.self_attention\.linear_qkv\.layer_norm_weight has shape \(2, 64\),"
            r" .* \(3, 64\)",
        ),
        (
            lambda f: change_config(f, vocab_size=264),
            r"embeddings\.weight has shape \(263, 64\), .* \(264, 64\)",
        ),
        (
            lambda f: change_config(f, tie_word_embeddings=True),
            r"has tensor output_layer\.weight that the model does",
        ),
        (_cut, r"weights/__0_0\.distcp: output_layer\.weight (is no tensor|cannot be read)"),
    ],
)
def test_a_broken_checkpoint_is_refused_by_name(checkpoint, tmp_path, spoil, message):
    spoil(checkpoint)
    with pytest.raises(RecipeError, match=message) as error:
        to_hf(checkpoint, tmp_path / "out")
    assert "\n" not in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint"}


def test_a_checkpoint_that_lacks_a_tensor_is_refused_by_name(made, tmp_path):
    checkpoint = shutil.copytree(made[True][1], tmp_path / "checkpoint")
    change_config(checkpoint, tie_word_embeddings=False)
    with pytest.raises(
        RecipeError, match=r"weights lacks tensor output_layer\.weight \(1 missing in all\)"
    ):
        to_hf(checkpoint, tmp_path / "out")


def test_verification_names_a_tensor_that_differs_in_one_bit_and_records_it(
    made, checkpoint, tmp_path
):
    hf = shutil.copytree(made[False][0], tmp_path / "hf")
    assert verify(hf, checkpoint, logits=False, watch=ignore).passed
    record = json.loads((checkpoint / "conversion.json").read_text())
    assert record["verified"]["passed"]
    assert record["verified"]["tensors"] == record["tensors"] == len(made[False][2])
    name = "model.layers.1.mlp.up_proj.weight"
    file = hf / json.loads((hf / INDEX).read_text())["weight_map"][name]
    content = bytearray(file.read_bytes())
    place = conversion.open_hf(hf).weights._places[name]
    content[place.begin] ^= 1
    file.write_bytes(content)
    result = verify(
        hf, checkpoint, logits=True, watch=ignore
    )  # logits of other tensors are not asked for
    assert result.different == [name]
    assert not result.passed
    record = json.loads((checkpoint / "conversion.json").read_text())["verified"]
    assert (record["passed"], record["different"], record["against"]) == (False, [name], str(hf))
    assert not (hf / "conversion.json").exists()  # not ours


def test_models_that_compute_otherwise_are_not_the_same(made, checkpoint):
    change_config(checkpoint, rope_theta=500.0)
    with pytest.raises(RecipeError, match=r"different models: rope_theta is 10000\.0 and 500\.0"):
        verify(made[False][0], checkpoint, logits=False, watch=ignore)


def test_logits_that_do_not_fit_are_told_before_anything_is_read(made, monkeypatch):
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 10**6}))
    with pytest.raises(
        RecipeError, match=r"need about 1 GiB of memory, 0 GiB are free: use --no-logits"
    ):
        verify(*made[True][:2], logits=True, watch=pytest.fail)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("side", ["one", "other", "both"])
@pytest.mark.parametrize("prompt", [0, 1])
def test_logits_that_are_no_numbers_are_never_the_same(value, side, prompt):
    """Whichever prompt they come in: Python's ``max`` would pass over the second's, and infinity
    allow anything."""
    logits = {
        name: [torch.randn(3, 5, generator=torch.Generator().manual_seed(0)) for _ in range(2)]
        for name in "ab"
    }
    assert compare(logits["a"], logits["b"]).passed
    for name in {"one": "a", "other": "b", "both": "ab"}[side]:
        logits[name][prompt][1, 2] = value
    assert not compare(logits["a"], logits["b"]).passed
