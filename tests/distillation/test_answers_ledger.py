"""The ledger: whole after any kill, for one process at a time, and never asked twice."""

import multiprocessing
from contextlib import closing

import pytest

from red_mcore.config.recipe import RecipeError
from red_mcore.data.schema import Entry
from red_mcore.distillation.ledger import Ledger, Verdict
from red_mcore.distillation.teacher import Answer, Request, Task
from red_mcore.samples.records import Problem

TEXT = "näive \u2028 \\boxed{7}\n" * 3


def request(id_="a", index=0):
    return Request(Task(Entry(id_, "1?", "7"), Problem(0, "1?", "7")), index, seed=5)


def answer(text=TEXT):
    return Answer(text, tokens=12, prompt_tokens=3, finish_reason="stop", seconds=0.5)


def fill(folder):
    with closing(Ledger(folder)) as ledger:
        for index in range(3):
            ledger.add(request(index=index), answer(TEXT + str(index)))
        ledger.judge([(("a", 1), Verdict("correct", "7", "j"))])
        return ledger.file.read_bytes()


def test_what_was_written_is_read(tmp_path):
    fill(tmp_path)
    with closing(Ledger(tmp_path)) as ledger:
        assert ledger.lines.keys() == {("a", 0), ("a", 1), ("a", 2)}
        assert ledger.answer(("a", 2)) == answer(TEXT + "2")
        assert ledger.lines["a", 1].verdict == Verdict("correct", "7", "j")
        assert ledger.lines["a", 0].verdict is None
        assert (ledger.tokens, ledger.prompt_tokens) == (36, 9)
        with pytest.raises(RuntimeError, match="answer 2 to problem a was sampled twice"):
            ledger.add(request(index=2), answer())


def test_a_line_that_a_kill_tore_at_any_byte_is_cut_off_and_written_again(tmp_path):
    content = fill(tmp_path / "whole")
    lines = content.splitlines(keepends=True)
    ends = [sum(map(len, lines[:i])) for i in range(len(lines) + 1)]
    for cut in sorted({*range(0, len(content), 13), *ends, *(end - 1 for end in ends if end)}):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "ledger.jsonl").write_bytes(content[:cut])
        with closing(Ledger(folder)) as ledger:
            here = max(i for i, end in enumerate(ends) if end <= cut)
            assert ledger.file.read_bytes() == content[: ends[here]]
            assert len(ledger.lines) == min(here, 3)
            for index in range(len(ledger.lines), 3):
                ledger.add(request(index=index), answer(TEXT + str(index)))
            assert ledger.answer(("a", 2)).text == TEXT + "2"


def test_a_torn_line_longer_than_a_block_is_cut_off(tmp_path):
    content = fill(tmp_path)
    with (tmp_path / "ledger.jsonl").open("ab") as file:
        file.write(b'{"id": "' + b"x" * 200_000)
    with closing(Ledger(tmp_path)):
        assert (tmp_path / "ledger.jsonl").read_bytes() == content


def test_a_damaged_line_is_named(tmp_path):
    lines = fill(tmp_path).splitlines(keepends=True)
    (tmp_path / "ledger.jsonl").write_bytes(lines[0] + b"{}\n" + lines[1])
    with pytest.raises(RecipeError, match=r"ledger.jsonl line 2 is damaged: delete that line"):
        Ledger(tmp_path)


def test_answers_of_other_settings_are_not_gone_on_with(tmp_path):
    with closing(Ledger(tmp_path)) as ledger:
        ledger.claim({"sampling": {"temperature": 1.0}})
        ledger.claim({"sampling": {"temperature": 0.5}})  # nothing is there yet
        ledger.add(request(), answer())
        ledger.claim({"sampling": {"temperature": 0.5}})
        with pytest.raises(RecipeError, match=r'holds answers with sampling={"temperature": 0.5}'):
            ledger.claim({"sampling": {"temperature": 0.7}})
    (tmp_path / "distillation.json").unlink()
    with (
        closing(Ledger(tmp_path)) as ledger,
        pytest.raises(RecipeError, match=r"distillation.json is gone"),
    ):
        ledger.claim({})


def _try(folder, told):
    try:
        Ledger(folder)
    except RecipeError as error:
        told.send(str(error))
    else:
        told.send("open")


def test_one_process_at_a_time_has_it(tmp_path):
    here, there = multiprocessing.Pipe()
    for expected in ("is being written by another process", "open"):
        ledger = Ledger(tmp_path) if expected != "open" else None
        child = multiprocessing.get_context("fork").Process(target=_try, args=(tmp_path, there))
        child.start()
        assert expected in here.recv()
        child.join()
        if ledger is not None:
            ledger.close()
