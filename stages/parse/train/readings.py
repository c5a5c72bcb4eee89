"""What a parser makes of a page and how long it took, kept on disk: reading a picture costs seconds.

Seconds are processor time of this process and its children, so that a busy machine does not make a parser dear; of a
service, the time that it takes to answer one request.
"""

import hashlib
import json
import os
import re
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

from stages.parse.lines import Line, Page
from stages.parse.parsers import Options, cost, dpi
from stages.parse.parsers import parser as load_parser

NO_NAME = re.compile(r"[^\w.-]")


class Reading(NamedTuple):
    """A page as one parser read it, in so many seconds."""

    page: Page
    seconds: float


class Readings:
    """Readings of PDFs' pages, by what is in the file; those that are not in `folder` are made, dear ones kept there."""

    def __init__(self, folder: Path, options: Options | None = None) -> None:
        self.folder, self.options = folder, options or Options()
        folder.mkdir(parents=True, exist_ok=True)

    def read(self, path: Path, index: int, parser: str) -> Reading:
        """Page `index` (from 0) of a PDF by a parser; `RuntimeError` where it fails."""
        if cost(parser) == "text":
            return self._made(path, index, parser)
        file = self.folder / f"{_digest(path)}-{index}-{self._key(parser)}.json"
        if not file.is_file():
            _write(file, self._made(path, index, parser))
        fields = json.loads(file.read_text())
        lines = tuple(Line(*n) for n in fields["lines"])
        return Reading(Page(index + 1, fields["width"], fields["height"], lines, parser, "ocr"), fields["seconds"])

    def _key(self, parser: str) -> str:
        """What a reading depends on beside its page, as a file's name."""
        key = f"{NO_NAME.sub('_', parser)}-{dpi(parser, self.options)}"
        if cost(parser) == "service":
            key += "-" + hashlib.sha256(repr(self.options.server).encode()).hexdigest()[:8]
        return key

    def _made(self, path: Path, index: int, name: str) -> Reading:
        reader = load_parser(name, self.options)
        clock = time.perf_counter if cost(name) == "service" else _processor_seconds
        started = clock()
        page = reader.read(str(path), index)
        if page.is_lost:
            raise RuntimeError(f"{path.name}, page {index + 1}: {name} gives {page.parser}")
        return Reading(page, clock() - started)


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
