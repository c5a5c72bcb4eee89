"""Random bytes in every kind of file: a row or a reason for each, and never a crash."""

import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.ingest import media
from stages.ingest.licences import spdx
from stages.ingest.records import json_records
from tests.stages.ingest.conftest import Found
from tests.stages.ingest.test_archives import PACKERS

Run = Callable[..., Found]
KNOWN = media.DOCUMENTS | media.ARCHIVES | media.COMPRESSED | {media.JSON, media.PARQUET, media.BINARY}


def damaged(data: bytes, rng: random.Random, most: int = 30) -> bytes:
    """The data with some bytes overwritten, or cut, or both."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, most)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed[: rng.choice([len(changed), rng.randint(1, len(changed))])])


@given(st.binary(max_size=600), st.sampled_from(["a.pdf", "a.txt", "a.xml", "a.json", "a", ".x", "a.tar.gz"]))
def test_any_bytes_have_a_type(data: bytes, name: str) -> None:
    """Whatever the bytes, the answer is a media type."""
    found = media.sniff(data, name)
    assert found in KNOWN or found.count("/") == 1


@given(st.binary(max_size=400), st.integers(1, 100))
def test_any_bytes_are_records_or_reasons(data: bytes, limit: int) -> None:
    """Whatever the bytes, each record has an object and UTF-8 text, or a reason; numbers go up."""
    found = list(json_records(io.BytesIO(data), limit))
    for record in found:
        assert (record.fields is None) == bool(record.reason)
        record.text.encode()
    assert all(a.number < b.number for a, b in pairwise(found))


@given(st.text(max_size=60))
def test_any_words_are_a_licence_or_themselves(words: str) -> None:
    """No words crash the names of licences, and a name that was given once stays."""
    name = spdx(words)
    assert name is None or spdx(name) == name


@pytest.mark.parametrize("extension", PACKERS)
def test_damaged_archives(corpus: Path, ingest: Run, extension: str) -> None:
    """Twenty archives with random damage: no crash, nothing outside the output, and a row or a reason for each of them."""
    rng = random.Random(extension)
    whole = PACKERS[extension]({f"{i}.txt": f"Member number {i}. ".encode() * 40 for i in range(6)})
    for number in range(20):
        (corpus / f"{number:02d}").write_bytes(damaged(whole, rng))
    found = ingest()
    spoken = {Path(r["path"]).relative_to(corpus).parts[0] for r in [*found.sources, *found.dropped]}
    assert spoken == {f"{number:02d}" for number in range(20)}
    for row in found.sources:
        if row["media_type"] == "text/plain" and row["blob"]:
            assert (found.folder / row["blob"]["path"]).stat().st_size == row["blob"]["size_bytes"]


def test_damaged_tables(corpus: Path, ingest: Run) -> None:
    """Parquet and compressed JSON Lines with random damage: each gives records, reasons or both."""
    rng = random.Random(5)
    records = [{"text": f"Record number {i}.", "n": i} for i in range(200)]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), sink, row_group_size=50)
    packed = gzip.compress("\n".join(map(json.dumps, records)).encode())
    for number in range(15):
        (corpus / f"{number:02d}.parquet").write_bytes(b"PAR1" + damaged(sink.getvalue()[4:], rng, 2))
        (corpus / f"{number:02d}.jsonl.gz").write_bytes(b"\x1f\x8b" + damaged(packed[2:], rng, 2))
    found = ingest()
    spoken = {Path(r["path"]).name.partition(":")[0].partition("/")[0] for r in [*found.sources, *found.dropped]}
    assert {n for n in spoken if n.endswith("parquet")} == {f"{n:02d}.parquet" for n in range(15)}
    assert found.sources


def test_zip_with_lying_sizes(corpus: Path, ingest: Run) -> None:
    """A zip file whose directory says that a member is small, though it is not, is caught while it is unpacked."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", b"0123456789" * 10_000)
    data = bytearray(out.getvalue())
    size = (100_000).to_bytes(4, "little")
    while size in data:
        at = data.index(size)
        data[at : at + 4] = (50).to_bytes(4, "little")
    (corpus / "x.zip").write_bytes(data)
    found = ingest(max_member_bytes=1000)
    assert not found.sources
    assert set(found.reasons.values()) <= {"damaged archive", "too large"}
    assert found.reasons
