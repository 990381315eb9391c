import pytest
import torch

from red_mcore.rollout.publication import Checked, PublicationError, tensor_digest


def digest(tensors):
    checked = Checked({name: tuple(t.shape) for name, t in tensors.items()}, tied=False)
    list(checked.stream(iter(tensors.items())))
    checked.verify()
    return checked.digest


def test_checksum_knows_names_and_values_but_no_order():
    a, b = torch.arange(6.0).view(2, 3), torch.ones(2, 3)
    assert digest({"a": a, "b": b}) == digest({"b": b, "a": a})
    assert digest({"a": a, "b": b}) != digest({"a": b, "b": a})
    assert digest({"a": a, "b": b}) != digest({"a": a + 1e-6, "b": b})
    assert tensor_digest("a", a.bfloat16()) != tensor_digest("a", a)


def test_all_problems_are_named_and_the_stream_is_read_to_its_end():
    read = []

    def tensors():
        for name, tensor in {
            "a": torch.ones(3),
            "x": torch.ones(1),
            "b": torch.full((2,), torch.nan),
        }.items():
            read.append(name)
            yield name, tensor

    checked = Checked({"a": (2,), "b": (2,), "c": (1,)}, tied=False)
    assert list(checked.stream(tensors())) == []
    assert read == ["a", "x", "b"]
    with pytest.raises(PublicationError) as error:
        checked.verify()
    for part in ("c missing", "a has shape (3,), want (2,)", "x unexpected", "b is not finite"):
        assert part in str(error.value)


def test_tied_output_layer_is_passed_over():
    checked = Checked({"model.embed_tokens.weight": (2,)}, tied=True)
    stream = iter([("model.embed_tokens.weight", torch.ones(2)), ("lm_head.weight", torch.ones(2))])
    assert [name for name, _ in checked.stream(stream)] == ["model.embed_tokens.weight"]
    checked.verify()
