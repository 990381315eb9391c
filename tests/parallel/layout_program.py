"""One rank of some layouts: scores, updates, exports, checkpoints, and leaves what it saw in
OUT/LAYOUT.pt.

layout_program.py OUT LAYOUT..., layouts of equally many ranks, with the models' folders OUT/tied
and OUT/untied. The tests compare layouts.
"""

# ruff: noqa: E402 - the environment has to be set before torch and Megatron are imported

from __future__ import annotations

import os
import sys
from pathlib import Path

from red_mcore.rollout.environment import begin_imports, end_imports, set_environment

begin_imports()
set_environment(offline=True)

import layout_continuation
import layout_conversion
import layout_deep
import layout_families
import layout_guards
import layout_memory
import layout_parts
import layout_poison
import layout_shapes
import layout_teacher
import layout_updates
import torch
from layout_rank import Layout
from torch.distributed import TCPStore

from red_mcore.megatron import ranks

_stores: list[TCPStore] = []
"""Of rank 0: they end with their last reference."""


def main(out: Path, names: list[str]) -> None:
    end_imports()
    for name in names:
        try:
            run(name, out)
        except Exception as error:
            error.add_note(f"under layout {name}")
            raise


def run(name: str, out: Path) -> None:
    layout = Layout(name, out)
    found = {}
    every = [
        layout_updates,
        layout_continuation,
        layout_poison,
        layout_conversion,
        layout_parts,
        layout_deep,
        layout_families,
        layout_memory,
        layout_guards,
        layout_shapes,
        layout_teacher,
    ]
    if layout.parallel.virtual > 1:
        every = [layout_deep, layout_shapes, layout_teacher]
    if layout.parallel.expert > 1:
        every = [layout_families, layout_shapes]
    if name in ("dp4", "dp8"):
        every = [layout_shapes]
    for module in every:
        checks = {key: check for key, check in vars(module).items() if key.startswith("check_")}
        found |= {key.removeprefix("check_"): check(layout) for key, check in checks.items()}
    if layout.ranks.is_main:
        torch.save(found, out / f"{name}.partial")
        os.replace(out / f"{name}.partial", out / f"{name}.pt")
    if layout.ranks.is_main:
        _stores.append(TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False))
    # The next layout's process group meets at another store,
    # as ``launching`` has made one for the first.
    os.environ["MASTER_PORT"] = str(ranks.from_main(_stores[-1].port if _stores else None))
    ranks.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
