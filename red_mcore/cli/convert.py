"""Checkpoints to and from Hugging Face folders; one process, no GPU, and no more memory than a few tensors take.

    python tools/convert.py hf-to-megatron --hf DIR --out DIR [--dtype bfloat16]
    python tools/convert.py megatron-to-hf --checkpoint DIR --out DIR [--dtype bfloat16] [--shard-size 4GB]
    python tools/convert.py verify --hf DIR --checkpoint DIR [--no-logits]

A checkpoint is RUN/checkpoints/TAG, RUN itself (its newest), or what hf-to-megatron wrote; a recipe starts from the
latter with model.path=DIR. Exit code: 0 done, 1 verification failed, 2 bad input (one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from red_mcore.config.recipe import RecipeError
from red_mcore.tracking.console import Watched

DTYPES = ("float32", "bfloat16", "float16")
UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    options = _parser().parse_args(arguments)
    try:
        return {"hf-to-megatron": from_hf, "megatron-to-hf": to_hf, "verify": verify}[
            options.command
        ](options)
    except (RecipeError, OSError) as error:
        print(f"convert: error: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def from_hf(options: argparse.Namespace) -> int:
    dtype, out = _dtype(options.dtype), _out(options, options.hf)
    from red_mcore.convert import conversion

    with Watched("reading tensors") as watch:
        conversion.from_hf(options.hf, out, dtype=dtype, replace=options.force, watch=watch)
    print(
        f"{out}: start from it with model.path={out}, compare with: verify --hf {options.hf} --checkpoint {out}"
    )
    return 0


def to_hf(options: argparse.Namespace) -> int:
    dtype, checkpoint = _dtype(options.dtype), _checkpoint(options.checkpoint)
    out, shard_bytes = _out(options, checkpoint), _bytes(options.shard_size)
    from red_mcore.convert import conversion

    with Watched("writing tensors") as watch:
        conversion.to_hf(
            checkpoint,
            out,
            dtype=dtype,
            shard_bytes=shard_bytes,
            replace=options.force,
            watch=watch,
        )
    print(f"{out}: compare with: verify --hf {out} --checkpoint {checkpoint}")
    return 0


def verify(options: argparse.Namespace) -> int:
    checkpoint = _checkpoint(options.checkpoint)
    if options.logits:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the same numbers everywhere
        from red_mcore.rollout.environment import set_environment

        set_environment(offline=True)
    from red_mcore.convert.verify import verify as compare

    with Watched("comparing tensors") as watch:
        result = compare(options.hf, checkpoint, logits=options.logits, watch=watch)
    if result.different:
        count = (
            f"{len(result.different)} of {result.tensors} tensors differ in {result.compared_in}"
        )
        print(f"FAILED: {count}, the first is {result.different[0]}")
        return 1
    print(f"tensors: all {result.tensors} identical in {result.compared_in}")
    if logits := result.logits:
        print(
            f"logits: transformers and Megatron differ by at most {logits.max_difference:.2e} in float32 over"
            f" {logits.prompts} prompts, limit {logits.limit:.2e}: {'ok' if logits.passed else 'FAILED'}"
        )
    return 0 if result.passed else 1


def _checkpoint(folder: Path) -> Path:
    from red_mcore.convert.conversion import newest_checkpoint

    found, faults = newest_checkpoint(folder)
    for fault in faults:
        print(fault, file=sys.stderr)
    return found


def _out(options: argparse.Namespace, source: Path) -> Path:
    """RecipeError where writing would replace what is read."""
    out, source = options.out.resolve(), source.resolve()
    if out == source or out in source.parents:
        raise RecipeError(f"--out {options.out} would replace {source}: choose another folder")
    return out


def _dtype(name: str | None):
    if name is None:
        return None
    if name not in DTYPES:
        raise RecipeError(f"--dtype {name} is not supported: use {', '.join(DTYPES)}")
    import torch

    return getattr(torch, name)


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]B)", text.strip().upper())
    size = int(float(found[1]) * UNITS[found[2]]) if found else 0
    if size < 1:
        raise RecipeError(f"--shard-size {text} is no size: write for example 4GB or 500MB")
    return size


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    read = commands.add_parser(
        "hf-to-megatron", help="a Hugging Face folder becomes a checkpoint of weights"
    )
    write = commands.add_parser("megatron-to-hf", help="a checkpoint becomes a Hugging Face folder")
    both = commands.add_parser("verify", help="compare a Hugging Face folder and a checkpoint")
    for command in (read, both):
        command.add_argument(
            "--hf", type=Path, required=True, metavar="DIR", help="Hugging Face folder"
        )
    for command in (write, both):
        command.add_argument("--checkpoint", type=Path, required=True, metavar="DIR")
    for command in (read, write):
        command.add_argument(
            "--out", type=Path, required=True, metavar="DIR", help="folder to write"
        )
        command.add_argument("--dtype", help=f"{', '.join(DTYPES)}; as stored if not given")
        command.add_argument("--force", action="store_true", help="replace an existing --out")
    write.add_argument(
        "--shard-size", default="4GB", metavar="SIZE", help="most bytes in one file (4GB)"
    )
    both.add_argument(
        "--no-logits", dest="logits", action="store_false", help="compare the tensors alone"
    )
    return parser
