"""Files on a disk that is full, refuses, or gives back something else than was written."""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from red_mcore.system import disk

ROOM = 10
"""Bytes that a file on the ``small`` disk takes."""


class Small:
    """An open file on a disk that has ``ROOM`` bytes left."""

    def __init__(self, file, number: int):
        self._file, self._number, self._room = file, number, ROOM

    def write(self, content) -> int:
        if self._room == 0:
            raise OSError(self._number, os.strerror(self._number))
        some = bytes(content)[: self._room]
        self._room -= len(some)
        self._file.write(some)
        return len(some)

    def flush(self) -> None:
        """As a buffered file: what has no room is told now."""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.fixture(params=[errno.ENOSPC, errno.EDQUOT])
def small(request, monkeypatch) -> tuple[int, str]:
    """Number and words of the error on a disk without room; from now on files are on one."""
    whole = Path.open
    monkeypatch.setattr(
        Path, "open", lambda *given, **named: Small(whole(*given, **named), request.param)
    )
    return (
        request.param,
        "the disk is full" if request.param == errno.ENOSPC else "the disk quota is used up",
    )


def write_pieces(file: Path, *pieces) -> None:
    with disk.written(file, sum(map(len, pieces)), file.with_name("at first")) as write:
        for piece in pieces:
            write(piece)


def said(what: str, file: Path, size: str) -> str:
    return (
        rf"^{what}: {re.escape(str(file))} of {size} bytes was not written \([\d,]+ bytes are"
        r" free\): make room"
    )


def test_a_full_disk_is_named_with_file_and_bytes_and_nothing_torn_stays(tmp_path, small):
    number, what = small
    summary, rows, weights = (
        tmp_path / name for name in ("summary.json", "metrics.jsonl", "model.safetensors")
    )
    for file in (summary, rows):
        with open(file, "w") as output:
            output.write("{}\n")
    with pytest.raises(disk.Unwritten, match=said(what, rows, "1,500")):
        disk.append(rows, "x" * 1500)
    with pytest.raises(disk.Unwritten, match=said(what, weights, "20")):
        write_pieces(weights, b"\0" * ROOM, b"\0" * ROOM)
    with pytest.raises(disk.Unwritten, match=said(what, summary, "3")), disk.writing(summary, 3):
        raise RuntimeError("unexpected pos 64 vs 0") from OSError(number, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.jsonl", "summary.json"]
    assert rows.read_text() == summary.read_text() == "{}\n"


@pytest.mark.skipif(
    shutil.which("unshare") is None,
    reason="unshare (util-linux), which gives the test a small disk, is not installed",
)
def test_a_disk_that_really_fills_up(tmp_path):
    program = """
import sys
from pathlib import Path
from red_mcore.system import disk
folder, kept = Path(sys.argv[1]), Path(sys.argv[1]) / "metrics.jsonl"
disk.append(kept, "{}\\n")
for write, name in ((disk.append, kept.name), (disk.write_atomic, "summary.json")):
    try:
        write(folder / name, "x" * 10**6)
    except disk.Unwritten as error:
        print(str(error).split(" was not written")[0])
print(sorted(path.name for path in folder.iterdir()), kept.read_text())
"""
    mount = (
        f'mount -t tmpfs -o size=64k tmpfs "$1" 2>/dev/null || exit 77; exec {sys.executable} -c'
        ' "$0" "$1"'
    )
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount, program, tmp_path], capture_output=True, text=True
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("this user may not mount a small disk, which takes root or user namespaces")
    assert done.stdout.splitlines() == [
        f"the disk is full: {tmp_path}/metrics.jsonl of 1,000,000 bytes",
        f"the disk is full: {tmp_path}/summary.json of 1,000,000 bytes",
        "['metrics.jsonl'] {}",
        "",
    ]


def test_libraries_tell_of_a_full_disk_in_their_own_words():
    assert disk.full(Exception("I/O error: No space left on device (os error 28)"))
    assert disk.full(Exception("(sqlite3.OperationalError) database or disk is full"))
    assert not disk.full(OSError(errno.EACCES, "Permission denied"))


def test_what_a_disk_refuses_for_another_reason_is_named_too(tmp_path):
    (tmp_path / "summary.json").mkdir()
    with pytest.raises(
        disk.Unwritten, match=r"summary\.json cannot be written \(Is a directory\): mend that"
    ):
        disk.write_atomic(tmp_path / "summary.json", "{}")
    (tmp_path / "file").touch()
    with pytest.raises(disk.Unwritten, match=r"metrics\.jsonl cannot be written"):
        disk.append(tmp_path / "file" / "metrics.jsonl", "{}\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "summary.json"]


def test_a_write_that_fails_keeps_the_old_file(tmp_path):
    path = tmp_path / "summary.json"
    disk.write_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        disk.write_atomic(path, "new \ud800")
    with pytest.raises(TypeError):
        write_pieces(path, b"new", "no bytes")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\0" * 30, b"\xff\xfe\0", b"[]", b"null", b"[" * 100_000]
)
def test_a_damaged_object_is_named(tmp_path, content):
    file = tmp_path / "summary.json"
    assert disk.read_object(file) is None
    file.write_bytes(content)
    with pytest.raises(disk.Damaged, match=r"summary\.json is damaged \(.+\)$") as error:
        disk.read_object(file)
    assert "\n" not in str(error.value)


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    for read in (disk.read_object, disk.read_rows):
        with pytest.raises(disk.Damaged, match=r"cannot be read \(Is a directory\)"):
            read(tmp_path)


def test_rows_among_damaged_lines_are_read_and_the_others_counted(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"step": 0}\n{"st\n\0\0\0\n{"step": 3}\n[4]\n{"step": 5}\n{"step": "\xc3')
    assert disk.read_rows(file) == ([{"step": 0}, {"step": 3}, {"step": 5}], [2, 3, 5])
    with pytest.raises(disk.Damaged, match=r"metrics\.jsonl line 2 is damaged \(3 such lines\)"):
        disk.read_lines(file)
    file.write_text('{"step": 0}\n{"step": 1}')  # whole, though an editor took the end of the line
    assert disk.read_lines(file) == [{"step": 0}, {"step": 1}]
