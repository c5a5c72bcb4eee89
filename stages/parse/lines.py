"""Lines of text on a page: what a PDF's text layer and OCR both come down to."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args, overload

import numpy as np
from numpy.typing import NDArray

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


KINDS: tuple[Kind, ...] = get_args(Kind)
TEXT, ROW, VERBATIM = map(KINDS.index, ("text", "row", "verbatim"))


class Lines(Sequence[Line]):
    """Lines by columns: what a page's text layer has, without an object for each line until somebody asks for one.

    `codes` are all characters, those between lines too (characters); `spans` where in them each line begins and ends
    (lines, 2); `places` left, bottom, right, top and size (lines, 5); `kinds` numbers of `KINDS` (lines).
    """

    def __init__(
        self, codes: NDArray[np.uint32], spans: NDArray[np.int64], places: NDArray[np.float64], kinds: NDArray[np.uint8]
    ) -> None:
        self.codes, self.spans, self.places, self.kinds = codes, spans, places, kinds

    @classmethod
    def of(cls, lines: Sequence[Line]) -> "Lines":
        """The same lines by columns."""
        if isinstance(lines, Lines):
            return lines
        lengths = np.array([len(line.text) for line in lines], dtype=np.int64)
        ends = np.cumsum(lengths + 1) - 1
        spans = np.stack([ends - lengths, ends], axis=1)
        places = np.array([line[1:6] for line in lines], dtype=np.float64).reshape(len(lines), 5)
        kinds = np.array([KINDS.index(line.kind) for line in lines], dtype=np.uint8)
        return cls(encoded("\n".join([line.text for line in lines])), spans, places, kinds)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many characters each line has."""
        lengths: NDArray[np.int64] = self.spans[:, 1] - self.spans[:, 0]
        return lengths

    @cached_property
    def text(self) -> str:
        """All characters, those between lines too."""
        return _decoded(self.codes)

    def texts(self) -> list[str]:
        """The text of every line."""
        whole = self.text
        return [whole[start:end] for start, end in self.spans.tolist()]

    def text_of(self, line: int) -> str:
        """The text of one line."""
        return _decoded(self.codes[self.spans[line, 0] : self.spans[line, 1]])

    @cached_property
    def _lines(self) -> tuple[Line, ...]:
        kinds = [KINDS[kind] for kind in self.kinds.tolist()]
        return tuple(map(Line._make, zip(self.texts(), *self.places.T.tolist(), kinds, strict=True)))

    def __len__(self) -> int:
        return len(self.spans)

    @overload
    def __getitem__(self, index: int) -> Line: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Line, ...]: ...
    def __getitem__(self, index: int | slice) -> Line | tuple[Line, ...]:
        return self._lines[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._lines == tuple(other)

    def __hash__(self) -> int:
        return hash(self._lines)

    def __reduce__(self) -> tuple[Any, ...]:
        """As text, which takes a quarter of the bytes of its codes on the way to another process."""
        return _restored, (self.text, self.spans, self.places, self.kinds)


def encoded(text: str) -> NDArray[np.uint32]:
    """A text's characters by their codes."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _decoded(codes: NDArray[np.uint32]) -> str:
    return codes.tobytes().decode("utf-32-le", "surrogatepass")


def _restored(text: str, *columns: Any) -> Lines:
    return Lines(encoded(text), *columns)


@dataclass(frozen=True)
class Page:
    """A page as read. `verdict` says what its text layer is worth; `parser` who read `lines`."""

    number: int
    width: float = 0.0
    height: float = 0.0
    lines: Sequence[Line] = field(default=(), repr=False)
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
