"""What is dropped, and whether it should be: after verification on abstracts, and against tuned MinHashLSH.

`abstracts` are those of the articles, each third one with a truncated copy, and papers by three parsers. A link (dropped,
of) is right if it joins texts of one origin or of an exact Jaccard similarity of at least 0.5.

`construction` is the recipe of LSHBloom's authors (arXiv 2411.04257, `synthetic_benchmark`): papers, of which 10, 50 or 90 %
are copies, by another parser or with 1 to 20 % of the characters cut out. Both are tuned on other papers: `sketch.ngram_words`
5 or 2; MinHashLSH with words or 5-grams and thresholds from 0.3 to 0.8. (The labelled set is small: there both are tuned on
the set itself.) F1 counts texts: a group of n copies has n - 1 to drop, whichever.
"""

import gzip
import itertools
import json
import random
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from datasketch import MinHash as PeerMinHash
from datasketch import MinHashLSH

from benchmarks.dedup_corpus import CORPORA, LABELLED, WORD, cut, similarity
from benchmarks.dedup_tables import run_stage, write_documents
from benchmarks.table import Comparison, Options

CUTS = list(itertools.product((0.01, 0.02, 0.05, 0.07, 0.1, 0.15, 0.2), (0.0, 0.25, 0.5, 0.75, 1.0)))
SHARES = (0.1, 0.5, 0.9)
NGRAM_WORDS = (5, 2)
GRID = list(itertools.product((1, 5), (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)))  # words a shingle, threshold
NUM_PERM = 256
ABSTRACT = re.compile(r"^## Abstract\s+(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
THRESHOLD = 0.5


class Texts(NamedTuple):
    """Texts, and the name of what each was made from."""

    texts: list[str]
    origins: list[str]


class Settings(NamedTuple):
    """Words a shingle for ours; words a shingle and threshold for MinHashLSH."""

    ours: int
    peer: tuple[int, float]


class Score(NamedTuple):
    """Of dropped texts: how many rightly, of all dropped, of all that are one too many."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Their harmonic mean."""
        return 2 * self.precision * self.recall / max(self.precision + self.recall, 1e-9)


def accuracy(options: Options) -> Iterator[Comparison]:
    """Links on abstracts; F1 on the authors' construction and on the labelled set, alone and among other papers."""
    labelled = _labelled(options.data or CORPORA / LABELLED)
    if options.data is None:
        articles = _articles()
        tuning, others = articles[:240], articles[240:]
        yield from _links(_abstracts(articles[: 200 if options.quick else None]))
        size = 120 if options.quick else 800
        for share in SHARES:
            settings = _tuned(_construct(tuning, share, min(size, len(tuning)), seed=1))
            yield _f1(f"{share:.0%} copies", _construct(others, share, size, seed=2), settings)
        names = [f"other {i}" for i in range(len(others))]
        among = Texts(labelled.texts + others, labelled.origins + names)
        yield _f1(f"labelled set among {len(others)} papers", among, _tuned(labelled))
    yield _f1("labelled set", labelled, _tuned(labelled))


def _tuned(found: Texts) -> Settings:
    """The settings with the best F1, ours and the peer's."""
    ours = max(NGRAM_WORDS, key=lambda words: _score(found, set(_ours(found, ngram_words=words))).f1)
    return Settings(ours, max(GRID, key=lambda setting: _score(found, _peer(found, *setting)).f1))


def _links(found: Texts) -> Iterator[Comparison]:
    dropped = _ours(found)
    right = [
        found.origins[i] == found.origins[of] or _alike(found, i, of) for i, of in dropped.items() if of is not None
    ]
    first = {origin: i for i, origin in reversed(list(enumerate(found.origins)))}
    copies = [(i, first[origin]) for i, origin in enumerate(found.origins) if first[origin] != i]
    copies = [pair for pair in copies if _alike(found, *pair)]
    resolved = sum(i in dropped or of in dropped for i, of in copies) / max(1, len(copies))
    precision = sum(right) / max(1, len(dropped))
    peer = "exact Jaccard"
    yield Comparison(f"abstracts, precision of {len(dropped)} links", peer, precision, 1.0, "share", precision, None)
    yield Comparison(f"abstracts, recall of {len(copies)} copies", peer, resolved, 1.0, "share", resolved, None)


def _f1(what: str, found: Texts, settings: Settings) -> Comparison:
    words, setting = settings
    ours, theirs = _score(found, set(_ours(found, ngram_words=words))), _score(found, _peer(found, *setting))
    print(f"{what}: {words}-grams {ours}; MinHashLSH, {setting[0]}-grams, threshold {setting[1]} {theirs}", flush=True)
    peer = f"MinHashLSH, {setting[0]}-grams, {setting[1]}"
    return Comparison(
        f"F1, {what}, {words}-grams", peer, ours.f1, theirs.f1, "F1", ours.f1 / max(theirs.f1, 1e-9), None
    )


def _alike(found: Texts, one: int, two: int) -> bool:
    return similarity(found.texts[one], found.texts[two]) >= THRESHOLD


def _score(found: Texts, dropped: set[int]) -> Score:
    sizes, gone = Counter(found.origins), Counter(found.origins[i] for i in dropped)
    right = sum(min(count, sizes[origin] - 1) for origin, count in gone.items())
    return Score(right / max(1, len(dropped)), right / max(1, sum(size - 1 for size in sizes.values())))


def _ours(found: Texts, **sketch: int) -> dict[int, int | None]:
    """The dropped texts, each with what it is said to be a copy of: both stages, with their defaults but for `sketch`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        documents = write_documents(folder / "in", [pa.array(found.texts)])
        run_stage("sketch", folder / "sketch", sketch, {"documents": documents}, workers=1)
        inputs = {"documents": documents, "sketches": folder / "sketch" / "sketches"}
        run_stage("dedup", folder / "dedup", {"num_decoys": 0}, inputs, workers=1)
        numbers = {d: int(p[:-4]) for d, p in zip(*_columns(documents, "doc_id", "path"), strict=True)}
        kept = set(_columns(folder / "dedup" / "documents", "doc_id")[0])
        ids, of = _columns(folder / "dedup" / "duplicates", "doc_id", "of")
    return {numbers[i]: numbers.get(o) for i, o in zip(ids, of, strict=True) if i not in kept}


def _columns(folder: Path, *names: str) -> list[list[Any]]:
    table = pq.read_table(folder, columns=list(names))
    return [table[name].to_pylist() for name in names]


def _peer(found: Texts, words: int, threshold: float) -> set[int]:
    """As its documents say: a text that the index knows is dropped, another is put in."""
    index, dropped = MinHashLSH(threshold=threshold, num_perm=NUM_PERM), set()
    for i, text in enumerate(found.texts):
        signature = PeerMinHash(num_perm=NUM_PERM)
        signature.update_batch(_shingles(text, words))
        if index.query(signature):
            dropped.add(i)
        else:
            index.insert(i, signature)
    return dropped


def _shingles(text: str, size: int) -> list[bytes]:
    words = WORD.findall(text.lower())
    return list({" ".join(words[i : i + size]).encode() for i in range(max(1, len(words) - size + 1))})


def _abstracts(articles: Sequence[str]) -> Texts:
    found = [m[1].strip() for m in map(ABSTRACT.search, articles) if m and len(m[1]) > 400]
    texts, origins = list(found), [f"abstract {i}" for i in range(len(found))]
    for i in range(0, len(found), 3):
        texts.append(cut(found[i], *CUTS[i // 3 % len(CUTS)]))
        origins.append(origins[i])
    parsed = _labelled(CORPORA / LABELLED, ("gold", "pdftotext", "pymupdf"))
    return Texts(texts + parsed.texts, origins + parsed.origins)


def _construct(articles: Sequence[str], share: float, size: int, seed: int) -> Texts:
    """So many texts of which that share are copies, up to half of these by another parser, in random order."""
    draw, num_originals, num_copies = random.Random(seed), round(size * (1 - share)), round(size * share)
    gold, parsed = (_labelled(CORPORA / LABELLED, v) for v in (("gold",), ("pdftotext", "pymupdf")))
    names = gold.origins[: num_originals // 2]
    texts = gold.texts[: len(names)] + draw.sample(list(articles), num_originals - len(names))
    origins = names + [str(i) for i in range(len(names), num_originals)]
    copies = [pair for pair in zip(*parsed, strict=True) if pair[1] in names][: num_copies // 2]
    for k in range(num_copies - len(copies)):
        i = draw.randrange(num_originals)
        copies.append((cut(texts[i], *CUTS[k % len(CUTS)]), origins[i]))
    both = list(zip(texts, origins, strict=True)) + copies
    draw.shuffle(both)
    return Texts([text for text, _ in both], [origin for _, origin in both])


def _labelled(file: Path, variants: tuple[str, ...] = ()) -> Texts:
    rows = [r for r in _lines(file) if not variants or r["variant"] in variants]
    texts = [r["text"] for r in rows]
    return Texts(texts, [r["doc_id"] if r["relation"].endswith("not-duplicate") else r["cluster"] for r in rows])


def _articles() -> list[str]:
    return [row["text"] for file in sorted(CORPORA.glob("pmc-*.jsonl.gz")) for row in _lines(file)]


def _lines(file: Path) -> list[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]
