"""Standard output and error that may go away: what cannot be written there is dropped, and the
program goes on.

A pipe's reader ends (``| head``), a terminal closes, the disk of a log fills up: none of these is
worth a run, whose metrics, checkpoints and results are in files. It goes on without a word.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TextIO


def outlive() -> None:
    """Let this process outlive its standard output and error; before anything is printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # It is closed, as by ``>&-``: the next file to be opened would get the number, and all
            # that is said.
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = _dropping(sys.stdout, 1), _dropping(sys.stderr, 2)


class _Dropping(io.FileIO):
    def write(self, content) -> int:
        while True:
            try:
                written = super().write(content)
            except OSError:
                return memoryview(content).nbytes
            if written is not None:
                return written
            select.select([], [self], [])  # a terminal that another program has told not to wait


def _dropping(stream: TextIO | None, number: int) -> TextIO:
    if stream is not None:
        stream.flush()
    encoding = getattr(stream, "encoding", "utf-8")
    buffer = io.BufferedWriter(_Dropping(number, "w", closefd=False))
    # A character that the terminal has no code for is no reason to end, either.
    return io.TextIOWrapper(
        buffer, encoding=encoding, errors="backslashreplace", line_buffering=True
    )
