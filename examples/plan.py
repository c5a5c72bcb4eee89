"""The plan: which documents a corpus has, what becomes of each, and under which name and licence.

Of `num_articles` PDFs a tenth are scans, a twentieth have a broken text layer, a twelfth repeat another article nearly
and a fortieth exactly; one is German, one has a licence that a recipe refuses, one is too short. Beside them there are
always articles in other formats, and broken files.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from examples.damage import LIES
from examples.document import Article, Layout
from examples.facts import Subject, catalogue
from examples.german import german_article
from examples.kinds import KINDS
from examples.marker import CorpusError
from examples.prose import compose, slug
from examples.typeset import LAYOUTS
from examples.variants import VARIANTS, too_short

MIN_ARTICLES, MAX_ARTICLES = 12, 400
MARKDOWN, TEXT, JATS, RECORDS, MEMBERS = 2, 1, 2, 8, 2
REFUSED_LICENCE = "CC-BY-NC-ND-4.0"
SHORT_FRACTION = 0.3  # of the articles leave out the law of their kind

Kind = Literal[
    "born-digital", "scanned", "broken-layer", "near-duplicate", "exact-duplicate", "other-language", "refused-licence",
    "too-short", "markdown", "text", "jats", "record", "member", "bad",
]  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One document. `path` is below the corpus, as ingest shows it (`records.jsonl.gz:3`, `bundle.zip/a.pdf`).

    `detail` is the way of breaking, repeating or being bad; `duplicate_of` is the path of the first one.
    """

    path: str
    kind: Kind
    subject: int
    layout: Layout | Literal[""]
    licence: str
    short: bool = False
    detail: str = ""
    duplicate_of: str = ""
    language: str = "en"

    @property
    def stem(self) -> str:
        """The name of its true text: that of the file without folders and extension; `records-3` of a record."""
        return slug(re.sub(r"\.[a-z.]+", " ", self.path.rpartition("/")[2]))


@dataclass(frozen=True)
class Plan:
    """All entries of a corpus, and the catalogue that they are written from."""

    seed: int
    entries: tuple[Entry, ...]
    subjects: tuple[Subject, ...]

    def article(self, entry: Entry) -> Article:
        """Write the article of an entry; the same for the same entry, whatever else is in the plan."""
        subject = self.subjects[entry.subject]
        cited = self._cited(entry.subject)
        if entry.kind == "other-language":
            return german_article(subject, cited, entry.licence)
        article = compose(subject, cited, self.seed, entry.licence, short=entry.short)
        if entry.kind == "too-short":
            return too_short(article)
        if entry.kind == "near-duplicate":
            return VARIANTS[entry.detail](article, random.Random(f"{self.seed}/variant/{entry.path}"))
        return replace(article, stem=entry.stem)

    def _cited(self, index: int) -> list[Subject]:
        """Two subjects of the same kind and one of another, each with a fact to repeat."""
        count, step = len(self.subjects), len(KINDS)
        rng = random.Random(f"{self.seed}/cited/{index}")
        alike = [i for i in range(index % step, count, step) if i != index]
        others = [i for i in range(count) if i % step != index % step]
        chosen = [*rng.sample(alike, min(2, len(alike))), rng.choice(others)]
        return [self.subjects[i] for i in chosen]


def make_plan(num_articles: int, seed: int) -> Plan:
    """The plan of a corpus with that many PDFs in `articles/`; `CorpusError` outside of 12 to 400."""
    if not MIN_ARTICLES <= num_articles <= MAX_ARTICLES:
        raise CorpusError(f"--articles is {num_articles}, and {MIN_ARTICLES} to {MAX_ARTICLES} can be made")
    num_near, num_exact = max(1, num_articles // 12 + 1), max(1, num_articles // 40)
    num_own = num_articles - num_near - num_exact
    num_others = MARKDOWN + TEXT + JATS + RECORDS + MEMBERS
    subjects = catalogue(num_own + num_others, seed)
    own = _own(num_articles, num_own, subjects, seed)
    copies = _copies(own, num_near, num_exact)
    entries = (*own, *copies, *_other_formats(num_own, subjects, seed), *_bad())
    return Plan(seed, entries, subjects)


def _licence(index: int, seed: int) -> str:
    return random.Random(f"{seed}/licence/{index}").choice(("CC-BY-4.0", "CC-BY-4.0", "CC-BY-4.0", "CC0-1.0"))


def _name(subject: Subject) -> str:
    return slug(f"{subject.sheet:03d} {subject.name}")


def _own(num_articles: int, num_own: int, subjects: tuple[Subject, ...], seed: int) -> list[Entry]:
    """The PDFs that repeat no other: a tenth scans, a twentieth with a broken layer, three special ones."""
    rng = random.Random(f"{seed}/plan")
    kinds: list[Kind] = [*_repeat("scanned", num_articles / 10), *_repeat("broken-layer", num_articles / 20)]
    kinds += ["refused-licence", "too-short"]
    german = KINDS.index(next(k for k in KINDS if k.noun == "alloy"))  # sheet 1; the German words are those of alloys
    places = rng.sample([i for i in range(num_own) if i != german], len(kinds))
    special: dict[int, Kind] = dict(zip(places, kinds, strict=True)) | {german: "other-language"}
    lies = iter(LIES * num_articles)
    entries = []
    for index in range(num_own):
        entry = _entry(index, special.get(index, "born-digital"), subjects, seed)
        entries.append(replace(entry, detail=next(lies)) if entry.kind == "broken-layer" else entry)
    return entries


def _repeat(kind: Kind, count: float) -> list[Kind]:
    return [kind] * max(1, round(count))


def _entry(index: int, kind: Kind, subjects: tuple[Subject, ...], seed: int) -> Entry:
    """Scans and broken layers are short and mostly of one page: a page of OCR takes seconds."""
    layout = LAYOUTS[(index + index // len(LAYOUTS)) % len(LAYOUTS)]
    if kind in {"scanned", "broken-layer"} and index % 5:
        layout = ("two-column", "journal")[index % 2]
    short = kind in {"scanned", "broken-layer"} or random.Random(f"{seed}/short/{index}").random() < SHORT_FRACTION
    return Entry(
        f"articles/{_name(subjects[index])}.pdf", kind, index, layout,
        REFUSED_LICENCE if kind == "refused-licence" else _licence(index, seed), short,
        language="de" if kind == "other-language" else "en",
    )  # fmt: skip


def _copies(own: list[Entry], num_near: int, num_exact: int) -> Iterator[Entry]:
    """Copies of born-digital articles, no article copied twice."""
    originals = [e for e in own if e.kind == "born-digital"]
    spread = originals[:: max(1, len(originals) // (num_near + num_exact))]
    for number, first in enumerate(spread[:num_near]):
        how = tuple(VARIANTS)[number % len(VARIANTS)]
        layout = LAYOUTS[(LAYOUTS.index(first.layout or "report") + 1 + number % 3) % len(LAYOUTS)]
        path = first.path.replace(".pdf", f"_{how}.pdf")  # sorts after the first: "_" > "." > "-"
        yield replace(first, path=path, kind="near-duplicate", layout=layout, detail=how, duplicate_of=first.path)
    for number, first in enumerate(spread[num_near : num_near + num_exact], 1):
        yield replace(first, path=f"articles/download-{number}.pdf", kind="exact-duplicate", duplicate_of=first.path)


def _other_formats(start: int, subjects: tuple[Subject, ...], seed: int) -> Iterator[Entry]:
    """Articles as Markdown, text, JATS, records and members of an archive, one subject each."""
    patterns: tuple[tuple[Kind, str, int], ...] = (
        ("markdown", "notes/{name}.md", MARKDOWN),
        ("text", "notes/{name}.txt", TEXT),
        ("jats", "jats/{name}.xml", JATS),
        ("record", "records.jsonl.gz:{number}", RECORDS),
        ("member", "bundle.zip/{name}.pdf", MEMBERS),
    )
    kinds = [(kind, pattern) for kind, pattern, count in patterns for _ in range(count)]
    records = 0
    for index, (kind, pattern) in enumerate(kinds, start):
        records += kind == "record"
        entry = _entry(index, kind, subjects, seed)
        path = pattern.format(name=_name(subjects[index]), number=records)
        yield replace(entry, path=path, layout=entry.layout if kind == "member" else "")


def _bad() -> Iterator[Entry]:
    for name in ("truncated", "empty", "locked", "no-pages", "not-a-pdf"):
        yield Entry(f"incoming/{name}.pdf", "bad", 0, "", "", detail=name)
