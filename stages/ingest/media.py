"""Media types by content, extension second: a file is what its bytes say.

Only the first bytes are looked at. What cannot be told apart by content (text, Markdown, tables as text) is told apart
by extension. What is given up: binary formats are only known well enough to name them when they are dropped.
"""

import codecs
import re

HEAD_BYTES = 8192

PDF, JSON, PARQUET = "application/pdf", "application/json", "application/vnd.apache.parquet"
JATS, XML, HTML = "application/jats+xml", "application/xml", "text/html"
TEXT, MARKDOWN = "text/plain", "text/markdown"
ZIP, TAR = "application/zip", "application/x-tar"
GZIP, XZ, BZIP2, ZSTD = "application/gzip", "application/x-xz", "application/x-bzip2", "application/zstd"
BINARY = "application/octet-stream"

DOCUMENTS = frozenset({PDF, JATS, XML, HTML, TEXT, MARKDOWN})
COMPRESSED = frozenset({GZIP, XZ, BZIP2, ZSTD})
ARCHIVES = frozenset({ZIP, TAR})

MAGIC = (
    (b"PAR1", PARQUET),
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", ZIP),  # an empty one
    (b"\x1f\x8b", GZIP),
    (b"\xfd7zXZ\x00", XZ),
    (b"BZh", BZIP2),
    (b"\x28\xb5\x2f\xfd", ZSTD),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\x7fELF", "application/x-executable"),
    (b"MZ", "application/x-msdownload"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),  # old Office files
    (b"SQLite format 3\x00", "application/vnd.sqlite3"),
    (b"\x89HDF\r\n\x1a\n", "application/x-hdf5"),
    (b"%!PS", "application/postscript"),
    (b"{\\rtf", "application/rtf"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
)
BY_EXTENSION = {"md": MARKDOWN, "markdown": MARKDOWN, "htm": HTML, "html": HTML, "csv": "text/csv", "tsv": "text/tsv"}
NOT_PROSE = {"css", "js", "py", "c", "h", "cpp", "java", "r", "sh", "toml", "yaml", "yml", "ini", "cfg", "log", "svg"}
OFFICE = (b"[Content_Types].xml", b"mimetypeapplication/", b"_rels/", b"META-INF/")  # a package's first member
BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
ROOT = re.compile(rb"<(?![?!])(?:[\w.-]+:)?([\w.-]+)")
JATS_WORDS = re.compile(rb"<!DOCTYPE\s+article\b|jats\.nlm\.nih\.gov|dtd\.nlm\.nih\.gov", re.IGNORECASE)


def sniff(head: bytes, name: str) -> str:
    """The media type of a file that begins with `head` (up to `HEAD_BYTES`) and is called `name`."""
    for magic, media_type in MAGIC:
        if head.startswith(magic):
            return _package(head) if media_type == ZIP else media_type
    if head[257:262] == b"ustar":
        return TAR
    if (
        b"%PDF-" in head[:1024]
    ):  # the standard allows bytes before the header; an archive's first member may be one as it is
        return PDF
    return _of_text(head, name) if looks_like_text(head) else BINARY


def looks_like_text(head: bytes) -> bool:
    """Whether bytes can be text: a byte order mark, or no NUL and hardly any control characters."""
    if head.startswith(BYTE_ORDER_MARKS):
        return True
    control = sum(byte < 32 and byte not in b"\t\n\r\f\x1b" for byte in head)
    return b"\0" not in head and control <= len(head) // 50


def _package(head: bytes) -> str:
    """A zip file, unless its first member says that it is an office document, an e-book or a Java archive."""
    return "application/x-package" if head[30:].startswith(OFFICE) else ZIP


def _of_text(head: bytes, name: str) -> str:
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    extension = name.lower().rpartition(".")[2] if "." in name else ""
    if start.startswith(b"<"):
        return _of_markup(start, extension)
    if start.startswith((b"{", b"[")) and (
        extension in {"json", "jsonl", "ndjson"} or re.match(rb'[\[{]\s*["{]', start)
    ):
        return JSON
    if extension in NOT_PROSE:
        return f"text/x-{extension}"
    return BY_EXTENSION.get(extension, TEXT)


def _of_markup(start: bytes, extension: str) -> str:
    root = ROOT.search(start)
    element = root[1].lower() if root else b""
    if element == b"html" or start[:14].lower() == b"<!doctype html":
        return HTML
    if element == b"article" and (JATS_WORDS.search(start) or extension in {"xml", "nxml"} or b"<front" in start):
        return JATS
    if start.startswith(b"<?xml") or extension in {"xml", "nxml"} or element == b"article":
        return XML
    return BY_EXTENSION.get(extension, HTML if extension == "xhtml" else TEXT)
