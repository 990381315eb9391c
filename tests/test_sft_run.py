"""A whole run of SFT on conversations: epochs, validation loss, early stop, the best checkpoint as
the result, and a resumed run that decides alike."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_end_to_end import refused, run, set_back, without_seconds

from red_mcore.data.tokenizer import build_tokenizer

RECIPE = "recipes/tiny/sft.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("sft")
    with (made / "chats.jsonl").open("w") as file:
        for chat in chats():
            file.write(json.dumps({"messages": chat}) + "\n")
    return made


def chats() -> list[list[dict]]:
    """28 conversations of two turns, the last eight of which are held out."""
    found = []
    for i in range(1, 29):
        said = (f"{i}+1?", f"It is {i + 1}.", f"and {i}+2?", f"So \\boxed{{{i + 2}}}")
        turns = []
        for place, text in enumerate(said):
            turns.append({"role": ("user", "assistant")[place % 2], "content": text})
        found.append(turns)
    return found


def settings(folder: Path) -> list[str]:
    return [
        *("base=null", f"data.path={folder}/chats.jsonl", "data.conversations=true"),
        *("data.held_out=8", "evaluation.samples=1", "evaluation.every=0", "parallel.ranks=1"),
        *("tracking.mlflow=false", "batch.prompts_per_step=8", "checkpoint.every=0"),
        *("checkpoint.keep=99", "rollout.max_prompt_tokens=64", "rollout.max_response_tokens=48"),
        *("optimizer.lr=0.1", "epochs=9.5", "validation={every: 1, patience: 3, export: best}"),
    ]


@pytest.fixture(scope="module")
def undisturbed(folder) -> tuple[dict, str]:
    """(Summary, what it printed)."""
    printed = run(folder, "undisturbed", *settings(folder), recipe=RECIPE)
    return json.loads((folder / "undisturbed/summary.json").read_text()), printed


def all_rows(folder: Path, name: str) -> list[dict]:
    text = (folder / name / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_the_run_stops_early_and_its_best_weights_are_the_result(folder, undisturbed):
    summary, printed = undisturbed
    measured = [row["validation/loss"] for row in all_rows(folder, "undisturbed")]
    best = int(np.argmin(measured[1:])) + 1
    assert "epochs=9.5 of 20 problems: 24 steps" in printed
    assert "28 problems" not in printed
    assert "validation.patience=3 ends the run" in printed
    assert summary["stopped_early"]
    assert summary["steps"] == best + 3 < 24
    assert summary["best_step"] == summary["result_step"] == best
    assert summary["validation_loss_best"] == measured[best]
    assert summary["validation_loss_before"] == measured[0]
    assert (folder / "undisturbed/checkpoints/best").read_text() == f"main-{best:06d}"
    assert "has done its" in run(folder, "undisturbed", *settings(folder), recipe=RECIPE)


def test_the_loss_is_that_of_transformers_on_the_assistant_s_turns(folder, undisturbed):
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = build_tokenizer()
    begin, end = tokenizer.convert_tokens_to_ids(["<|assistant|>", "<|im_end|>"])
    model = AutoModelForCausalLM.from_pretrained(folder / "undisturbed/export").eval()
    total, count = 0.0, 0
    for chat in chats()[-8:]:
        ids = torch.tensor(tokenizer.apply_chat_template(chat, return_dict=False))
        labels, is_said = torch.full_like(ids, -100), False
        for place, token in enumerate(ids.tolist()):
            if is_said:
                labels[place] = token
            is_said = token == begin or (is_said and token != end)
        with torch.no_grad():
            loss = model(ids[None], labels=labels[None]).loss
        tokens = int((labels != -100).sum())
        total, count = total + float(loss) * tokens, count + tokens
    summary, _ = undisturbed
    (row,) = [r for r in all_rows(folder, "undisturbed") if r["step"] == summary["best_step"]]
    assert row["validation/tokens"] == count
    assert row["validation/traces"] == 8
    assert summary["validation_loss_best"] == pytest.approx(total / count, abs=1e-5)


def test_a_resumed_run_measures_and_stops_as_the_uninterrupted_one(folder, undisturbed):
    summary, _ = undisturbed
    cut = folder / "cut"
    set_back(folder, "undisturbed", cut, "main-000001")
    shutil.rmtree(cut / "undisturbed/export")
    printed = run(cut, "undisturbed", *settings(folder), recipe=RECIPE)
    assert "going on from checkpoint main-000001" in printed
    found, expected = (
        [without_seconds(row) for row in all_rows(where, "undisturbed")] for where in (cut, folder)
    )
    assert found == expected
    again = json.loads((cut / "undisturbed/summary.json").read_text())
    same = [name for name in summary if "seconds" not in name and name != "export"]
    assert {name: again[name] for name in same} == {name: summary[name] for name in same}


def test_held_out_problems_without_traces_are_refused(folder):
    bare = folder / "bare.jsonl"
    bare.write_text('{"question": "1+1?", "answer": "2"}\n')
    changed = [*settings(folder), f"data.held_out_path={bare}", "data.held_out=1"]
    assert "none of the 1 has one that can be used (1 are missing)" in refused(
        folder, "bare", *changed, "--dry-run", recipe=RECIPE
    )
