"""Files that are whole at any moment, whenever the process is killed, and what is said of one that
is not.

All that a run leaves is written here: a file takes its place in one step, and a line is added whole
and is on disk once ``append`` returns. What a disk refuses is one line that names the file, and its
bytes where the disk is full; nothing half-written stays. What is read back may be damaged:
``Damaged``, for whoever can make it anew to catch.
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from red_mcore.config.recipe import RecipeError

_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}
_FULL_TEXT = re.compile(
    r"no space left on device|os error 28\b|(?:database or )?disk is full", re.IGNORECASE
)
"""How libraries that swallow the number of the error say it: safetensors, SQLite."""


class Unwritten(RecipeError):
    """A file that could not be written."""


class Damaged(RecipeError):
    """A file that is not as it was written."""


def full(error: BaseException | None) -> str | None:
    """What is used up where ``error``, or what led to it, is of a disk without room; else None."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return _FULL[error.errno]
        if _FULL_TEXT.search(str(error)):
            return _FULL[errno.ENOSPC]
        error = error.__cause__ or error.__context__
    return None


def refusal(path: Path, size: int | None, error: BaseException) -> str:
    """The line on a file of ``size`` bytes (None: not known) that was not written."""
    if (what := full(error)) is None:
        told = getattr(error, "strerror", None) or " ".join(str(error).split())
        told = told or type(error).__name__
        return f"{path} cannot be written ({told}): mend that, then run the same command again"
    file = f"{path}"
    if size is not None:
        file += f" of {size:,} bytes"
    return (
        f"{what}: {file} was not written{_room(path)}: make room, then run the same command again"
    )


@contextmanager
def writing(path: Path, size: int | None = None) -> Iterator[None]:
    """Unwritten, about ``path``, for what a disk refuses in the block."""
    try:
        yield
    except RecipeError:
        raise
    except Exception as error:  # of a full disk torch and safetensors tell by errors of their own
        if isinstance(error, OSError) or full(error):
            raise Unwritten(refusal(path, size, error)) from error
        raise


@contextmanager
def written(path: Path, size: int, place: Path | None = None) -> Iterator[Callable[[Any], object]]:
    """The ``write`` of a new file of ``size`` bytes, which is on disk after the block, or gone
    where that fails.

    It stands at ``path``, or at first at ``place``, which errors do not name.
    """
    place = place or path
    with writing(path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = place.open("wb")

    def write(content: Any) -> None:
        with writing(path, size):
            file.write(content)

    try:
        yield write
        with writing(path, size):
            file.flush()
            os.fsync(file.fileno())
            file.close()  # a network's file system may tell only now
            if place != path:
                place.replace(path)
    except BaseException:
        with suppress(OSError):  # it would write what is left in its buffer
            file.close()
        with suppress(OSError):
            place.unlink()
        raise


def write_atomic(path: Path, content: str | bytes, *, shared: bool = False) -> None:
    """Replace ``path`` by ``content`` in one step: a reader sees the old file or the new one.

    ``shared``: other processes may be writing the same file.
    """
    content = _encoded(content)
    name = f".{path.name}.tmp"
    if shared:
        name = f".{path.name}.{os.getpid()}.tmp"
    with written(path, len(content), path.with_name(name)) as write:
        write(content)


def append(path: Path, content: str | bytes) -> None:
    """Add ``content`` to the end of ``path``, on disk once this returns; all of it or, by an error,
    nothing."""
    content = _encoded(content)
    with writing(path, len(content)):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:  # a buffer would be written at the end even so
            end, left = file.tell(), memoryview(content)
            try:
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except BaseException:
                with suppress(OSError):
                    file.truncate(end)
                raise


def cut_torn_line(path: Path) -> None:
    """Cut off a last line that a kill has left without its end: the next one would become part of
    it."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        end = file.seek(0, os.SEEK_END)
        whole, block = 0, 1 << 16
        while end and not whole:
            begin = max(0, end - block)
            file.seek(begin)
            whole = begin + file.read(end - begin).rfind(b"\n") + 1
            if whole == begin:  # no line ends in this block
                whole = 0
            end = begin
        file.truncate(whole)


@contextmanager
def alone(lock: Path, refusal: str) -> Iterator[None]:
    """A block during which no other process has ``lock``, a file that is made where it is missing;
    RecipeError with ``refusal`` while one has it.

    The system lets go of it however this process ends. A file system without locks keeps nobody
    out.
    """
    with writing(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a")
    with file:
        try:
            # Of the process, not of the file: forks that outlive a kill do not hold it.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise RecipeError(refusal) from None
        except OSError:
            pass
        yield


def _encoded(content: str | bytes) -> bytes:
    if isinstance(content, str):
        return content.encode()
    return content


def finite(row: dict[str, Any]) -> dict[str, Any]:
    """``row`` with None for what JSON has no number for: NaN and the infinities."""
    found = dict(row)
    for key, value in row.items():
        if isinstance(value, float) and not math.isfinite(value):
            found[key] = None
    return found


def line(row: dict[str, Any]) -> str:
    """``row`` as a line of JSON."""
    return json.dumps(finite(row)) + "\n"


def append_line(path: Path, row: dict[str, Any]) -> None:
    """``append`` of a row, as a line of JSON."""
    append(path, line(row))


def write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """``write_atomic`` of rows, each a line of JSON."""
    write_atomic(path, "".join(map(line, rows)))


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in ``path``, None where there is no such file; Damaged for anything else."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Damaged(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path} is damaged ({error})") from None
    if not isinstance(found, dict):
        raise Damaged(f"{path} is damaged (it holds no JSON object)")
    return found


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def read_rows(path: Path, fits: Callable[[Any], bool] = _is_object) -> tuple[list[Any], list[int]]:
    """(rows of a JSONL file, numbers from 1 of the lines that hold none); both empty where there is
    no file.

    A row is a JSON value that ``fits``. A last line torn by a kill is left out and not told.
    Damaged where the file cannot be read at all.
    """
    try:
        # Bytes, for the last line may be torn within a character.
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise Damaged(f"{path} cannot be read ({error.strerror})") from None
    rows, bad = [], []
    for number, text in enumerate(lines, 1):
        try:
            row = json.loads(text)
        except (ValueError, RecursionError):
            is_row = False
        else:
            is_row = fits(row)
        if is_row:
            rows.append(row)
        elif number < len(lines):
            bad.append(number)
    return rows, bad


def read_lines(path: Path, fits: Callable[[Any], bool] = _is_object) -> list[Any]:
    """Rows of a JSONL file as ``read_rows`` reads it; Damaged, naming the first, where a line holds
    none."""
    rows, bad = read_rows(path, fits)
    if bad:
        raise Damaged(f"{path} line {bad[0]} is damaged ({len(bad)} such lines)")
    return rows


def _room(path: Path) -> str:
    """`` (... are free)``, as far as that can be told."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    with suppress(OSError):
        return f" ({shutil.disk_usage(place).free:,} bytes are free)"
    return ""
