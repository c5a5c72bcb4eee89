"""Parse: text out of every source, page by page where there are pages."""

import hashlib
import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from schemas.corpus import Document, Dropped, Route, SourceFile
from stages.base import SettingsError, Stage
from stages.tables import Outputs, Reader


class Parse(Stage):
    """Turn sources into documents: a PDF's text layer, OCR for pages without one, native readers for the rest."""

    name = "parse"
    inputs = {"sources": SourceFile}
    outputs = {"documents": Document, "dropped": Dropped, "routes": Route}
    conserves = ("sources", "documents")
    packages = ("pypdfium2", "lxml", "pikepdf", "charset_normalizer")

    ocr: Literal["auto", "tesseract", "rapidocr", "none"] = "auto"
    """Reader of pages without usable text; `auto` takes Tesseract where it is on the PATH, else RapidOCR."""
    budget: Annotated[str, Field(pattern=r"^\d+(\.\d+)? ?(s|%|h)$")] | None = None
    """What reading pictures may cost: `0.5 s` a document, `10 %` of the pages, `3 h` of a processor in all. Each second
    goes where the router expects most of it; without a budget, the pages without usable text are read, and no others."""
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

    def engine(self) -> Literal["tesseract", "rapidocr", "none"]:
        """The OCR engine that would be used on this machine."""
        if self.ocr != "auto":
            return self.ocr
        if shutil.which("tesseract"):
            return "tesseract"
        return "rapidocr" if importlib.util.find_spec("rapidocr") else "none"

    def engines(self) -> tuple[str, ...]:
        """The OCR engines that a budget can be spent on: all that are installed, or the one that `ocr` names."""
        if self.ocr != "auto":
            return () if self.ocr == "none" else (self.ocr,)
        installed = {"tesseract": shutil.which("tesseract"), "rapidocr": importlib.util.find_spec("rapidocr")}
        return tuple(name for name, found in installed.items() if found)

    def external(self) -> str:
        """The OCR engine, which depends on the machine where `ocr` is `auto`; with a budget, all, and the router."""
        if self.budget is None:
            return self.engine()
        weights = (Path(__file__).parent / "router" / "weights.json").read_bytes()
        return " ".join([*self.engines(), hashlib.sha256(weights).hexdigest()[:12]])

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Parse this shard's sources in worker processes, in order."""
        missing = {
            "tesseract": shutil.which("tesseract") is None,
            "rapidocr": importlib.util.find_spec("rapidocr") is None,
        }
        if missing.get(self.engine()):
            raise SettingsError(f"parse.ocr: {self.ocr} is not installed; with ocr=auto parse takes what there is")
        from stages.parse.schedule import parse

        parse(self, inputs["sources"], outputs)
