"""The stage: a row out for each row in, the same whatever the shards, the batches and the threads."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas import corpus
from schemas.corpus import Document, PageSpan
from stages.command import main
from stages.sketch import Sketch, rows
from stages.sketch.minhash import MinHash
from stages.sketch.normalize import normalize, words
from tests.stages.sketch import plain
from tests.tables import write_table

ROOT = Path(__file__).parents[3]
TEXTS = [
    "One ﬁne day, in the hyphen-\nated world.",
    "±",
    "word",
    "a b c",
    "x " * 50,
    "中文 テスト α β γ " * 9,
    "e\u0301" * 30,
]


def document(number: int, text: str, **other: Any) -> Document:
    """Make a document."""
    fields: dict[str, Any] = {
        "doc_id": hashlib.sha256(b"%d" % number).hexdigest(),
        "text": text,
        "pages": [],
        "media_type": "text/plain",
        "path": f"{number}.txt",
        "source": "test",
        "licence": "CC0-1.0",
        "title": None,
        "doi": None,
        "language": None,
    }
    return Document(**fields | other)


def table(folder: Path, documents: Iterable[Document]) -> Path:
    """Write them as an input table."""
    return write_table(folder, Document, documents, name="documents")


def run(documents: Path, out: Path, *arguments: str, **settings: Any) -> int:
    """Run the stage by its command line; returns the exit code."""
    out.mkdir(exist_ok=True)
    (out / "settings.json").write_text(json.dumps(settings))
    config = ["--config", str(out / "settings.json")]
    with pytest.raises(SystemExit) as exit_:
        main(Sketch, ["--documents", str(documents), "--out", str(out), *config, *arguments])
    return int(str(exit_.value.code))


def found(out: Path) -> list[dict[str, Any]]:
    """Read the sketches, part after part."""
    parts = sorted((out / "sketches").glob("part-*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def test_rows_are_the_plain_ones(tmp_path: Path) -> None:
    """Digest, counts and keys of each document are those of the plain functions, short and empty ones included."""
    documents = table(tmp_path / "in", [document(i, t) for i, t in enumerate(TEXTS)])
    assert run(documents, tmp_path / "out", ngram_words=3, num_bands=2, rows_per_band=3, seed=7) == 0
    for row, text in zip(found(tmp_path / "out"), TEXTS, strict=True):
        ngrams = set(plain.ngrams(words(normalize(text)), 3))
        keys = plain.band_keys(ngrams, 2, 3, 7) if ngrams else []
        assert row["content_sha"] == hashlib.blake2b(normalize(text).encode(), digest_size=16).hexdigest()
        assert row["num_shingles"] == len(ngrams)
        assert row["num_characters"] == len(text)
        assert row["band_keys"] == b"".join(key.to_bytes(8, "little") for key in keys)
        assert (row["quality"], row["licence"]) == (1.0, "CC0-1.0")


def test_quality_is_the_clean_share(tmp_path: Path) -> None:
    """Characters read by OCR and characters that stand for nothing both count against a copy."""

    def page(start: int, end: int, origin: str) -> PageSpan:
        return PageSpan(page=1, start=start, end=end, parser="p", origin=origin)

    documents = [
        document(0, "a" * 100),
        document(1, "a" * 100, pages=[page(0, 60, "text layer"), page(60, 80, "ocr"), page(80, 100, "ocr")]),
        document(2, "a" * 90 + "\ufffd" * 10),
        document(3, "a" * 90 + "\ufffd" * 10, pages=[page(0, 50, "native"), page(50, 100, "ocr")]),
        document(4, "\ufffd"),
    ]
    assert run(table(tmp_path / "in", documents), tmp_path / "out") == 0
    assert [row["quality"] for row in found(tmp_path / "out")] == pytest.approx([1, 0.6, 0.9, 0.45, 0])


def test_names_of_the_work(tmp_path: Path) -> None:
    """The names come from DOI, file name and title, in each row."""
    documents = [
        document(0, "text", doi="10.1/A", path="x/2101.00001.pdf", title="One two three four"),
        document(1, "t"),
    ]
    assert run(table(tmp_path / "in", documents), tmp_path / "out") == 0
    assert [r["works"] for r in found(tmp_path / "out")] == [
        ["arxiv:2101.00001", "doi:10.1/a", "title:one two three four"],
        [],
    ]


def test_shards_threads_and_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One or three shards, one or four threads, pieces of a text or of all: the same rows in the same order."""
    draw = np.random.default_rng(0)
    texts = [" ".join(f"w{n}" for n in draw.integers(0, 300, draw.integers(0, 400))) or "…" for _ in range(50)]
    documents = table(tmp_path / "in", [document(i, t) for i, t in enumerate(texts)])
    assert run(documents, tmp_path / "one") == 0
    monkeypatch.setenv("BOREALIS_WORKERS", "4")
    monkeypatch.setattr(rows, "PIECE_BYTES", 1000)
    assert run(documents, tmp_path / "pieces") == 0
    for shard in range(3):
        assert run(documents, tmp_path / "three", "--shard", f"{shard}/3") == 0
    assert run(documents, tmp_path / "three", "--commit", "3") == 0
    files = [next((tmp_path / name / "sketches").glob("part-*")).read_bytes() for name in ("one", "pieces")]
    assert files[0] == files[1]
    assert found(tmp_path / "one") == found(tmp_path / "three")


def test_pieces_keep_to_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row is in one piece, in order; a piece of more than one row is not larger than it may be."""
    monkeypatch.setattr(rows, "PIECE_BYTES", 10)
    texts = ["", "123", "1234567", "1", "12345678901234", "", "1234567890", "12"]
    cut = [piece["text"].to_pylist() for piece in rows.pieces(pa.record_batch({"text": texts}))]
    assert [t for piece in cut for t in piece] == texts
    assert all(len(piece) == 1 or sum(map(len, piece)) <= 10 for piece in cut)
    assert list(rows.pieces(pa.record_batch({"text": pa.array([], pa.string())}))) == []


def test_few_pieces_are_in_memory() -> None:
    """Of an endless stream only two pieces a thread are read ahead of what was taken."""
    read = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal read
        while True:
            read += 1
            yield pa.RecordBatch.from_pylist([document(read, "some text").model_dump()], Document.arrow_schema())

    stream = rows.sketches(MinHash(2, 2, 0), batches(), workers=2)
    for taken in range(1, 6):
        assert next(stream).num_rows == 1
        assert read <= taken + 5
    stream.close()  # type: ignore[attr-defined]


def test_text_that_is_not_utf8_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table whose text is not UTF-8 ends the stage with exit code 3, naming the document."""
    documents = table(tmp_path / "in", [document(0, "fine"), document(1, "broken text")])
    part = next(documents.glob("part-*"))
    whole = pq.read_table(part)
    broken = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(np.array([0, 4, 7], np.int32)), pa.py_buffer(b"fine\xff\xfe\x80")]
    )
    pq.write_table(whole.set_column(1, whole.schema.field("text"), broken), part)
    assert run(documents, tmp_path / "out") == 3
    words_ = capsys.readouterr().err
    assert "1.txt" in words_
    assert "0.txt" not in words_


def test_no_documents_and_settings(tmp_path: Path) -> None:
    """An empty table gives an empty table; a setting that cannot be ends with exit code 2."""
    documents = table(tmp_path / "in", [])
    assert run(documents, tmp_path / "out") == 0
    assert found(tmp_path / "out") == []
    for settings in ({"ngram_words": 0}, {"num_bands": 0}, {"rows_per_band": 0}, {"seed": -1}):
        assert run(documents, tmp_path / "wrong", **settings) == 2


def command(documents: Path, out: Path, *arguments: str) -> Sequence[str]:
    """The stage's command line as another process runs it."""
    return [sys.executable, "-m", "stages.sketch", "--documents", str(documents), "--out", str(out), *arguments]


def test_killed_and_run_again(tmp_path: Path) -> None:
    """A run that was killed leaves no manifest; run again it writes the bytes of the unbroken run."""
    draw = np.random.default_rng(1)
    texts = [" ".join(f"w{n}" for n in draw.integers(0, 5000, 40_000)) for _ in range(40)]
    documents = table(tmp_path / "in", [document(i, t) for i, t in enumerate(texts)])
    environment = os.environ | {"BOREALIS_WORKERS": "1"}
    victim = subprocess.Popen(command(documents, tmp_path / "out"), cwd=ROOT, env=environment)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").glob("sketches/*.tmp")) and time.monotonic() < deadline:
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert not (tmp_path / "out" / "manifest.json").exists()
    for out, seed in (("out", "1"), ("unbroken", "2")):
        again = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run(command(documents, tmp_path / out), cwd=ROOT, env=again, check=True)
    first, second = (next((tmp_path / out / "sketches").glob("part-*")) for out in ("out", "unbroken"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.slow
def test_a_text_of_200_megabytes(tmp_path: Path) -> None:
    """One text of 200 MB is sketched in memory of a few times its size, and its n-grams are all counted."""
    numbers = " ".join(str(n) for n in range(10_000_000, 32_000_000))
    batch = pa.RecordBatch.from_pylist([document(0, numbers).model_dump()], Document.arrow_schema())
    sketch = rows.sketch_rows(MinHash(42, 6, 0), batch)
    corpus.Sketch.check(sketch.schema)
    assert sketch["num_shingles"].to_pylist() == [22_000_000 - 4]
