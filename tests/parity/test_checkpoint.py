"""Going on from a checkpoint against never having stopped."""

import json
import re

import numpy as np
import pytest
from poison import POISONS

from red_mcore.checkpoints import manifests, resume

LAYOUTS = ["one", "dp2", "tp2", "pp2", "cp2"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_layout_goes_on_bit_by_bit(layouts, layout, dtype):
    """Two optimizers in turn, each with its own moments and schedule."""
    found = layouts[layout]["continuation"]
    expected, resumed = found["uninterrupted", dtype], found["resumed", dtype]
    assert resumed.metrics == expected.metrics
    assert resumed.weights.keys() == expected.weights.keys()
    for name, tensor in expected.weights.items():
        np.testing.assert_array_equal(resumed.weights[name], tensor, err_msg=name)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_optimizers_in_the_host_s_memory_are_saved_and_go_on(layouts, layout):
    expected, found = (
        layouts[layout]["continuation"]["uninterrupted", "bfloat16"],
        layouts[layout]["offload"],
    )
    assert found.metrics == expected.metrics
    for name, tensor in expected.weights.items():
        np.testing.assert_array_equal(found.weights[name], tensor, err_msg=name)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_thread_writes_is_the_moment_of_saving(layouts, layout):
    """Although an update changed the weights before it wrote them;
    and nothing counts before it is written."""
    found = layouts[layout]["continuation"]
    assert found["background"] == [False, True]
    expected, resumed = found["uninterrupted", "float32"], found["resumed from background"]
    assert resumed.metrics == expected.metrics
    for name, tensor in expected.weights.items():
        np.testing.assert_array_equal(resumed.weights[name], tensor, err_msg=name)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_writer_that_fails_or_hangs_stops_the_run_by_the_file(layouts, layout):
    said = layouts[layout]["failing_writers"]
    file = re.escape(f"main-2.partial/rng-{0 if layout == 'one' else 1}.json")
    full = (
        rf"RecipeError: the disk is full: .*{file} was not written \([\d,]+ bytes are free\):"
        rf" make room.*"
    )
    assert re.fullmatch(full, said["last"]["full"])
    hangs = rf"RuntimeError: .*{file} is not written after checkpoint.timeout_seconds=1"
    assert re.fullmatch(hangs, said["last"]["hangs"])
    if layout != "one":
        assert said["first"] == {"full": "SystemExit: 3", "hangs": "SystemExit: 3"}
    for name in ("full", "hangs"):
        assert resume.latest(layouts.folder / f"failing-{layout}-{name}") is None
        assert not list((layouts.folder / f"failing-{layout}-{name}").iterdir()), (
            "nothing is left of it"
        )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_manifest_knows_every_file(layouts, layout):
    folder = layouts.folder / f"checkpoints-{layout}-float32"
    manifest, faults = manifests.newest(folder, checksums=True)
    files = {
        file.relative_to(folder / "main-2").as_posix()
        for file in (folder / "main-2").rglob("*")
        if file.is_file()
    }
    assert set(manifest["files"]) == files - {"manifest.json"}
    assert {"weights/.metadata", "weights/__0_0.distcp", "rng-0.json"} <= files
    assert faults == []


def near(found, expected) -> None:
    assert found.metrics == pytest.approx(expected.metrics, rel=1e-5, abs=1e-5)
    for name, tensor in expected.weights.items():
        np.testing.assert_allclose(found.weights[name], tensor, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("layout", ["tp2", "pp2", "cp2"])
def test_another_layout_goes_on(layouts, layout):
    near(
        layouts[layout]["continuation"]["resumed from dp2"],
        layouts["dp2"]["continuation"]["uninterrupted", "float32"],
    )


def test_a_tied_pipeline_goes_on_tensor_parallel(layouts):
    near(layouts["tp2"]["tied"], layouts["pp2"]["tied"])


def test_steps_after_the_checkpoint_change_the_weights(layouts):
    """Else a checkpoint that restored nothing could pass: two rounds differ from four."""
    found = layouts["dp2"]["continuation"]
    four, two = found["uninterrupted", "float32"].weights, found["saved", "float32"]
    assert min(np.abs(four[name] - two[name]).max() for name in four) > 1e-4


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_checkpoint_without_one_of_the_optimizers_is_refused(layouts, layout):
    said = layouts[layout]["missing_optimizer"]
    assert said.endswith(
        "main-2 has no optimizer imitation (it has main): go on with the algorithm that saved it,"
        " or start anew under"
        " another name"
    )


@pytest.mark.parametrize("layout", ["one", "tp2"])
def test_a_poisoned_checkpoint_runs_nothing(layouts, layout):
    """One rank says so, and names the file."""
    found = layouts[layout]["poison"]
    expected = {poison.__name__: said for poison, said in POISONS.items()}
    expected["random_states"] = (
        r"rng-0\.pt holds more than tensors and plain values, which is not read"
    )
    assert found.keys() == expected.keys()
    for name, (first, last, ran) in found.items():
        assert re.search(rf"^RecipeError: .*{expected[name]}", first), (name, first)
        assert "\n" not in first
        assert last == ("SystemExit: 2" if layout == "tp2" else first)
        assert ran == "False", name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_newest_are_kept_and_what_killed_saves_left_is_gone(layouts, layout):
    folder = layouts.folder / f"checkpoints-{layout}-float32"
    assert {path.name for path in folder.iterdir()} == {"latest", "main-1", "main-2"}
    manifest = resume.latest(folder)
    assert manifest["tag"] == "main-2"
    assert manifest == json.loads((folder / "main-2" / "manifest.json").read_text())
    assert set(manifest["algorithm"]) == {"offline", "online"}
    assert {name: schedule["num_steps"] for name, schedule in manifest["schedules"].items()} == {
        "main": 2,
        "imitation": 2,
    }
