"""Dedup: keep the best copy of each document, and know what the others were copies of."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from schemas.corpus import Certificate, DedupFile, Document, Dropped, Duplicate, Sketch
from schemas.manifest import NAME, Manifest
from schemas.table import ContractError
from stages.base import Places, SettingsError, Stage
from stages.tables import Outputs, Reader

Fraction = Annotated[float, Field(ge=0, le=1)]


class Dedup(Stage):
    """Drop documents that repeat another: the same text, the same work, or nearly the same text (verified LSHBloom).

    Near-duplicates are flagged by a Bloom filter a MinHash band and decided by the true similarity of the texts. How
    likely two similar documents come to be compared is a matter of `sketch.num_bands` and `sketch.rows_per_band`.
    """

    name = "dedup"
    version = 4
    undivided = "a part alone cannot see the others' documents"
    inputs = {"documents": Document, "sketches": Sketch}
    outputs = {
        "documents": Document,
        "duplicates": Duplicate,
        "dropped": Dropped,
        "index": DedupFile,
        "certificate": Certificate,
    }
    packages = ("numpy", "numba")
    shares = ("sketch",)
    located = frozenset({"against"})
    conserves = ("documents", "documents")

    threshold: Fraction = 0.5
    """Least Jaccard similarity of near-duplicates: n-grams in common, of those in either."""
    containment: Fraction = 0.8
    """Or this share of the shorter one's n-grams in common, if it is long enough for:"""
    min_length_fraction: Fraction = 0.4
    """Least length of the shorter one, of the longer one's; an abstract is no copy of its paper. 1: similarity alone decides."""
    verify: bool = True
    """No: LSHBloom as published. What the filters flag is dropped; the first in order stays, unnamed."""
    false_positive_rate: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of new documents that the Bloom filters, all together, may take for seen.

    None: 1e-3 where flags are verified and a false one costs a look at the sorted keys, 1e-5 where it costs a document."""
    against: Places = ()
    """Folders of earlier outputs of this stage: what they have seen is known, and their choices stand."""
    num_decoys: Annotated[int, Field(ge=0, le=100_000)] = 200
    """Decoys of each similarity in the certificate; 0: no certificate."""
    certificate_rate_factor: Annotated[float, Field(ge=1)] = 1.5
    """The run fails if its false positives are surely more than this many times `false_positive_rate`."""
    certificate_recall_slack: Fraction = 0.05
    """The run fails if its recall is surely lower than theory has it by more than this."""
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0

    @property
    def filter_rate(self) -> float:
        """The rate that the filters are made for."""
        return self.false_positive_rate or (1e-3 if self.verify else 1e-5)

    def external(self) -> str:
        """The fingerprints of the earlier outputs."""
        return hashlib.sha256("".join(_fingerprints(self.against)).encode()).hexdigest() if self.against else ""

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Read the sketches twice, the texts of copies once, then pass on the documents that stay."""
        from stages.dedup.deduplicate import dedup

        dedup(self, inputs["documents"], inputs["sketches"], outputs)


def _fingerprints(folders: tuple[str, ...]) -> list[str]:
    found, problems = [], []
    for folder in folders:
        try:
            found.append(Manifest.read(Path(folder)).fingerprint)
        except ContractError:
            problems.append(f"dedup.against: {folder} has no {NAME}: name the output folders of finished dedup runs")
    if problems:
        raise SettingsError("\n".join(problems))
    return found
