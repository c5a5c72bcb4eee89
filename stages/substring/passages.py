"""The stage's work: windows into files, the repeated ones out of them, these into spans, and the documents again.

What grows with the corpus lies on disk; memory holds a part of the windows and some batches of documents. No step depends on
which worker is faster: windows are put in in the order of the documents, and read part by part.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.corpus import Passage
from stages.base import SettingsError, num_workers
from stages.dedup.spill import U64, Part, Places, Spill, scratch
from stages.sketch.rows import check_utf8, pieces
from stages.substring import Substring
from stages.substring.repeats import Least, repeats, short_parts
from stages.substring.rewrite import Found, Rewritten, rewrite
from stages.substring.spans import Rows, column, passages, spans, tally
from stages.substring.windows import MAX_WORDS, Rule, windows
from stages.tables import Outputs, Reader, Writer

WORD_BYTES = 6  # of English, with its blank
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Work:
    """One run."""

    stage: Substring
    documents: Reader
    outputs: Outputs
    scratch: Path

    def batches(self, *columns: str) -> Iterator[pa.RecordBatch]:
        """The documents, some megabytes at a time."""
        for batch in self.documents.batches(columns or None):
            yield from pieces(batch)


def substring(stage: Substring, documents: Reader, outputs: Outputs) -> None:
    """Do the stage's work; see `Substring`."""
    pa.set_memory_pool(pa.system_memory_pool())  # gives back what is freed
    with scratch(outputs.folder) as folder:
        work = Work(stage, documents, outputs, folder)
        outputs.progress.start("texts read", documents.num_rows)
        ends, found = _windows(work)
        _spans(work, ends, _repeated(work, ends, found))
        outputs.progress.start("documents", documents.num_rows)
        _rewrite(work, ends)


def in_order(do: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """What `do` makes of each item, in their order; threads are at work on some items more than there are workers."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(num_workers()) as pool:
        for item in items:
            waiting.append(pool.submit(do, item))
            if len(waiting) > num_workers():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _windows(work: Work) -> tuple[Places, Spill]:
    """The place after each document's last word, and all windows."""
    rule, place = Rule.of(work.stage.min_words), 0
    found = Spill(work.scratch / "windows", 2, _text_bytes(work.documents) // WORD_BYTES)

    def read(batch: pa.RecordBatch) -> tuple[U64, Places]:
        check_utf8(batch)
        return windows(batch["text"], rule)

    with (work.scratch / "ends.i64").open("wb") as file:
        for records, counts in in_order(read, work.batches("doc_id", "text", "path")):
            records[:, 1] += np.uint64(place)
            found.add(records)
            file.write((place + np.cumsum(counts)).tobytes())
            place += int(counts.sum())
            if place >= MAX_WORDS:
                raise SettingsError(f"substring: at most {MAX_WORDS} words at a time: divide the corpus")
            work.outputs.progress.advance(len(counts))
    return column(work.scratch / "ends.i64"), found


def _text_bytes(documents: Reader) -> int:
    size = 0
    for part in documents.output.parts:
        metadata = pq.read_metadata(documents.base / part.path)
        column = metadata.schema.names.index("text")
        for group in range(metadata.num_row_groups):
            size += metadata.row_group(group).column(column).total_uncompressed_size
    return size


def _repeated(work: Work, ends: Places, found: Spill) -> Spill:
    """The repeated windows, to be read in order of their place."""
    num_words = int(ends[-1]) if len(ends) else 0
    repeated, lock = Spill(work.scratch / "repeated", 3, num_words, num_words.bit_length()), Lock()
    least = Least(max(work.stage.min_occurrences, work.stage.min_documents), work.stage.min_documents)

    def count(part: Part) -> None:
        for short in short_parts(part):
            for block in repeats(short, ends, least):
                with lock:
                    repeated.add(block)

    for _ in in_order(count, found.parts()):
        pass
    return repeated


def _spans(work: Work, ends: Places, repeated: Spill) -> None:
    """Write the spans in order, and the passages in order of their first place."""
    num_words = int(ends[-1]) if len(ends) else 0
    again = work.stage.action == "cut" and work.stage.keep == "first"
    tallied = Spill(work.scratch / "tallied", 4, repeated.num_records, num_words.bit_length())
    with (work.scratch / "spans.i64").open("wb") as file:
        for block in spans(repeated.sorted(num_workers()), ends, work.stage.min_words, again=again):
            file.write(block.tobytes())
            tallied.add(passages(block).view(np.uint64))
    with (work.scratch / "passages.i64").open("wb") as file:
        for records in tallied.sorted():
            file.write(tally(records.view(np.int64)).tobytes())


def _rewrite(work: Work, ends: Places) -> None:
    """Read the documents again, and write all tables."""
    found = Rows(work.scratch / "spans.i64", 5), Rows(work.scratch / "passages.i64", 4)
    num_characters = np.zeros(len(found[1]), np.int64)
    first_rows = Writer(work.scratch, "passages", Passage, (0, 1))
    for done in in_order(lambda item: rewrite(work.stage, *item), _found(work, ends, *found)):
        _write(work.outputs, done)
        first_rows.write(done.passages)
        for first, span in zip(done.firsts, done.spans, strict=True):
            num_characters[found[1].find(first)] += span.end - span.start
    _write_passages(work, work.scratch / first_rows.close().parts[0].path, num_characters)


def _found(work: Work, ends: Places, spans: Rows, passages: Rows) -> Iterator[tuple[pa.RecordBatch, Found]]:
    """The documents with what is in them."""
    row = start = 0
    for batch in work.batches():
        own = np.array(ends[row : row + batch.num_rows])
        stop = int(own[-1])
        yield batch, Found(start, own, spans.between(start, stop), passages.between(start, stop))
        row, start = row + batch.num_rows, stop


def _write(outputs: Outputs, done: Rewritten) -> None:
    outputs["documents"].write(done.documents)
    outputs["spans"].write(done.spans)
    for doc_id, words, path in done.dropped:
        outputs.drop(doc_id, "repeated passages", words, path)
    outputs.progress.advance(done.documents.num_rows + len(done.dropped))


def _write_passages(work: Work, file: Path, num_characters: Places) -> None:
    """Write the passages with the characters of their spans."""
    row = 0
    for batch in pq.ParquetFile(file).iter_batches():
        counted = pa.array(num_characters[row : row + batch.num_rows])
        table = pa.Table.from_batches([batch])
        at = table.column_names.index("num_characters")
        work.outputs["passages"].write(table.set_column(at, "num_characters", counted))
        row += batch.num_rows
