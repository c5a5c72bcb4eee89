"""Facts from sidecars, records and JATS."""

import json
from pathlib import Path

import pytest

from stages.ingest.facts import MAX_SIDECAR_BYTES, Facts, of_jats, of_keys, of_sidecar


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Facts("s")),
        ({"title": "  A\n title "}, Facts("s", title="A title")),
        ({"title": 7, "doi": None, "licence": ["MIT"]}, Facts("s")),
        ({"licence": "CC BY 4.0", "license": "MIT"}, Facts("s", licence="CC-BY-4.0")),
        ({"licence": "", "license": "MIT"}, Facts("s", licence="MIT")),
        ({"doi": "https://doi.org/10.1/X"}, Facts("s", doi="10.1/X")),
        ({"doi": "DOI: 10.1/X"}, Facts("s", doi="10.1/X")),
        ({"ids": {"doi": "10.1/X", "pmid": "1"}}, Facts("s", doi="10.1/X")),
        ({"ids": ["10.1/X"]}, Facts("s")),
        ({"source": "lab"}, Facts("lab")),
        ({"title": "half \ud800 of a pair"}, Facts("s", title="half ? of a pair")),
    ],
)
def test_keys_of_an_object(fields: dict[str, object], expected: Facts) -> None:
    """The four facts come from their keys, in either spelling; what is no text says nothing."""
    assert of_keys(fields, "s") == expected


def test_facts_fill_each_other() -> None:
    """What one source of facts leaves open, the next one fills, and never the other way round."""
    first, second = Facts("a", title="T"), Facts("b", title="U", licence="MIT", doi="10.1/x")
    assert first.over(second) == Facts("a", "T", "MIT", "10.1/x")
    assert second.over(first) == second


def test_a_sidecar_is_one_small_object(tmp_path: Path) -> None:
    """A sidecar that is no object, no JSON, nested too deep or too large is refused, naming the file."""
    file = tmp_path / "a.meta.json"
    for data in (b"[1]", b"{", b"\xff", b"[" * 100_000, b" " * (MAX_SIDECAR_BYTES + 1)):
        file.write_bytes(data)
        with pytest.raises(ValueError, match=r"a\.meta\.json|Expecting|utf-8"):
            of_sidecar(file, "s")
    file.write_text(json.dumps({"title": "T", "source": "not for a sidecar to say"}))
    assert of_sidecar(file, "s") == Facts("s", title="T")


CC0_LINK = '<ext-link xlink:href="https://creativecommons.org/publicdomain/zero/1.0/">it</ext-link>'
NISO = "http://www.niso.org/schemas/ali/1.0/"
BY_NC = "https://creativecommons.org/licenses/by-nc/4.0/"


@pytest.mark.parametrize(
    ("permissions", "expected"),
    [
        ('<license xlink:href="http://creativecommons.org/licenses/by/3.0/"/>', "CC-BY-3.0"),
        (f"<license><license-p>See {CC0_LINK}</license-p></license>", "CC0-1.0"),
        ("<license><license-p>A Creative Commons Attribution 4.0 licence.</license-p></license>", "CC-BY-4.0"),
        (f'<ali:license_ref xmlns:ali="{NISO}">{BY_NC}</ali:license_ref>', "CC-BY-NC-4.0"),
        ("<license><license-p>All rights reserved.</license-p></license>", None),
        ("", None),
    ],
)
def test_jats_licences(tmp_path: Path, permissions: str, expected: str | None) -> None:
    """A licence is found as an attribute, a link, words or NISO's element; words that name none are no licence."""
    file = tmp_path / "a.xml"
    file.write_text(
        f'<article xmlns:xlink="http://www.w3.org/1999/xlink"><front><article-meta><permissions>{permissions}'
        "</permissions></article-meta></front></article>"
    )
    assert of_jats(file, "s").licence == expected


def test_jats_that_is_cut_or_has_entities(tmp_path: Path) -> None:
    """Front matter before a cut is read; a file with entities of its own, or cut too early, says nothing."""
    file = tmp_path / "a.xml"
    front = '<front><article-meta><article-id pub-id-type="doi">10.1/x</article-id></article-meta></front>'
    for text, doi in (
        (f"<article>{front}<body><p>cut", "10.1/x"),
        ("<article><front><article-meta><article-id pub-id-", None),
        (f'<!DOCTYPE article [<!ENTITY a "b">]><article>{front}</article>', None),
        (f'<a:article xmlns:a="urn:x">{front}</a:article>', "10.1/x"),
    ):
        file.write_text(text)
        assert of_jats(file, "s") == Facts("s", doi=doi)
