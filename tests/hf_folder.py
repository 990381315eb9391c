"""A small Hugging Face folder with random weights, made without transformers' model."""

import json
from pathlib import Path

import torch


def write_hf(
    folder: Path, tied: bool, dtype: torch.dtype = torch.float32, **changes: object
) -> dict:
    """Write ``folder`` with a tokenizer, a chat template and generation settings; the tensors by
    name."""
    from layout_samples import config

    from red_mcore.convert.tensors import write_tensors
    from red_mcore.data.tokenizer import build_tokenizer
    from red_mcore.models.architecture import read_architecture
    from red_mcore.models.rules import hf_shapes

    conf = {
        **config(tied),
        "architectures": ["Qwen2ForCausalLM"],
        "torch_dtype": str(dtype)[6:],
        **changes,
    }
    shapes = hf_shapes(read_architecture(conf))
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: (0.2 * torch.randn(shape, generator=generator)).to(dtype)
        for name, shape in shapes.items()
    }
    folder.mkdir()
    build_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(conf))
    (folder / "generation_config.json").write_text('{"temperature": 0.7}')
    (folder / "pytorch_model.bin").write_text("not taken along")
    write_tensors(folder, tensors.items(), shapes, dtype, shard_bytes=50_000)
    return tensors


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder, as the safetensors library reads them."""
    from safetensors.torch import load_file

    found = {}
    for file in folder.glob("*.safetensors"):
        found |= load_file(file)
    return found
