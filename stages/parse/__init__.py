"""Parse: text out of every source, page by page where there are pages."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from schemas.corpus import Allotment, Document, Dropped, Route, SourceFile
from stages.base import SettingsError, Stage, Strings
from stages.tables import Outputs, Reader

WEIGHTS = Path(__file__).parent / "router" / "weights.json"
PARSERS = ("layout", "rapidocr", "tesseract", "served")
PLACES = frozenset({"weights", "served_url", "grobid_url", "service_requests"})
BUDGET = re.compile(r"(?P<number>\d+(\.\d+)?) ?(?P<unit>s|%|h)")
PROMPT = (
    "Write down the text of this page as Markdown, in the order in which it is read. Headings begin with #, tables are "
    "Markdown tables, formulas are LaTeX between $ signs. Leave out running heads, page numbers and pictures. Write "
    "nothing that is not on the page, and nothing about it; an empty page has an empty answer."
)


def _budget(value: str) -> str:
    if not BUDGET.fullmatch(value):
        raise ValueError("expected seconds a document (0.5 s), a share of the pages (10 %) or hours in all (3 h)")
    return value


class Parse(Stage):
    """Turn sources into documents: a PDF's text layer, other parsers where that is not enough, native readers for the rest."""

    name = "parse"
    inputs = {"sources": SourceFile, "allotment": Allotment}
    optional = whole = frozenset({"allotment"})
    outputs = {"documents": Document, "dropped": Dropped, "routes": Route}
    conserves = ("sources", "documents")
    packages = ("pypdfium2", "numba", "lxml", "pikepdf", "charset_normalizer")

    ocr: Literal["rapidocr", "tesseract", "served", "none"] = "rapidocr"
    """Reader of pages without usable text. What is named is used, or parse says that it is not there: no machine has
    another output than the next one for what happens to be installed on it."""
    budget: Annotated[str, AfterValidator(_budget)] | None = None
    """What reading pages again may cost: `0.5 s` a document, `10 %` of the pages, `3 h` of a processor in all. Each second
    goes where the router expects most of it; without a budget, the pages without usable text are read, and no others."""
    price: Annotated[float, Field(ge=0)] | None = None
    """In place of a budget: the gain a second above which a page is read again, alike in all shards. `parsl pilot` finds
    the price that spends a budget."""
    parsers: Annotated[Strings, Field(min_length=1)] = ("layout", "rapidocr")
    """What a budget or price can be spent on: `layout`, `rapidocr`, `tesseract`, `served`."""
    markdown: bool = False
    """Write the headings and tables of text layers as Markdown, told by where they stand: 30 ms a page more."""
    weights: str = ""
    """The router's weights, a file of `parsl train-router`; by default those that come with this stage."""
    served_url: str = ""
    """Base URL of an OpenAI-compatible server of a vision-language model, such as http://host:8000/v1, for `served`. Its
    key is read from OPENAI_API_KEY."""
    served_model: str = ""
    """Name by which the server knows its model."""
    served_prompt: str = PROMPT
    """What the model is told, after the page's picture."""
    served_max_tokens: Annotated[int, Field(ge=64)] = 4096
    """A longer answer is not taken: a model that repeats itself does not stop."""
    grobid_url: str = ""
    """Base URL of a GROBID server, such as http://host:8070, that reads PDFs of which no page is read from its picture."""
    service_seconds: Annotated[float, Field(gt=0)] = 120.0
    """A request to a server that takes longer is given up, and tried again."""
    service_requests: Annotated[int, Field(ge=1, le=1024)] = 8
    """Requests at a time, by a process of 90 MB each, beside the workers that read files."""
    ocr_dpi: Annotated[int, Field(ge=50, le=600)] | None = None
    """Resolution that pages are rendered at for OCR; by default what suits the engine."""
    ocr_language: Annotated[str, Field(pattern=r"^[a-zA-Z_]+(\+[a-zA-Z_]+)*$")] = "eng"
    """Tesseract's languages (`eng+deu`); RapidOCR's model reads Latin script as it is."""
    max_pages: Annotated[int, Field(ge=1)] = 3000
    """Pages of a PDF after these are left out, and its page spans say so."""
    min_chars: Annotated[int, Field(ge=1)] = 20
    """A document with fewer letters and digits has no text."""
    page_seconds: Annotated[float, Field(gt=0)] = 180.0
    """A page that takes longer is left out; RapidOCR takes 6 seconds on a free core."""
    document_seconds: Annotated[float, Field(gt=0)] = 600.0
    """A document whose text (OCR apart) takes longer is dropped."""
    max_memory_bytes: Annotated[int, Field(ge=256 << 20)] = 4 << 30
    """Address space of one worker process; a page that needs more is left out."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """A server that is asked has an address, and there is one way to say what may be spent."""
        problems = [f"{n}: no such parser; there are {', '.join(PARSERS)}" for n in self.parsers if n not in PARSERS]
        problems += [
            f"{name}: expected a URL such as http://host:8000, found {url!r}"
            for name, url in (("served_url", self.served_url), ("grobid_url", self.grobid_url))
            if url and not url.startswith(("http://", "https://"))
        ]
        if "served" in self.readers() and not (self.served_url and self.served_model):
            problems.append("served: set parse.served_url and parse.served_model")
        if self.budget is not None and self.price is not None:
            problems.append("budget and price: set one of them")
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def is_routed(self) -> bool:
        """Whether the router decides which pages are read again."""
        return self.budget is not None or self.price is not None

    def readers(self) -> tuple[str, ...]:
        """The parsers that may read a page again, as `parsers` names them."""
        if self.is_routed:
            return self.parsers
        return () if self.ocr == "none" else (self.ocr,)

    def reader_names(self) -> tuple[str, ...]:
        """The same as spans and weights name them: a served model by its own name."""
        return tuple(f"served:{self.served_model}" if n == "served" else n for n in self.readers())

    def settings(self) -> dict[str, Any]:
        """The settings that make the output what it is: where servers and weights are does not."""
        return {k: v for k, v in super().settings().items() if k not in PLACES}

    def external(self) -> str:
        """The router's weights, where there is a router, and whether GROBID is asked."""
        parts = ["grobid"] if self.grobid_url else []
        if self.is_routed:
            weights = Path(self.weights).expanduser() if self.weights else WEIGHTS
            if not weights.is_file():
                raise SettingsError(f"parse.weights: there is no file {weights}; parsl train-router makes one")
            parts.append(hashlib.sha256(weights.read_bytes()).hexdigest()[:12])
        return " ".join(parts)

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Parse this shard's sources in worker processes, in order."""
        from stages.parse.schedule import parse

        parse(self, inputs["sources"], outputs, inputs.get("allotment"))
