"""Text of sources that have no pages: text files, Markdown, HTML, XML and records.

A text file is UTF-8, or says otherwise by a byte order mark, or is judged by charset-normalizer (MIT). What is given up:
Markdown and HTML tables keep no columns.
"""

import codecs
import json
import re
from typing import Any

from stages.parse.jats import XmlError, jats_text, plain_xml_text, read_tree
from stages.parse.tei import TEI, tei_text

TEXT_KEYS = ("text", "content", "body", "abstract")
MARKS = (  # a longer one first: that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
MAX_JUDGED_BYTES = 256 << 10  # charset-normalizer's time goes with the size
ENCODINGS = [  # the usual ones, first come first among equals: of all hundred, some rare one fits a few words by chance
    "cp1252", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "gb18030", "big5", "shift_jis",
    "euc_jp", "euc_kr", "utf_16", "utf_32",
]  # fmt: skip
MAX_CONTROL_SHARE = 0.02
NOT_SHOWN = frozenset({"script", "style", "noscript", "template", "head", "nav", "svg"})
HTML_BLOCKS = frozenset(
    {"p", "div", "section", "article", "h1", "h2", "h3", "h4", "h5", "h6", "li", "tr", "pre", "blockquote", "figcaption",
     "table", "ul", "ol", "dl", "dt", "dd", "br", "hr", "header", "footer", "main", "aside", "caption", "figure", "address",
     "form", "fieldset", "legend", "option", "details", "summary", "dialog", "menu", "optgroup"}
)  # fmt: skip
HEADING = re.compile(r"^#\s+(.{3,300})$", re.MULTILINE)


class NativeError(Exception):
    """A source that gives no text; the reason is one of a few words."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


def native_text(media_type: str, data: bytes) -> tuple[str, str | None, str]:
    """Text, title if it says one, and the parser's name, of a file's bytes."""
    if media_type == "application/json":
        return (*record_text(data), "record")
    if media_type in {"application/jats+xml", "application/xml"}:
        return _xml(media_type, data)
    if media_type == "text/html":
        return (*html_text(decode(data)), "html")
    text = decode(data)
    heading = HEADING.search(text[:4000]) if media_type == "text/markdown" else None
    return text, heading[1].strip() if heading else None, media_type.rpartition("/")[2].replace("plain", "text")


def decode(data: bytes) -> str:
    """Bytes as text with newlines of one kind; `NativeError` ("not text") if no encoding fits."""
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        text = _judged(data, str(error))
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    control = sum(ord(c) < 32 and c not in "\n\t\f\x1b" for c in text)
    if control > MAX_CONTROL_SHARE * len(text):
        raise NativeError("not text", f"{control} control characters in {len(text)}")
    return (
        "".join(c for c in text if ord(c) >= 32 or c in "\n\t") if control or "\f" in text or "\x1b" in text else text
    )


def record_text(data: bytes) -> tuple[str, str | None]:
    """The text of a record: its first key among `TEXT_KEYS` that holds any."""
    fields = json.loads(data)
    text = next((fields[k] for k in TEXT_KEYS if isinstance(fields.get(k), str) and fields[k].strip()), None)
    if text is None:
        raise NativeError("no text field", f"keys: {', '.join(map(str, list(fields)[:20]))}")
    title = fields.get("title")
    return text, title if isinstance(title, str) and title.strip() else None


def html_text(text: str) -> tuple[str, str | None]:
    """The words of a page that are shown, a line for each block."""
    import lxml.html

    try:
        root = lxml.html.document_fromstring(
            text.encode(), parser=lxml.html.HTMLParser(encoding="utf-8", no_network=True)
        )
    except (lxml.etree.ParserError, lxml.etree.XMLSyntaxError) as error:
        raise NativeError("no text", str(error)) from error
    title = next((" ".join(e.text_content().split()) for e in root.iter("title")), None)
    pieces: list[str] = []
    _gather(root, pieces)
    lines = (" ".join(line.split()) for line in "".join(pieces).split("\n"))
    return "\n".join(line for line in lines if line), title or None


def _gather(element: Any, pieces: list[str]) -> None:
    """Append an element's words; blocks are set off by newlines."""
    if not isinstance(element.tag, str) or element.tag in NOT_SHOWN:
        return
    edge = "\n" if element.tag in HTML_BLOCKS else " " if element.tag in {"td", "th"} else ""
    pieces += [edge, (element.text or "").replace("\n", " ")]
    for child in element:
        _gather(child, pieces)
        pieces.append((child.tail or "").replace("\n", " "))
    pieces.append(edge)


def _xml(media_type: str, data: bytes) -> tuple[str, str | None, str]:
    try:
        root = read_tree(data)
        if media_type == "application/jats+xml":
            return (*jats_text(root), "jats")
        if root.tag == TEI:
            return (*tei_text(root), "tei")
        text = plain_xml_text(root)
    except XmlError as error:
        raise NativeError(error.reason, error.detail) from error
    if not text:
        raise NativeError("unsupported XML", f"no text under {root.tag}")
    return text, None, "xml"


def _judged(data: bytes, first_error: str) -> str:
    from charset_normalizer import from_bytes

    matches = from_bytes(data[:MAX_JUDGED_BYTES], cp_isolation=ENCODINGS)
    best = min(matches, key=lambda m: (m.chaos, -m.coherence, ENCODINGS.index(m.encoding)), default=None)
    if best is None:
        raise NativeError("not text", first_error)
    try:
        return data.decode(best.encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise NativeError("not text", f"{first_error}; as {best.encoding}: {error}") from error
