"""metrics.jsonl: torn, doubled, with rows missing, or gone; and made whole again from a
checkpoint."""

import json
from pathlib import Path

import pytest

from red_mcore.checkpoints import manifests
from red_mcore.tracking import rows
from red_mcore.tracking.rows import METRICS, Rows

STEPS = 5


def row(step: int, **more) -> dict:
    return {"step": step, "loss/total": step / 10, **more}


@pytest.fixture
def run(tmp_path) -> Path:
    """A run of five steps, the last two of them since its newest checkpoint; each step is a
    line."""
    kept = Rows(tmp_path / METRICS)
    kept.restore(None, -1)
    for step in range(STEPS + 1):
        kept.add(row(step))
        if step == STEPS - 2:
            folder = tmp_path / "checkpoints" / f"main-{step:06d}"
            folder.mkdir(parents=True)
            (folder / METRICS).write_text(kept.text)
            manifests.write(
                folder, {"tag": folder.name, "files": manifests.digests(folder, [folder / METRICS])}
            )
    kept.flush()
    return tmp_path


def lines(run: Path) -> list[str]:
    return (run / METRICS).read_text().splitlines(keepends=True)


def torn(run: Path) -> None:
    found = lines(run)
    (run / METRICS).write_text("".join([found[0], found[1][:9], "\n", *found[2:]]))


def doubled(run: Path) -> None:
    found = lines(run)
    (run / METRICS).write_text("".join([*found[:3], found[2], found[1], *found[3:]]))


def missing(run: Path) -> None:
    found = lines(run)
    (run / METRICS).write_text("".join([found[0], *found[3:]]))


def zeroed(run: Path) -> None:
    content = (run / METRICS).read_bytes()
    (run / METRICS).write_bytes(b"\0" * 70 + content[70:])


def garbage(run: Path) -> None:
    (run / METRICS).write_bytes(bytes(range(256)))


def gone(run: Path) -> None:
    (run / METRICS).unlink()


DAMAGES = [torn, doubled, missing, zeroed, garbage, gone]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_goes_on_with_the_rows_of_its_checkpoint(run, damage):
    kept = manifests.copy(run / "checkpoints", METRICS)
    damage(run)
    again = Rows(run / METRICS)
    said = again.restore(kept, STEPS - 2)
    assert (
        said
        == f"{run / METRICS} is damaged or lacks rows: 4 rows are written anew from the checkpoint"
    )
    again.add(row(STEPS - 1))
    again.flush()
    assert [json.loads(line) for line in lines(run)] == [row(step) for step in range(STEPS)]


def test_what_is_whole_is_no_news(run):
    """Rows beyond the checkpoint, of steps that are to be made again, and a line torn by a kill are
    none, either."""
    with (run / METRICS).open("a") as file:
        file.write('{"step": 6, "lo')
    kept = manifests.copy(run / "checkpoints", METRICS)
    assert Rows(run / METRICS).restore(kept, STEPS - 2) is None
    assert lines(run) == [json.dumps(row(step)) + "\n" for step in range(STEPS - 1)]


def test_without_a_copy_what_can_be_read_stays(run):
    """As in a checkpoint of an older version."""
    torn(run)
    with (run / METRICS).open("a") as file:
        file.write(json.dumps(row(3, again=1)) + "\n")
    again = Rows(run / METRICS)
    assert (
        again.restore(None, 4)
        == f"{run / METRICS}: 1 damaged lines are left out, the first is line 2"
    )
    assert [json.loads(line)["step"] for line in lines(run)] == [0, 2, 3, 4]
    assert json.loads(lines(run)[2]) == row(3, again=1)


@pytest.mark.parametrize(
    ("damage", "restored", "lost"),
    [
        (torn, 1, []),
        (doubled, None, []),
        (missing, 2, []),
        (zeroed, 3, []),
        (garbage, 4, []),
        (gone, 4, []),
    ],
)
def test_whoever_reads_a_run_gets_what_the_checkpoint_has(run, damage, restored, lost):
    damage(run)
    found, missed, told = rows.read(run)
    last = STEPS - 2 if damage in (garbage, gone) else STEPS
    assert found == [row(step) for step in range(last + 1)]
    assert missed == lost
    assert (
        told is None
        if restored is None
        else f": {restored} are in the newest checkpoint, 0 are lost" in told
    )


def test_rows_that_nothing_has_any_more_are_told(run):
    found = lines(run)
    (run / METRICS).write_text("".join([*found[:4], "no row\n", found[5]]))
    assert rows.read(run)[1:] == (
        [4],
        f"{run / METRICS} lacks rows (1 of its lines are damaged):"
        " 0 are in the newest checkpoint, 1 are lost",
    )
    (run / "checkpoints" / "main-000003" / METRICS).write_text("{}")
    gone(run)
    assert rows.read(run)[0] == []


def test_rows_that_found_no_room_are_written_later(tmp_path, monkeypatch):
    from red_mcore.system import disk

    def refuse(path, content):
        raise disk.Unwritten("full")

    kept = Rows(tmp_path / METRICS)
    kept.restore(None, -1)
    with monkeypatch.context() as patched:
        patched.setattr(disk, "append", refuse)
        for step in (0, 1):
            kept.add(row(step))
            with pytest.raises(disk.Unwritten):
                kept.flush()
    assert kept.text.count("\n") == 2
    kept.add(row(2))
    kept.flush()
    assert (
        (tmp_path / METRICS).read_text()
        == kept.text
        == "".join(json.dumps(row(step)) + "\n" for step in range(3))
    )
