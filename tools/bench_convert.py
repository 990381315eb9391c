"""Memory and time of both conversions of a random model of about 600 MB in shards, under bfloat16.

    python tools/bench_convert.py [--layers 14] [--shard-size 150]

Each conversion runs in a process of its own, whose peak of resident memory counts from after its
imports. Linux only.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = {
    "model_type": "qwen2",
    "vocab_size": 32000,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}


def make(folder: Path, shard_bytes: int, layers: int) -> None:
    """A Hugging Face folder of random weights, without a tokenizer."""
    import torch

    from red_mcore.convert.tensors import write_tensors
    from red_mcore.models.architecture import read_architecture
    from red_mcore.models.rules import hf_shapes

    config = CONFIG | {"num_hidden_layers": layers, "dtype": "bfloat16"}
    shapes = hf_shapes(read_architecture(config))
    (folder / "hf").mkdir()
    (folder / "hf/config.json").write_text(json.dumps(config))

    # Random along each side: many numbers cost more time than all that is measured.
    def tensors():
        for name, shape in shapes.items():
            tensor = torch.zeros(())
            for i, n in enumerate(shape):
                tensor = tensor + torch.randn(n).view(-1, *[1] * (len(shape) - i - 1))
            yield name, tensor

    write_tensors(folder / "hf", tensors(), shapes, torch.bfloat16, shard_bytes)


def convert(direction: str, folder: Path, shard_bytes: int) -> dict[str, float]:
    """Seconds, and MiB above those after the imports."""
    from red_mcore.convert import conversion

    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, start = _peak_mib(), time.perf_counter()
    how = {"dtype": None, "replace": False, "watch": lambda done, total: None}
    if direction == "hf-to-megatron":
        conversion.from_hf(folder / "hf", folder / "megatron", **how)
    else:
        conversion.to_hf(folder / "megatron", folder / "back", shard_bytes=shard_bytes, **how)
    return {"seconds": time.perf_counter() - start, "mib": _peak_mib() - before}


def _peak_mib() -> float:
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=14)
    parser.add_argument("--shard-size", type=int, default=150, help="MB")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    shard_bytes = options.shard_size * 10**6
    if options.part:
        part, folder = options.part[0], Path(options.part[1])
        if part == "make":
            make(folder, shard_bytes, options.layers)
        else:
            print(json.dumps(convert(part, folder, shard_bytes)))
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--layers", str(options.layers)]
        command += ["--shard-size", str(options.shard_size)]
        subprocess.run([*command, "--part", "make", folder], check=True)
        files = list(Path(folder, "hf").glob("*.safetensors"))
        size = sum(file.stat().st_size for file in files) / 2**20
        largest = CONFIG["vocab_size"] * CONFIG["hidden_size"] * 2 / 2**20
        print(
            f"{size:.0f} MiB in {len(files)} shards of at most {shard_bytes / 2**20:.0f},"
            f" largest tensor {largest:.0f}"
        )
        print("| | peak memory above imports | seconds |\n|---|---|---|")
        for direction in ("hf-to-megatron", "megatron-to-hf"):
            done = subprocess.run(
                [*command, "--part", direction, folder], check=True, capture_output=True, text=True
            )
            found = json.loads(done.stdout.splitlines()[-1])
            print(f"| {direction} | {found['mib']:.0f} MiB | {found['seconds']:.1f} |", flush=True)
        same = all(
            Path(folder, "back", file.name).read_bytes() == file.read_bytes() for file in files
        )
        print("there and back:", "every shard is the same" if same else "SHARDS DIFFER")


if __name__ == "__main__":
    main()
