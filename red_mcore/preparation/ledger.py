"""What was computed before a preparation was killed, so that nothing is computed twice.

A line is a key and its value. Keys are digests of all that the value depends on, hence a line stays
true whatever happens to the sources. The first line says by which code the values were made; lines
of other code are thrown away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from red_mcore.system import disk


class Ledger:
    """A growing file of results; each ``put`` is on disk once it returns."""

    def __init__(self, file: Path, made_by: Mapping[str, Any]) -> None:
        self._file = file
        self._known: dict[str, Any] = {}
        head = disk.line({"made_by": dict(made_by)})
        disk.cut_torn_line(file)
        rows, _ = disk.read_rows(file)
        if rows[:1] != [json.loads(head)]:
            disk.write_atomic(file, head)
            return
        for row in disk.read_lines(file)[1:]:
            self._known[row["key"]] = row["value"]

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __getitem__(self, key: str) -> Any:
        return self._known[key]

    def put(self, values: Mapping[str, Any]) -> None:
        """Keep the values."""
        if not values:
            return
        lines = [json.dumps({"key": key, "value": value}) for key, value in values.items()]
        disk.append(self._file, "\n".join(lines) + "\n")
        self._known.update(values)
