"""On real papers and their labelled copies, and on their abstracts with planted copies; exact Jaccard is the judge."""

import gzip
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stages.sketch.normalize import normalize, words
from tests.stages.dedup.corpora import Maker, doc_id, lost

CORPORA = Path(__file__).parents[4] / "shared" / "data" / "corpora"
CUTS = (0.01, 0.02, 0.05, 0.1, 0.2)


def read(name: str) -> list[dict[str, Any]]:
    """The lines of a file; the test is skipped where it is missing."""
    file = CORPORA / name
    if not file.exists():
        pytest.skip(f"{name} is not on this machine")
    with gzip.open(file, "rt") as stream:
        return [json.loads(line) for line in stream]


def grams(text: str) -> set[tuple[str, ...]]:
    """The distinct 5-grams of the normalized words."""
    cut = words(normalize(text))
    return {tuple(cut[i : i + 5]) for i in range(len(cut) - 4)}


def test_labelled_copies(make: Maker) -> None:
    """Of 20 papers and their copies one a paper stays, beside what OCR has made unlike and what is no copy."""
    papers = read("dedup-labelled.jsonl.gz")
    found = lost(make([p["text"] for p in papers]).dedup(num_decoys=20))
    number = {doc_id(i): i for i in range(len(papers))}
    assert all(papers[number[d]]["cluster"] == papers[number[r["of"]]]["cluster"] for d, r in found.items())
    stay = Counter(p["relation"] for i, p in enumerate(papers) if doc_id(i) not in found)
    copies = {"original", "exact", "parser", "truncated", "revision"}
    assert sum(stay[relation] for relation in copies) == 20
    assert stay["partial-not-duplicate"] >= 4  # of 6; one abstract is 57 % of its article, one half of a cut one


def test_different_papers_stay(make: Maker) -> None:
    """None of 260 different papers is taken for another."""
    assert lost(make([p["text"] for p in read("pmc-ccby-260.jsonl.gz")]).dedup()) == {}


def test_planted_truncations_and_parsers(make: Maker) -> None:
    """Of cut copies and copies with a parser's noise, the pairs found are those of exact Jaccard: 99 % right, 95 % found."""
    draw, texts, origin = random.Random(0), [], []
    for i, paper in enumerate(read("pmc-ccby-260.jsonl.gz")):
        passage = paper["text"][:6000]
        texts.append(passage)
        origin.append(i)
        if i % 2 == 0:
            size = int(len(passage) * CUTS[i // 2 % len(CUTS)])
            at = draw.randrange(len(passage) - size)
            texts.append(passage[:at] + passage[at + size :])
            origin.append(i)
        if i % 3 == 0:
            texts.append(as_another_parser(passage, draw))
            origin.append(i)
    found = lost(make(texts).dedup(min_length_fraction=1))
    alike = {frozenset({i, j}) for i in range(len(texts)) for j in range(i) if origin[i] == origin[j]}
    sets = [grams(t) for t in texts]
    true = {p for p in alike if len(sets[min(p)] & sets[max(p)]) / len(sets[min(p)] | sets[max(p)]) >= 0.5}
    number = {doc_id(i): i for i in range(len(texts))}
    right = [d for d, r in found.items() if origin[number[d]] == origin[number[r["of"]]]]
    assert len(right) >= 0.99 * len(found)
    together = {number[d]: number[r["of"]] for d, r in found.items()}
    caught = sum(together.get(min(p), min(p)) == together.get(max(p), max(p)) for p in true)
    assert len(true) > 200
    assert caught >= 0.95 * len(true)


def as_another_parser(text: str, draw: random.Random) -> str:
    """Lines broken and hyphenated, ligatures, a running title now and then, some lines lost."""
    lines, line = [], ""
    for word in text.replace("fi", "ﬁ").split():
        if len(line) + len(word) > 70 and len(word) > 8:
            lines.append(f"{line} {word[:4]}-")
            line = word[4:]
        elif len(line) > 70:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}"
    kept = [f"{x}\nJournal of {i} things" if i % 25 == 24 else x for i, x in enumerate(lines) if draw.random() > 0.03]
    return "\n".join([*kept, line])
