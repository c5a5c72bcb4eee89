"""What a worker process does with one task: read a source, read one page of a PDF again, or send a PDF to GROBID."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from schemas.corpus import PageSpan, Stored
from stages.parse.garble import better
from stages.parse.layout import document_text, heading
from stages.parse.lines import Page, lost
from stages.parse.members import ChangedError, located
from stages.parse.parsers import Options, parser
from stages.parse.pool import At


@dataclass(frozen=True)
class ReadTask:
    """Read a source. `skip` names pages that an earlier try was lost at, and how.

    `ocr` asks for the pages of a PDF one of which is to be read again, `route` for the pages of any.
    """

    index: int
    media_type: str
    path: str
    record: str | None
    max_pages: int
    min_chars: int
    ocr: bool
    skip: Mapping[int, str] = field(default_factory=dict)
    route: bool = False
    markdown: bool = False
    stored: Stored | None = None
    digest: str = ""


@dataclass(frozen=True)
class PageTask:
    """Read page `number` (from 1) of a PDF again."""

    index: int
    path: str
    number: int
    parser: str
    options: Options
    stored: Stored | None = None
    digest: str = ""


@dataclass(frozen=True)
class GrobidTask:
    """Have a PDF of `num_pages` read by GROBID."""

    index: int
    path: str
    num_pages: int
    url: str
    timeout_seconds: float
    stored: Stored | None = None
    digest: str = ""


@dataclass(frozen=True)
class Text:
    """A source's text."""

    text: str
    pages: tuple[PageSpan, ...]
    title: str | None
    seconds: tuple[float, ...] = field(default=(), compare=False)  # that the layer of each page took


@dataclass(frozen=True)
class Unfinished:
    """A PDF some pages of which have to be read from their pictures, or may be."""

    pages: tuple[Page, ...]
    title: str | None


@dataclass(frozen=True)
class Refused:
    """A source without text, and why."""

    reason: str
    detail: str = ""


def work(
    task: ReadTask | PageTask | GrobidTask,
) -> Iterator[At | Text | Unfinished | Refused | Page | tuple[Page, ...]]:
    """Signs of life, then the answer: a `Page` for a `PageTask`, pages for a `GrobidTask`, else one of the others."""
    try:
        task = replace(task, path=located(task.path, task.stored, task.digest))
    except ChangedError as error:
        yield _changed(task, error)
        return
    if isinstance(task, PageTask):
        yield At(task.number)
        started = time.perf_counter()
        page = parser(task.parser, task.options).read(task.path, task.number - 1)
        yield replace(page, seconds=time.perf_counter() - started)
    elif isinstance(task, GrobidTask):
        yield At(1)
        yield read_by_grobid(task)
    elif task.media_type == "application/pdf":
        yield from read_pdf(task)
    else:
        yield read_native(task)


def _changed(task: ReadTask | PageTask | GrobidTask, error: ChangedError) -> Refused | Page | tuple[Page, ...]:
    """The answer for a source whose archive is another by now."""
    if isinstance(task, ReadTask):
        return Refused("file changed", str(error))
    page = lost(task.number if isinstance(task, PageTask) else 1, f"file changed: {error}")
    return page if isinstance(task, PageTask) else (page,)


def read_native(task: ReadTask) -> Text | Refused:
    """Text of a source without pages: one span, page 1."""
    from stages.parse.native import NativeError, native_text

    started = time.perf_counter()
    data = task.record.encode() if task.record is not None else Path(task.path).read_bytes()
    try:
        text, title, parser = native_text(task.media_type, data)
    except NativeError as error:
        return Refused(error.reason, error.detail)
    text = text.encode(errors="replace").decode().strip()
    span = PageSpan(page=1, start=0, end=len(text), parser=parser, origin="native")
    found = _if_enough(text, [span], title, task.min_chars)
    return replace(found, seconds=(time.perf_counter() - started,)) if isinstance(found, Text) else found


def read_pdf(task: ReadTask) -> Iterator[At | Text | Unfinished | Refused]:
    """Text of a PDF, or its pages if some of them need OCR."""
    from stages.parse import pdf
    from stages.parse.structure import structured

    try:
        document = pdf.open_pdf(task.path)
    except pdf.PdfError as error:
        yield Refused(error.reason, error.detail)
        return
    pages: list[Page] = []
    for number in range(1, len(document) + 1):
        if number > task.max_pages:
            pages.append(lost(number, "page limit"))
        elif number in task.skip:
            pages.append(lost(number, task.skip[number]))
        else:
            yield At(number)
            started = time.perf_counter()
            page = pdf.read_page(document, number - 1)
            page = structured(document, page) if task.markdown and page.verdict == "good" else page
            pages.append(replace(page, seconds=time.perf_counter() - started))
    title = pdf.metadata_title(document)
    document.close()
    if task.route or (task.ocr and any(page.needs_ocr for page in pages)):
        yield Unfinished(tuple(pages), title)
    else:
        found = finish(pages, title, task.min_chars)
        yield replace(found, seconds=tuple(p.seconds for p in pages)) if isinstance(found, Text) else found


def read_by_grobid(task: GrobidTask) -> tuple[Page, ...]:
    """A PDF's pages as GROBID has them; one page that is lost where it has none."""
    from stages.parse.grobid import read_document
    from stages.parse.web import ServiceError

    started = time.perf_counter()
    try:
        pages = read_document(task.url, task.path, task.num_pages, task.timeout_seconds)
        return tuple(replace(page, seconds=(time.perf_counter() - started) / len(pages)) for page in pages)
    except ServiceError as error:
        return (lost(1, error.reason),)


def finish(
    pages: Sequence[Page], title: str | None, min_chars: int, read: Mapping[int, Page] | None = None
) -> Text | Refused:
    """A PDF's text from its pages and those that were read again."""
    chosen = [_chosen(page, (read or {}).get(page.number)) for page in pages]
    text, spans = document_text(chosen)
    return _if_enough(text, spans, title or heading(chosen), min_chars)


def _chosen(page: Page, read: Page | None) -> Page:
    """The better of a page's two readings; a layer that stays because nobody read the page again says so."""
    if read is None:
        return replace(page, lines=(), parser="none: garbled") if page.verdict == "garbled" else page
    if read.parser == "grobid":
        return replace(read, width=page.width, height=page.height)
    if not read.is_lost:
        return better(page, read)
    if page.verdict == "garbled" or not page.lines:
        return read
    return replace(page, parser=f"{page.parser} ({read.parser.removeprefix('none: ')})")


def _if_enough(text: str, spans: Sequence[PageSpan], title: str | None, min_chars: int) -> Text | Refused:
    count = sum(c.isalnum() for c in text)
    if count >= min_chars:
        return Text(text, tuple(spans), title)
    parsers = ", ".join(sorted({s.parser for s in spans}))
    return Refused("no text", f"{count} letters and digits on {len(spans)} page(s) by {parsers}")
