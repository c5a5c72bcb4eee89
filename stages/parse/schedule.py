"""The parse stage: sources to workers, pages that need it to another parser, documents out in the order of the sources.

Three kinds of task share the workers: reading a source, reading one page of it again, so that a long scan is read by all of
them, and asking GROBID. A page at which a worker hung or crashed is left out of its document and the document read again;
its span then says why. A page that nobody could read again keeps its layer, and says why. At most `WINDOW` sources a worker
are open at a time; with a budget, `AHEAD` more, which the router compares.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from schemas.corpus import Document, SourceFile
from schemas.table import ContractError
from stages.base import SettingsError, num_workers
from stages.parse import Parse
from stages.parse.lines import Page, lost
from stages.parse.parsers import Options, Server, cost, dpi, lacking
from stages.parse.pool import Limits, Lost, Pool
from stages.parse.store import Store
from stages.parse.times import LAYER, Times
from stages.parse.worker import GrobidTask, PageTask, ReadTask, Refused, Text, Unfinished, finish, work
from stages.tables import Outputs, Reader

WINDOW = 8
MAX_LOST_PAGES = 5  # of one document at which workers hung or crashed; then it is dropped
MAX_FAILURES = 20  # of a service in a row, from where on it is taken to be gone
GROBID = "grobid"


@dataclass
class Entry:
    """A source on its way to a document."""

    row: SourceFile
    task: ReadTask | None = None
    pages: Unfinished | None = None
    wanted: Mapping[int, str] | None = (
        None  # pages that are to be read again, by which parser; None before that is known
    )
    read: dict[int, Page] = field(default_factory=dict)
    result: Text | Refused | None = None

    @property
    def is_known(self) -> bool:
        """Whether it was read, so that the router can see it."""
        return self.pages is not None or self.result is not None


def parse(stage: Parse, sources: Reader, outputs: Outputs, allotment: Reader | None = None) -> None:
    """Write a document, or drop the source with a reason, for every source of this shard."""
    options = reading_options(stage)
    names = stage.reader_names()
    if problems := lacking(names, options.server):
        raise SettingsError("\n".join(f"parse: {p}" for p in problems))
    read_by = [f"{name} {dpi(name, options)}" for name in names] + [GROBID] * bool(stage.grobid_url)
    store = Store(outputs.folder, outputs.shard, f"{', '.join(read_by)} {options.language} {stage.served_prompt}")
    outputs.progress.start("documents", sources.num_rows)
    limits = Limits(stage.page_seconds, stage.document_seconds, stage.max_memory_bytes)
    with Pool(work, num_workers(), limits, stage.service_requests) as pool:
        if stage.is_routed:
            from stages.parse.router.allotment import part

            routed = Routed(stage, sources, pool, store, part(stage, sources, outputs.shard, allotment))
            routed.run(outputs)
            print(routed.router.summary(), flush=True)
        else:
            Schedule(stage, sources, pool, store).run(outputs)
    store.remove()


def reading_options(stage: Parse) -> Options:
    """How the stage's settings have pages read."""
    server = None
    if stage.served_url:
        server = Server(
            stage.served_url, stage.served_model, stage.served_prompt, stage.service_seconds, stage.served_max_tokens
        )
    return Options(stage.ocr_language, stage.ocr_dpi, server)


class Schedule:
    """Which source is where; `run` is the loop."""

    def __init__(self, stage: Parse, sources: Reader, pool: Pool, store: Store) -> None:
        self.stage, self.pool, self.store, self.sources = stage, pool, store, sources
        self.options = reading_options(stage)
        self.num_pages_again = 0
        self.num_failures = 0  # of services, in a row
        self.window = WINDOW * num_workers()
        self._entries: dict[int, Entry] = {}

    def run(self, outputs: Outputs) -> None:
        """Read all sources; rows go out in order."""
        with contextlib.closing(Times(outputs)) as times:
            self._run(outputs, times)

    def _run(self, outputs: Outputs, times: Times) -> None:
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
                entry = self._entries.pop(written)
                _time(entry, result, times)
                _write(entry.row, result, outputs)
                written += 1
            outputs.progress.reach(written, pages_again=self.num_pages_again)

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
        stage = self.stage
        task = ReadTask(
            index, row.media_type, path, row.record, stage.max_pages, stage.min_chars, bool(stage.readers())
        )
        routed = stage.is_routed or bool(stage.grobid_url)
        entry.task = replace(task, route=routed, markdown=stage.markdown, stored=row.stored, digest=row.source_id)
        self.pool.submit(entry.task)

    def _take(self, entry: Entry, task: ReadTask | PageTask | GrobidTask, answer: object) -> None:
        if isinstance(task, PageTask):
            self._take_page(entry, task, answer)
        elif isinstance(task, GrobidTask):
            self._take_whole(entry, answer)
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
        reader = self.stage.reader_names()[:1]
        self._read(entry, {p.number: reader[0] for p in entry.pages.pages if reader and p.needs_ocr})

    def _read(self, entry: Entry, wanted: Mapping[int, str]) -> None:
        """Have pages read again, before other work, each by its parser."""
        assert entry.task is not None
        entry.wanted = wanted
        for number in sorted(wanted, reverse=True):
            known = self.store.get(entry.row.source_id, number)
            if known is None:
                of = entry.task
                task = PageTask(of.index, of.path, number, wanted[number], self.options, of.stored, of.digest)
                self.pool.submit(task, first=True, waits=cost(wanted[number]) == "service")
            else:
                entry.read[number] = known
        if self.stage.grobid_url and not wanted:
            self._read_whole(entry)
        else:
            self._finish_if_read(entry)

    def _read_whole(self, entry: Entry) -> None:
        """Have GROBID read a document of which no page is read from its picture."""
        assert entry.pages is not None
        assert entry.task is not None
        numbers = range(1, len(entry.pages.pages) + 1)
        known = [self.store.get(entry.row.source_id, number) for number in numbers]
        if all(known):
            self._take_whole(entry, tuple(known))
            return
        of, stage = entry.task, self.stage
        task = GrobidTask(
            of.index, of.path, len(numbers), stage.grobid_url, stage.service_seconds, of.stored, of.digest
        )
        self.pool.submit(task, first=True, waits=True)

    def _take_page(self, entry: Entry, task: PageTask, answer: object) -> None:
        page = lost(task.number, answer.reason) if isinstance(answer, Lost) else answer
        assert isinstance(page, Page)
        if page.is_lost:
            page = lost(task.number, f"{task.parser}: {page.parser.removeprefix('none: ')}")
        else:
            self.store.put(entry.row.source_id, page)
        entry.read[task.number] = page
        self.num_pages_again += 1
        if cost(task.parser) == "service":
            self._judge(page)
        self._finish_if_read(entry)

    def _take_whole(self, entry: Entry, answer: object) -> None:
        """GROBID's pages; the layer of all of them where it failed."""
        assert entry.pages is not None
        reason = answer.reason if isinstance(answer, Lost) else ""
        pages = answer if isinstance(answer, tuple) else ()
        if pages and pages[0].is_lost:
            reason, pages = pages[0].parser.removeprefix("none: "), ()
        if not pages:
            pages = tuple(lost(p.number, f"{GROBID}: {reason}") for p in entry.pages.pages)
        else:
            for page in pages:
                self.store.put(entry.row.source_id, page)
        entry.read = {page.number: page for page in pages}
        self._judge(pages[0])
        self._finish(entry)

    def _judge(self, page: Page) -> None:
        """Stop where a service is gone: a corpus of cheap text is not what was asked for."""
        self.num_failures = self.num_failures + 1 if page.is_lost else 0
        if self.num_failures >= MAX_FAILURES:
            raise SettingsError(
                f"parse: {MAX_FAILURES} requests in a row have failed, the last with {page.parser.removeprefix('none: ')!r}; "
                "start the server and run the same command again: what was read is kept"
            )

    def _finish_if_read(self, entry: Entry) -> None:
        if entry.wanted is not None and len(entry.wanted) == len(entry.read):
            self._finish(entry)

    def _finish(self, entry: Entry) -> None:
        assert entry.pages is not None
        entry.result = finish(entry.pages.pages, entry.pages.title, self.stage.min_chars, entry.read)


class Routed(Schedule):
    """Reads every PDF's text layer first; which pages are read again is decided in the order of the sources."""

    def __init__(self, stage: Parse, sources: Reader, pool: Pool, store: Store, part: float | None) -> None:
        from stages.parse.router.price import AHEAD
        from stages.parse.router.route import Router, campaign, weights

        super().__init__(stage, sources, pool, store)
        spending = campaign(stage.budget, stage.price, sources.num_rows, part)
        self.router = Router(weights(stage), stage.reader_names(), spending)
        self.window += AHEAD
        self._num_seen = self._num_decided = 0

    def _know_pages(self, entry: Entry) -> None:
        """They wait for the router."""

    def _advance(self, outputs: Outputs) -> None:
        while (entry := self._entries.get(self._num_seen)) is not None and entry.is_known:
            self.router.see(entry.row.source_id, entry.pages.pages if entry.pages else ())
            self._num_seen += 1
        while self.router.can_decide:
            entry = self._entries[self._num_decided]
            choices = self.router.decide()
            self._num_decided += 1
            outputs["routes"].write([c.route for c in choices])
            if entry.pages is not None:
                self._read(entry, {c.page: c.parser for c in choices if c.parser})

    def _result(self, index: int) -> Text | Refused | None:
        return super()._result(index) if index < self._num_decided else None


def _time(entry: Entry, result: Text | Refused, times: Times) -> None:
    """Tell what a source's pages took; a source without pages is one by its native reader."""
    if entry.pages is not None:
        times.add(entry.row.source_id, [p.seconds for p in entry.pages.pages], entry.read.values())
    elif isinstance(result, Text) and result.pages:
        native = result.pages[0].origin == "native"
        times.add(entry.row.source_id, result.seconds, (), result.pages[0].parser if native else LAYER)


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
