"""JATS and NLM articles to text: title, abstracts, sections, captions, tables row by row, formulas; no references.

The standard is NISO Z39.96. Entities are not expanded and nothing is fetched: a reference to a character by name is put
back from HTML's list of names. A formula is its TeX where it has one, else its MathML's characters in order. What is
given up: authors and affiliations, acknowledgements, footnotes, supplements, and answers to an article inside its file.
"""

import html
from collections.abc import Callable, Iterator
from typing import Any

from lxml import etree

CELL = " | "
SKIPPED = frozenset(
    {"ref-list", "fn-group", "table-wrap-foot", "supplementary-material", "permissions", "object-id", "alt-text", "media",
     "label", "graphic", "notes", "glossary", "ack", "author-notes"}
)  # fmt: skip
TITLES = frozenset({"title", "subtitle", "article-title"})
BLOCKS = frozenset(
    {"p", "sec", "fig", "fig-group", "table-wrap", "table-wrap-group", "boxed-text", "disp-formula", "disp-quote", "list",
     "def-list", "statement", "preformat", "verse-group", "app", "app-group", "caption", "disp-formula-group", "code",
     "abstract", "trans-abstract", "table", "list-item", "def-item", "floats-group"} | TITLES | SKIPPED
)  # fmt: skip
# In a line these are apart from what is around them by a space.
APART = (BLOCKS - SKIPPED) | {"break", "td", "th", "term", "def", "verse-line", "speaker", "attrib"}


class XmlError(Exception):
    """An XML file that gives no text; the reason is one of a few words."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


def read_tree(data: bytes) -> Any:
    """Parse XML without entities, network and huge texts; `XmlError` if it is broken."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise XmlError("damaged XML", str(error)) from error


def jats_text(root: Any) -> tuple[str, str | None]:
    """Text and title of a JATS article."""
    article = root if _name(root) == "article" else next(_named(root, "article"), None)
    if article is None:
        raise XmlError("unsupported XML", f"root element {_name(root)}")
    meta = next(_named(article, "article-meta"), None)
    title = None if meta is None else next((inline(e) for e in _named(meta, "article-title")), None)
    parts = [title] if title else []
    for place in _places(article, meta):
        parts += paragraphs(place)
    return "\n\n".join(p for p in parts if p), title or None


def plain_xml_text(root: Any) -> str:
    """Text content of any other XML, a line for every element that holds text of its own."""
    lines = []
    for element in root.iter(etree.Element):
        own = [element.text, *(child.tail for child in element)]
        line = " ".join(" ".join(part.split()) for part in own if part and part.strip())
        lines.append(line)
    return "\n".join(line for line in lines if line)


def paragraphs(element: Any) -> Iterator[str]:
    """The paragraphs under a block, in order."""
    name = _name(element)
    if name in SKIPPED:
        return
    reader = READERS.get(name)
    if reader is not None:
        yield from reader(element)
    elif name in TITLES or not any(_name(child) in BLOCKS for child in element):
        yield inline(element)
    else:
        yield from _mixed(element)


def inline(element: Any) -> str:
    """The words of an element in one line."""
    return " ".join("".join(_pieces(element)).split())


def _places(article: Any, meta: Any) -> Iterator[Any]:
    """Where an article has text: abstracts, body, floats and appendices."""
    if meta is not None:
        yield from (e for e in meta if _name(e) in {"abstract", "trans-abstract"})
    for child in article:
        if _name(child) in {"body", "floats-group"}:
            yield child
        if _name(child) == "back":
            yield from (e for e in child if _name(e) == "app-group")


def _mixed(element: Any) -> Iterator[str]:
    """Paragraphs of an element that has blocks among its words."""
    words = [_words(element.text)]
    for child in element:
        if _name(child) in BLOCKS:
            yield " ".join("".join(words).split())
            words = []
            yield from paragraphs(child)
        else:
            words += _pieces(child)
        words.append(_words(child.tail))
    yield " ".join("".join(words).split())


def _captioned(element: Any) -> Iterator[str]:
    """`Figure 1. What it shows`, and whatever else the figure or table has."""
    label = next((inline(c) for c in element if _name(c) == "label"), "")
    for child in element:
        for number, text in enumerate(filter(None, paragraphs(child))):
            first = _name(child) == "caption" and number == 0 and label
            yield f"{label.rstrip('.')}. {text}" if first else text


def _table(element: Any) -> Iterator[str]:
    """A table's rows, a line each; cells that span rows stand in their first row only."""
    lines = [CELL.join(inline(cell) for cell in row if _name(cell) in {"td", "th"}) for row in _rows(element)]
    yield "\n".join(line for line in lines if line.replace(CELL.strip(), "").strip())


def _rows(element: Any) -> Iterator[Any]:
    """A table's rows; those of a table in a cell are words of that cell."""
    for child in element:
        if _name(child) == "tr":
            yield child
        else:
            yield from _rows(child)


def _list(element: Any) -> Iterator[str]:
    yield from (inline(child) for child in element if _name(child) in TITLES)
    items = [" ".join(filter(None, _mixed(item))) for item in element if _name(item) in {"list-item", "def-item"}]
    yield "\n".join(f"- {item}" for item in items if item)


def _abstract(element: Any) -> Iterator[str]:
    if not any(_name(child) in TITLES for child in element):
        yield "Abstract"
    yield from _mixed(element)


READERS: dict[str, Callable[[Any], Iterator[str]]] = {
    "fig": _captioned,
    "table-wrap": _captioned,
    "boxed-text": _mixed,
    "table": _table,
    "list": _list,
    "def-list": _list,
    "abstract": _abstract,
    "trans-abstract": _abstract,
}


def _pieces(element: Any) -> Iterator[str]:
    """The words of an element, itself included, its tail not."""
    if element.tag is etree.Entity:
        yield html.unescape(element.text)
        return
    name = _name(element)
    if name in {"alternatives", "disp-formula", "inline-formula"}:
        yield " " + _formula(element) + " "
        return
    if name in SKIPPED - {"label"} or name == "tex-math":
        yield _tex(element) if name == "tex-math" else ""
        return
    edge = " " if name in APART else ""
    yield edge + _words(element.text)
    for child in element:
        yield from _pieces(child)
        yield _words(child.tail)
    yield edge


def _formula(element: Any) -> str:
    """TeX if there is any, else the characters of the MathML."""
    tex = next(_named(element, "tex-math"), None)
    if tex is not None:
        return _tex(tex)
    math = next(_named(element, "math"), element)
    return " ".join(part.strip() for part in math.itertext(etree.Element) if part.strip())


def _tex(element: Any) -> str:
    r"""A formula's TeX without the `\documentclass` that publishers wrap around it."""
    text = "".join(element.itertext())
    if "\\begin{document}" in text:
        text = text.partition("\\begin{document}")[2].partition("\\end{document}")[0]
    return text.strip()


def _words(text: str | None) -> str:
    return text or ""


def _named(element: Any, name: str) -> Iterator[Any]:
    return (e for e in element.iter(etree.Element) if _name(e) == name)


def _name(element: Any) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
