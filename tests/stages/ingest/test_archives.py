"""Archives: members in, everything that could do harm out."""

import bz2
import gzip
import io
import json
import lzma
import os
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from schemas.corpus import Stored
from stages.base import PACKAGE_ROOT
from stages.ingest.archives import hidden, unsafe
from stages.parse.members import member
from tests.stages.ingest.conftest import Found

Run = Callable[..., Found]
Files = dict[str, bytes]

MEMBERS = {
    "a.txt": b"First words.",
    "deep/b.md": b"# Second words",
    "deep/c.jsonl": b'{"text": "third"}\n{"text": 4}\n',
}


def zipped(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(files: Files) -> bytes:
    """A tar file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


PACKERS: dict[str, Callable[[Files], bytes]] = {
    "zip": zipped,
    "tar": tarred,
    "tar.gz": lambda f: gzip.compress(tarred(f)),
    "tar.xz": lambda f: lzma.compress(tarred(f)),
    "tar.bz2": lambda f: bz2.compress(tarred(f)),
    "tar.zst": lambda f: zstandard.ZstdCompressor().compress(tarred(f)),
}


def content(found: Found, row: dict[str, Any]) -> bytes:
    """The bytes of a source, as parse reads them."""
    path = found.folder / row["blob"]["path"]  # an absolute one stays as it is
    if row["stored"] is None:
        return path.read_bytes()
    return member(str(path), Stored(**row["stored"]), row["source_id"])


@pytest.mark.parametrize("extension", PACKERS)
def test_members_are_sources(corpus: Path, ingest: Run, extension: str) -> None:
    """Members of every kind of archive become sources; of zip and tar files where they are, of others by digest in a folder."""
    (corpus / f"x.{extension}").write_bytes(PACKERS[extension](MEMBERS))
    found = ingest()
    assert [r["path"].removeprefix(f"{corpus}/x.{extension}/") for r in found.sources] == [
        "a.txt",
        "deep/b.md",
        "deep/c.jsonl:1",
        "deep/c.jsonl:2",
    ]
    assert [r["media_type"] for r in found.sources[:3]] == ["text/plain", "text/markdown", "application/json"]
    stay = extension in {"zip", "tar"}
    for row in found.sources[:2]:
        digest = row["source_id"]
        kept = str(corpus / f"x.{extension}") if stay else f"files/{digest[:2]}/{digest}"
        assert row["blob"]["path"] == kept
        assert content(found, row) == MEMBERS[row["path"].split(extension + "/")[1]]
    assert (found.folder / "files").exists() != stay
    assert not found.dropped
    assert not list(found.folder.glob("incoming-*"))


@pytest.mark.parametrize("extension", PACKERS)
def test_a_cut_archive_is_a_row(corpus: Path, ingest: Run, extension: str) -> None:
    """An archive cut in half is one dropped row at least; what came before the cut may be kept; the run goes on."""
    files = {f"{i}.txt": os.urandom(2000).hex().encode() for i in range(20)}
    whole = PACKERS[extension](files)
    (corpus / f"x.{extension}").write_bytes(whole[: len(whole) // 2])
    (corpus / "z.txt").write_text("After the archive.")
    found = ingest()
    assert "damaged archive" in found.reasons.values()
    assert "z.txt" in found.by_name
    assert all(files[n] == content(found, r) for n, r in found.by_name.items() if n in files)


def test_a_damaged_member_costs_itself(corpus: Path, ingest: Run) -> None:
    """A member of a zip file whose check sum is wrong is dropped; its neighbours are not."""
    data = bytearray(zipped({"a.txt": b"A" * 500, "b.txt": b"B" * 500, "c.txt": b"C" * 500}, zipfile.ZIP_STORED))
    data[data.index(b"B" * 500) + 100] ^= 1
    (corpus / "x.zip").write_bytes(data)
    found = ingest()
    assert list(found.by_name) == ["a.txt", "c.txt"]
    assert found.reasons == {"b.txt": "damaged archive"}


@pytest.mark.parametrize("name", ["../up.txt", "/abs.txt", "a/../../b.txt", "C:/x.txt", "..\\up.txt", "\\x.txt"])
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_unsafe_paths_are_dropped(
    corpus: Path, tmp_path: Path, ingest: Run, pack: Callable[[Files], bytes], name: str
) -> None:
    """A member whose name leads out of its folder is dropped, and nothing is written outside."""
    before = {p for p in tmp_path.rglob("*") if "out" not in p.parts}
    (corpus / "x").write_bytes(pack({name: b"Evil words.", "good.txt": b"Good words."}))
    found = ingest()
    assert list(found.by_name) == ["good.txt"]
    assert [r["reason"] for r in found.dropped] == ["unsafe path"]
    after = {p for p in tmp_path.rglob("*") if not str(p).startswith(str(found.folder))}
    assert after - before <= {corpus / "x", tmp_path / "out.json"}


def test_what_counts_as_unsafe_or_hidden() -> None:
    """Names that climb or start at a root are unsafe; names with a dot part are hidden and silently left."""
    assert not any(map(unsafe, ["a.txt", "a/b.txt", "a..b/c", "./a"]))
    assert all(map(unsafe, ["", "..", "a/..", "/", "a\0b", "D:x"]))
    assert all(map(hidden, [".git/config", "a/.b/c", "__MACOSX/a.txt"]))
    assert not any(map(hidden, ["./a.txt", "a.b/c", "../a"]))


def test_links_and_devices_are_dropped(corpus: Path, ingest: Run) -> None:
    """Links and devices, in tar and in zip, are dropped: they could read what is not in the archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind in (("s.txt", tarfile.SYMTYPE), ("h.txt", tarfile.LNKTYPE), ("d.txt", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    (corpus / "x.tar").write_bytes(out.getvalue())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zip_archive:
        info_zip = zipfile.ZipInfo("z.txt")
        info_zip.external_attr = (stat.S_IFLNK | 0o777) << 16
        zip_archive.writestr(info_zip, "/etc/passwd")
    (corpus / "y.zip").write_bytes(packed.getvalue())
    found = ingest()
    assert not found.sources
    assert found.reasons == dict.fromkeys(("s.txt", "h.txt", "d.txt", "z.txt"), "not a regular file")


@pytest.mark.parametrize("extension", ["zip", "tar.gz", "tar.zst", "jsonl.gz", "txt.xz"])
def test_bombs_stop_at_their_limit(corpus: Path, ingest: Run, extension: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive of zeros is dropped before it fills the disk; sizes are counted, not believed."""
    monkeypatch.setattr("stages.ingest.archives.FREE_BYTES", 1 << 20)
    zeros = bytes(8 << 20)
    packers = PACKERS | {
        "jsonl.gz": lambda _: gzip.compress(b'{"a": "' + zeros),
        "txt.xz": lambda _: lzma.compress(zeros),
    }
    (corpus / f"x.{extension}").write_bytes(packers[extension]({"a.txt": zeros}))
    found = ingest(max_ratio=50)
    assert not found.sources
    assert "compression bomb" in found.reasons.values()
    assert not list((found.folder / "files").rglob("*")) if (found.folder / "files").exists() else True


def test_a_large_member_is_dropped(corpus: Path, ingest: Run) -> None:
    """A member over the limit is dropped, the next one is not."""
    (corpus / "x.zip").write_bytes(zipped({"a.txt": b"long words " * 100, "b.txt": b"short words"}))
    found = ingest(max_member_bytes=1000)
    assert (list(found.by_name), found.reasons) == (["b.txt"], {"a.txt": "too large"})


def test_encrypted_members_are_dropped(corpus: Path, ingest: Run) -> None:
    """A member with a password is dropped as encrypted."""
    data = bytearray(zipped({"a.txt": b"Secret words."}))
    for sign, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(sign) + offset] |= 1
    (corpus / "x.zip").write_bytes(data)
    assert ingest().reasons == {"a.txt": "encrypted"}


def test_one_archive_in_another_is_opened(corpus: Path, ingest: Run) -> None:
    """An archive in an archive is opened; a third level is dropped with a reason."""
    third = zipped({"c.txt": b"Third words."})
    second = gzip.compress(tarred({"b.txt": b"Second words.", "c.zip": third}))
    (corpus / "x.zip").write_bytes(zipped({"a.txt": b"First words.", "b.tar.gz": second}))
    found = ingest()
    assert list(found.by_name) == ["a.txt", "b.txt"]
    assert found.by_name["b.txt"]["path"].endswith("x.zip/b.tar.gz/b.txt")
    assert found.reasons == {"c.zip": "nested archive"}


def test_a_compressed_file_is_its_content(corpus: Path, ingest: Run) -> None:
    """A single compressed file is what is inside, under its name without the last extension."""
    (corpus / "a.md.gz").write_bytes(gzip.compress(b"# Some words"))
    (row,) = ingest().sources
    assert (row["path"], row["media_type"]) == (f"{corpus}/a.md.gz/a.md", "text/markdown")


def test_sidecars_inside_archives(corpus: Path, ingest: Run) -> None:
    """A sidecar in an archive speaks for its neighbour, wherever it comes in the archive; others take the archive's."""
    (corpus / "x.tar").write_bytes(
        tarred({"p/a.txt": b"Words.", "p/a.meta.json": b'{"licence": "CC0", "source": "x"}', "b.txt": b"Other words."})
    )
    (corpus / "x.meta.json").write_text(json.dumps({"licence": "MIT", "title": "All of it"}))
    found = ingest().by_name
    assert (found["a.txt"]["licence"], found["a.txt"]["source"]) == ("CC0-1.0", "corpus")
    assert (found["b.txt"]["licence"], found["b.txt"]["title"]) == ("MIT", "All of it")


def test_killed_and_run_again(corpus: Path, tmp_path: Path, ingest: Run) -> None:
    """Ingest killed in the middle of an archive, then run again: the same tables, nothing left over."""
    files = {f"{i:04d}.txt": os.urandom(20_000).hex().encode() for i in range(300)}
    (corpus / "x.tar.gz").write_bytes(PACKERS["tar.gz"](files))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"paths": str(corpus)}))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "stages.ingest", "--config", str(config), "--out", str(out)]
    process = subprocess.Popen(command, cwd=PACKAGE_ROOT)
    while not list(out.glob("incoming-*/*/*")) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "manifest.json").exists()
    again, whole = ingest("out"), ingest("whole")
    assert len(again.sources) == 300
    assert again.sources == whole.sources
    assert not list(out.glob("incoming-*"))
