"""The policy on ranks against transformers on the same folder,
before an update and after an export."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from family_models import CASES
from layout_samples import TEMPERATURE, make_groups

from red_mcore.samples.records import Sample

LAYOUTS = ["one", "dp2", "tp2", "tp2_sequence", "pp2", "cp2"]
LIMIT = 1e-4


@cache
def model(folder: Path):
    from transformers import AutoModelForCausalLM

    loaded, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    return loaded.eval()


def logits(folder: Path, tokens) -> torch.Tensor:
    with torch.no_grad():
        return model(folder)(torch.as_tensor(tokens, dtype=torch.long)[None]).logits[0]


@cache
def distributions(folder: Path, temperature: float = 1.0) -> list[np.ndarray]:
    """[T, V] log-probs at each place of each sample's response."""
    return [distribution(s, folder, temperature) for g in make_groups() for s in g.samples]


def distribution(sample: Sample, folder: Path, temperature: float) -> np.ndarray:
    tokens = np.concatenate((sample.prompt, sample.response))
    log_p = (logits(folder, tokens) / temperature).log_softmax(-1).numpy()
    return log_p[len(sample.prompt) - 1 : -1]


def logprobs_of(rollouts: Sequence[Sample], folder: Path) -> list[np.ndarray]:
    """[T] of each rollout, at the temperature of the rollouts."""
    return [
        distribution(s, folder, TEMPERATURE)[np.arange(len(s.response)), s.response]
        for s in rollouts
    ]


def logprobs(folder: Path) -> list[np.ndarray]:
    """Of each sample's response, at the temperature of the rollouts or, of a trace, at 1."""
    samples = [s for g in make_groups() for s in g.samples]
    found = zip(samples, distributions(folder), distributions(folder, TEMPERATURE), strict=True)
    return [
        (at_one if s.is_offline else heated)[np.arange(len(at_one)), s.response]
        for s, at_one, heated in found
    ]


def gap(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    return max(np.abs(a - b).max() for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_logprobs(layouts, layout, tied):
    folder = layouts.folder / ("tied" if tied else "untied")
    assert gap(layouts[layout]["scores"][tied]["old_logp"], logprobs(folder)) < LIMIT


@pytest.mark.parametrize(("layout", "name"), CASES)
def test_families(layouts, layout, name):
    found, folder = layouts[layout]["families"][name], layouts.folder / name
    assert gap(found["logp"], logprobs(folder)) < LIMIT
    entropies = [-(np.exp(log_p) * log_p).sum(-1).mean() for log_p in distributions(folder)]
    np.testing.assert_allclose(found["entropy"], entropies, rtol=0, atol=LIMIT)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_exported_folder(layouts, layout, tied):
    folder = layouts.folder / f"export-{layout}-{tied}"
    expected = logprobs(folder)
    assert gap(layouts[layout]["updates"]["exported", tied], expected) < LIMIT
    source = layouts.folder / ("tied" if tied else "untied")
    assert gap(logprobs(source), expected) > 100 * LIMIT  # the update is in it
    assert {f.name for f in folder.iterdir()} == {f.name for f in source.iterdir()} | {
        "conversion.json"
    }


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in ("pp2", "cp2")])
def test_exported_logits(layouts, layout, tied):
    tokens, found = layouts[layout]["updates"]["logits", tied]
    expected = logits(layouts.folder / f"export-{layout}-{tied}", tokens).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=LIMIT)
