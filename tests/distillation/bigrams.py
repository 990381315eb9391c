"""A teacher that is known exactly: a small Qwen2 whose next token depends on the last one alone.

It writes ``hm wo hm \\boxed{2}``, words and boxes by chance, and is right in a third of its answers
to problems whose gold is 1, 2 or 3.
"""

import json
import math
from pathlib import Path

WIDTH = 320
NEXT = {
    "<|assistant|>": {"h": 0.5, "w": 0.5},
    "h": {"m": 1.0},
    "w": {"o": 1.0},
    "m": {" ": 1.0},
    "o": {" ": 1.0},
    " ": {"h": 0.25, "w": 0.25, "\\boxed{": 0.5},
    "\\boxed{": {"1": 1 / 3, "2": 1 / 3, "3": 1 / 3},
    "1": {"}": 1.0},
    "2": {"}": 1.0},
    "3": {"}": 1.0},
    "}": {"<|im_end|>": 0.7, " ": 0.3},
}
"""The chances of what follows each token."""


def write_teacher(folder: Path) -> None:
    """A Hugging Face folder of it, with the built-in tokenizer."""
    import torch
    from hf_folder import write_hf
    from safetensors.torch import load_file, save_file

    shape = {
        "vocab_size": 262,
        "hidden_size": WIDTH,
        "num_attention_heads": 10,
        "num_key_value_heads": 2,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "max_position_embeddings": 256,
    }
    tensors = write_hf(folder, tied=False, **shape)
    for name, tensor in tensors.items():
        if name.endswith("norm.weight"):
            tensor.fill_(1.0)
        else:
            tensor.zero_()
    ids = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = ids["model"]["vocab"] | {t["content"]: t["id"] for t in ids["added_tokens"]}
    vocabulary[" "] = vocabulary["Ġ"]
    tensors["model.embed_tokens.weight"].fill_diagonal_(1.0)
    head = tensors["lm_head.weight"]
    head.fill_(-30.0 / math.sqrt(WIDTH))
    for before, chances in NEXT.items():
        for after, chance in chances.items():
            head[vocabulary[after], vocabulary[before]] = math.log(chance) / math.sqrt(WIDTH)
    for file in folder.glob("*.safetensors"):
        names = load_file(file).keys()
        save_file({name: tensors[name] for name in names}, file, metadata={"format": "pt"})
    assert torch.isfinite(head).all()
