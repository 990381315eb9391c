"""A run's numbers as event files for TensorBoard, which need nothing installed to be written.

    tracking.monitors=[red_mcore.tracking.tensorboard:TensorBoard]
    tensorboard --logdir runs

A file is a row of records, each an ``Event`` of TensorBoard's event.proto between checksums (the
TFRecord format). The few messages that are needed are encoded here, by the rules of protocol
buffers.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from red_mcore.system import disk
from red_mcore.tracking.monitor import Row, Status

_START = 1
"""Status of a session log at which TensorBoard forgets the steps from there on."""
_STRING = 7
"""DT_STRING of a tensor."""
_TABLES = "rollouts"
_VERSION = b"brain.Event:2"


class TensorBoard:
    """Writes ``tensorboard/STAGE/events.out.tfevents...``; each start begins a file, TensorBoard
    joins them."""

    def __init__(self, name: str, settings: dict[str, Any], folder: Path) -> None:
        self._name, self._settings, self._folder = name, settings, folder / "tensorboard"
        self._files: dict[str, Path] = {}

    def begin(self, steps: Mapping[str, int], earlier: Mapping[str, Sequence[Row]]) -> None:
        """Begin a file for each stage that goes on, and for one whose rows are not there yet."""
        for stage, rows in earlier.items():
            folder = self._folder / stage
            number = len(list(folder.glob("events.out.tfevents.*")))
            is_new = number == 0 and bool(rows)
            if stage not in steps and not is_new:
                continue
            # TensorBoard reads the files of a folder in the order of their names.
            name = f"events.out.tfevents.{int(time.time()):010d}.{number}"
            self._files[stage] = folder / name
            first_step = steps.get(stage, -1) + 1
            events = [_event(0, 3, _VERSION), _event(first_step, 7, _number(1, _START))]
            if number == 0:
                events.append(_text(0, "settings", {"run": self._name, **self._settings}))
                events += [_scalars(row["step"], row) for row in rows]
            self._append(stage, *events)

    def metrics(self, step: int, values: Mapping[str, float], stage: str = "main") -> None:
        self._append(stage, _scalars(step, values))

    def table(self, name: str, rows: Sequence[Row], step: int) -> None:
        name = f"{_TABLES}/{name}"
        texts = [_text(step, f"{name}/{i:03d}", row) for i, row in enumerate(rows)]
        self._append("main", *texts)

    def summary(self, values: Mapping[str, Any]) -> None:
        self._append("main", _text(int(values.get("steps", 0)), "summary", values))

    def close(self, status: Status) -> None:
        """Every record is on disk already."""

    def _append(self, stage: str, *events: bytes) -> None:
        disk.append(self._files[stage], b"".join(map(_record, events)))


def _event(step: int, field: int, content: bytes) -> bytes:
    """``Event``: wall_time = 1, step = 2, and one of file_version = 3, summary = 5, session_log =
    7."""
    return struct.pack("<Bd", 1 << 3 | 1, time.time()) + _number(2, step) + _bytes(field, content)


def _scalars(step: int, values: Mapping[str, float | None]) -> bytes:
    """``Summary`` of values, each with tag = 1 and simple_value = 2; None, which JSON has for NaN,
    is left out."""
    found = b""
    for name, value in values.items():
        if value is not None and name != "step":
            number = struct.pack("<Bf", 2 << 3 | 5, value)
            found += _bytes(1, _bytes(1, name.encode()) + number)
    return _event(step, 5, found)


def _text(step: int, name: str, content: Mapping[str, Any]) -> bytes:
    """``Summary`` of a text, for the plugin of that name: tag = 1, tensor = 8, metadata = 9."""
    lines = []
    for key, cell in content.items():
        # Indented, as Markdown wants what is to be shown as it is.
        lines.append(f"    {key}: {json.dumps(cell, ensure_ascii=False)}")
    plugin = _bytes(1, _bytes(1, b"text"))
    shape = _bytes(2, _bytes(2, _number(1, 1)))
    tensor = _number(1, _STRING) + shape + _bytes(8, "\n".join(lines).encode())
    value = _bytes(1, name.encode()) + _bytes(8, tensor) + _bytes(9, plugin)
    return _event(step, 5, _bytes(1, value))


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    """A number of at least 0 in groups of seven bits, the lowest first; all but the last have the
    high bit set."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _record(content: bytes) -> bytes:
    """A TFRecord: length, its checksum, the content, its checksum."""
    length = struct.pack("<Q", len(content))
    return length + _masked_crc(length) + content + _masked_crc(content)


def _masked_crc(content: bytes) -> bytes:
    """CRC-32C (Castagnoli), rotated right by 15 bits, plus a constant, as TFRecord has it."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    rotated = crc >> 15 | crc << 17 & 0xFFFFFFFF
    return struct.pack("<I", rotated + 0xA282EAD8 & 0xFFFFFFFF)


def _crc_table() -> list[int]:
    """The CRC of each byte, by the reversed polynomial."""
    found = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ 0x82F63B78 * (byte & 1)
        found.append(byte)
    return found


_CRC = _crc_table()
