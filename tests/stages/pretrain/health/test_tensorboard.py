import struct
from pathlib import Path
from typing import Any

import pytest

from stages.pretrain.health.tensorboard import EventFile, crc32c, masked


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)],
)
def test_checksums_are_those_of_the_standard(data: bytes, expected: int) -> None:
    """The test vectors of RFC 3720, appendix B.4, and the usual check value."""
    assert crc32c(data) == expected


def event_class() -> Any:
    """TensorFlow's `Event`, as far as scalars need it, by Google's own reader of protocol buffers."""
    descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
    from google.protobuf import descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="t", syntax="proto3")
    kinds = {"double": 1, "float": 2, "int64": 3, "string": 9, "message": 11}
    fields = {
        "Value": [("tag", 1, "string", ""), ("simple_value", 2, "float", "")],
        "Summary": [("value", 1, "message", ".t.Value")],
        "Event": [
            ("wall_time", 1, "double", ""),
            ("step", 2, "int64", ""),
            ("file_version", 3, "string", ""),
            ("summary", 5, "message", ".t.Summary"),
        ],
    }
    for name, members in fields.items():
        message = file.message_type.add(name=name)
        for member, number, kind, type_name in members:
            label = 3 if member == "value" else 1
            message.field.add(name=member, number=number, type=kinds[kind], label=label, type_name=type_name or None)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Event"))


def records(file: Path) -> list[bytes]:
    """What lies between the lengths and the checksums, which must be right."""
    data, found = file.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        assert data[8:12] == masked(data[:8])
        found.append(data[12 : 12 + length])
        assert data[12 + length : 16 + length] == masked(found[-1])
        data = data[16 + length :]
    return found


def test_the_file_is_what_tensorflow_writes(tmp_path: Path) -> None:
    """Google's reader finds the version, then every step with its tags and values."""
    file = EventFile(tmp_path / "tb", started=1_700_000_000.5)
    file.write(1, {"loss": 9.5, "learning rate": 1e-3}, now=1_700_000_001.0)
    file.write(70_000, {"loss": 3.25}, now=1_700_000_002.0)
    event = event_class()
    first, one, two = (event.FromString(r) for r in records(file.path))
    assert (first.file_version, first.wall_time) == ("brain.Event:2", 1_700_000_000.5)
    assert [(v.tag, v.simple_value) for v in one.summary.value] == [
        ("loss", 9.5),
        ("learning rate", pytest.approx(1e-3)),
    ]
    assert (one.step, two.step, two.wall_time) == (1, 70_000, 1_700_000_002.0)
    assert file.path.name.startswith("events.out.tfevents.1700000000")


def test_two_starts_are_two_files(tmp_path: Path) -> None:
    """A resumed run does not write into the file of the run before it."""
    assert EventFile(tmp_path).path != EventFile(tmp_path).path
