"""LSHBloom (arXiv 2411.04257): MinHash bands whose buckets are Bloom filters, so that memory is some bytes a document.

A document that repeats an earlier one in any band is a duplicate; the first one stays. It gives up the other document's
name: a filter knows that it has seen a key, not whose. Exact repeats are found first, by a digest of the normalized
text, and do have a name. Order decides who stays, so the rows' order is part of the result; the batches are not.
"""

import hashlib

import pyarrow as pa
from rbloom import Bloom

from schemas.corpus import Duplicate
from stages.base import SettingsError
from stages.dedup import Dedup
from stages.sketch.minhash import MinHash, hash_ngrams
from stages.sketch.normalize import normalize, words
from stages.tables import Outputs, Reader

BATCH_ROWS = 256  # documents held as Python strings at a time; the result does not depend on it


class BandFilters:
    """One Bloom filter a band, sized so that all together err with `rate` when `capacity` documents are in."""

    def __init__(self, num_bands: int, capacity: int, rate: float) -> None:
        self.rate_per_band = 1 - (1 - rate) ** (1 / num_bands)
        # The keys are hashes already: `int` takes them as they are, where Python's `hash` would fold them to 61 bits.
        self._filters = [Bloom(capacity, self.rate_per_band, int) for _ in range(num_bands)]

    def hits(self, keys: list[int]) -> int:
        """Count the bands that have seen their key; a document with no hit is put in."""
        seen = sum(key in band for key, band in zip(keys, self._filters, strict=True))
        if not seen:
            for key, band in zip(keys, self._filters, strict=True):
                band.add(key)
        return seen


class Seen:
    """All documents that were kept so far."""

    def __init__(self, stage: Dedup, num_documents: int) -> None:
        self.stage = stage
        self.minhash = MinHash(stage.num_bands, stage.rows_per_band, stage.seed)
        self.filters = BandFilters(stage.num_bands, stage.capacity or max(1, num_documents), stage.false_positive_rate)
        self.kept: dict[bytes, str] = {}

    def judge(self, doc_id: str, text: str) -> Duplicate | None:
        """Return what makes this document a duplicate, or remember it."""
        normalized = normalize(text)
        digest = hashlib.blake2b(normalized.encode(), digest_size=16).digest()
        if digest in self.kept:
            return Duplicate(doc_id=doc_id, of=self.kept[digest], method="exact", num_bands_hit=self.stage.num_bands)
        ngrams = hash_ngrams(words(normalized), self.stage.ngram_words)
        if len(ngrams) and (hits := self.filters.hits(self.minhash.band_keys(ngrams))):
            return Duplicate(doc_id=doc_id, of=None, method="lshbloom", num_bands_hit=hits)
        self.kept[digest] = doc_id
        return None


def dedup(stage: Dedup, documents: Reader, outputs: Outputs) -> None:
    """Do the stage's work; see `Dedup`."""
    if outputs.shard[1] != 1:
        raise SettingsError("dedup: a part alone cannot see the others' documents: run it as one shard")
    seen = Seen(stage, documents.num_rows)
    outputs.progress.start("documents", documents.num_rows)
    for batch in documents.batches(batch_rows=BATCH_ROWS):
        keep = []
        for doc_id, text, path in zip(*(batch[c].to_pylist() for c in ("doc_id", "text", "path")), strict=True):
            duplicate = seen.judge(doc_id, text)
            keep.append(duplicate is None)
            if duplicate:
                _record(duplicate, path, stage, outputs)
        outputs["documents"].write(batch.filter(pa.array(keep)))
        outputs.progress.advance(batch.num_rows)


def _record(duplicate: Duplicate, path: str, stage: Dedup, outputs: Outputs) -> None:
    outputs["duplicates"].write(duplicate)
    if duplicate.method == "exact":
        outputs.drop(duplicate.doc_id, "exact duplicate", f"the same text as {duplicate.of}", path)
    else:
        words = f"{duplicate.num_bands_hit} of {stage.num_bands} bands seen before"
        outputs.drop(duplicate.doc_id, "near duplicate", words, path)
