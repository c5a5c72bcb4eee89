"""What is known of a file besides its bytes: title, licence and DOI, from a sidecar, a record's keys or JATS itself."""

import contextlib
import io
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stages.ingest.licences import spdx

MAX_SIDECAR_BYTES = 1 << 20
MAX_FRONT_BYTES = 1 << 20
LINK = "{http://www.w3.org/1999/xlink}href"
DOI = re.compile(r"^(?:https?://(?:dx\.)?doi\.org/|doi:\s*)", re.IGNORECASE)


@dataclass(frozen=True)
class Facts:
    """Provenance of one source; what nobody says is `None`."""

    source: str
    title: str | None = None
    licence: str | None = None
    doi: str | None = None

    def over(self, other: "Facts") -> "Facts":
        """These facts, with what they leave open taken from `other`."""
        return replace(
            self,
            title=self.title or other.title,
            licence=self.licence or other.licence,
            doi=self.doi or other.doi,
        )


def of_keys(fields: Mapping[str, Any], source: str) -> Facts:
    """Facts of a JSON object: `title`, `licence` or `license`, `doi` or `ids.doi`, `source`."""
    ids = fields.get("ids")
    doi = _text(fields, "doi") or (_text(ids, "doi") if isinstance(ids, dict) else None)
    licence = _text(fields, "licence") or _text(fields, "license")
    return Facts(
        source=_text(fields, "source") or source,
        title=_text(fields, "title"),
        licence=spdx(licence) if licence else None,
        doi=DOI.sub("", doi) if doi else None,
    )


def of_sidecar(file: Path, source: str) -> Facts:
    """Facts of a `.meta.json`; a sidecar that is no JSON object raises `ValueError`."""
    with file.open("rb") as stream:
        data = stream.read(MAX_SIDECAR_BYTES + 1)
    if len(data) > MAX_SIDECAR_BYTES:
        raise ValueError(f"{file.name} has more than {MAX_SIDECAR_BYTES} bytes")
    try:
        fields = json.loads(data)
    except RecursionError:
        raise ValueError(f"{file.name} is nested too deep") from None
    if not isinstance(fields, dict):
        raise ValueError(f"{file.name} is no JSON object")  # noqa: TRY004 - of the file, not of our code
    return replace(of_keys(fields, source), source=source)


def of_jats(file: Path, source: str) -> Facts:
    """Facts of a JATS article's front matter; a file with entities of its own, or broken before its end, has none."""
    with file.open("rb") as stream:
        head = stream.read(MAX_FRONT_BYTES)
    if b"<!ENTITY" in head:  # no use that is worth the danger
        return Facts(source)
    with contextlib.suppress(ET.ParseError):  # of a head that ends in the middle; the front matter comes first
        for _, element in ET.iterparse(io.BytesIO(head)):  # noqa: S314 - no entities: see above
            if _local(element) == "article-meta":
                return _of_article_meta(element, source)
    return Facts(source)


def _of_article_meta(meta: ET.Element, source: str) -> Facts:
    title = next(_all(meta, "article-title"), None)
    doi = next((e for e in _all(meta, "article-id") if e.get("pub-id-type") == "doi"), None)
    return Facts(
        source=source,
        title=_words(title) if title is not None else None,
        licence=_jats_licence(meta),
        doi=_words(doi) if doi is not None else None,
    )


def _jats_licence(meta: ET.Element) -> str | None:
    for element in [*_all(meta, "license_ref"), *_all(meta, "license")]:
        links = [element.get(LINK), *(e.get(LINK) for e in element.iter()), _words(element)]
        for words in filter(None, links):
            name = spdx(words)
            if name and name != words:
                return name
    return None


def _all(element: ET.Element, name: str) -> Iterator[ET.Element]:
    return (e for e in element.iter() if _local(e) == name)


def _local(element: ET.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _words(element: ET.Element) -> str | None:
    return " ".join("".join(element.itertext()).split()) or None


def _text(fields: Mapping[str, Any], key: str) -> str | None:
    """A text of the object in one line; `None` if it is absent, empty or not a text."""
    value = fields.get(key)
    if not isinstance(value, str):
        return None
    return " ".join(value.encode(errors="replace").decode().split()) or None
