"""Parsers that read a page again, behind one interface: what each costs, and what it needs.

tesseract, rapidocr   the page's picture, by a processor in seconds (`ocr`)
layout                the layer's characters by where they stand, in milliseconds (`structure`)
served:MODEL          the page's picture, by a vision-language model behind a URL (`served`)
"""

import importlib.util
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol

from stages.parse.lines import Page

Cost = Literal["text", "processor", "service"]

SERVED = "served:"
DPI = {"rapidocr": 110, "tesseract": 200, "served": 150}
CURES = {
    "tesseract": "apt-get install tesseract-ocr",
    "rapidocr": "pip install -e '.[parse]'",
    "served": "set parse.served_url and parse.served_model",
}


@dataclass(frozen=True)
class Server:
    """A vision-language model behind an OpenAI-compatible URL; `timeout_seconds` is for one try."""

    url: str
    model: str
    prompt: str
    timeout_seconds: float
    max_tokens: int


@dataclass(frozen=True)
class Options:
    """How pages are read; `dpi` None means what suits the parser."""

    language: str = "eng"
    dpi: int | None = None
    server: Server | None = None


class Parser(Protocol):
    """Reads one page of a PDF again."""

    def read(self, path: str, index: int) -> Page:
        """Page `index` (from 0), its lines in reading order; one that is `lost` names why."""
        ...


def cost(name: str) -> Cost:
    """What a page by this parser uses up: next to nothing, seconds of a processor, or a service's time."""
    if name.startswith(SERVED):
        return "service"
    return "text" if name == "layout" else "processor"


def dpi(name: str, options: Options) -> int:
    """The resolution of the pictures that a parser gets; 0 where it looks at none."""
    kind = name.partition(":")[0]
    return 0 if kind not in DPI else options.dpi or DPI[kind]


def lacking(names: Iterable[str], server: Server | None) -> list[str]:
    """What these parsers lack here, each with its cure."""
    found = {
        "tesseract": shutil.which("tesseract") is not None,
        "rapidocr": importlib.util.find_spec("rapidocr") is not None,
        "served": server is not None,
    }
    kinds = dict.fromkeys(name.partition(":")[0] for name in names)
    return [f"{kind} is not there: {CURES[kind]}" for kind in kinds if not found.get(kind, True)]


@cache
def parser(name: str, options: Options) -> Parser:
    """The parser, loaded once in a process."""
    if name.startswith(SERVED):
        from stages.parse.served import ServedModel

        assert options.server is not None
        return ServedModel(options.server, dpi(name, options))
    if name == "layout":
        from stages.parse.structure import Structured

        return Structured()
    from stages.parse.ocr import Pictured

    return Pictured(name, options.language, dpi(name, options))
