"""Documents inside archives: read where they stand, the same as from files, and never from an archive that has changed."""

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.corpus import SourceFile, Stored
from schemas.table import BlobRef
from stages.ingest import Ingest
from stages.ingest.walk import ingest
from stages.parse.members import ChangedError, Held, member
from stages.tables import Outputs
from tests.stages.parse.conftest import WORDS, Parsed, scan, source, typeset

Run = Callable[..., Parsed]


def taken_in(archive: Path, out: Path) -> list[SourceFile]:
    """What ingest makes of an archive."""
    outputs = Outputs(out, Ingest.outputs, (0, 1))
    ingest(Ingest(paths=(str(archive),)), outputs)
    outputs.close()
    return [SourceFile.model_validate(row) for row in _rows(out / "sources")]


def _rows(folder: Path) -> list[dict[str, object]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, object]] = pq.read_table(folder).to_pylist()
    return rows


def packed(files: dict[str, bytes], kind: str, file: Path) -> Path:
    """A zip file, deflated or not, or a tar file."""
    if kind == "tar":
        with tarfile.open(file, "w") as tar:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return file
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if kind == "zip" else zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, archive.compression)
    return file


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """A paper, a scan of a page, an article, a text, and a PDF that is cut short."""
    short = typeset(WORDS[:180])
    article = f"<article><body><p>{WORDS}</p></body></article>".encode()
    return {
        "paper.pdf": typeset("= Heat in metals\n" + WORDS * 3),
        "deep/scan.pdf": scan(short),
        "article.xml": article,
        "notes.txt": WORDS.encode(),
        "cut.pdf": short[: len(short) // 2],
    }


@pytest.mark.parametrize("kind", ["zip", "stored zip", "tar"])
def test_a_member_is_read_as_a_file_is(tmp_path: Path, parse: Run, files: dict[str, bytes], kind: str) -> None:
    """PDFs, one that needs OCR, native formats and a damaged one: texts, spans, titles and reasons of files outside; no copy is made."""
    plain = []
    for name, data in files.items():
        file = tmp_path / "plain" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        plain.append(source(file, taken_in(file, tmp_path / "out" / name)[0].media_type))
    rows = taken_in(packed(files, kind, tmp_path / "all.archive"), tmp_path / "sources")
    assert all(r.stored and r.blob and r.blob.path == str(tmp_path / "all.archive") for r in rows)
    assert not (tmp_path / "sources" / "files").exists()
    outside, inside = parse(plain, "outside"), parse(rows, "inside")
    keys = ("doc_id", "text", "pages", "title", "media_type")
    found = [
        {tuple(d[k] if k != "pages" else repr(d[k]) for k in keys) for d in run.documents} for run in (outside, inside)
    ]
    assert found[0] == found[1]
    assert inside.reasons == outside.reasons == {"cut.pdf": "damaged PDF"}


def test_an_archive_that_has_changed_costs_a_reason(tmp_path: Path, parse: Run) -> None:
    """Of the same size but with other bytes in one member: that one is dropped, the other is read."""
    archive = packed({"a.txt": WORDS.encode(), "b.txt": WORDS.upper().encode()}, "stored zip", tmp_path / "x.zip")
    rows = taken_in(archive, tmp_path / "sources")
    data = archive.read_bytes().replace(b"THERMAL", b"THERMAI", 1)
    archive.write_bytes(data)
    found = parse(rows)
    assert found.reasons == {"b.txt": "file changed"}
    assert [d["text"] for d in found.documents] == [WORDS.strip()]
    assert "other bytes at" in found.dropped[0]["detail"]


@given(
    contents=st.lists(st.binary(max_size=3000), min_size=1, max_size=5, unique=True),
    kind=st.sampled_from(["zip", "stored zip", "tar"]),
    comment=st.binary(max_size=40),
)
def test_places_are_those_of_zipfile_and_tarfile(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], kind: str, comment: bytes
) -> None:
    """Whatever the members hold and what stands before a zip file: the bytes at each place are those that were packed."""
    folder = tmp_path_factory.mktemp("members")
    texts = {f"{i}.txt": b"text " + data.hex().encode() for i, data in enumerate(contents)}
    archive = packed(texts, kind, folder / "x")
    if kind != "tar":  # a program in front, as of a file that unpacks itself
        archive.write_bytes(archive.read_bytes())
        with zipfile.ZipFile(archive, "a") as zipped:
            zipped.comment = comment
    for row in taken_in(archive, folder / "out"):
        assert row.stored
        assert row.blob
        assert member(row.blob.path, row.stored, row.source_id) == texts[Path(row.path).name]


def test_what_cannot_be_read_in_place_is_copied(tmp_path: Path) -> None:
    """Members that are packed by bzip2, and those of an archive in an archive, lie in the output's own folder."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo("b.txt"), WORDS, zipfile.ZIP_BZIP2)
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w") as within:
            within.writestr("in.txt", WORDS.lower())
        archive.writestr("inner.zip", inner.getvalue())
    rows = taken_in(tmp_path / "x.zip", tmp_path / "out")
    assert [Path(r.path).name for r in rows] == ["b.txt", "in.txt"]
    assert all(r.stored is None and r.blob and (tmp_path / "out" / r.blob.path).is_file() for r in rows)


def test_a_process_holds_one_member(tmp_path: Path) -> None:
    """A path stays good until the next member is asked for, memory is given back, and one that is held is not read again."""
    texts = {f"{i}.txt": os.urandom(1000).hex().encode() for i in range(3)}
    archive = packed(texts, "zip", tmp_path / "x.zip")
    rows = taken_in(archive, tmp_path / "out")
    held, before = Held(), len(list(Path("/proc/self/fd").iterdir()))
    for row in rows:
        assert row.stored
        path = held.path(str(archive), row.stored, row.source_id)
        assert Path(path).read_bytes() == texts[Path(row.path).name]
        assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
    archive.unlink()
    assert rows[-1].stored
    assert held.path(str(archive), rows[-1].stored, rows[-1].source_id) == path
    assert rows[0].stored
    with pytest.raises(ChangedError, match="No such file"):
        held.path(str(archive), rows[0].stored, rows[0].source_id)


def test_a_place_without_the_member(tmp_path: Path) -> None:
    """Bytes that do not inflate, and a place behind the end, are an archive that has changed."""
    file = tmp_path / "x"
    file.write_bytes(b"no archive at all")
    digest = sha256(b"text").hexdigest()
    for offset, method in ((0, "deflated"), (0, "stored"), (1000, "stored")):
        with pytest.raises(ChangedError):
            member(str(file), Stored(offset=offset, num_bytes=4, method=method), digest)
    assert BlobRef.of(file).size_bytes == 17
