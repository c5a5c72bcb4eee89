"""The parse stage: sources to workers, pages that need it to OCR, documents out in the order of the sources.

Two kinds of task share the workers: reading a source, and reading one page's picture, so that a long scan is read by all
of them. A page at which a worker hung or crashed is left out of its document and the document read again; its span then
says why. At most `WINDOW` sources a worker are open at a time; with a budget, `AHEAD` more, which the router compares.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

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
    wanted: Mapping[int, str] | None = None  # pages that OCR is to read, and by which engine; None before that is known
    read: dict[int, Page] = field(default_factory=dict)
    result: Text | Refused | None = None

    @property
    def is_known(self) -> bool:
        """Whether it was read, so that the router can see it."""
        return self.pages is not None or self.result is not None


def parse(stage: Parse, sources: Reader, outputs: Outputs) -> None:
    """Write a document, or drop the source with a reason, for every source of this shard."""
    engines = (stage.engine(),) if stage.budget is None else stage.engines()
    read_by = [f"{engine} {stage.ocr_dpi or DPI.get(engine, 0)}" for engine in engines]
    limits = Limits(stage.page_seconds, stage.document_seconds, stage.max_memory_bytes)
    store = Store(outputs.folder, outputs.shard, f"{', '.join(read_by)} {stage.ocr_language}")
    outputs.progress.start("documents", sources.num_rows)
    with Pool(work, num_workers(), limits) as pool:
        if stage.budget is None:
            Schedule(stage, sources, pool, store).run(outputs)
        else:
            routed = Routed(stage, sources, pool, store)
            routed.run(outputs)
            print(routed.router.summary(), flush=True)
    store.remove()


class Schedule:
    """Which source is where; `run` is the loop."""

    def __init__(self, stage: Parse, sources: Reader, pool: Pool, store: Store) -> None:
        self.stage, self.pool, self.store, self.sources = stage, pool, store, sources
        self.engine = stage.engine()
        self.num_ocr_pages = 0
        self.window = WINDOW * num_workers()
        self._entries: dict[int, Entry] = {}

    def run(self, outputs: Outputs) -> None:
        """Read all sources; rows go out in order."""
        rows, written, exhausted = enumerate(self.sources.rows()), 0, False
        while not exhausted or self._entries:
            while not exhausted and len(self._entries) < self.window:
                index, row = next(rows, (-1, None))
                exhausted = row is None
                if row is not None:
                    self._begin(index, row)
            if self.pool.num_tasks:
                for task, answer in self.pool.answers():
                    self._take(self._entries[task.index], task, answer)
            self._advance(outputs)
            while (result := self._result(written)) is not None:
                _write(self._entries.pop(written).row, result, outputs)
                written += 1
            outputs.progress.reach(written, ocr_pages=self.num_ocr_pages)

    def _advance(self, outputs: Outputs) -> None:
        """Decide what is to be decided in order; see `Routed`."""

    def _result(self, index: int) -> Text | Refused | None:
        """What can be written of a source."""
        entry = self._entries.get(index)
        return entry.result if entry else None

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
        task = ReadTask(index, row.media_type, path, row.record, stage.max_pages, stage.min_chars, ocr)
        entry.task = replace(task, route=stage.budget is not None)
        self.pool.submit(entry.task)

    def _take(self, entry: Entry, task: ReadTask | OcrTask, answer: object) -> None:
        if isinstance(task, OcrTask):
            self._take_page(entry, task, answer)
        elif isinstance(answer, Lost):
            self._take_loss(entry, task, answer)
        elif isinstance(answer, Unfinished):
            entry.pages = answer
            self._know_pages(entry)
        elif isinstance(answer, Text | Refused):
            entry.result = answer

    def _take_loss(self, entry: Entry, task: ReadTask, loss: Lost) -> None:
        """Read the document again without the page that was lost; drop it if that happens again and again."""
        if loss.page == 0 or len(task.skip) >= MAX_LOST_PAGES:
            entry.result = Refused(loss.reason, loss.detail)
            return
        entry.task = replace(task, skip={**task.skip, loss.page: loss.reason})
        self.pool.submit(entry.task, first=True)

    def _know_pages(self, entry: Entry) -> None:
        """Without a budget, the pages that need it are read."""
        assert entry.pages is not None
        self._read(entry, {p.number: self.engine for p in entry.pages.pages if p.needs_ocr})

    def _read(self, entry: Entry, wanted: Mapping[int, str]) -> None:
        """Have pages read from their pictures, before other work, each by its engine."""
        assert entry.task is not None
        entry.wanted = wanted
        for number in sorted(wanted, reverse=True):
            known = self.store.get(entry.row.source_id, number)
            if known is None:
                dpi = self.stage.ocr_dpi or DPI[wanted[number]]
                task = OcrTask(entry.task.index, entry.task.path, number, wanted[number], self.stage.ocr_language, dpi)
                self.pool.submit(task, first=True)
            else:
                entry.read[number] = known
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
        if entry.pages is not None and entry.wanted is not None and len(entry.wanted) == len(entry.read):
            entry.result = finish(entry.pages.pages, entry.pages.title, self.stage.min_chars, entry.read)


class Routed(Schedule):
    """Reads every PDF's text layer first; which pages are read again is decided in the order of the sources."""

    def __init__(self, stage: Parse, sources: Reader, pool: Pool, store: Store) -> None:
        from stages.parse.router.price import AHEAD
        from stages.parse.router.route import Router

        super().__init__(stage, sources, pool, store)
        assert stage.budget is not None
        self.router = Router(stage.budget, stage.engines(), sources.num_rows, store.num_shards)
        self.window += AHEAD
        self._num_seen = self._num_decided = 0

    def _know_pages(self, entry: Entry) -> None:
        """They wait for the router."""

    def _advance(self, outputs: Outputs) -> None:
        while (entry := self._entries.get(self._num_seen)) is not None and entry.is_known:
            self.router.see(entry.pages.pages if entry.pages else ())
            self._num_seen += 1
        while self.router.can_decide:
            entry = self._entries[self._num_decided]
            choices = self.router.decide(entry.row.source_id)
            self._num_decided += 1
            outputs["routes"].write([c.route for c in choices])
            if entry.pages is not None:
                self._read(entry, {c.page: c.parser for c in choices if c.parser})

    def _result(self, index: int) -> Text | Refused | None:
        return super()._result(index) if index < self._num_decided else None


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
