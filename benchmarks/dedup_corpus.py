"""Papers, cut copies of some of them, and a labelled set, with the true similarity of each copy to its original.

Cut copies are made as the authors of LSHBloom make them (arXiv 2411.04257): 1, 5, 10 or 20 % of a paper's characters taken
out around its begin, its quarters or its end.
"""

import gzip
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

CORPORA = Path(__file__).parents[1].parent / "shared" / "data" / "corpora"
LABELLED, PAPERS = "dedup-labelled.jsonl.gz", "pmc-ccby-1240-more.jsonl.gz"
CUTS = list(itertools.product((0.01, 0.05, 0.1, 0.2), (0.0, 0.25, 0.5, 0.75, 1.0)))
WORD = re.compile(r"\w+")
THRESHOLD = 0.5  # Jaccard of word 5-grams from which two texts are copies


class Corpus(NamedTuple):
    """`of[i]` is the row that text `i` is a copy of, or None; `jaccard[i]` their true similarity."""

    texts: list[str]
    of: list[int | None]
    jaccard: list[float]

    @property
    def size_bytes(self) -> int:
        """UTF-8 bytes of all texts."""
        return sum(len(t.encode()) for t in self.texts)

    def recall(self, flagged: list[bool]) -> float:
        """Share of the true copies that are flagged."""
        found = [flag for flag, jaccard in zip(flagged, self.jaccard, strict=True) if jaccard >= THRESHOLD]
        return sum(found) / max(1, len(found))

    def resolved(self, dropped: list[bool]) -> float:
        """Share of the true copies that do not stay beside their original, whichever of the two was dropped."""
        pairs = [(i, of) for i, of in enumerate(self.of) if of is not None and self.jaccard[i] >= THRESHOLD]
        return sum(dropped[i] or dropped[of] for i, of in pairs) / max(1, len(pairs))

    def false(self, flagged: list[bool]) -> int:
        """Texts that are flagged though they are alone: no copy and without one."""
        paired = {i for i, of in enumerate(self.of) if of is not None} | {of for of in self.of if of is not None}
        return sum(flag for i, flag in enumerate(flagged) if i not in paired)


def load(data: Path | None, num_papers: int, *, one_in: int = 4) -> Corpus:
    """A labelled file alone if one is given; else papers, a cut copy of one in `one_in`, and the labelled file."""
    texts, of = _labelled(data or CORPORA / LABELLED)
    if data is None:
        papers = [row["text"] for row in itertools.islice(_lines(CORPORA / PAPERS), num_papers)]
        first = len(texts)
        texts += papers
        of += [None] * len(papers)
        for i in range(0, len(papers), one_in):
            texts.append(cut(papers[i], *CUTS[i // one_in % len(CUTS)]))
            of.append(first + i)
    jaccard = [0.0 if o is None else similarity(texts[o], t) for o, t in zip(of, texts, strict=True)]
    return Corpus(texts, of, jaccard)


def _labelled(file: Path) -> tuple[list[str], list[int | None]]:
    """Texts in order of the file; the first of a cluster is the one that the others are copies of."""
    texts: list[str] = []
    of: list[int | None] = []
    firsts: dict[str, int] = {}
    for row in _lines(file):
        of.append(firsts.get(row["cluster"]))
        firsts.setdefault(row["cluster"], len(texts))
        texts.append(row["text"])
    return texts, of


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    if not file.is_file():
        raise SystemExit(f"{file} is missing: name another labelled file with --data")
    with gzip.open(file, "rt", encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def cut(text: str, share: float, centre: float) -> str:
    """Take out a share of the characters around a place."""
    size = round(share * len(text))
    start = min(max(0, round(centre * len(text) - size / 2)), len(text) - size)
    return text[:start] + text[start + size :]


def shingles(text: str) -> set[bytes]:
    """Word 5-grams as the peers are given them: lower case, runs of letters and digits."""
    words = WORD.findall(text.lower())
    return {" ".join(words[i : i + 5]).encode() for i in range(max(1, len(words) - 4))}


def similarity(left: str, right: str) -> float:
    """The Jaccard similarity of two texts' 5-grams."""
    one, two = shingles(left), shingles(right)
    return len(one & two) / len(one | two)
