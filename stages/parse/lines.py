"""Lines of text on a page: what a PDF's text layer and OCR both come down to."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

LINE_HYPHEN = "\ufffe"  # PDFium's sign for a hyphen at a line's end, the next line following at once


Kind = Literal["text", "title", "section", "subsection", "row", "verbatim"]


class Line(NamedTuple):
    """A line and its box, in points from the page's lower left corner; `size` is the height of its font.

    A table's `row` is Markdown already; `verbatim` is Markdown of a whole page, without a box.
    """

    text: str
    left: float
    bottom: float
    right: float
    top: float
    size: float
    kind: Kind = "text"


@dataclass(frozen=True)
class Page:
    """A page as read. `verdict` says what its text layer is worth; `parser` who read `lines`."""

    number: int
    width: float = 0.0
    height: float = 0.0
    lines: tuple[Line, ...] = field(default=(), repr=False)
    parser: str = "pypdfium2"
    origin: Literal["text layer", "ocr"] = "text layer"
    verdict: Literal["good", "empty", "no text", "garbled", "suspect"] = "good"
    features: tuple[float, ...] = field(default=(), repr=False)  # `features.Features`, of a page from the free pass
    seconds: float = field(default=0.0, compare=False)  # that reading it took, by the clock on the wall

    @property
    def needs_ocr(self) -> bool:
        """Whether the text layer is missing, broken or a bad reading of a scan."""
        return self.verdict in {"no text", "garbled", "suspect"}

    @property
    def is_lost(self) -> bool:
        """Whether nobody could read the page; `parser` says why."""
        return self.parser.startswith("none: ")

    @property
    def text(self) -> str:
        """The lines as they are, for judging them."""
        return "\n".join(line.text for line in self.lines)


def verbatim(text: str, width: float, height: float) -> Line:
    """Markdown of a whole page, in the middle of it."""
    return Line(text, 0.0, height / 2, width, height / 2, 0.0, "verbatim")


def lost(number: int, reason: str) -> Page:
    """A page that gave nothing: its span is empty and names the reason."""
    return Page(number, parser=f"none: {reason}")
