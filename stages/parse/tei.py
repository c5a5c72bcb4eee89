"""TEI P5 as GROBID writes it to text: title, abstract, sections, figures' and tables' captions, tables row by row; no references.

The standard is https://tei-c.org/guidelines/p5/. GROBID's `coords` ("page,x,y,width,height;...") say which page an
element begins on. What is given up: notes, annexes of acknowledgements and funding, and authors.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from stages.parse.jats import CELL, XmlError

TEI = "{http://www.tei-c.org/ns/1.0}TEI"
SKIPPED = frozenset({"listBibl", "note", "biblStruct", "graphic", "label"})
BACK = frozenset({"annex", "appendix"})  # the parts behind the text that are text


APART = frozenset(
    {"p", "ab", "head", "item", "cell", "row", "l", "lb", "div", "list", "table", "figDesc"}
)  # by a space


class Paragraph(NamedTuple):
    """A paragraph of Markdown, and the page on which it begins (0 where the file does not say)."""

    text: str
    page: int


def tei_text(root: Any) -> tuple[str, str | None]:
    """Text and title of a TEI file."""
    found = list(paragraphs(root))
    return "\n\n".join(p.text for p in found), title(root)


def tei_pages(root: Any) -> dict[int, str]:
    """The text of every page that has any, in order; a paragraph belongs to the page that it begins on."""
    pages: dict[int, list[str]] = {}
    at = 1
    for paragraph in paragraphs(root):
        at = max(at, paragraph.page)  # a float that GROBID puts behind the text stays there
        pages.setdefault(at, []).append(paragraph.text)
    return {number: "\n\n".join(texts) for number, texts in pages.items()}


def title(root: Any) -> str | None:
    """The paper's title."""
    statement = next(root.iter("{*}titleStmt"), None)
    found = next(statement.iter("{*}title"), None) if statement is not None else None
    return (_words(found) or None) if found is not None else None


def paragraphs(root: Any) -> Iterator[Paragraph]:
    """Title, abstract, body and appendices; `XmlError` if this is no TEI."""
    if _name(root) != "TEI":
        raise XmlError("unsupported XML", f"root element {_name(root)}")
    if heading := title(root):
        yield Paragraph(f"# {heading}", 0)
    for abstract in root.iter("{*}abstract"):
        blocks = list(_blocks(abstract))
        if blocks:
            yield Paragraph("## Abstract", blocks[0].page)
        yield from blocks
    for part in root.iter("{*}body", "{*}back"):
        for child in part if _name(part) == "back" else (part,):
            if _name(part) == "body" or child.get("type") in BACK:
                yield from _blocks(child)


def _blocks(element: Any) -> Iterator[Paragraph]:
    name = _name(element)
    if name in SKIPPED:
        return
    if name == "head":
        number = f"{element.get('n')} " if element.get("n") else ""
        yield from _paragraph(f"## {number}{_words(element)}", element)
    elif name in {"p", "ab", "formula", "quote"}:
        yield from _paragraph(_words(element), element)
    elif name == "figure":
        yield from _figure(element)
    elif name == "list":
        items = [f"- {_words(item)}" for item in element.iterfind("{*}item")]
        yield from _paragraph("\n".join(items), element)
    else:
        for child in element.iterchildren("*"):
            yield from _blocks(child)


def _figure(element: Any) -> Iterator[Paragraph]:
    """A figure's caption, or a table's with its rows."""
    caption = [_words(e) for e in element.iterchildren("{*}head", "{*}figDesc")]
    yield from _paragraph(" ".join(filter(None, caption)), element)
    rows = [CELL.join(_words(cell) for cell in row.iterfind("{*}cell")) for row in element.iter("{*}row")]
    yield from _paragraph("\n".join(rows), element)


def _paragraph(text: str, element: Any) -> Iterator[Paragraph]:
    if text.strip("# "):
        yield Paragraph(text, _page(element))


def _page(element: Any) -> int:
    """The page that an element's coordinates begin with; 0 without any."""
    first = element.get("coords", "").partition(",")[0]
    return int(first) if first.isdigit() else 0


def _words(element: Any) -> str:
    return " ".join("".join(_pieces(element)).split())


def _pieces(element: Any) -> Iterator[str]:
    """The words of an element, itself included, its tail not."""
    edge = " " if _name(element) in APART else ""
    yield edge + (element.text or "")
    for child in element:
        yield from _pieces(child)
        yield child.tail or ""
    yield edge


def _name(element: Any) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
