"""Benchmark items found in real articles, ours and datatrove's n-gram filter (12-grams of the question, its default size).

Items of `shared/data/benchmarks` are planted in stretches of the articles of `shared/data/corpora`, as they are and damaged:
OCR's confusions with hyphenated and broken lines at 1, 2, 3, 5 and 8 % of the letters; other numbers; and rewording, where
a share of the words is replaced by words that have nothing to do with them and every twentieth is dropped (harder than
synonyms, which often share a stem). The share of items found is beside datatrove's. A false document is an article as it
was published in which an item is found; every one is printed, to be judged by a reader. `equal` says that ours found
every item that datatrove found.

    python -m benchmarks.decontaminate [--quick] [--data DIR]     DIR is laid out like shared/data

datatrove 0.10 and spaCy do not go with this project's pins; make an environment that sees it and has them:
    python -m venv peers; echo $PWD/.venv/lib/python3.11/site-packages > peers/lib/python3.11/site-packages/main.pth
    peers/bin/pip install --no-deps datatrove==0.10.1 loguru humanize xxhash==3.5.0; peers/bin/pip install -c constraints.txt spacy
"""

import gzip
import importlib.util
import json
import random
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.table import Comparison, Options, main, seconds
from schemas.evaluation import BenchmarkItem
from stages.base import PACKAGE_ROOT
from stages.decontaminate import Decontaminate
from stages.decontaminate.needles import MIN_GRAMS
from stages.decontaminate.plant import by_ocr, renumbered
from stages.decontaminate.search import Search
from stages.register import Register
from stages.register.formats import read

DATA = PACKAGE_ROOT.parent / "shared" / "data"
NUM_PLANTED, QUICK_PLANTED, QUICK_ARTICLES = 1000, 100, 40
STRETCH = 1500  # characters of an article around a planted item
PEER_ARTICLES = 60  # articles that the peer is timed on, and judged by: it takes 0.3 s an article
REPETITIONS = 3
Damage = Callable[[str, random.Random], str]
Finder = Callable[[list[str]], list[bool]]


def reworded(text: str, draw: random.Random, rate: float, vocabulary: Sequence[str]) -> str:
    """Replace words at `rate`, drop one in twenty."""
    words = [draw.choice(vocabulary) if draw.random() < rate else w for w in text.split() if draw.random() > 0.05]
    return " ".join(words)


def articles(data: Path) -> list[str]:
    """The corpora's texts."""
    files = sorted((data / "corpora").glob("pmc-*.jsonl.gz"))
    return [json.loads(line)["text"] for file in files for line in gzip.open(file, "rt", encoding="utf-8")]


def compare(options: Options) -> Iterator[Comparison]:
    """Speed, then recall by damage, then false documents."""
    data = options.data or DATA
    texts = articles(data)[: QUICK_ARTICLES if options.quick else None]
    found = read(Register(paths=(str(data / "benchmarks"),)).files())
    items = [item for item in found if isinstance(item, BenchmarkItem)]
    search = Search(Decontaminate(), items)
    fit = [i for i in range(len(items)) if search.index.counts[i] >= MIN_GRAMS]
    print(
        f"{len(texts)} articles, {sum(map(len, texts)) / 1e6:.1f} M characters; {len(items)} items, {len(fit)} looked for"
    )
    peer = Peer(search.needles) if importlib.util.find_spec("datatrove") else None
    if peer is None:
        print("datatrove is not installed: see the head of this file; recall is shown beside 0, speed not at all")
    else:
        yield speed(search, peer, texts[:PEER_ARTICLES])
    draw = random.Random(0)
    chosen = draw.sample(fit, min(len(fit), QUICK_PLANTED if options.quick else NUM_PLANTED))
    for name, damage in damages(texts).items():
        yield recall(search, peer, (name, damage), chosen, texts)
    yield false_documents(search, peer, texts)


def damages(texts: Sequence[str]) -> dict[str, Damage]:
    """Ways to damage an item, by name."""
    vocabulary = [w for t in texts[:50] for w in t.split() if w.isalpha() and w.islower()]
    found: dict[str, Damage] = {"verbatim": lambda t, _: t, "other numbers": renumbered}
    found |= {f"OCR, {rate:.0%} of letters": partial(by_ocr, rate=rate) for rate in (0.01, 0.02, 0.03, 0.05, 0.08)}
    return found | {
        f"{rate:.0%} of words replaced": partial(reworded, rate=rate, vocabulary=vocabulary)
        for rate in (0.1, 0.15, 0.25, 0.35)
    }


def speed(search: Search, peer: "Peer", texts: list[str]) -> Comparison:
    """Megabytes a second on one core: articles in turn through both."""
    size = sum(len(t.encode()) for t in texts) / 1e6
    array = pa.array(texts)
    pairs = [(seconds(lambda: search(array)), seconds(lambda: peer(texts))) for _ in range(REPETITIONS + 1)][1:]
    ours, theirs = (size / statistics.median(p[i] for p in pairs) for i in (0, 1))
    return Comparison("articles searched", "datatrove n-grams", ours, theirs, "MB/s", ours / theirs, None)


def recall(
    search: Search, peer: "Peer | None", damaged: tuple[str, Damage], chosen: list[int], texts: list[str]
) -> Comparison:
    """The share of planted items that is found."""
    name, damage = damaged
    draw = random.Random(name)
    documents = [planted(damage(search.needles[i], draw), draw.choice(texts), draw) for i in chosen]
    hits = {(f.row, f.number) for f in search(pa.array(documents))}
    ours = np.array([(row, number) in hits for row, number in enumerate(chosen)])
    theirs = np.array(peer(documents)) if peer else np.zeros(len(chosen), bool)
    mine, other = float(ours.mean()), float(theirs.mean())
    every = {row for row, _ in hits}
    equal = all(row in every for row in np.flatnonzero(theirs)) if peer else None
    return Comparison(f"items found: {name}", "datatrove n-grams", mine, other, "share", mine / max(other, 1e-9), equal)


def planted(text: str, host: str, draw: random.Random) -> str:
    """A stretch of an article with a text in its middle."""
    start = draw.randrange(max(1, len(host) - STRETCH))
    host = host[start : start + STRETCH]
    return f"{host[: len(host) // 2]}\n\n{text}\n\n{host[len(host) // 2 :]}"


def false_documents(search: Search, peer: "Peer | None", texts: list[str]) -> Comparison:
    """Articles in which an item is found; all are printed."""
    found = search(pa.array(texts))
    for f in found:
        item = search.items[f.number]
        print(
            f"  {item.benchmark} {item.item_id} ({f.verdict.tier}, {f.verdict.score:.2f}): {search.needles[f.number][:150]!r}"
        )
        print(f"    in {texts[f.row][:80]!r}: {texts[f.row][f.start : f.end][:200]!r}")
    mine = len({f.row for f in found}) / len(texts)
    some = texts[:PEER_ARTICLES]
    other = sum(peer(some)) / len(some) if peer else 0.0
    return Comparison(
        "false documents", "datatrove n-grams", mine, other, "share", (other + 1e-9) / (mine + 1e-9), None
    )


class Peer:
    """datatrove's filter over an index of 12-grams of the needles, made by its own functions."""

    def __init__(self, needles: Sequence[str]) -> None:
        from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
        from datatrove.utils.text import ngrams, simplify_text

        folder = Path(tempfile.mkdtemp(prefix="decont-"))
        config = NGramsDecontConfig(find_query_ngrams=True)
        self.filter = NGramsDecontFilter(str(folder), config=config)
        words = (self.filter.tokenizer.word_tokenize(simplify_text(n, config.norm_config)) for n in needles)
        grams = (" ".join(g) for w in words for g in ngrams(w, config.n_grams))
        hashes = np.array(sorted({self.filter.hash_func(g) for g in grams}), config.hash_config.np_descr)
        hashes.tofile(folder / "all.index.hashes")

    def __call__(self, texts: Sequence[str]) -> list[bool]:
        """Say of each text whether it is contaminated."""
        from datatrove.data import Document

        kept: list[Any] = [self.filter.filter(Document(text=t, id=str(i))) for i, t in enumerate(texts)]
        return [k is not True for k in kept]


if __name__ == "__main__":
    main("decontaminate", compare)
