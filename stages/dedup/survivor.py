"""Which copy of a cluster stays: the first difference in this table decides.

1  legible    quality, in tenths: text layer or markup before OCR, clean before garbled
2  free       an open licence, then any licence that is named, then none
3  version    published (a DOI of a journal), then unknown, then a preprint (arXiv, bioRxiv and the like)
4  longer     characters of normalized text
5  path       in order of the alphabet, then doc_id: a choice has to be made, and always the same one
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

OPEN = ("cc0", "cc by", "cc pdm", "mit", "apache", "bsd", "public domain", "pddl", "odc by")
CLOSED = ("nc", "nd")  # parts of a Creative Commons licence that forbid a use
PREPRINT_DOIS = (  # arXiv, bioRxiv and medRxiv, ChemRxiv, OSF, Preprints, Research Square, SSRN
    "doi:10.48550/",
    "doi:10.1101/",
    "doi:10.26434/",
    "doi:10.31234/",
    "doi:10.31219/",
    "doi:10.20944/",
    "doi:10.21203/",
    "doi:10.2139/",
)

JOURNAL_DOI = re.compile(r"doi:10\.1101/[a-z]")  # 10.1101/gr.176677.114, where bioRxiv has 10.1101/2020.01.30.927871

Rank = tuple[int, int, int, int, str, str]


def rank(facts: Mapping[str, Any]) -> Rank:
    """Sort key of a document (columns of `Sketch`): the least stays."""
    return (
        -int(facts["quality"] * 10 + 0.5),
        -freedom(facts["licence"]),
        -version(facts["works"]),
        -facts["num_shingles"],
        facts["path"],
        facts["doc_id"],
    )


def freedom(licence: str | None) -> int:
    """2 for an open licence, 1 for another, 0 for none; "CC-BY-4.0" and "cc by 4.0" are the same."""
    parts = (licence or "").casefold().replace("-", " ").replace("_", " ").split()
    if not parts:
        return 0
    is_open = " ".join(parts).startswith(OPEN) and not set(parts) & set(CLOSED)
    return 2 if is_open else 1


def version(works: Sequence[str]) -> int:
    """2 for a published version, 0 for a preprint, 1 where the names of the work do not say."""
    dois = [w for w in works if w.startswith("doi:")]
    if any(not d.startswith(PREPRINT_DOIS) or JOURNAL_DOI.match(d) for d in dois):
        return 2
    return 0 if dois or any(w.startswith("arxiv:") for w in works) else 1
