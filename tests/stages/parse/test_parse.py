"""Parse from end to end: documents, reasons, order, kills."""

import csv
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import psutil
import pytest

from schemas.corpus import SourceFile
from schemas.manifest import Manifest
from stages.base import PACKAGE_ROOT, SettingsError
from stages.parse import Parse
from stages.parse.lines import Line, Page
from stages.parse.store import Store
from stages.parse.times import rows
from stages.tables import Outputs
from tests.stages.parse.conftest import WORDS, Parsed, record, run_parse, scan, shifted, source, typeset
from tests.tables import write_table

Run = Callable[..., Parsed]
GOLD = PACKAGE_ROOT.parent / "shared" / "data" / "pdf-gold"


@pytest.fixture(scope="module")
def short_page() -> bytes:
    """A page with three lines of text."""
    return typeset(WORDS[:180])


def corpus(folder: Path, short_page: bytes) -> list[SourceFile]:
    """Thirteen sources: good ones of each kind, and bad ones of each kind."""
    files: dict[str, tuple[bytes, str]] = {
        "good.pdf": (typeset("= Heat in metals\n" + WORDS * 3), "application/pdf"),
        "scan.pdf": (scan(short_page), "application/pdf"),
        "shift.pdf": (shifted(short_page, 2), "application/pdf"),
        "cut.pdf": (short_page[: len(short_page) // 2], "application/pdf"),
        "blank.pdf": (typeset("#v(1em)"), "application/pdf"),
        "good.txt": (WORDS.encode(), "text/plain"),
        "noise.txt": (bytes(range(256)) * 8, "text/plain"),
        "short.md": (b"# Hi", "text/markdown"),
        "good.xml": (f"<article><body><p>{WORDS}</p></body></article>".encode(), "application/jats+xml"),
        "bad.xml": (b"<article><body>", "application/jats+xml"),
    }
    rows = []
    for name, (data, media_type) in files.items():
        (folder / name).write_bytes(data)
        rows.append(source(folder / name, media_type, licence="CC-BY-4.0"))
    gone = folder / "gone.txt"
    gone.write_text("here for now, gone soon after")
    rows.append(source(gone, "text/plain"))
    gone.unlink()
    return [*rows, record(json.dumps({"text": WORDS})), record('{"smiles": "CCO"}')]


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory, short_page: bytes) -> tuple[list[SourceFile], Parsed]:
    """The corpus, and what two workers made of it."""
    base = tmp_path_factory.mktemp("everything")
    rows = corpus(base, short_page)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOREALIS_WORKERS", "2")
        return rows, run_parse(base, rows)


def test_every_source_is_a_document_or_a_reason(everything: tuple[list[SourceFile], Parsed]) -> None:
    """Sources in are documents out plus dropped rows, in order, each of the bad ones with its reason."""
    rows, found = everything
    assert [Path(d["path"]).name.split(":")[0] for d in found.documents] == [
        "good.pdf",
        "scan.pdf",
        "shift.pdf",
        "good.txt",
        "good.xml",
        "r.jsonl",
    ]
    reasons = {k.split(":")[0]: v for k, v in found.reasons.items()}
    assert reasons == {
        "cut.pdf": "damaged PDF",
        "blank.pdf": "no text",
        "noise.txt": "not text",
        "short.md": "no text",
        "bad.xml": "damaged XML",
        "gone.txt": "file changed",
        "r.jsonl": "no text field",
    }
    assert {d["doc_id"] for d in found.documents} | {r["row_id"] for r in found.dropped} == {r.source_id for r in rows}


def test_a_document_says_where_its_text_is_from(everything: tuple[list[SourceFile], Parsed]) -> None:
    """Spans name the parser of each page, texts are those that were typeset, and provenance goes along."""
    found = everything[1].by_name
    parsers = {n: [(s["parser"], s["origin"]) for s in d["pages"]] for n, d in found.items() if ":" not in n}
    engine = Parse().ocr
    assert parsers == {
        "good.pdf": [("pypdfium2", "text layer")],
        "scan.pdf": [(engine, "ocr")],
        "shift.pdf": [(engine, "ocr")],
        "good.txt": [("text", "native")],
        "good.xml": [("jats", "native")],
    }
    good = found["good.pdf"]
    assert good["text"].split() == ("Heat in metals " + WORDS * 3).split()
    assert (good["title"], good["licence"], good["source"]) == ("Heat in metals", "CC-BY-4.0", "test")
    for name in ("scan.pdf", "shift.pdf"):
        expected = Counter(WORDS[:180].split())
        read = Counter(found[name]["text"].split())
        assert sum((read & expected).values()) >= 0.9 * sum(expected.values())
    assert found["good.txt"]["text"] == WORDS.strip()
    for document in found.values():
        spans = document["pages"]
        assert (spans[0]["start"], spans[-1]["end"]) == (0, len(document["text"]))


def test_times_say_how_long_each_page_took(everything: tuple[list[SourceFile], Parsed]) -> None:
    """A line for every page of every document by its first reader, one more for a page read again; the manifest has sums."""
    _, found = everything
    timed = list(rows(found.folder))
    names = {d["doc_id"]: name for name, d in found.by_name.items()}
    by_name = {
        (names[s], page): [p for t, n, p, _ in timed if (t, n) == (s, page)] for s, page, _, _ in timed if s in names
    }
    assert by_name["good.pdf", 1] == ["pypdfium2"]
    assert by_name["scan.pdf", 1] == ["pypdfium2", Parse().ocr]
    assert by_name["good.xml", 1] == ["jats"]
    assert {name for name, _ in by_name} == set(found.by_name)
    assert all(0 < seconds < 600 for *_, seconds in timed)
    for parser, cost in Manifest.read(found.folder).costs.items():
        own = [seconds for *_, p, seconds in timed if p == parser]
        assert (cost.count, cost.seconds) == (len(own), pytest.approx(sum(own), abs=1e-5 * len(own)))


def test_the_number_of_workers_does_not_show(
    everything: tuple[list[SourceFile], Parsed], parse: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker and two write the same tables byte for byte."""
    rows, two = everything
    monkeypatch.setenv("BOREALIS_WORKERS", "1")
    one = parse(rows)
    digests = [
        [hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.glob("*/*.parquet"))]
        for folder in (one.folder, two.folder)
    ]
    assert len(digests[0]) == 3
    assert digests[0] == digests[1]


def test_workers_killed_in_the_middle(tmp_path: Path, parse: Run) -> None:
    """Two workers killed while they work cost nothing: the same documents as without."""
    rows = []
    for number in range(8):
        (tmp_path / f"{number}.pdf").write_bytes(typeset(f"Number {number}. " + WORDS * 60))
        rows.append(source(tmp_path / f"{number}.pdf"))
    calm = parse(rows, "calm")
    stop = threading.Event()
    killed: list[int] = []
    killer = threading.Thread(target=_kill_workers, args=(stop, killed, 2))
    killer.start()
    stormy = parse(rows, "stormy")
    stop.set()
    killer.join()
    assert len(killed) == 2
    assert stormy.documents == calm.documents
    assert len(calm.documents) == 8


def _kill_workers(stop: threading.Event, killed: list[int], count: int) -> None:
    """Kill the first workers that show, each once it works."""
    while not stop.is_set() and len(killed) < count:
        for child in psutil.Process().children():
            try:
                is_worker = "spawn_main" in " ".join(child.cmdline()) and child.pid not in killed
                if is_worker and len(killed) < count and sum(child.cpu_times()[:2]) > 0.25:
                    child.send_signal(signal.SIGKILL)
                    killed.append(child.pid)
                    time.sleep(0.5)
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.005)


def test_a_page_that_takes_too_long_is_left_out(tmp_path: Path, parse: Run, short_page: bytes) -> None:
    """A scan that waits for a parser longer than a page may take has no text, and a text file beside it is read."""
    (tmp_path / "scan.pdf").write_bytes(scan(short_page))
    (tmp_path / "good.txt").write_text(WORDS)
    rows = [source(tmp_path / "scan.pdf"), source(tmp_path / "good.txt", "text/plain")]
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # connects and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        found = parse(rows, ocr="served", served_url=url, served_model="m", page_seconds=6)
    assert found.reasons == {"scan.pdf": "no text"}
    assert "none: served:m: time limit" in found.dropped[0]["detail"]
    assert list(found.by_name) == ["good.txt"]


def test_memory_is_limited(tmp_path: Path, parse: Run, short_page: bytes) -> None:
    """A worker that needs more memory than it may have costs its document, and the next one is read."""
    (tmp_path / "big.txt").write_bytes(b"many words " * (30 << 20))
    (tmp_path / "good.txt").write_text(WORDS)
    rows = [source(tmp_path / "big.txt", "text/plain"), source(tmp_path / "good.txt", "text/plain")]
    found = parse(rows, max_memory_bytes=700 << 20)
    assert found.reasons == {"big.txt": "out of memory"}
    assert list(found.by_name) == ["good.txt"]


def test_killed_and_run_again(tmp_path: Path, short_page: bytes, parse: Run) -> None:
    """Parse killed after its first OCR pages, then run again: the same tables, and what was read is not read again."""
    rows = []
    for number in range(3):
        (tmp_path / f"{number}.pdf").write_bytes(scan(typeset(f"Scan number {number}. " + WORDS[:120])))
        rows.append(source(tmp_path / f"{number}.pdf"))
    table = write_table(tmp_path / "in", SourceFile, rows, name="sources")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "stages.parse", "--sources", str(table), "--out", str(out)]
    process = subprocess.Popen(command, cwd=PACKAGE_ROOT, env=os.environ | {"BOREALIS_WORKERS": "1"})
    while not list(out.glob("ocr-*/*/*.json")) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    kept = {f: f.stat().st_mtime_ns for f in out.glob("ocr-*/*/*.json")}
    assert 1 <= len(kept) < 3
    file = next(iter(kept))
    fields = json.loads(file.read_text())
    fields["lines"][0][0] = "This line was kept on disk."
    file.write_text(json.dumps(fields))
    again, whole = parse(rows, "out"), parse(rows, "whole")
    changed = [a["doc_id"] for a, b in zip(again.documents, whole.documents, strict=True) if a != b]
    assert changed == [file.name.partition("-")[0]]
    assert not list(out.glob("ocr-*"))


def test_the_store_keeps_pages_and_forgets_others(tmp_path: Path) -> None:
    """A page comes back as it was put; a store with another key starts empty and clears the old one."""
    page = Page(3, 1.5, 2.5, (Line("å", 1, 2, 3, 4, 5.5),), parser="rapidocr", origin="ocr")
    store = Store(tmp_path, (0, 1), "rapidocr 110")
    store.put("ab" * 32, page)
    assert Store(tmp_path, (0, 1), "rapidocr 110").get("ab" * 32, 3) == page
    assert store.get("ab" * 32, 4) is None
    assert Store(tmp_path, (0, 1), "tesseract 200").get("ab" * 32, 3) is None
    assert not store.folder.exists()


def test_the_machine_is_no_part_of_the_output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is installed changes no fingerprint; a parser that is named and not there is an error with its cure."""
    before = Parse().fingerprint({}), Parse(price=0.1).fingerprint({})
    monkeypatch.setenv("PATH", str(tmp_path))
    for settings in ({"ocr": "tesseract"}, {"price": 0.1, "parsers": "tesseract"}):
        with pytest.raises(SettingsError, match="tesseract is not there: apt-get install"):
            Parse.parse(settings).run({"sources": None}, Outputs(tmp_path, Parse.outputs, (0, 1)))  # type: ignore[dict-item]
    (tmp_path / "tesseract").write_text("#!/bin/sh\n")
    (tmp_path / "tesseract").chmod(0o755)
    assert (Parse().fingerprint({}), Parse(price=0.1).fingerprint({})) == before
    assert len({Parse(ocr=name).fingerprint({}) for name in ("rapidocr", "tesseract", "none")}) == 3


def test_settings_of_parsers() -> None:
    """Unknown parsers, a server without an address, two ways to say what may be spent: each is said, all at once."""
    with pytest.raises(SettingsError) as caught:
        Parse.parse({"parsers": ["nougat", "served"], "budget": "1 s", "price": 1, "grobid_url": "host:8070"})
    for words in ("nougat: no such parser", "set parse.served_url", "budget and price", "grobid_url: expected a URL"):
        assert words in str(caught.value)
    served = {"price": 1.0, "parsers": "served", "served_url": "http://h/v1", "served_model": "org/m"}
    assert Parse.parse(served).reader_names() == ("served:org/m",)
    assert Parse.parse(served).fingerprint({}) == Parse.parse(served | {"served_url": "http://i/v1"}).fingerprint({})
    assert Parse(grobid_url="http://g").fingerprint({}) == Parse(grobid_url="http://h").fingerprint({})
    assert Parse(grobid_url="http://g").fingerprint({}) != Parse().fingerprint({})
    with pytest.raises(SettingsError, match=r"parse.budget: expected seconds a document \(0.5 s\), .*, found 'cheap'"):
        Parse.parse({"budget": "cheap"})
    with pytest.raises(SettingsError, match=r"there is no file .*nowhere.json; parsl train-router makes one"):
        Parse(price=1.0, weights="nowhere.json").external()


def words(text: str) -> list[str]:
    """Words as recall counts them."""
    return re.findall(r"[a-z0-9]+", text.lower())


def recall(gold: str, text: str, n: int) -> float:
    """The share of the gold text's n-grams of words that the text has."""
    ours, theirs = (Counter(zip(*[islice(words(t), i, None) for i in range(n)], strict=False)) for t in (text, gold))
    return sum((ours & theirs).values()) / sum(theirs.values())


@pytest.mark.skipif(not GOLD.is_dir(), reason="the labelled PDFs are not beside the checkout")
def test_labelled_papers(parse: Run) -> None:
    """On real papers without OCR: 98 of 100 words and 90 of 100 trigrams, no worse in order than poppler; the rest is refused."""
    rows = list(csv.DictReader((GOLD / "manifest.csv").read_text().splitlines()))
    found = parse([source(GOLD / r["file"]) for r in rows], ocr="none")
    reasons: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        name = Path(row["file"]).name
        if name in found.reasons:
            reasons[row["kind"]].add(found.reasons[name])
            continue
        if row["kind"] in {"born-digital", "rotated"}:
            gold, text = (GOLD / row["gold"]).read_text(), found.by_name[name]["text"]
            assert recall(gold, text, 1) > 0.98, name
            assert recall(gold, text, 3) > max(0.9, float(row["pdftotext_trigram_recall"]) - 0.01), name
    scans = ("scan-clean", "scan-lowres", "scan-noisy", "tounicode-pua", "tounicode-missing", "tounicode-shift")
    assert reasons == {"truncated": {"damaged PDF"}, "encrypted": {"encrypted"}, **{k: {"no text"} for k in scans}}
