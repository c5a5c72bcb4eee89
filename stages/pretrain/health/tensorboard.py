"""TensorBoard event files, without TensorBoard: scalars by step, in the record format of TensorFlow.

A record is its length (uint64), a checksum of the length, the bytes, a checksum of the bytes; checksums are CRC-32C, turned
by 15 bits and a constant added (tensorflow/core/lib/io/record_writer.h). The bytes are an `Event` protocol buffer
(tensorflow/core/util/event.proto): 1 wall time, 2 step, 3 file version, 5 summary. What it gives up: everything but scalars.
"""

import struct
import time
from collections.abc import Mapping
from pathlib import Path

POLYNOMIAL, MASK = 0x82F63B78, 0xA282EAD8
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types


class EventFile:
    """A file that TensorBoard finds and reads while it grows: `events.out.tfevents.*`, one a start of the run."""

    def __init__(self, folder: Path, started: float | None = None) -> None:
        started = time.time() if started is None else started
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"events.out.tfevents.{int(started):010d}.{time.monotonic_ns()}.borealis"
        self._append(_field(1, FIXED64, started) + _field(3, BYTES, b"brain.Event:2"))

    def write(self, step: int, values: Mapping[str, float], now: float | None = None) -> None:
        """One point of each tag."""
        scalars = b"".join(
            _field(1, BYTES, _field(1, BYTES, tag.encode()) + _field(2, FIXED32, value))
            for tag, value in values.items()
        )
        event = _field(1, FIXED64, time.time() if now is None else now) + _field(2, VARINT, step)
        self._append(event + _field(5, BYTES, scalars))

    def _append(self, event: bytes) -> None:
        length = struct.pack("<Q", len(event))
        with self.path.open("ab") as file:
            file.write(length + masked(length) + event + masked(event))


def masked(data: bytes) -> bytes:
    """The checksum of a record."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + MASK) & 0xFFFFFFFF)


def crc32c(data: bytes) -> int:
    """CRC-32 with Castagnoli's polynomial (RFC 3720)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _entry(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (POLYNOMIAL if byte & 1 else 0)
    return byte


TABLE = [_entry(byte) for byte in range(256)]


def _field(number: int, kind: int, value: float | bytes) -> bytes:
    head = _varint(number << 3 | kind)
    if isinstance(value, bytes):
        return head + _varint(len(value)) + value
    if kind == VARINT:
        return head + _varint(int(value))
    return head + struct.pack("<d" if kind == FIXED64 else "<f", value)


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
