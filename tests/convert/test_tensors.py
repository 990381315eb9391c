"""Safetensors files, against the library's own reader and writer."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from red_mcore.config.recipe import RecipeError
from red_mcore.convert.tensors import INDEX, HFTensors, write_tensors

SHAPES = {"a": (3, 5), "b": (7,), "c": (2, 4), "d": (1, 1)}


def tensors(dtype=torch.float32) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_library_reads_what_is_written(tmp_path, dtype):
    write_tensors(tmp_path, tensors().items(), SHAPES, dtype, shard_bytes=10**9)
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == SHAPES.keys()
    for name, tensor in tensors(dtype).items():
        assert found[name].dtype == dtype
        assert torch.equal(found[name], tensor)


def test_shards_hold_as_much_as_they_may_and_the_index_names_them(tmp_path):
    write_tensors(
        tmp_path, tensors().items(), SHAPES, torch.float32, shard_bytes=88
    )  # a and b, to the byte
    index = json.loads((tmp_path / INDEX).read_text())
    first, second = (f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
    assert index == {
        "metadata": {"total_size": 4 * (15 + 7 + 8 + 1)},
        "weight_map": {"a": first, "b": first, "c": second, "d": second},
    }
    assert {**load_file(tmp_path / first), **load_file(tmp_path / second)}.keys() == SHAPES.keys()
    found = HFTensors(tmp_path)
    found.check(SHAPES, {})
    assert all(torch.equal(found.read(name), tensor) for name, tensor in tensors().items())


def test_a_tensor_beyond_the_limit_has_a_shard_of_its_own(tmp_path):
    write_tensors(tmp_path, tensors().items(), SHAPES, torch.float32, shard_bytes=1)
    assert len(list(tmp_path.glob("*.safetensors"))) == len(SHAPES)


def test_what_the_library_wrote_is_read(tmp_path):
    save_file(tensors(torch.bfloat16), tmp_path / "model.safetensors", metadata={"format": "pt"})
    found = HFTensors(tmp_path)
    assert found.dtypes == {torch.bfloat16}
    assert all(
        torch.equal(found.read(name), tensor) for name, tensor in tensors(torch.bfloat16).items()
    )


@pytest.mark.parametrize("change", ["fewer", "more", "other order", "shape"])
def test_other_tensors_than_announced_are_an_error(tmp_path, change):
    given = list(tensors().items())
    given = {
        "fewer": given[:-1],
        "more": [*given, ("e", torch.zeros(1))],
        "other order": given[::-1],
        "shape": [("a", torch.zeros(5, 3)), *given[1:]],
    }[change]
    with pytest.raises(ValueError, match=r"got|zip"):
        write_tensors(tmp_path, given, SHAPES, torch.float32, shard_bytes=10**9)


BUFFERS = [
    *("model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.original_inv_freq"),
    *("model.layers.7.self_attn.rotary_emb.cos_cached", "model.layers.1.attention.masked_bias"),
]


def test_what_other_programs_compute_is_passed_over(tmp_path):
    buffers = {name: torch.ones(2, dtype=torch.float64) for name in BUFFERS}
    save_file(tensors(torch.bfloat16) | buffers, tmp_path / "model.safetensors")
    found = HFTensors(tmp_path)
    found.check(SHAPES, {})
    assert found.dtypes == {torch.bfloat16}


@pytest.mark.parametrize(
    "name", ["model.inv_freq_scale", "model.layers.0.self_attn.q_proj.masked_bias", "rotary_emb"]
)
def test_what_resembles_it_is_not(tmp_path, name):
    save_file(tensors() | {name: torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(RecipeError, match=f"has tensor {name} that the model does not know"):
        HFTensors(tmp_path).check(SHAPES, {})


def test_a_tensor_that_is_another_s_copy_has_to_be_equal(tmp_path, monkeypatch):
    monkeypatch.setattr("red_mcore.convert.tensors._CHUNK", 8)
    given = tensors()
    for copy in (
        given["a"].clone(),
        given["a"] + (torch.arange(15).view(3, 5) == 14),
        given["a"].bfloat16(),
    ):
        save_file(given | {"e": copy}, tmp_path / "model.safetensors")
        found = HFTensors(tmp_path)
        if copy.dtype == torch.float32 and torch.equal(copy, given["a"]):
            found.check(SHAPES, {"e": "a"})
            assert found.dtypes == {torch.float32}
        else:
            with pytest.raises(
                RecipeError, match=r"tie_word_embeddings=true, but e differs from a: .* take e out"
            ):
                found.check(SHAPES, {"e": "a"})
    found = HFTensors(tmp_path)
    found.check(SHAPES | {"e": (3, 5)}, {})  # as the message says: untied


def _cut(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def _pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model-00001-of-00002.bin")


def _lost_shard(folder):
    (folder / INDEX).write_text(
        json.dumps({"weight_map": {"a": "model.safetensors", "b": "gone.safetensors"}})
    )


def _integers(folder):
    save_file(tensors() | {"b": torch.zeros(7, dtype=torch.int8)}, folder / "model.safetensors")


def _moved(*offsets):
    """The first tensor to other bytes, in a header of the same length."""

    def spoil(folder):
        file = folder / "model.safetensors"
        content = file.read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        header["a"]["data_offsets"] = offsets
        text = json.dumps(header, separators=(",", ":")).encode().ljust(length)
        file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])

    return spoil


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            _moved(-60, 0),
            r"model\.safetensors is no safetensors file: a tensor lies outside of its data",
        ),
        (
            _moved(60, 0),
            r"model\.safetensors is no safetensors file: a tensor lies outside of its data",
        ),
        (_moved(0, 40), r"model\.safetensors: a has 40 bytes and should have 60: fetch it again"),
        (_cut, r"model\.safetensors has \d+ bytes and should have \d+: fetch it again"),
        (
            lambda folder: (folder / "model.safetensors").write_text("<html>"),
            "is no safetensors file",
        ),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "is no safetensors file"),
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            "holds neither model.safetensors nor",
        ),
        (_pickled, r"but pytorch_model\.bin, which is not read: AutoModelForCausalLM"),
        (lambda folder: (folder / INDEX).write_text("{}"), "is no index of safetensors"),
        (_lost_shard, r"lacks gone\.safetensors, which .* names \(1 of 2 files missing\)"),
        (_integers, "b is of type I8; supported: F32, F16, BF16"),
    ],
)
def test_broken_files_are_refused_by_name(tmp_path, spoil, message):
    write_tensors(tmp_path, tensors().items(), SHAPES, torch.float32, shard_bytes=10**9)
    spoil(tmp_path)
    with pytest.raises(RecipeError, match=message) as error:
        HFTensors(tmp_path).check(SHAPES, {})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({**SHAPES, "e": (1,), "f": (1,)}, r"lacks tensor e \(2 missing in all\)"),
        (
            {"a": (3, 5), "b": (7,), "d": (1, 1)},
            r"has tensor c that the model does not know \(1 in all\)",
        ),
        (SHAPES | {"b": (8,)}, r"b has shape \(7,\), config.json implies \(8,\)"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(tmp_path, expected, message):
    write_tensors(tmp_path, tensors().items(), SHAPES, torch.float32, shard_bytes=10**9)
    with pytest.raises(RecipeError, match=message):
        HFTensors(tmp_path).check(expected, {})
