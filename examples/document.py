"""An article as blocks: what typesetting, Markdown, JATS and the true text are all made from."""

from dataclasses import dataclass, field
from typing import Literal

Layout = Literal["one-column", "two-column", "journal", "report"]


@dataclass(frozen=True)
class Heading:
    """A numbered section's heading."""

    number: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Running text, as sentences."""

    sentences: tuple[str, ...]

    @property
    def text(self) -> str:
        """The sentences in one line."""
        return " ".join(self.sentences)


@dataclass(frozen=True)
class Equation:
    """A displayed equation: typst mathematics and a plain form."""

    math: str
    plain: str
    number: int


@dataclass(frozen=True)
class Table:
    """A table with a caption; every row has as many cells as the head."""

    number: int
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """A plot of a few points; `axes` are the labels of x and y."""

    number: int
    caption: str
    axes: tuple[str, str]
    points: tuple[tuple[float, float], ...]


Block = Heading | Paragraph | Equation | Table | Figure


@dataclass(frozen=True)
class Article:
    """One article. `notice` says that its materials are invented."""

    stem: str
    title: str
    byline: str
    notice: str
    licence: str
    abstract: Paragraph
    keywords: tuple[str, ...]
    body: tuple[Block, ...]
    references: tuple[str, ...]
    language: str = "en"
    labels: dict[str, str] = field(
        default_factory=lambda: {
            "abstract": "Abstract",
            "keywords": "Keywords",
            "table": "Table",
            "figure": "Figure",
            "references": "References",
            "licence": "Licence",
            "page": "Page",
        }
    )


def block_lines(block: Block, labels: dict[str, str]) -> list[str]:
    """A block as lines of plain text: tables row by row, figures by their caption."""
    match block:
        case Heading(number, text):
            return [f"{number} {text}"]
        case Paragraph():
            return [block.text]
        case Equation(plain=plain, number=number):
            return [f"{plain} ({number})"]
        case Table(number, caption, head, rows):
            return [f"{labels['table']} {number}: {caption}", *(" ".join(row) for row in (head, *rows))]
        case Figure(number=number, caption=caption):
            return [f"{labels['figure']} {number}: {caption}"]


def plain_text(article: Article) -> str:
    """The true text, in reading order; running heads and page numbers are not part of it."""
    labels = article.labels
    front = [
        article.title,
        article.byline,
        article.notice,
        f"{labels['licence']}: {article.licence}",
        f"{labels['abstract']}\n{article.abstract.text}",
        *([f"{labels['keywords']}: {', '.join(article.keywords)}"] if article.keywords else []),
    ]
    body = ["\n".join(block_lines(block, labels)) for block in article.body]
    ends = ["\n".join([labels["references"], *numbered(article.references)])] if article.references else []
    return "\n\n".join([*front, *body, *ends]) + "\n"


def numbered(references: tuple[str, ...]) -> list[str]:
    """References with their numbers in brackets."""
    return [f"[{n}] {text}" for n, text in enumerate(references, 1)]
