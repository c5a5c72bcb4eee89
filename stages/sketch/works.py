"""The names under which a document's work may be known elsewhere: a preprint, its article and its repository copy share one.

    doi:10.1000/xyz        the DOI, without resolver and version suffixes, in lower case
    arxiv:2101.00001       from an arXiv DOI, a file's name, or the stamp on the first page; without the version
    title:words of it      the title, normalized as texts are, letters and digits only; titles of few words name nothing

Names of one work are few and exact; whoever joins documents by a title alone has to compare their texts.
"""

import itertools
import re

import pyarrow as pa

from stages.sketch.fold import fold
from stages.sketch.normalize import words

HEAD_CHARS = 6000  # the first page, where the stamp in the margin may come last
MIN_TITLE_WORDS = 4
RESOLVER = re.compile(r"^(?:https?://)?(?:(?:dx\.)?doi\.org/|doi:)\s*")
PREPRINT_VERSION = re.compile(r"(?<=\d)v\d+$|/v\d+$")  # bioRxiv and medRxiv (10.1101), Research Square, PeerJ: .../v2
PREPRINT_PREFIXES = ("10.1101/", "10.21203/", "10.7287/", "10.20944/", "10.26434/", "10.31219/", "10.31234/")
ARXIV_DOI = "10.48550/arxiv."
NEW_ID = r"(?P<new>(?P<month>\d\d(?:0[1-9]|1[0-2]))\.\d{4,5})"  # 4 digits until 2014, 5 since
OLD_ID = r"(?P<old>[a-z-]+(?:\.[A-Z]{2})?/\d\d(?:0[1-9]|1[0-2])\d{3})"  # until March 2007
ARXIV_NAME = re.compile(rf"(?:arxiv[:._-]?)?{NEW_ID}(?:v\d+)?", re.IGNORECASE)
ARXIV_STAMP = re.compile(
    rf"\barXiv:\s?(?:{NEW_ID}|{OLD_ID})v\d+\s+\[[\w.-]+\]\s+\d{{1,2}}\s+[A-Z][a-z]{{2}}\s+\d{{4}}\b"
)
TAG = re.compile(r"</?[A-Za-z][^<>]{0,40}>")


def names(batch: pa.RecordBatch) -> list[list[str]]:
    """The names of each row of `doi`, `path`, `title` and `text`, sorted."""
    heads = pa.compute.utf8_slice_codeunits(batch["text"], 0, HEAD_CHARS).to_pylist()
    titles = (TAG.sub("", title or "") for title in batch["title"].to_pylist())
    rows = zip(batch["doi"].to_pylist(), batch["path"].to_pylist(), heads, folded_titles(list(titles)), strict=True)
    return [sorted({*of_doi(doi), *of_path(path), *of_head(head), *title}) for doi, path, head, title in rows]


def of_doi(doi: str | None) -> list[str]:
    """The DOI's name, and the arXiv's if it is one of its."""
    doi = RESOLVER.sub("", (doi or "").strip().lower()).replace("%2f", "/").rstrip(".,;")
    if not doi.startswith("10.") or "/" not in doi:
        return []
    if doi.startswith(ARXIV_DOI):
        return [f"arxiv:{re.sub(r'v[0-9]+$', '', doi.removeprefix(ARXIV_DOI))}"]
    return [f"doi:{PREPRINT_VERSION.sub('', doi) if doi.startswith(PREPRINT_PREFIXES) else doi}"]


def of_path(path: str) -> list[str]:
    """The arXiv's name of a file that is called by it, as its own files are."""
    stem = path.rpartition("/")[2]
    stem = stem[:-4] if stem[-4:].lower() in (".pdf", ".tex", ".txt") else stem
    found = ARXIV_NAME.fullmatch(stem)
    return _arxiv(found) if found else []


def of_head(head: str) -> list[str]:
    """The arXiv's name from the stamp with version, subject and date; a reference to a preprint has no date."""
    found = ARXIV_STAMP.search(head) if "arXiv" in head else None
    return _arxiv(found) if found else []


def _arxiv(found: re.Match[str]) -> list[str]:
    if found["new"] is None:
        return [f"arxiv:{found['old'].lower()}"]
    month, digits = int(found["month"]), len(found["new"]) - 5
    return [f"arxiv:{found['new']}"] if month >= 704 and digits == (4 if month <= 1412 else 5) else []


def folded_titles(titles: list[str]) -> list[list[str]]:
    """The name of each title; none for a title of few words."""
    folded = fold(pa.array(titles, pa.string()))
    text = folded.data.tobytes()
    cut = [words(text[a:b].decode()) for a, b in itertools.pairwise(folded.offsets)]
    return [[f"title:{' '.join(title)}"] if len(title) >= MIN_TITLE_WORDS else [] for title in cut]
