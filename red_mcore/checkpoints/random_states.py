"""The random states of a rank in a checkpoint: plain numbers as JSON, which cannot do anything but
be read."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from megatron.core.tensor_parallel import get_cuda_rng_tracker

from red_mcore.checkpoints.untrusted import read_data
from red_mcore.config.recipe import RecipeError

_NUMPY = [
    np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
    np.ndarray,
    np.dtype,
    np.dtypes.UInt32DType,
]
"""What an array of numpy's is pickled with."""


def file_of(rank: int) -> str:
    return f"rng-{rank}.json"


def current() -> dict[str, Any]:
    """States of this moment of python, numpy, torch, its GPU and Megatron's regions; JSON-able."""
    kind, numbers, *rest = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": [kind, np.asarray(numbers).tolist(), *rest],
        "torch": _text(torch.get_rng_state()),
        "cuda": _text(torch.cuda.get_rng_state()) if torch.cuda.is_available() else None,
        "tracker": {
            name: _text(state) for name, state in get_cuda_rng_tracker().get_states().items()
        },
    }


def restore(folder: Path, rank: int) -> None:
    """Set the generators as those of ``rank`` were when the checkpoint in ``folder`` was saved.

    RecipeError, naming the file, where that does not hold such states.
    """
    file = folder / file_of(rank)
    try:
        if file.is_file():
            states = json.loads(file.read_text())
            kind, numbers, *rest = states["numpy"]
            states["numpy"] = (kind, np.array(numbers, np.uint32), *rest)
            states["torch"] = _bytes(states["torch"])
            states["cuda"] = states["cuda"] and _bytes(states["cuda"])
            states["tracker"] = {name: _bytes(text) for name, text in states["tracker"].items()}
        else:  # of an earlier version
            file = file.with_suffix(".pt")
            with torch.serialization.safe_globals(_NUMPY):
                states = read_data(file)
        version, numbers, gauss = states["python"]
        random.setstate((version, tuple(numbers), gauss))
        np.random.set_state(states["numpy"])
        torch.set_rng_state(states["torch"])
        if states["cuda"] is not None:
            torch.cuda.set_rng_state(states["cuda"])
        get_cuda_rng_tracker().set_states(states["tracker"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        if isinstance(error, RecipeError):
            raise
        raise RecipeError(
            f"{file} holds no random states: {type(error).__name__}: {error}"
        ) from None


def _text(state: torch.Tensor) -> str:
    return base64.b64encode(state.cpu().numpy().tobytes()).decode()


def _bytes(text: str) -> torch.Tensor:
    return torch.tensor(list(base64.b64decode(text)), dtype=torch.uint8)
