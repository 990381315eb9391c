"""docs/your_model.md: its commands, word for word, on a tiny model and a few problems."""

import json
import os
import re
import subprocess
import threading
from pathlib import Path

import pytest
import warm
import yaml
from hf_folder import write_hf

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "your_model.md").read_text()
GIVEN = "What you have"
"""The section whose first block names and fetches what the test makes itself."""


def blocks(title: str) -> list[str]:
    """The shell commands of a section."""
    section = re.search(
        rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
    return re.findall(r"^```bash\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL)


TITLES = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
SETTINGS = blocks(GIVEN)[1]


def prepare(folder: Path, over: threading.Event) -> tuple[Path, dict[str, str]]:
    """A folder that looks like the repository's, and what the page's commands print there, in its
    order, by section."""
    make_place(folder)
    return folder, {title: tried(folder, title) for title in TITLES if not over.is_set()}


@pytest.fixture
def place(prepared) -> Path:
    return prepared[0]


@pytest.fixture
def printed(prepared) -> dict[str, str]:
    return prepared[1]


def make_place(folder: Path) -> None:
    """With a model and data."""
    for name in ("recipes", "tools"):
        (folder / name).symlink_to(ROOT / name)
    write_hf(
        folder / "model",
        tied=True,
        num_attention_heads=2,  # of a size that the engine's attention knows
        num_key_value_heads=1,
        max_position_embeddings=1024,
    )
    (folder / "data").mkdir()
    for part, count in (("train", 24), ("test", 12)):
        rows = [
            {
                "question": f"{part}: how much is {n} and {n + 1}?",
                "answer": f"It is <<{n}+{n + 1}=3>>.\n#### {2 * n + 1}",
            }
            for n in range(count)
        ]
        (folder / "data" / f"gsm8k_{part}.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows)
        )


def tried(place: Path, title: str) -> str:
    """What the section's commands print, each of which has to succeed."""
    found = blocks(title)
    if title == GIVEN:
        found = found[1:]
    script = "\n".join(["set -eu", "MODEL=model DATA=data", SETTINGS, *found])
    environment = {
        **os.environ,
        "PATH": os.pathsep.join((str(warm.python().parent), os.environ["PATH"])),
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        ["bash", "-c", script], cwd=place, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_block_of_the_page_is_tried():
    assert sum(len(blocks(title)) for title in TITLES) == PAGE.count("```") // 2
    assert len(blocks(GIVEN)) == 2
    assert {"Before", "Train", "After", "Export"} < set(TITLES)


def test_a_plan_needs_no_more_than_model_and_data(printed):
    plan = printed["Look before anything starts"]
    assert "2 steps of GRPO from model" in plan
    assert "constant: 256.0" in plan
    assert "steps of SFT from model" in printed["Other methods"]
    assert "steps of RED from model" in printed["Other methods"]
    assert "weight: 3.0" in printed["Other data"]


def test_before_and_after_are_of_the_same_problems_and_compared(place, printed):
    before, after = (
        json.loads((place / f"runs/gsm8k-{when}/summary.json").read_text())
        for when in ("before", "after")
    )
    assert before["benchmarks"]["GSM8K"]["items"] == after["benchmarks"]["GSM8K"]["items"] == 8
    assert "95 % interval" in printed["After"]


def test_the_run_is_measured_on_the_problems_of_the_held_out_file(place, printed):
    rows = [
        json.loads(line)
        for line in (place / "runs/gsm8k/rollouts/evaluation-000000.jsonl").read_text().splitlines()
    ]
    assert {row["problem"].partition(":")[0] for row in rows} == {"test"}
    assert json.loads((place / "runs/gsm8k/intake.json").read_text())["held_out_unused"] == 4
    assert "8 of 12 held-out problems are used" in printed["Train"]
    assert (place / "runs/gsm8k/report.html").is_file()


def test_training_rollouts_are_kept_with_the_prompt_that_the_model_got(place, printed):
    lines = (place / "runs/gsm8k/rollouts/training-000001.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 4 * 4
    assert {row["group"] for row in rows} == {0, 1, 2, 3}
    assert not (place / "runs/gsm8k/rollouts/training-000002.jsonl").exists()
    prompt = rows[0]["prompt"]
    assert prompt.startswith("<|user|>train: how much is")
    assert prompt.endswith("put your final answer within \\boxed{}.<|assistant|>")
    page = (place / "runs/gsm8k/rollouts.html").read_text()
    assert "&lt;|user|&gt;train: how much" in page
    assert page.count("<h4>step 2</h4>") == 8, "a column for each held-out problem"


def test_the_export_says_where_it_comes_from(place, printed):
    for folder in ("runs/gsm8k/export", "runs/gsm8k-bfloat16"):
        card = (place / folder / "README.md").read_text()
        assert yaml.safe_load(card.split("---\n")[1])["library_name"] == "transformers"
        assert "`model`, after 2 steps of GRPO on `data/gsm8k_train.jsonl`" in card
        assert re.search(r"^\| 0 \| 0\.\d{3} ± ", card, re.MULTILINE)
        assert re.search(r"^\| 2 \| 0\.\d{3} ± ", card, re.MULTILINE)
        about = json.loads((place / folder / "provenance.json").read_text())
        assert (about["step"], about["base_model"]["path"]) == (2, "model")
        (start,) = about["starts"]
        assert "red_mcore.run recipes/hf/grpo.py name=gsm8k model.path=model" in start["command"]
        assert "--launched-by" not in start["command"]
        assert any(version.startswith("torch ") for version in start["versions"])
    assert (
        json.loads((place / "runs/gsm8k/provenance.json").read_text())["starts"] == about["starts"]
    )
