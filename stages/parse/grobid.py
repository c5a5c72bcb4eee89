"""A whole PDF to GROBID by URL: `POST {url}/api/processFulltextDocument`, TEI back, read by `tei`.

GROBID (Apache-2.0, a Java service) tells sections, paragraphs, captions and references of a paper apart. It is asked for
the coordinates of paragraphs and headings, so that a text still knows its pages. What is given up: a scan, which GROBID
does not read.
"""

import secrets
from collections.abc import Sequence
from pathlib import Path

from stages.parse.jats import XmlError, read_tree
from stages.parse.lines import Page, verbatim
from stages.parse.tei import tei_pages
from stages.parse.web import WAITS_SECONDS, ServiceError, post

COORDINATES = ("head", "p", "figure", "formula")


def read_document(
    url: str, path: str, num_pages: int, timeout_seconds: float, waits: Sequence[float] = WAITS_SECONDS
) -> tuple[Page, ...]:
    """A PDF's pages as GROBID has them; `ServiceError` where it has none."""
    body, content_type = _form(Path(path).read_bytes())
    headers = {"Content-Type": content_type, "Accept": "application/xml"}
    reply = post(f"{url.rstrip('/')}/api/processFulltextDocument", body, headers, timeout_seconds, waits)
    try:
        texts = tei_pages(read_tree(reply))
    except XmlError as error:
        raise ServiceError(error.reason, error.detail) from None
    if not texts:
        raise ServiceError("no text", "the TEI has no paragraphs")
    numbers = range(1, num_pages + 1)
    return tuple(Page(n, lines=(verbatim(texts[n], 0.0, 0.0),) if n in texts else (), parser="grobid") for n in numbers)


def _form(data: bytes) -> tuple[bytes, str]:
    """The request's body, as a form with a file (RFC 7578), and its content type."""
    mark = secrets.token_hex(16)
    fields = [("consolidateHeader", "0"), ("consolidateCitations", "0")]
    fields += [("teiCoordinates", name) for name in COORDINATES]
    parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n'.encode() for n, v in fields]
    file = f'--{mark}\r\nContent-Disposition: form-data; name="input"; filename="a.pdf"\r\n'
    parts += [file.encode(), b"Content-Type: application/pdf\r\n\r\n", data, f"\r\n--{mark}--\r\n".encode()]
    return b"".join(parts), f"multipart/form-data; boundary={mark}"
