"""The true text of every page of real papers, from the true text of the paper: a folder laid out like `pdf-gold`.

`manifest.csv` names files and their gold text. Four words in a row that the gold has once and a page's text has once tie
that place in the gold to the page; every other word goes with the nearest tied place. Pages of a damaged copy have the
truth of the same pages of the copy whose text is best. References, which are kept apart, are tied in the same way. What
is given up: what the gold leaves out (affiliations, dates, running heads) counts against every parser alike.
"""

import csv
import itertools
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from stages.parse import pdf
from stages.parse.train.fit import page_text
from stages.parse.train.pages import Known

GRAM = 4


def papers(folder: Path, most_pages: int = 10**9) -> Iterator[Known]:
    """Pages with their truth; a paper that cannot be opened has none. `group` is the gold's name."""
    rows = list(csv.DictReader((folder / "manifest.csv").read_text().splitlines()))
    by_gold: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        by_gold[row["gold"]].append(row)
    pages = itertools.chain.from_iterable(_of_gold(folder, gold, copies) for gold, copies in sorted(by_gold.items()))
    return itertools.islice(pages, most_pages)


def _of_gold(folder: Path, gold: str, copies: Sequence[dict[str, str]]) -> Iterator[Known]:
    words = (folder / gold).read_text().split()
    references = folder / gold.replace(".gold.txt", ".refs.txt")
    words += references.read_text().split() if references.is_file() else []
    texts = {row["file"]: _layers(folder / row["file"]) for row in copies}
    found = {file: tied(words, pages) for file, pages in texts.items() if pages}
    if not found:
        return
    best = max(found, key=lambda file: found[file][1])
    truths = found[best][0]
    for row in copies:
        if len(texts[row["file"]]) == len(truths):
            for index, truth in enumerate(truths):
                yield Known(folder / row["file"], index, truth, Path(gold).name, row["kind"])


def _layers(path: Path) -> list[str]:
    try:
        document = pdf.open_pdf(str(path))
    except pdf.PdfError:
        return []
    texts = [page_text(pdf.read_page(document, i)) for i in range(len(document))]
    document.close()
    return texts


def tied(words: Sequence[str], pages: Sequence[str]) -> tuple[list[str], int]:
    """The words of a gold text by page, and how many places are tied."""
    once = {gram for gram, count in Counter(_grams(words)).items() if count == 1}
    where: dict[tuple[str, ...], int] = {}
    twice = set()
    for number, text in enumerate(pages):
        for gram in _grams(text.split()):
            if gram in where:
                twice.add(gram)
            elif gram in once:
                where[gram] = number
    ties: dict[int, int] = {}
    for at, gram in enumerate(_grams(words)):
        if gram in where and gram not in twice:
            ties |= {at + k: where[gram] for k in range(GRAM) if at + k not in ties}
    places = deque(ties.items())
    truths: list[list[str]] = [[] for _ in pages]
    for at, word in enumerate(words):
        while len(places) > 1 and abs(places[1][0] - at) < abs(places[0][0] - at):
            places.popleft()
        if places:
            truths[places[0][1]].append(word)
    return [" ".join(t) for t in truths], len(where) - len(twice)


def _grams(words: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*(words[i:] for i in range(GRAM)), strict=False))
