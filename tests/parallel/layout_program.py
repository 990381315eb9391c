"""One rank of a layout: scores, updates, exports, checkpoints, and leaves what it saw in OUT/LAYOUT.pt.

layout_program.py LAYOUT OUT, with the models' folders OUT/tied and OUT/untied. The tests compare layouts.
"""

# ruff: noqa: E402 - the environment has to be set before torch and Megatron are imported

from __future__ import annotations

import os
import sys
from pathlib import Path

from red_mcore.rollout.environment import set_environment

set_environment(offline=True)

import layout_continuation
import layout_parts
import layout_updates
import torch
from layout_rank import Layout

from red_mcore.megatron import ranks


def main(name: str, out: Path) -> None:
    layout = Layout(name, out)
    found = {}
    for module in (layout_updates, layout_continuation, layout_parts):
        checks = {key: check for key, check in vars(module).items() if key.startswith("check_")}
        found |= {key.removeprefix("check_"): check(layout) for key, check in checks.items()}
    if layout.ranks.is_main:
        torch.save(found, out / f"{name}.partial")
        os.replace(out / f"{name}.partial", out / f"{name}.pt")
    ranks.stop()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
