"""Checkpoints to and from Hugging Face folders; one process, no GPU, and no more memory than a few
tensors take.

    python tools/convert.py hf-to-megatron --hf DIR --out DIR [--dtype bfloat16]
    python tools/convert.py megatron-to-hf --checkpoint DIR --out DIR [--dtype bfloat16] \\
        [--shard-size 4GB]
    python tools/convert.py verify --hf DIR --checkpoint DIR [--no-logits]

A checkpoint is RUN/checkpoints/TAG, RUN itself (its newest), or what hf-to-megatron wrote; a recipe
starts from the latter with model.path=DIR. Exit code: 0 done, 1 verification failed, 2 bad input
(one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from red_mcore.cli import common
from red_mcore.config.recipe import RecipeError
from red_mcore.system.exit_codes import FAILED, INTERRUPTED
from red_mcore.tracking.console import Watched

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16")
UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def main(arguments: list[str]) -> int:
    """The exit code."""
    options = _parser().parse_args(arguments)
    try:
        return common.attempt("convert", lambda: options.work(options))
    except KeyboardInterrupt:
        return INTERRUPTED


# Each of these looks at the options before it imports a converter, which takes seconds.


def from_hf(options: argparse.Namespace) -> int:
    dtype, out = _dtype(options.dtype), _out(options, options.hf)
    from red_mcore.convert import conversion

    with Watched("reading tensors") as watch:
        conversion.from_hf(options.hf, out, dtype=dtype, replace=options.force, watch=watch)
    print(
        f"{out}: start from it with model.path={out}, compare with: verify --hf {options.hf}"
        f" --checkpoint {out}"
    )
    return 0


def to_hf(options: argparse.Namespace) -> int:
    dtype, checkpoint = _dtype(options.dtype), _checkpoint(options.checkpoint)
    out, size = _out(options, checkpoint), _bytes(options.shard_size)
    from red_mcore.convert import conversion

    with Watched("writing tensors") as watch:
        conversion.to_hf(
            checkpoint, out, dtype=dtype, shard_bytes=size, replace=options.force, watch=watch
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
    where = f"in {result.compared_in}"
    if result.different:
        count = f"{len(result.different)} of {result.tensors} tensors differ {where}"
        print(f"FAILED: {count}, the first is {result.different[0]}")
        return FAILED
    print(f"tensors: all {result.tensors} identical {where}")
    if logits := result.logits:
        verdict = "ok" if logits.passed else "FAILED"
        print(
            f"logits: transformers and Megatron differ by at most {logits.max_difference:.2e} in"
            f" float32 over {logits.prompts} prompts, limit {logits.limit:.2e}: {verdict}"
        )
    return 0 if result.passed else FAILED


def _checkpoint(folder: Path) -> Path:
    from red_mcore.convert.conversion import newest_checkpoint

    found, faults = newest_checkpoint(folder)
    for fault in faults:
        print(fault, file=sys.stderr)
    return found


def _out(options: argparse.Namespace, source: Path) -> Path:
    """RecipeError where writing would replace what is read."""
    # A folder above it, too: --force removes what is there.
    out, source = options.out.resolve(), source.resolve()
    if out == source or out in source.parents:
        raise RecipeError(f"--out {options.out} would replace {source}: choose another folder")
    return out


def _dtype(name: str | None) -> torch.dtype | None:
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
    parser = common.parser("convert", __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    into = "a Hugging Face folder becomes a checkpoint of weights"
    read = commands.add_parser("hf-to-megatron", help=into)
    write = commands.add_parser("megatron-to-hf", help="a checkpoint becomes a Hugging Face folder")
    both = commands.add_parser("verify", help="compare a Hugging Face folder and a checkpoint")
    read.set_defaults(work=from_hf)
    write.set_defaults(work=to_hf)
    both.set_defaults(work=verify)
    folder: dict[str, Any] = {"type": Path, "required": True, "metavar": "DIR"}
    for command in (read, both):
        command.add_argument("--hf", help="Hugging Face folder", **folder)
    for command in (write, both):
        command.add_argument("--checkpoint", **folder)
    for command in (read, write):
        command.add_argument("--out", help="folder to write", **folder)
        command.add_argument("--dtype", help=f"{', '.join(DTYPES)}; as stored if not given")
        command.add_argument("--force", action="store_true", help="replace an existing --out")
    most = "most bytes in one file (4GB)"
    write.add_argument("--shard-size", default="4GB", metavar="SIZE", help=most)
    alone = "compare the tensors alone"
    both.add_argument("--no-logits", dest="logits", action="store_false", help=alone)
    return parser
