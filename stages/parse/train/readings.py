"""What a parser makes of a page and how long it took, kept on disk: reading a picture costs seconds.

Seconds are processor time of this process and its children, so that a busy machine does not make a parser dear.
"""

import hashlib
import json
import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

from stages.parse import pdf
from stages.parse.lines import Line, Page
from stages.parse.ocr import DPI, engine


class Reading(NamedTuple):
    """A page as one parser read it, in so many seconds."""

    page: Page
    seconds: float


class Readings:
    """Readings of PDFs' pages, by what is in the file; those that are not in `folder` are made."""

    def __init__(self, folder: Path, language: str = "eng") -> None:
        self.folder, self.language = folder, language
        folder.mkdir(parents=True, exist_ok=True)

    def read(self, path: Path, index: int, parser: str) -> Reading:
        """Page `index` (from 0) of a PDF by an OCR engine."""
        file = self.folder / f"{_digest(path)}-{index}-{parser}-{DPI[parser]}.json"
        if not file.is_file():
            _write(file, self._made(path, index, parser))
        fields = json.loads(file.read_text())
        return Reading(
            Page(index + 1, fields["width"], fields["height"], tuple(Line(*n) for n in fields["lines"]), parser, "ocr"),
            fields["seconds"],
        )

    def _made(self, path: Path, index: int, parser: str) -> Reading:
        reader = engine(parser, self.language)
        started = _processor_seconds()
        document = pdf.open_pdf(str(path))
        pixels, scale, (width, height) = pdf.render(document, index, DPI[parser])
        lines = reader.read(pixels, scale, height)
        document.close()
        return Reading(Page(index + 1, width, height, lines, parser, "ocr"), _processor_seconds() - started)


def _write(file: Path, reading: Reading) -> None:
    page = reading.page
    fields = {"width": page.width, "height": page.height, "lines": page.lines, "seconds": round(reading.seconds, 4)}
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(fields))
    temporary.replace(file)


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
