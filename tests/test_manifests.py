"""What of a run's checkpoints is whole, and what is kept."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from red_mcore.checkpoints import manifests
from red_mcore.config.recipe import Checkpoint, RecipeError

FILES = {
    "weights/__0_0.distcp": b"0" * 100,
    "weights/.metadata": b"1" * 10,
    "rng-0.json": b"2" * 20,
}


def saved(folder: Path, tag: str) -> Path:
    made = folder / tag
    for name, content in FILES.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(content + tag.encode())
    manifests.write(
        made, {"tag": tag, "files": manifests.digests(made, [made / name for name in FILES])}
    )
    (folder / "latest").write_text(tag)
    return made


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three checkpoints, saved in this order; the last one's name would come first in an
    alphabetical order."""
    for tag in ("base-000300", "main-999998", "main-1000000"):
        saved(tmp_path, tag)
    return tmp_path


def test_the_newest_counts(folder):
    manifest, faults = manifests.newest(folder, checksums=True)
    assert (manifest["tag"], faults) == ("main-1000000", [])
    assert manifest["files"]["rng-0.json"][0] == 32


@pytest.mark.parametrize("pointer", ["", "main-000007", "main-999998", None])
def test_the_pointer_may_be_gone_or_wrong(folder, pointer):
    """As after a kill between the two renames, or by a careless copy."""
    (folder / "latest").unlink() if pointer is None else (folder / "latest").write_text(pointer)
    assert manifests.newest(folder)[0]["tag"] == "main-1000000"


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
@pytest.mark.parametrize(("damage", "said"), [(Path.unlink, "is missing"), (cut, ""), (flip, "")])
def test_any_damage_is_found_and_the_one_before_counts(folder, name, damage, said):
    file = folder / "main-1000000" / name
    damage(file)
    manifest, (fault,) = manifests.newest(folder, checksums=True)
    assert manifest["tag"] == "main-999998"
    assert fault.startswith(f"{file} {said}")


def test_without_checksums_sizes_and_small_files_are_looked_at(folder, monkeypatch):
    file = folder / "main-1000000" / "rng-0.json"
    flip(file)
    assert manifests.newest(folder)[1] == [f"{file} does not match its checksum"]
    monkeypatch.setattr(manifests, "_SMALL", 0)
    assert manifests.newest(folder)[1] == []
    cut(file)
    assert manifests.newest(folder)[1] == [f"{file} has 31 bytes, 32 were written"]


def test_a_manifest_that_says_something_else_is_found(folder):
    file = folder / "main-1000000" / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tag": "main-7"}))
    assert manifests.newest(folder)[1] == [f"{file} does not match its checksum"]


def test_nothing_whole_is_an_error_that_names_the_newest_fault(folder):
    for tag in ("base-000300", "main-999998", "main-1000000"):
        cut(folder / tag / "weights/.metadata")
    with pytest.raises(RecipeError) as error:
        manifests.newest(folder)
    assert (
        "main-1000000/weights/.metadata has 21 bytes, 22 were written: put it back, or delete"
        in str(error.value)
    )
    assert "\n" not in str(error.value)


def test_nothing_saved_is_none_and_nothing_left_an_error(tmp_path):
    (tmp_path / "main-000002.partial").mkdir()
    assert manifests.newest(tmp_path) == (None, [])
    (tmp_path / "latest").write_text("main-000001")
    with pytest.raises(RecipeError, match="latest names one that is gone"):
        manifests.newest(tmp_path)


def test_a_checkpoint_keeps_copies_of_the_run_s_texts(folder):
    made = folder / "main-1000000"
    (made / "metrics.jsonl").write_text("é\n")
    (made / "other").write_text("")
    files = [made / name for name in (*FILES, "metrics.jsonl", "other")]
    manifests.write(made, {"tag": made.name, "files": manifests.digests(made, files)})
    manifest, _ = manifests.newest(folder)
    assert manifests.copies(folder, manifest, ["metrics.jsonl", "base.jsonl"]) == {
        "metrics.jsonl": "é\n"
    }
    assert manifests.copy(folder, "metrics.jsonl") == "é\n"
    assert manifests.copy(folder, "identity.json") is None
    (made / "metrics.jsonl").write_text("e!\n")
    with pytest.raises(manifests.Broken, match=r"metrics\.jsonl does not match its checksum"):
        manifests.copies(folder, manifest, ["metrics.jsonl"])
    assert manifests.copy(folder, "metrics.jsonl") is None
    assert manifests.copy(folder / "none", "metrics.jsonl") is None


ALL = [f"base-{step:06d}" for step in (10, 20)] + [
    f"main-{step:06d}" for step in (0, 10, 20, 30, 40)
]
SCORES = {"main-000010": 0.5, "main-000020": 0.7, "main-000030": 0.1}


def stay(settings: Checkpoint, scores: dict[str, float] = SCORES) -> list[str]:
    given = []
    for tag in ALL:
        step = manifests.age(tag)[1]
        after = {
            "evaluation/pass1": scores.get(tag, 0.9)
        }  # elsewhere an old evaluation, which says nothing
        state = {"step": step, "evaluated": step if tag in scores else -1, "after": after}
        if tag == "main-000010":  # the last one before the recipe had no benchmarks any more
            state |= {"benchmarked": step, "after": {**after, "evaluation/AIME24_mean": 0.3}}
        given.append({"tag": tag, "state": state})
    return [tag for tag in ALL if tag in manifests.kept(given, settings)]


def test_what_is_kept():
    one = Checkpoint(keep=1)
    assert stay(one) == ALL[-1:]
    assert stay(replace(one, keep=3)) == ALL[-3:]
    assert stay(replace(one, keep_every=20)) == ["main-000020", "main-000040"]
    assert stay(replace(one, keep_best="evaluation/pass1")) == ["main-000020", "main-000040"]
    assert stay(replace(one, keep_best="evaluation/AIME24_mean")) == ["main-000010", "main-000040"]
    lowest = replace(one, keep_best="evaluation/pass1", best="lowest", keep_every=20)
    assert stay(lowest) == ["main-000020", "main-000030", "main-000040"]


@pytest.mark.parametrize("best", ["highest", "lowest"])
def test_what_is_no_number_is_never_the_best(best):
    scores = {
        "main-000010": math.nan,
        "main-000020": 0.7,
        "main-000030": math.inf if best == "highest" else -math.inf,
    }
    assert stay(Checkpoint(keep=1, keep_best="evaluation/pass1", best=best), scores) == [
        "main-000020",
        "main-000040",
    ]
    scores = {"main-000010": math.nan}
    assert stay(Checkpoint(keep=1, keep_best="evaluation/pass1", best=best), scores) == [
        "main-000040"
    ]
