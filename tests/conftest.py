"""What several folders of tests share. pytest puts this file's folder on sys.path,
so that they find ``launching``."""

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from small_model import QWEN2

from red_mcore.rollout.environment import begin_imports, end_imports

LAYOUTS = {
    1: ["one"],
    2: ["dp2", "pp2", "tp2", "tp2_sequence", "cp2", "ep2"],
    4: [
        *("dp4", "tp2_dp2", "tp2_pp2", "pp2_dp2", "tp2_cp2", "dp2_cp2", "pp2_cp2", "pp4_virtual2"),
        *("ep2_dp4", "ep2_tp2", "ep2_pp2"),
    ],
    8: ["dp8", "pp4_virtual2_dp2"],
}
"""By their number of ranks; data and pipeline parallel first, for others load their checkpoints."""

SLOW = (
    # They start ranks, engines, or whole runs.
    *("gpu", "parallel", "parity", "rollout", "slurm", "soak", "tools", "tracking"),
    *("test_end_to_end.py", "test_launch.py", "test_run.py", "test_signals.py", "test_survival.py"),
    *("test_streams.py", "test_sft_run.py", "test_your_model.py", "test_warm.py", "test_wheel.py"),
    "test_distilling.py",
    # They make models, figures, or child processes by the dozen.
    *("analysis", "convert", "reporting", "test_fuzz.py", "test_identity.py", "test_rehearsal.py"),
    *("test_killed.py", "test_prepare.py"),
    *("test_functions.py", "test_pool.py", "test_verifier.py", "test_grading.py", "megatron"),
    *(
        "test_model_folder.py",
        "test_setup.py",
        "test_groups.py",
        "test_sampling.py",
        "test_resume.py",
    ),
)
"""Folders and files whose tests take minutes together;
`make test-fast` does not even import them."""


begin_imports()


def pytest_collection_finish():
    end_imports()


def is_slow(path: Path) -> bool:
    return bool(set(SLOW) & set(path.relative_to(Path(__file__).parent).parts))


def pytest_ignore_collect(collection_path, config):
    return True if config.option.markexpr == "not slow" and is_slow(collection_path) else None


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items):
    """What asks for something that is made in the background is tested last."""
    for item in items:
        is_behind = bool({"layouts", "prepared"} & set(item.fixturenames))
        if is_behind or is_slow(item.path):
            item.add_marker("slow")
    items.sort(key=lambda item: bool({"layouts", "prepared"} & set(item.fixturenames)))


class Layouts:
    """Findings of tests/parallel/layout_program.py under each layout;
    ``folder`` has the models and exports."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._found: dict[str, dict] = {}

    def __getitem__(self, name: str) -> dict:
        import torch

        if name not in self._found:
            self._found[name] = torch.load(self.folder / f"{name}.pt", weights_only=False)
        return self._found[name]


@pytest.fixture(scope="session", autouse=True)
def background(request, tmp_path_factory) -> dict[str, Future]:
    """What takes minutes, in which programs wait for one another so much that other tests have room
    beside them: the layouts, and ``prepare(folder, over)`` of each module whose tests ask for what
    it returns; ``over`` is set where nobody waits any more. From the start, where a test is going
    to ask; two at a time, for in the end nothing else is left that could use the cores on which one
    of them waits. They are nice: what they do runs on many cores at any time, the other tests come
    one after the other."""
    items, over = request.session.items, threading.Event()
    with ThreadPoolExecutor(2, initializer=os.nice, initargs=(10,)) as pool:
        jobs = {}
        if any("layouts" in item.fixturenames for item in items):
            folder = tmp_path_factory.mktemp("layouts")
            _make_models(folder)  # here, for it draws from torch's generator, as tests do
            jobs["layouts"] = pool.submit(_run_layouts, folder, over)
        for module in dict.fromkeys(
            item.module for item in items if "prepared" in item.fixturenames
        ):
            folder = tmp_path_factory.mktemp(module.__name__)
            jobs[module.__name__] = pool.submit(module.prepare, folder, over)
        yield jobs
        over.set()
        pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def layouts(background) -> Layouts:
    return Layouts(background["layouts"].result())


@pytest.fixture
def prepared(request, background):
    """What ``prepare`` of the test's module has returned."""
    return background[request.module.__name__].result()


@pytest.fixture(scope="module")
def one_rank():
    """A process group of this process alone."""
    import torch.distributed as dist

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def _run_layouts(folder: Path, over: threading.Event) -> Path:
    """Every layout, run once."""
    from launching import launch

    for ranks, names in LAYOUTS.items():
        launch(
            Path(__file__).parent / "parallel" / "layout_program.py",
            ranks,
            folder,
            *names,
            cancel=over,
        )
    return folder


def _make_models(folder: Path) -> None:
    import torch
    from family_models import FAMILIES, make_family
    from layout_samples import DEEP, SMALL, TEACHER, config

    from red_mcore.convert.hf import make_fresh
    from red_mcore.data.tokenizer import build_tokenizer

    for name, tied in (("tied", True), ("untied", False)):
        make_fresh(config(tied), build_tokenizer(), folder / name, seed=0, dtype=torch.float32)
    usual = config(False) | {"initializer_range": 0.02}
    make_fresh(usual, build_tokenizer(), folder / "usual", seed=0, dtype=torch.float32)
    make_fresh(
        config(True, hidden=SMALL), build_tokenizer(), folder / "small", seed=0, dtype=torch.float32
    )
    make_fresh(config(True, DEEP), build_tokenizer(), folder / "deep", seed=0, dtype=torch.float32)
    teacher = config(False, *TEACHER)
    make_fresh(teacher, build_tokenizer(), folder / "teacher", seed=1, dtype=torch.float32)
    for name in FAMILIES:
        make_family(name, folder / name)


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A small valid recipe, on a machine without a GPU."""
    from red_mcore.algorithms.red import RED
    from red_mcore.config.recipe import Base, Batch, Model, Parallel, Recipe, Rollout
    from red_mcore.models import layers
    from red_mcore.system import devices

    for module in (devices, layers):
        monkeypatch.setattr(module, "has_gpu", lambda: False)
    return Recipe(
        name="small",
        runs=str(tmp_path),
        model=Model(config=dict(QWEN2)),
        algorithm=RED(),
        base=Base(),
        parallel=Parallel(ranks=4),
        batch=Batch(prompts_per_step=24, samples_per_prompt=7, tokens_per_micro_batch=2048),
        rollout=Rollout(max_prompt_tokens=64, max_response_tokens=96, kv_cache_mib=64),
    )
