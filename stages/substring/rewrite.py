"""The second reading: where in the text the words of spans and passages are, and the documents without them."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from schemas.corpus import Document, Passage, RepeatedSpan
from stages.decontaminate.cut import cut
from stages.dedup.spill import Places
from stages.substring import Substring
from stages.substring.spans import AT, FIRST, NUM_WORDS, PLACE
from stages.substring.windows import Text, characters, words

SAMPLE_CHARACTERS = 2000  # of a passage in its row: a word may be as long as a file
LINE_BREAK = re.compile(rb"\n\s*")


class Found(NamedTuple):
    """What is in some documents: `ends` is the place after each one's last word; spans and passages as in `spans`."""

    start: int
    ends: Places
    spans: Places
    passages: Places


class Rewritten(NamedTuple):
    """What becomes of some documents; `firsts` names the passage of each span by its first place."""

    documents: pa.Table
    spans: list[RepeatedSpan]
    firsts: list[int]
    passages: list[Passage]
    dropped: list[tuple[str, str, str]]


def rewrite(stage: Substring, batch: pa.RecordBatch, found: Found) -> Rewritten:
    """Cut or count the spans of a batch of documents."""
    out = Rewritten(pa.Table.from_batches([batch]), [], [], [], [])
    if not len(found.spans) and not len(found.passages):
        return out
    pieces, taken = [], 0
    for row, own in _by_document(found):
        fields = batch.slice(row, 1).to_pylist()[0]
        document = _Words(stage, fields, own)
        out.passages.extend(map(document.passage, own.passages))
        spans = list(map(document.span, own.spans))
        out.spans.extend(spans)
        out.firsts.extend(own.spans[:, FIRST].tolist())
        if spans and stage.action == "cut":
            pieces += [batch.slice(taken, row - taken), *_rest(document, spans, out)]
            taken = row + 1
    kept = pa.Table.from_batches([p for p in (*pieces, batch.slice(taken)) if p.num_rows], schema=batch.schema)
    return out._replace(documents=kept)


def _by_document(found: Found) -> Iterator[tuple[int, Found]]:
    """The documents that have something, by row."""
    starts = np.concatenate([[found.start], found.ends[:-1]])
    places = np.union1d(found.spans[:, PLACE], found.passages[:, 0])
    for row in np.unique(np.searchsorted(found.ends, places, side="right")).tolist():
        low, high = int(starts[row]), int(found.ends[row])
        spans = found.spans[(found.spans[:, PLACE] >= low) & (found.spans[:, PLACE] < high)]
        passages = found.passages[(found.passages[:, 0] >= low) & (found.passages[:, 0] < high)]
        yield row, Found(low, found.ends[row : row + 1], spans, passages)


def _rest(document: "_Words", spans: Sequence[RepeatedSpan], out: Rewritten) -> Iterator[pa.RecordBatch]:
    """The document without its spans, if there is enough of it."""
    fields, least = document.fields, document.stage.min_words
    left = len(document.text.starts) - sum(span.num_words for span in spans)
    rest = cut(fields, [(span.start, span.end) for span in spans]) if left >= least else None
    if rest is None:
        words = f"{left} words are left beside {len(spans)} repeated passages"
        out.dropped.append((fields["doc_id"], words, fields["path"]))
    else:
        yield from Document.table([Document.model_validate(rest)]).to_batches()


class _Words:
    """The words of a document that has spans or passages."""

    def __init__(self, stage: Substring, fields: dict[str, Any], found: Found) -> None:
        self.stage, self.fields, self.start = stage, fields, found.start
        self.data = fields["text"].encode()
        self.text: Text = words(self.data)
        size = stage.min_words
        edges = [self._bytes(int(p) - self.start, size) for p in found.passages[:, 0]]
        edges += [self._cut(int(s[PLACE]) - self.start, int(s[NUM_WORDS])) for s in found.spans]
        places = np.unique(np.array(edges, np.int64))
        self.character = dict(zip(places.tolist(), characters(self.data, places).tolist(), strict=True))

    def passage(self, passage: Places) -> Passage:
        """The row of a passage that is here for the first time; its characters are counted later."""
        place, counts, num_spans, max_words = (int(n) for n in passage)
        start, end = self._bytes(place - self.start, self.stage.min_words)
        return Passage(
            passage_id=self._digest(place),
            doc_id=self.fields["doc_id"],
            start=self.character[start],
            end=self.character[end],
            text=self.data[start:end].decode()[:SAMPLE_CHARACTERS],
            num_occurrences=counts >> 32,
            num_documents=counts & 0xFFFFFFFF,
            num_spans=num_spans,
            num_characters=0,
            max_words=max_words,
        )

    def span(self, span: Places) -> RepeatedSpan:
        """The row of a span."""
        start, end = self._cut(int(span[PLACE]) - self.start, int(span[NUM_WORDS]))
        return RepeatedSpan(
            doc_id=self.fields["doc_id"],
            passage_id=self._digest(int(span[AT])),
            start=self.character[start],
            end=self.character[end],
            num_words=int(span[NUM_WORDS]),
            cut=self.stage.action == "cut",
        )

    def _bytes(self, first: int, count: int) -> tuple[int, int]:
        return int(self.text.starts[first]), int(self.text.ends[first + count - 1])

    def _cut(self, first: int, count: int) -> tuple[int, int]:
        """The bytes of some words with what stands around them, so that one separator is left, with its line break."""
        starts, ends = self.text
        start, end = self._bytes(first, count)
        before = int(ends[first - 1]) if first else 0
        after = int(starts[first + count]) if first + count < len(starts) else len(self.data)
        line_break = LINE_BREAK.search(self.data, end, after)
        if not first:  # nothing before: what stands after begins a text
            return 0, line_break.end() if line_break else after
        if line_break or after == len(self.data):
            return before, line_break.start() if line_break else after
        return start, after

    def _digest(self, place: int) -> str:
        """A name for the window at a place, the same wherever its words stand."""
        starts, ends = (p[place - self.start :][: self.stage.min_words].tolist() for p in self.text)
        words = b" ".join(self.data[a:b] for a, b in zip(starts, ends, strict=True))
        return hashlib.blake2b(words, digest_size=16).hexdigest()
