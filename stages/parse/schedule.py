"""The parse stage: sources to workers, pages that need it to OCR, documents out in the order of the sources.

Two kinds of task share the workers: reading a source, and reading one page's picture, so that a long scan is read by all
of them. A page at which a worker hung or crashed is left out of its document and the document read again; its span then
says why. At most `WINDOW` sources a worker are open at a time.
"""

from dataclasses import dataclass, field, replace
from functools import partial

from schemas.corpus import Document, SourceFile
from schemas.table import ContractError
from stages.base import num_workers
from stages.parse import Parse
from stages.parse.lines import Page, lost
from stages.parse.ocr import DPI
from stages.parse.pool import Limits, Lost, Pool
from stages.parse.store import Store
from stages.parse.worker import OcrTask, ReadTask, Refused, Text, Unfinished, finish, work
from stages.tables import Outputs, Reader

WINDOW = 8
MAX_LOST_PAGES = 5  # of one document at which workers hung or crashed; then it is dropped


@dataclass
class Entry:
    """A source on its way to a document."""

    row: SourceFile
    task: ReadTask | None = None
    pages: Unfinished | None = None
    read: dict[int, Page] = field(default_factory=dict)
    result: Text | Refused | None = None

    @property
    def waits_for(self) -> int:
        """Pages that OCR has still to read."""
        return sum(p.needs_ocr for p in self.pages.pages) - len(self.read) if self.pages else 0


def parse(stage: Parse, sources: Reader, outputs: Outputs) -> None:
    """Write a document, or drop the source with a reason, for every source of this shard."""
    engine = stage.engine()
    dpi = stage.ocr_dpi or DPI.get(engine, 0)
    limits = Limits(stage.page_seconds, stage.document_seconds, stage.max_memory_bytes)
    store = Store(outputs.folder, outputs.shard, f"{engine} {dpi} {stage.ocr_language}")
    outputs.progress.start("documents", sources.num_rows)
    with Pool(work, num_workers(), limits) as pool:
        Schedule(stage, sources, pool, store).run(outputs)
    store.remove()


class Schedule:
    """Which source is where; `run` is the loop."""

    def __init__(self, stage: Parse, sources: Reader, pool: Pool, store: Store) -> None:
        self.stage, self.pool, self.store, self.sources = stage, pool, store, sources
        self.engine = stage.engine()
        self.num_ocr_pages = 0
        self._entries: dict[int, Entry] = {}

    def run(self, outputs: Outputs) -> None:
        """Read all sources; rows go out in order."""
        rows, written, exhausted = enumerate(self.sources.rows()), 0, False
        while not exhausted or self._entries:
            while not exhausted and len(self._entries) < WINDOW * num_workers():
                index, row = next(rows, (-1, None))
                exhausted = row is None
                if row is not None:
                    self._begin(index, row)
            if self.pool.num_tasks:
                for task, answer in self.pool.answers():
                    self._take(self._entries[task.index], task, answer)
            while written in self._entries and (result := self._entries[written].result) is not None:
                _write(self._entries.pop(written).row, result, outputs)
                written += 1
            outputs.progress.reach(written, ocr_pages=self.num_ocr_pages)

    def _begin(self, index: int, row: SourceFile) -> None:
        entry = self._entries[index] = Entry(row)
        try:
            path = str(self.sources.open_path(row.blob)) if row.blob else ""
        except ContractError as error:
            entry.result = Refused("file changed", "; ".join(error.problems))
            return
        if row.blob is None and row.record is None:
            entry.result = Refused("no content", "neither a file nor a record")
            return
        stage, ocr = self.stage, self.engine != "none"
        entry.task = ReadTask(index, row.media_type, path, row.record, stage.max_pages, stage.min_chars, ocr)
        self.pool.submit(entry.task)

    def _take(self, entry: Entry, task: ReadTask | OcrTask, answer: object) -> None:
        if isinstance(task, OcrTask):
            self._take_page(entry, task, answer)
        elif isinstance(answer, Lost):
            self._take_loss(entry, task, answer)
        elif isinstance(answer, Unfinished):
            entry.pages = answer
            self._submit_pages(entry, task)
        elif isinstance(answer, Text | Refused):
            entry.result = answer

    def _take_loss(self, entry: Entry, task: ReadTask, loss: Lost) -> None:
        """Read the document again without the page that was lost; drop it if that happens again and again."""
        if loss.page == 0 or len(task.skip) >= MAX_LOST_PAGES:
            entry.result = Refused(loss.reason, loss.detail)
            return
        entry.task = replace(task, skip={**task.skip, loss.page: loss.reason})
        self.pool.submit(entry.task, first=True)

    def _submit_pages(self, entry: Entry, task: ReadTask) -> None:
        assert entry.pages is not None
        assert self.engine != "none"
        submit = partial(OcrTask, task.index, task.path, engine=self.engine, language=self.stage.ocr_language)
        dpi = self.stage.ocr_dpi or DPI[self.engine]
        for page in reversed([p for p in entry.pages.pages if p.needs_ocr]):
            known = self.store.get(entry.row.source_id, page.number)
            if known is None:
                self.pool.submit(submit(number=page.number, dpi=dpi), first=True)
            else:
                entry.read[page.number] = known
        self._finish_if_read(entry)

    def _take_page(self, entry: Entry, task: OcrTask, answer: object) -> None:
        if isinstance(answer, Page):
            entry.read[task.number] = answer
            self.store.put(entry.row.source_id, answer)
            self.num_ocr_pages += 1
        elif isinstance(answer, Lost):
            entry.read[task.number] = lost(task.number, answer.reason)
        self._finish_if_read(entry)

    def _finish_if_read(self, entry: Entry) -> None:
        if entry.pages is not None and entry.waits_for == 0:
            entry.result = finish(entry.pages.pages, entry.pages.title, self.stage.min_chars, entry.read)


def _write(row: SourceFile, result: Text | Refused, outputs: Outputs) -> None:
    if isinstance(result, Refused):
        outputs.drop(row.source_id, result.reason, result.detail, row.path)
        return
    document = Document(
        doc_id=row.source_id,
        text=result.text,
        pages=list(result.pages),
        media_type=row.media_type,
        path=row.path,
        source=row.source,
        licence=row.licence,
        title=row.title or result.title,
        doi=row.doi,
        language=None,
    )
    outputs["documents"].write(document)
