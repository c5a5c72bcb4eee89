"""Tables of documents, from the files a laboratory has to the text a model reads."""

from typing import Annotated, Literal

import pyarrow as pa
from pydantic import Field

from schemas.table import BlobRef, Row

Int32 = Annotated[int, pa.int32()]
Float32 = Annotated[float, pa.float32()]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Origin = Literal["text layer", "ocr", "native"]


class Stored(Row):
    """Where a member's bytes stand in an archive: `num_bytes` from `offset` on, as they are or deflated."""

    offset: Annotated[int, Field(ge=0)]
    num_bytes: Annotated[int, Field(ge=0)]
    method: Literal["stored", "deflated"]


class SourceFile(Row):
    """A file, an archive's member or a record, as found. The bytes are in `blob`, a record's JSON in `record`.

    Where `stored` says so, `blob` is an archive that holds them; `source_id` is the digest of the bytes themselves.
    """

    contract_version = 2

    source_id: Sha256
    path: str
    media_type: str
    blob: BlobRef | None
    stored: Stored | None = None
    record: str | None
    source: str
    licence: str | None
    title: str | None
    doi: str | None


class PageSpan(Row):
    """Characters `start:end` of a document's text came from this page (from 1), by this parser."""

    page: Int32
    start: int
    end: int
    parser: str
    origin: Origin


class Route(Row):
    """Why a page was read by which parser, under a budget.

    `reason` is a rule's (`no text`, `garbled`, `suspect`: the layer is broken; with `, price`: but it was too dear; `empty`:
    nothing is there), or `gain`, `no gain` and `price` of a page with a good layer. `quality` is expected of the text layer, `gain` and `seconds` of the parser chosen, or of the best one where none was;
    `price` is the gain a second above which pages were read when this one was decided. `strange` pages have features that
    the router was not trained on.
    """

    doc_id: Sha256
    page: Int32
    parser: str
    reason: str
    quality: Float32
    gain: Float32
    seconds: Float32
    price: float
    strange: bool


class Allotment(Row):
    """A shard's part of a budget of parse: `part` seconds, or pages where the budget is a share of them.

    `num_documents` PDFs are in the shard; of these `num_drawn` were looked at, with `num_pages` pages, and spend `cost`
    seconds (or pages) at `price`, the gain a second at which all shards together spend the whole budget. The parts are
    whole thousandths and add up to it.
    """

    shard: Annotated[int, Field(ge=0), pa.int32()]
    num_shards: Annotated[int, Field(ge=1), pa.int32()]
    budget: str
    num_documents: int
    num_drawn: int
    num_pages: int
    cost: float
    price: float
    part: Annotated[float, Field(ge=0)]


class Document(Row):
    """A document's text and where it came from. `doc_id` is its source's digest, so it never changes on the way."""

    doc_id: Sha256
    text: Annotated[str, Field(min_length=1)]
    pages: list[PageSpan]
    media_type: str
    path: str
    source: str
    licence: str | None
    title: str | None
    doi: str | None
    language: str | None


class Dropped(Row):
    """A row that a stage did not pass on, and why. `reason` is one of a few words; `detail` is for people."""

    row_id: str
    path: str
    reason: Annotated[str, Field(min_length=1)]
    detail: str


class Sketch(Row):
    """What deduplication knows of a document without its text.

    `content_sha` is a digest of the normalized text, `works` the names under which it may be known elsewhere (`doi:...`,
    `arxiv:...`, `title:...`), `num_shingles` the distinct word n-grams, `band_keys` one little-endian u64 a MinHash band
    (empty where there is no shingle). `quality` in 0..1: share of the text that was not made by OCR and is not garbled.
    """

    doc_id: Sha256
    content_sha: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    works: list[str]
    num_shingles: Int32
    num_characters: int
    band_keys: bytes
    quality: Float32
    licence: str | None
    path: str


class Embedding(Row):
    """Where a document lies in a space of meanings: the mean of the embeddings of `num_chunks` of its chunks.

    `vector` has unit length, as little-endian float16; it is empty where a text has no words.
    """

    doc_id: Sha256
    num_chunks: Int32
    vector: bytes


class Duplicate(Row):
    """A document that repeats another, and is left out for the best copy `of` its `cluster`.

    `cluster` is the least doc_id among the copies. `score` is the Jaccard similarity of the two texts' word n-grams (null
    where the texts were not compared), or for `semantic` the cosine of their embeddings, and `num_bands` how many MinHash
    bands they share. `of` and `cluster` are null where
    only a Bloom filter has seen the first one. `note` says what the rule would have had otherwise, had it been free.
    """

    contract_version = 3

    doc_id: Sha256
    of: str | None
    cluster: str | None
    method: Literal["exact", "work", "near", "semantic"]
    score: float | None
    num_bands: Int32
    note: str


class DedupFile(Row):  # `IndexFile` is the token index's, in schemas.tokens
    """A file by which later documents are known to be old: a Bloom filter, or keys sorted beside row numbers.

    `folder` is the output of dedup whose documents it covers (relative to this one; "." is this one itself), `family` a
    digest of the settings that the keys were made with.
    """

    kind: Literal["filters", "bands", "contents", "works", "documents"]
    folder: str
    family: str
    num_entries: int
    blob: BlobRef


class Certificate(Row):
    """How many decoys of a known similarity to a document of the corpus were found.

    `similarity` 0 is for decoys of random words: each one found is a false positive. `expected` is the share that theory
    has, `low..high` the 95 % interval (Clopper and Pearson) of the share that was found. Of `semantic`, the decoys are the
    pairs over the threshold that a sample of the documents has, and `expected` is the least share that will do.
    """

    similarity: Float32
    num_decoys: int
    num_found: int
    expected: float
    low: float
    high: float
    passed: bool


class SimilarityCount(Row):
    """How many documents of a source have a nearest other one at a cosine in `low..high`, and how many of them go."""

    source: str
    low: Float32
    high: Float32
    num_documents: int
    num_removed: int


class SimilarityExample(Row):
    """One of two documents that were compared: two rows have the same `pair`, the first is the one that goes, if one does.

    `text` is how the document begins, for people who judge the threshold.
    """

    pair: Int32
    doc_id: Sha256
    path: str
    score: float
    removed: bool
    text: str


class Passage(Row):
    """A stretch of words that several documents have, and where it stands first.

    `text` is `start:end` of the text of `doc_id`. A longer stretch belongs to the passage in it that occurs most often;
    `num_spans`, `num_characters` and `max_words` are of the stretches that belong to this one.
    """

    passage_id: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    doc_id: Sha256
    start: int
    end: int
    text: str
    num_occurrences: int
    num_documents: int
    num_spans: int
    num_characters: int
    max_words: int


class RepeatedSpan(Row):
    """Characters `start:end` of a document's text, as the stage read it, repeat other documents: were cut out, or counted.

    `passage_id` is the passage in it that occurs most often. The spans of a document do not overlap.
    """

    doc_id: Sha256
    passage_id: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    start: int
    end: int
    num_words: int
    cut: bool
