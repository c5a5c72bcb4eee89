import gzip
import io
import json
import re
import zipfile

import pytest
from lxml import etree

from examples import formats
from examples.document import Article, Equation, Figure, Heading, Paragraph, Table, plain_text
from examples.facts import catalogue
from examples.prose import compose
from tests.examples.measures import recall

SUBJECTS = catalogue(20, 8)
ARTICLE = Article(
    stem="a", title="On <this> & that", byline="Bench 1", notice="Invented.", licence="CC-BY-4.0",
    abstract=Paragraph(("First.", "Second.")), keywords=("x", "y"),
    body=(
        Heading(1, "Start"), Paragraph(("A < B & C.",)), Equation("a = b", "a = b", 1),
        Table(1, "Values.", ("P", "V"), (("p", "1"), ("q", "2"))), Heading(2, "End"), Figure(1, "Plot.", ("x", "y"), ((0, 1),)),
    ),
    references=("Sheet 2. Other.",),
)  # fmt: skip


def real(index: int) -> Article:
    """An article of the grammar."""
    return compose(SUBJECTS[index], [SUBJECTS[index + 1]], 8, "CC0-1.0")


def test_the_true_text() -> None:
    """The true text must have every part once, in reading order, tables row by row."""
    assert plain_text(ARTICLE) == (
        "On <this> & that\n\nBench 1\n\nInvented.\n\nLicence: CC-BY-4.0\n\nAbstract\nFirst. Second.\n\nKeywords: x, y\n\n"
        "1 Start\n\nA < B & C.\n\na = b (1)\n\nTable 1: Values.\nP V\np 1\nq 2\n\n2 End\n\nFigure 1: Plot.\n\n"
        "References\n[1] Sheet 2. Other.\n"
    )


def test_markdown() -> None:
    """Markdown must have a title, headings, a pipe table, and all true words."""
    text = formats.markdown(ARTICLE)
    assert text.startswith("# On <this> & that\n")
    assert "\n## 1 Start\n" in text
    assert "| P | V |\n| --- | --- |\n| p | 1 |\n| q | 2 |" in text
    assert recall(plain_text(real(1)), formats.markdown(real(1))) == 1


def test_jats_is_well_formed() -> None:
    """JATS must parse without a document type, with its sections, table cells and licence link where JATS has them."""
    root = etree.fromstring(formats.jats(ARTICLE).encode(), etree.XMLParser(resolve_entities=False, no_network=True))
    assert root.tag == "article"
    assert root.findtext("front/article-meta/title-group/article-title") == ARTICLE.title
    link = root.find("front/article-meta/permissions/license").get("{http://www.w3.org/1999/xlink}href")
    assert link == "https://creativecommons.org/licenses/by/4.0/"
    assert [s.findtext("title") for s in root.findall("body/sec")] == ["Start", "End"]
    assert [td.text for td in root.iter("td")] == ["p", "1", "q", "2"]
    assert root.findtext("body/sec/p") == "A < B & C."


def test_jats_has_the_whole_text() -> None:
    """All true words must be in the text of the JATS file."""
    root = etree.fromstring(formats.jats(real(2)).encode())
    found = " ".join(root.itertext()).replace("License", "Licence")
    assert recall(plain_text(real(2)), found) >= 0.99


def test_json_lines() -> None:
    """Each line must be a record with id, title, text and licence; the file must have no time in it."""
    data = formats.json_lines([ARTICLE, real(3)])
    records = [json.loads(line) for line in gzip.decompress(data).decode().splitlines()]
    assert [set(r) for r in records] == [{"id", "title", "text", "licence"}] * 2
    assert records[1]["text"] == plain_text(real(3))
    assert data[4:8] == bytes(4)  # the time in a gzip header, RFC 1952


def test_zip_archive() -> None:
    """The archive must hold the members' bytes in order, with the earliest time there is, and be the same each time."""
    members = {"a.pdf": b"1" * 100, "b.meta.json": b"{}"}
    data = formats.zip_archive(members)
    assert data == formats.zip_archive(members)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {i.filename: archive.read(i) for i in archive.infolist()} == members
        assert {i.date_time for i in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_sidecar() -> None:
    """A sidecar must hold title, licence and a DOI that is null."""
    assert json.loads(formats.sidecar(ARTICLE)) == {"title": ARTICLE.title, "licence": "CC-BY-4.0", "doi": None}


@pytest.mark.parametrize("index", range(14))
def test_equations_have_a_plain_form(index: int) -> None:
    """An equation's plain form must have an equals sign and no backslash, and stand in the true text on its own line."""
    equation = next(b for b in real(index).body if isinstance(b, Equation))
    assert re.fullmatch(r"[^\\]+ = [^\\]+", equation.plain)
    assert f"\n{equation.plain} (1)\n" in plain_text(real(index))
