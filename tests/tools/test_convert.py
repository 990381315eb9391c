"""The command line of tools/convert.py, and logits in a process of their own."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import warm
from hf_folder import tensors_of, write_hf

from red_mcore.checkpoints import manifests
from red_mcore.cli import convert

ROOT = Path(__file__).parent.parent.parent

LOGITS = """
import sys
from dataclasses import replace
from pathlib import Path
from red_mcore.cli import convert
code = convert.main(["verify", "--hf", sys.argv[1], "--checkpoint", sys.argv[2]])
from red_mcore.convert.conversion import open_checkpoint, open_hf
from red_mcore.convert.verify import _compare_logits
one, other = open_hf(Path(sys.argv[1])), open_checkpoint(Path(sys.argv[2]))
for change in ({"rope_theta": 11000.0}, {"norm_eps": 1e-3}):
    found = _compare_logits(one, replace(other, arch=replace(other.arch, **change)))
    print(change, found.passed, found.max_difference, found.limit)
sys.exit(code)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    write_hf(folder / "hf", tied=True)
    assert (
        convert.main(["hf-to-megatron", "--hf", f"{folder}/hf", "--out", f"{folder}/megatron"]) == 0
    )
    return folder


def test_the_whole_way_with_a_run_and_its_newest_checkpoint(made, tmp_path, capsys):
    checkpoints = tmp_path / "run" / "checkpoints"
    shutil.copytree(made / "megatron", checkpoints / "main-2")
    manifests.write(checkpoints / "main-2", {"tag": "main-2", "files": {}})
    (checkpoints / "latest").write_text("main-2")
    for i, given in enumerate((tmp_path / "run", checkpoints, checkpoints / "main-2")):
        out = tmp_path / f"out-{i}"
        arguments = [
            "--checkpoint",
            str(given),
            "--out",
            str(out),
            "--shard-size",
            "50kb",
            "--dtype",
            "float16",
        ]
        assert convert.main(["megatron-to-hf", *arguments]) == 0
        assert len(list(out.glob("*.safetensors"))) > 2
        assert {str(tensor.dtype) for tensor in tensors_of(out).values()} == {"torch.float16"}
        assert json.loads((out / "conversion.json").read_text())["made_from"] == str(
            checkpoints / "main-2"
        )
    assert "writing tensors 26/26" in capsys.readouterr().out
    assert (
        convert.main(
            ["verify", "--hf", str(out), "--checkpoint", str(tmp_path / "run"), "--no-logits"]
        )
        == 0
    )
    assert "tensors: all 26 identical in float16\n" in capsys.readouterr().out


def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(made, tmp_path, capsys):
    checkpoints = tmp_path / "run" / "checkpoints"
    for tag in ("main-000001", "main-000002"):
        folder = shutil.copytree(made / "megatron", checkpoints / tag)
        manifests.write(folder, {**manifests.read(folder), "tag": tag})
    data = checkpoints / "main-000002" / "weights" / "__0_0.distcp"
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    to_hf = ["megatron-to-hf", "--out", f"{tmp_path}/out", "--checkpoint"]
    assert convert.main([*to_hf, f"{checkpoints}/main-000002"]) == 2
    assert "__0_0.distcp does not match its checksum: take another" in capsys.readouterr().err
    assert convert.main([*to_hf, f"{tmp_path}/run"]) == 0
    assert (
        "__0_0.distcp does not match its checksum; going back to checkpoint"
        in capsys.readouterr().err
    )


def test_a_difference_is_exit_code_1(made, tmp_path, capsys):
    write_hf(tmp_path / "other", tied=True, rms_norm_eps=1e-6)
    file = min((tmp_path / "other").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1] + b"\7")
    arguments = [
        "--hf",
        str(tmp_path / "other"),
        "--checkpoint",
        str(made / "megatron"),
        "--no-logits",
    ]
    assert convert.main(["verify", *arguments]) == 1
    assert (
        "FAILED: 1 of 26 tensors differ in float32, the first is model." in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "hf-to-megatron --hf {made}/hf --out {new} --dtype int8",
            "--dtype int8 is not supported: use float32, bf",
        ),
        ("hf-to-megatron --hf {made}/gone --out {new}", "gone is no folder"),
        ("hf-to-megatron --hf {made} --out {new}", "has no config.json"),
        (
            "hf-to-megatron --hf {made}/hf --out {made}/megatron",
            "megatron exists: choose another folder, or add",
        ),
        ("hf-to-megatron --hf {made}/hf --out {made}/hf --force", "hf would replace"),
        ("hf-to-megatron --hf {made}/hf --out {made} --force", "would replace"),
        ("hf-to-megatron --hf {made}/hf --out {made}/hf/config.json/new", "Not a directory"),
        (
            "megatron-to-hf --checkpoint {made}/hf --out {new}",
            "hf has no manifest.json, so it is no complete checkp",
        ),
        ("megatron-to-hf --checkpoint {made}/gone --out {new}", "gone is no folder"),
        (
            "megatron-to-hf --checkpoint {made}/megatron --out {new} --shard-size 0GB",
            "0GB is no size: write for exam",
        ),
        (
            "megatron-to-hf --checkpoint {made}/megatron --out {new} --shard-size big",
            "big is no size: write for exam",
        ),
        (
            "verify --no-logits --hf {made}/megatron --checkpoint {made}/megatron",
            "holds neither model.safetensors nor",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(made, tmp_path, capsys, arguments, message):
    assert convert.main(arguments.format(made=made, new=tmp_path / "new").split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("convert: error: ")
    assert said.count("\n") == 1
    assert message in said
    assert not (tmp_path / "new").exists()


def test_logits_of_both_programs_agree_and_a_wrong_number_is_seen(made, tmp_path):
    """Norm and rotary base a little off, which no tensor tells."""
    hf = shutil.copytree(made / "hf", tmp_path / "hf")
    (hf / "conversion.json").write_text("{}")
    script = tmp_path / "logits.py"
    script.write_text(LOGITS)
    found_from = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = warm.run([sys.executable, script, hf, made / "megatron"], env=found_from)
    assert done.returncode == 0, done.stdout + done.stderr
    verified = json.loads((hf / "conversion.json").read_text())["verified"]
    assert verified["passed"]
    assert verified["logits"]["max_difference"] <= verified["logits"]["limit"]
    wrong = done.stdout.splitlines()[-2:]
    assert [line.partition("} ")[2].split()[0] for line in wrong] == ["False", "False"], done.stdout
