"""Ingest from end to end: what becomes a row, what is dropped and why."""

import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from schemas.corpus import Dropped, SourceFile
from stages.ingest import Ingest
from stages.ingest.walk import ingest as run_ingest
from stages.tables import Outputs
from tests.stages.ingest.conftest import Found

Run = Callable[..., Found]

PDF = b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\n"
JATS = b"""<?xml version="1.0"?>
<!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96) Journal Publishing DTD v1.2//EN" "JATS.dtd">
<article xmlns:xlink="http://www.w3.org/1999/xlink"><front><article-meta>
<article-id pub-id-type="pmid">1</article-id><article-id pub-id-type="doi">10.1/x</article-id>
<title-group><article-title>Heat in <italic>thin</italic>
 films</article-title></title-group>
<permissions><license xlink:href="https://creativecommons.org/licenses/by/4.0/"><license-p>Free.</license-p></license>
</permissions></article-meta></front><body><p>Words.</p></body></article>"""


def sha(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def test_a_plain_file_stays_where_it_is(corpus: Path, ingest: Run) -> None:
    """A file is pointed at, not copied: absolute path, size and digest, the digest being the source's id."""
    (corpus / "a.pdf").write_bytes(PDF)
    (row,) = ingest().sources
    assert row["blob"] == {"path": str(corpus / "a.pdf"), "size_bytes": len(PDF), "sha256": sha(PDF)}
    assert (row["source_id"], row["path"], row["record"]) == (sha(PDF), str(corpus / "a.pdf"), None)
    assert (row["media_type"], row["source"], row["licence"]) == ("application/pdf", "corpus", None)


def test_the_wrong_extension_does_not_matter(corpus: Path, ingest: Run) -> None:
    """A PDF called .txt is a PDF, words called .pdf are text, a picture called .pdf is dropped."""
    (corpus / "a.txt").write_bytes(PDF)
    (corpus / "b.pdf").write_text("Just words.")
    (corpus / "c.pdf").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    found = ingest()
    assert {n: r["media_type"] for n, r in found.by_name.items()} == {"a.txt": "application/pdf", "b.pdf": "text/plain"}
    assert found.reasons == {"c.pdf": "unsupported type"}
    assert found.dropped[0]["detail"] == "image/png"


def test_every_reason_of_a_plain_file(corpus: Path, ingest: Run) -> None:
    """Empty, unsupported, unreadable and special files and lone sidecars are rows with reasons, and the run goes on."""
    (corpus / "good.txt").write_text("Good words.")
    (corpus / "empty.pdf").touch()
    (corpus / "prog.exe").write_bytes(b"MZ\x90\x00\x03\x00")
    (corpus / "gone.txt").symlink_to(corpus / "nowhere")
    (corpus / "lonely.meta.json").write_text("{}")
    (corpus / "broken.txt").write_text("Its sidecar is broken.")
    (corpus / "broken.meta.json").write_text("[]")
    (corpus / "bad.parquet").write_bytes(b"PAR1" + bytes(100))
    (corpus / "bad.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    os.mkfifo(corpus / "pipe")
    found = ingest()
    assert list(found.by_name) == ["good.txt"]
    assert found.reasons == {
        "empty.pdf": "empty file",
        "prog.exe": "unsupported type",
        "gone.txt": "unreadable",
        "lonely.meta.json": "no file beside it",
        "broken.txt": "invalid sidecar",
        "bad.parquet": "damaged Parquet",
        "bad.zip": "damaged archive",
        "pipe": "not a regular file",
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_forbidden_file_is_unreadable(corpus: Path, ingest: Run) -> None:
    """A file and a folder without permission are dropped as unreadable."""
    (corpus / "a.txt").write_text("secret")
    (corpus / "a.txt").chmod(0)
    (corpus / "b").mkdir(mode=0)
    found = ingest()
    (corpus / "b").chmod(0o700)
    assert found.reasons == {"a.txt": "unreadable", "b": "unreadable"}


def test_a_file_that_vanishes_is_unreadable(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that goes away between the listing and its turn is dropped, and the next one is not."""
    for name in "ab":
        (corpus / f"{name}.txt").write_text(name * 20)
    outputs = Outputs(tmp_path / "out", {"sources": SourceFile, "dropped": Dropped}, (0, 1))
    monkeypatch.setattr("stages.ingest.walk.listing", _listing_then_delete(corpus / "a.txt"))
    run_ingest(Ingest(paths=(str(corpus),)), outputs)
    assert (outputs["sources"].num_rows, outputs.dropped) == (1, {"unreadable": 1})
    outputs.abort()


def _listing_then_delete(victim: Path) -> Callable[..., list[object]]:
    from stages.ingest.listing import listing

    def wrapped(*arguments: tuple[str, ...]) -> list[object]:
        found: list[object] = list(listing(*arguments))
        victim.unlink()
        return found

    return wrapped


def test_a_full_disk_is_not_the_files_fault(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of our own disk stops the run; it is not booked as a bad archive."""
    (corpus / "a.txt.gz").write_bytes(gzip.compress(b"words " * 100))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("stages.ingest.archives._copy", full)
    outputs = Outputs(tmp_path / "out", {"sources": SourceFile, "dropped": Dropped}, (0, 1))
    with pytest.raises(OSError, match="No space left"):
        run_ingest(Ingest(paths=(str(corpus),)), outputs)
    outputs.abort()


def test_a_sidecar_says_where_a_file_is_from(corpus: Path, ingest: Run) -> None:
    """Title, licence and DOI come from the sidecar, and sidecars are no sources of their own."""
    (corpus / "a.pdf").write_bytes(PDF)
    (corpus / "a.gold.txt").write_text("The same in words.")
    licence = "http://creativecommons.org/licenses/by/3.0/"
    meta = {"title": "On\n heat", "ids": {"doi": "https://doi.org/10.1/x"}, "license": licence}
    (corpus / "a.meta.json").write_text(json.dumps(meta))
    found = ingest(licence="MIT")
    assert not found.dropped
    for row in found.sources:
        assert (row["title"], row["licence"], row["doi"], row["source"]) == ("On heat", "CC-BY-3.0", "10.1/x", "corpus")


def test_a_sidecar_of_excluded_files_is_no_source(corpus: Path, ingest: Run) -> None:
    """Patterns that leave out a file's sidecar do not stop it from speaking, and the other way round."""
    (corpus / "a.txt").write_text("Some words.")
    (corpus / "a.meta.json").write_text('{"doi": "10.1/y"}')
    assert ingest(include="*.txt").sources[0]["doi"] == "10.1/y"
    only_sidecar = ingest("out2", exclude="*.txt")
    assert (only_sidecar.sources, only_sidecar.dropped) == ([], [])


def test_the_default_licence_fills_gaps_only(corpus: Path, ingest: Run) -> None:
    """The setting `licence` is for what says none itself."""
    (corpus / "a.jsonl").write_text('{"text": "one", "licence": "CC0"}\n{"text": "two"}\n')
    assert [r["licence"] for r in ingest(licence="CC-BY-4.0").sources] == ["CC0-1.0", "CC-BY-4.0"]


def test_jats_says_its_own_licence(corpus: Path, ingest: Run) -> None:
    """Title, DOI and licence come from an article's front matter; entities make it say nothing."""
    (corpus / "a.xml").write_bytes(JATS)
    (corpus / "b.nxml").write_bytes(JATS.replace(b'"JATS.dtd">', b'"JATS.dtd" [<!ENTITY a "b">]>'))
    found = ingest().by_name
    row = found["a.xml"]
    assert row["media_type"] == found["b.nxml"]["media_type"] == "application/jats+xml"
    assert (row["title"], row["doi"], row["licence"]) == ("Heat in thin films", "10.1/x", "CC-BY-4.0")
    assert found["b.nxml"]["title"] is None


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lambda b: zstandard.ZstdCompressor().compress(b)])
def test_records_from_json_lines(corpus: Path, ingest: Run, pack: Callable[[bytes], bytes]) -> None:
    """Every line is a source with its JSON inside, named by file and line; a bad line is dropped with its place."""
    lines = [b'{"text": "one", "title": "T", "source": "lab", "license": "CC BY 4.0", "doi": "doi:10.1/z"}', b"{x"]
    lines.append(b' {"text":"two"} ')
    (corpus / "a.jsonl.gz").write_bytes(pack(b"\n".join(lines)))
    found = ingest()
    first, second = found.sources
    assert first["source_id"] == sha(lines[0])
    assert (first["record"].encode(), first["blob"], first["media_type"]) == (lines[0], None, "application/json")
    assert (first["title"], first["source"], first["licence"], first["doi"]) == ("T", "lab", "CC-BY-4.0", "10.1/z")
    assert (second["record"], second["source_id"]) == ('{"text":"two"}', sha(b'{"text":"two"}'))
    assert second["path"].endswith("a.jsonl.gz:3")
    (dropped,) = found.dropped
    assert dropped["reason"] == "invalid JSON"
    assert dropped["detail"].startswith(f"{corpus}/a.jsonl.gz:2: ")


def test_a_cut_gzip_keeps_the_records_before_the_cut(corpus: Path, ingest: Run) -> None:
    """Records that come before the damage of a compressed file are kept, and the damage is a row."""
    lines = b"".join(b'{"text": "%s"}\n' % hashlib.sha256(b"%d" % i).hexdigest().encode() for i in range(5000))
    packed = gzip.compress(lines)
    (corpus / "a.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    found = ingest()
    assert 1000 < len(found.sources) < 4000
    assert found.reasons["a.jsonl.gz"] == "damaged archive"


def test_records_from_parquet(corpus: Path, ingest: Run) -> None:
    """A Parquet file's rows are records too."""
    pq.write_table(pa.table({"text": ["one", "two"], "licence": ["MIT", None]}), corpus / "a.parquet")
    rows = ingest().sources
    assert [json.loads(r["record"])["text"] for r in rows] == ["one", "two"]
    assert [r["licence"] for r in rows] == ["MIT", None]
    assert [r["path"].rpartition(":")[2] for r in rows] == ["1", "2"]


def test_equal_bytes_are_one_source(corpus: Path, ingest: Run) -> None:
    """A copy is dropped as "same bytes" with the first path, whether it is a file, a member or a record; ids are unique."""
    for name in ("a.txt", "b.txt"):
        (corpus / name).write_text("The same words.")
    (corpus / "c.jsonl").write_text('{"text": 1}\n{"text": 1}\n')
    shutil.make_archive(str(corpus / "d"), "zip", corpus, "a.txt")
    found = ingest()
    assert [Path(r["path"]).name for r in found.sources] == ["a.txt", "c.jsonl:1"]
    assert {r["reason"] for r in found.dropped} == {"same bytes"}
    assert [r["detail"] for r in found.dropped] == [str(corpus / "a.txt"), f"{corpus}/c.jsonl:1", str(corpus / "a.txt")]


def test_roots_give_the_source(corpus: Path, tmp_path: Path, ingest: Run) -> None:
    """`source` is the name of the folder that was given, or of the folder of a file that was given."""
    (corpus / "deep" / "er").mkdir(parents=True)
    (corpus / "deep" / "er" / "a.txt").write_text("First words.")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.txt").write_text("Second words.")
    found = ingest(paths=[str(corpus), str(tmp_path / "other" / "b.txt")])
    assert [r["source"] for r in found.sources] == ["corpus", "other"]


def test_names_that_are_no_utf8(corpus: Path, ingest: Run) -> None:
    """A file whose name is no UTF-8 is read all the same, from a copy that a table can name."""
    (corpus / os.fsdecode(b"caf\xe9.txt")).write_text("Words in a strangely named file.")
    found = ingest()
    (row,) = found.sources
    assert row["path"].endswith("caf\ufffd.txt")
    assert (found.folder / row["blob"]["path"]).read_text().startswith("Words")


def test_the_same_twice_is_the_same_bytes(corpus: Path, ingest: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs, with one worker and with three, write the same files byte for byte."""
    for i in range(40):
        (corpus / f"{i}.txt").write_text(f"Words number {i % 30}.")
    shutil.make_archive(str(corpus / "z"), "gztar", corpus, "1.txt")
    digests = []
    for workers in ("1", "3"):
        monkeypatch.setenv("BOREALIS_WORKERS", workers)
        folder = ingest(f"out{workers}").folder
        digests.append([sha(f.read_bytes()) for f in sorted(folder.glob("*/*.parquet"))])
    assert digests[0] == digests[1]


def test_everything_is_accounted_for(corpus: Path, ingest: Run) -> None:
    """Files in are rows plus dropped rows, for a folder with a bit of everything."""
    (corpus / "a.txt").write_text("Some words.")
    (corpus / "b.txt").write_text("Some words.")
    (corpus / "c.bin").write_bytes(bytes(range(256)))
    (corpus / "d.md").touch()
    (corpus / "e.pdf").write_bytes(PDF)
    found = ingest()
    assert len(found.sources) + len(found.dropped) == 5
    assert json.loads((found.folder / "manifest.json").read_text())["dropped"] == {
        "same bytes": 1,
        "unsupported type": 1,
        "empty file": 1,
    }
