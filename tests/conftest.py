"""What several folders of tests share. pytest puts this file's folder on sys.path, so that they find ``launching``."""

from pathlib import Path

import pytest

LAYOUTS = {1: ["one"], 2: ["dp2", "tp2", "tp2_sequence", "pp2"], 4: ["tp2_dp2", "tp2_pp2", "pp2_dp2"]}
"""By their number of ranks; data parallel first, for the others load its checkpoint."""


class Layouts:
    """Findings of tests/parallel/layout_program.py under each layout; ``folder`` has the models and exports."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._found: dict[str, dict] = {}

    def __getitem__(self, name: str) -> dict:
        import torch

        if name not in self._found:
            self._found[name] = torch.load(self.folder / f"{name}.pt", weights_only=False)
        return self._found[name]


@pytest.fixture(scope="session")
def layouts(tmp_path_factory) -> Layouts:
    """Every layout, run once: a minute or so on two cores."""
    import torch
    from launching import launch
    from layout_samples import config

    from red_mcore.convert.hf import make_fresh
    from red_mcore.data.tokenizer import build_tokenizer

    folder = tmp_path_factory.mktemp("layouts")
    for name, tied in (("tied", True), ("untied", False)):
        make_fresh(config(tied), build_tokenizer(), folder / name, seed=0, dtype=torch.float32)
    program = Path(__file__).parent / "parallel" / "layout_program.py"
    for ranks, names in LAYOUTS.items():
        launch(program, ranks, folder, *names, timeout=500)
    return Layouts(folder)
