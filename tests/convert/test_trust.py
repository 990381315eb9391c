"""A converted folder of somebody else's: nothing in it is run, and what is not as it was written is
found."""

import re
import shutil
import sys
from pathlib import Path

import pytest
from hf_folder import write_hf
from poison import KEY, POISONS, a_tensor, a_tensor_that_is_called_an_object, seal, what_is_common

from red_mcore.checkpoints import manifests
from red_mcore.cli import convert
from red_mcore.config.recipe import RecipeError
from red_mcore.convert import conversion, hf


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_hf(folder / "hf", tied=True)
    conversion.from_hf(
        folder / "hf", folder / "megatron", dtype=None, replace=False, watch=lambda *done: None
    )
    return folder / "megatron"


@pytest.fixture
def converted(made, tmp_path) -> Path:
    """A copy, to spoil."""
    return shutil.copytree(made, tmp_path / "converted")


def start(folder: Path) -> None:
    """What validation and a run's first rank do with ``model.path`` before anything is built."""
    manifests.check_converted(folder, checksums=False)
    hf.check_first(conversion.architecture_of(folder), folder)


def evaluate(folder: Path) -> None:
    """What an evaluation reads, and an analysis."""
    place, _ = conversion.find_model(folder)
    for _ in conversion.open_any(place).tensors():
        pass


def to_hf(folder: Path) -> None:
    """With the command's line as the error."""
    errors, sys.stderr = sys.stderr, Lines()
    try:
        code = convert.main(
            ["megatron-to-hf", "--checkpoint", str(folder), "--out", f"{folder}-out"]
        )
        said = str(sys.stderr)
    finally:
        sys.stderr = errors
    if code:
        assert said.count("\n") == 1
        raise RecipeError(said.strip())


class Lines(list):
    write = list.append

    def __str__(self) -> str:
        return "".join(self)


USES = [start, evaluate, to_hf]


@pytest.mark.parametrize("use", USES)
def test_a_folder_as_it_was_written_is_used(converted, use):
    (converted / "conversion.json").write_text("{}")  # where a comparison is noted
    use(converted)
    use(shutil.move(converted, converted.with_name("elsewhere")))


@pytest.mark.parametrize("poison", POISONS, ids=lambda poison: poison.__name__)
@pytest.mark.parametrize("use", USES)
def test_a_poisoned_folder_runs_nothing(converted, tmp_path, poison, use):
    """Although its manifest is one of the poisoned files."""
    mark, said = tmp_path / "ran", POISONS[poison]
    poison(converted / "weights", mark)
    seal(converted)
    if poison is what_is_common or (poison is a_tensor and use is start):
        use(converted)  # which does not read that
    else:
        with pytest.raises(
            RecipeError, match=said if poison is not a_tensor_that_is_called_an_object else KEY
        ) as error:
            use(converted)
        assert "\n" not in str(error.value)
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["weights/__0_0.distcp", "weights/.metadata", "config.json", "tokenizer.json"]
)
@pytest.mark.parametrize("use", USES)
def test_a_flipped_bit_is_found_and_its_file_named(converted, name, use):
    file = converted / name
    content = bytearray(file.read_bytes())
    place = (
        content.find(b"torch_dtype") if name == "config.json" else len(content) // 2
    )  # which nothing else notices
    content[place] ^= 32
    file.write_bytes(content)
    with pytest.raises(
        RecipeError, match=re.escape(f"{file} does not match its checksum: take another checkpoint")
    ):
        use(converted)


@pytest.mark.parametrize("use", USES)
def test_weights_without_a_manifest_are_not_used(converted, use):
    (converted / manifests.NAME).unlink()
    with pytest.raises(RecipeError, match=r"manifest\.json|holds neither model\.safetensors"):
        use(converted)


def test_a_dry_run_looks_at_sizes(converted):
    manifests.check_converted(converted, checksums=False)
    file = converted / "weights" / "__0_0.distcp"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RecipeError, match=r"__0_0\.distcp has \d+ bytes, \d+ were written"):
        manifests.check_converted(converted, checksums=False)
