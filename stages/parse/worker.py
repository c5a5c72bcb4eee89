"""What a worker process does with one task: read a source, or read one page of a PDF from its picture."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from schemas.corpus import PageSpan
from stages.parse.garble import better
from stages.parse.layout import document_text, heading
from stages.parse.lines import Page, lost
from stages.parse.pool import At


@dataclass(frozen=True)
class ReadTask:
    """Read a source. `skip` names pages that an earlier try was lost at, and how; `route` asks for a PDF's pages."""

    index: int
    media_type: str
    path: str
    record: str | None
    max_pages: int
    min_chars: int
    ocr: bool
    skip: Mapping[int, str] = field(default_factory=dict)
    route: bool = False


@dataclass(frozen=True)
class OcrTask:
    """Read page `number` (from 1) of a PDF from its picture."""

    index: int
    path: str
    number: int
    engine: str
    language: str
    dpi: int


@dataclass(frozen=True)
class Text:
    """A source's text."""

    text: str
    pages: tuple[PageSpan, ...]
    title: str | None


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


def work(task: ReadTask | OcrTask) -> Iterator[At | Text | Unfinished | Refused | Page]:
    """Signs of life, then the answer: a `Page` for an `OcrTask`, one of the others for a `ReadTask`."""
    if isinstance(task, OcrTask):
        yield At(task.number)
        yield read_picture(task)
    elif task.media_type == "application/pdf":
        yield from read_pdf(task)
    else:
        yield read_native(task)


def read_native(task: ReadTask) -> Text | Refused:
    """Text of a source without pages: one span, page 1."""
    from stages.parse.native import NativeError, native_text

    data = task.record.encode() if task.record is not None else Path(task.path).read_bytes()
    try:
        text, title, parser = native_text(task.media_type, data)
    except NativeError as error:
        return Refused(error.reason, error.detail)
    text = text.encode(errors="replace").decode().strip()
    span = PageSpan(page=1, start=0, end=len(text), parser=parser, origin="native")
    return _if_enough(text, [span], title, task.min_chars)


def read_pdf(task: ReadTask) -> Iterator[At | Text | Unfinished | Refused]:
    """Text of a PDF, or its pages if some of them need OCR."""
    from stages.parse import pdf

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
            pages.append(pdf.read_page(document, number - 1))
    title = pdf.metadata_title(document)
    document.close()
    if task.route or (task.ocr and any(page.needs_ocr for page in pages)):
        yield Unfinished(tuple(pages), title)
    else:
        yield finish(pages, title, task.min_chars)


def read_picture(task: OcrTask) -> Page:
    """A page's lines, read from its picture."""
    from stages.parse import pdf
    from stages.parse.ocr import engine

    document = pdf.open_pdf(task.path)
    pixels, scale, (width, height) = pdf.render(document, task.number - 1, task.dpi)
    document.close()
    lines = engine(task.engine, task.language).read(pixels, scale, height)
    return Page(task.number, width, height, lines, parser=task.engine, origin="ocr")


def finish(
    pages: Sequence[Page], title: str | None, min_chars: int, read: Mapping[int, Page] | None = None
) -> Text | Refused:
    """A PDF's text from its pages and, for those that needed it, what OCR read."""
    chosen = [_chosen(page, (read or {}).get(page.number)) for page in pages]
    text, spans = document_text(chosen)
    return _if_enough(text, spans, title or heading(chosen), min_chars)


def _chosen(page: Page, read: Page | None) -> Page:
    if read is not None and read.parser.startswith("none") and page.verdict != "garbled":
        return page if page.lines else read
    if read is not None:
        return better(page, read)
    return replace(page, lines=(), parser="none: garbled") if page.verdict == "garbled" else page


def _if_enough(text: str, spans: Sequence[PageSpan], title: str | None, min_chars: int) -> Text | Refused:
    count = sum(c.isalnum() for c in text)
    if count >= min_chars:
        return Text(text, tuple(spans), title)
    parsers = ", ".join(sorted({s.parser for s in spans}))
    return Refused("no text", f"{count} letters and digits on {len(spans)} page(s) by {parsers}")
