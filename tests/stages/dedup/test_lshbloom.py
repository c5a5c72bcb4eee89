"""The stage: the first of a group of duplicates stays."""

import gzip
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasketch import MinHash as PeerMinHash
from datasketch import MinHashLSH

from schemas.manifest import Manifest
from stages.command import main
from stages.dedup import Dedup, lshbloom
from stages.dedup.lshbloom import BandFilters, Seen
from stages.sketch.minhash import MinHash, hash_ngrams
from stages.sketch.normalize import normalize, words

ROOT = Path(__file__).parents[3]
CORPORA = ROOT.parent / "shared" / "data" / "corpora"
Maker = Callable[[Sequence[str]], Path]


def number(index: int) -> str:
    """Name a document as a digest does."""
    return f"{index:064x}"


def flagged(texts: Sequence[str], stage: Dedup | None = None) -> list[int]:
    """Return the numbers of the texts that are taken for duplicates."""
    seen = Seen(stage or Dedup(), len(texts))
    return [i for i, text in enumerate(texts) if seen.judge(number(i), text)]


def run(documents: Path, out: Path, **settings: Any) -> int:
    """Run the stage by its command line; returns the exit code."""
    out.mkdir(exist_ok=True)
    (out / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(SystemExit) as exit_:
        main(Dedup, ["--documents", str(documents), "--out", str(out), "--config", str(out / "settings.json")])
    return int(str(exit_.value.code))


def rows(table: Path) -> list[dict[str, Any]]:
    """Read a table."""
    return list(pq.read_table(table).to_pylist())


# ---- against a peer


def test_same_decisions_as_exact_buckets(corpus: list[str]) -> None:
    """Given our signatures, datasketch's MinHashLSH (dictionaries in place of filters) takes the same for duplicates."""
    stage = Dedup()
    family = MinHash(stage.num_bands, stage.rows_per_band, stage.seed)
    num_perm = stage.num_bands * stage.rows_per_band
    index = MinHashLSH(num_perm=num_perm, params=(stage.num_bands, stage.rows_per_band))
    expected = []
    for i, text in enumerate(corpus):
        signature = family.signature(hash_ngrams(words(normalize(text)), stage.ngram_words))
        peer = PeerMinHash(num_perm=num_perm, hashvalues=signature, scheme="affine64")
        if index.query(peer):
            expected.append(i)
        else:
            index.insert(i, peer)
    assert flagged(corpus) == expected


def test_same_duplicates_as_peer_with_its_own_hashes(corpus: list[str]) -> None:
    """With datasketch's own hash functions the two agree on 95 % of the documents, and on all that are alike or not."""
    index, expected = MinHashLSH(num_perm=252, params=(42, 6)), set()
    shingles = [{" ".join(w[i : i + 5]) for i in range(len(w) - 4)} for w in (t.split() for t in corpus)]
    kept: list[set[str]] = []
    likeness = {}
    for i, grams in enumerate(shingles):
        peer = PeerMinHash(num_perm=252)
        peer.update_batch([gram.encode() for gram in grams])
        likeness[i] = max((len(grams & k) / len(grams | k) for k in kept), default=0.0)
        if index.query(peer):
            expected.add(i)
        else:
            index.insert(i, peer)
            kept.append(grams)
    found = set(flagged(corpus))
    assert len(found ^ expected) <= 0.05 * len(corpus)
    assert {i for i, share in likeness.items() if share > 0.75} <= found
    assert not {i for i, share in likeness.items() if share < 0.1} & found


# ---- the filters


def test_false_positives_are_as_many_as_asked_for() -> None:
    """Filters filled to their capacity take about the wanted share of new documents for seen, and all old ones."""
    filters, draw = BandFilters(num_bands=6, capacity=3000, rate=0.05), random.Random(0)
    old = [[draw.getrandbits(64) for _ in range(6)] for _ in range(3000)]
    refused = sum(filters.hits(keys) > 0 for keys in old)
    assert refused < 0.05 * len(old)  # while they fill up
    fresh = [[draw.getrandbits(64) for _ in range(6)] for _ in range(4000)]
    seen = [any(key in band for key, band in zip(k, filters._filters, strict=True)) for k in fresh]
    assert 0.02 < np.mean(seen) < 0.07


def test_rates_of_bands_make_the_whole() -> None:
    """Each band's rate is such that all bands together have the rate that was set."""
    filters = BandFilters(num_bands=42, capacity=10, rate=1e-5)
    assert 1 - (1 - filters.rate_per_band) ** 42 == pytest.approx(1e-5)


def test_hits_count_bands_and_leave_the_filters_alone() -> None:
    """A document with a hit is counted and not put in, so its other bands stay unseen."""
    filters = BandFilters(num_bands=3, capacity=100, rate=1e-6)
    assert filters.hits([1, 2, 3]) == 0
    assert filters.hits([1, 2, 99]) == 2
    assert filters.hits([7, 8, 99]) == 0
    assert filters.hits([1, 2, 3]) == 3


# ---- the stage


def test_rows_out(tmp_path: Path, make_table: Maker, corpus: list[str]) -> None:
    """The first stays, a copy names it, a near copy counts its bands, and no row is lost."""
    first, other, tail = corpus[0], corpus[1], " one more sentence"
    texts = [first, first.upper() + "\n", other, first + tail, "short text", "Short  text", "±", "±", "→ ←"]
    documents = make_table(texts)
    assert run(documents, tmp_path / "out") == 0
    before = rows(documents)
    assert rows(tmp_path / "out" / "documents") == [before[i] for i in (0, 2, 4, 6, 8)]
    duplicates = rows(tmp_path / "out" / "duplicates")
    ids = [row["doc_id"] for row in before]
    assert [(ids.index(d["doc_id"]), d["of"], d["method"]) for d in duplicates] == [
        (1, ids[0], "exact"),
        (3, None, "lshbloom"),
        (5, ids[4], "exact"),
        (7, ids[6], "exact"),
    ]
    assert duplicates[1]["num_bands_hit"] > 30
    dropped = rows(tmp_path / "out" / "dropped")
    assert [(d["path"], d["reason"]) for d in dropped] == [
        ("1.txt", "exact duplicate"),
        ("3.txt", "near duplicate"),
        ("5.txt", "exact duplicate"),
        ("7.txt", "exact duplicate"),
    ]
    assert Manifest.read(tmp_path / "out").dropped == {"exact duplicate": 3, "near duplicate": 1}


def test_copies_by_another_parser(corpus: list[str]) -> None:
    """Ligatures, line breaks, hyphenation and capitals do not make a text new, nor does a page's number on each page."""
    text = corpus[5].replace("w1", "fi")
    broken = text.replace("fi", "ﬁ").replace(" wa", "\nwa").replace("w3", "w-\n3")
    pages = text.split()
    numbered = " ".join(f"{w} page {i // 100}" if i % 100 == 99 else w for i, w in enumerate(pages))
    assert flagged([text, broken, numbered]) == [1, 2]


def test_short_documents_are_not_all_alike() -> None:
    """Documents shorter than an n-gram, and those without a word, are duplicates of their like alone."""
    assert flagged(["a b", "a c", "b a", "a b!", "", "…", "§", "a b c d e", "b c d e f"]) == [3]


def test_order_decides_and_batches_do_not(
    tmp_path: Path, make_table: Maker, corpus: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches of 1, 7 or 1,000 rows give the same files."""
    documents = make_table(corpus)
    contents = []
    for size in (1, 7, 1000):
        monkeypatch.setattr(lshbloom, "BATCH_ROWS", size)
        assert run(documents, tmp_path / str(size)) == 0
        tables = [rows(tmp_path / str(size) / name) for name in ("documents", "duplicates", "dropped")]
        contents.append(tables)
    assert contents[0] == contents[1] == contents[2]
    assert len(contents[0][0]) + len(contents[0][1]) == len(corpus)


def test_same_bytes_whatever_python_hashes(tmp_path: Path, make_table: Maker, corpus: list[str]) -> None:
    """Two processes with other random hashes of strings write the same files."""
    documents = make_table(corpus)
    for seed in ("1", "2"):
        command = [sys.executable, "-m", "stages.dedup", "--documents", str(documents), "--out", str(tmp_path / seed)]
        subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": seed})
    for table in ("documents", "duplicates", "dropped"):
        first, second = (next((tmp_path / seed / table).glob("part-*")) for seed in ("1", "2"))
        assert first.read_bytes() == second.read_bytes()


def test_a_part_of_the_rows_is_refused(
    tmp_path: Path, make_table: Maker, corpus: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A shard that cannot see the other rows' duplicates does not run, and says why."""
    documents = make_table(corpus[:4])
    with pytest.raises(SystemExit) as exit_:
        main(Dedup, ["--documents", str(documents), "--out", str(tmp_path / "out"), "--shard", "0/2"])
    assert exit_.value.code == 2
    assert "one shard" in capsys.readouterr().err


@pytest.mark.parametrize("settings", [{"ngram_words": 0}, {"false_positive_rate": 1}, {"num_bands": 0}, {"seed": -1}])
def test_settings_have_limits(tmp_path: Path, make_table: Maker, settings: dict[str, Any]) -> None:
    """A setting that cannot be ends the stage with exit code 2."""
    assert run(make_table(["a"]), tmp_path / "out", **settings) == 2


def test_no_documents(tmp_path: Path, make_table: Maker) -> None:
    """An empty table gives empty tables."""
    assert run(make_table([]), tmp_path / "out") == 0
    assert rows(tmp_path / "out" / "documents") == []


# ---- on papers


def test_labelled_copies() -> None:
    """Of 20 papers and their copies, no paper is dropped, all exact copies are, and most of each other kind."""
    file = CORPORA / "dedup-labelled.jsonl.gz"
    if not file.exists():
        pytest.skip("the set of labelled copies is not on this machine")
    with gzip.open(file, "rt") as stream:
        papers = [json.loads(line) for line in stream]
    found = {papers[i]["doc_id"] for i in flagged([p["text"] for p in papers])}
    total = Counter(p["relation"] for p in papers)
    share = {r: sum(p["relation"] == r and p["doc_id"] in found for p in papers) / n for r, n in total.items()}
    assert (share["original"], share["exact"]) == (0, 1)
    assert min(share["parser"], share["truncated"], share["revision"]) >= 0.85
    assert share["partial-not-duplicate"] <= 2 / 6  # one abstract is most of its short article


def test_different_papers_stay() -> None:
    """None of 260 different papers is taken for another."""
    file = CORPORA / "pmc-ccby-260.jsonl.gz"
    if not file.exists():
        pytest.skip("the set of real papers is not on this machine")
    with gzip.open(file, "rt") as stream:
        texts = [json.loads(line)["text"] for line in stream]
    assert flagged(texts) == []
