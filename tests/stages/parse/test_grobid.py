"""TEI as GROBID writes it, and GROBID by URL as a parser of whole PDFs, against a server on this machine."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.parse.grobid import COORDINATES, read_document
from stages.parse.jats import XmlError, read_tree
from stages.parse.native import native_text
from stages.parse.tei import tei_pages, tei_text
from stages.parse.web import ServiceError
from tests.loopback import Answer, servers
from tests.stages.parse.conftest import WORDS, run_parse, scan, source, typeset

Start = Callable[[Answer], str]
TEI = """<?xml version="1.0" encoding="UTF-8"?>
<TEI xml:space="preserve" xmlns="http://www.tei-c.org/ns/1.0">
  <teiHeader xml:lang="en">
    <fileDesc>
      <titleStmt><title level="a" type="main">Heat in annealed copper</title><funder ref="#f">Nobody</funder></titleStmt>
      <sourceDesc><biblStruct><analytic><author><persName>Ada Probe</persName></author></analytic></biblStruct></sourceDesc>
    </fileDesc>
    <profileDesc><abstract><div xmlns="http://www.tei-c.org/ns/1.0"><p coords="1,56.0,120.1,240.0,9.9">We measured
      the conductivity.</p></div></abstract></profileDesc>
  </teiHeader>
  <text xml:lang="en">
    <body>
      <div xmlns="http://www.tei-c.org/ns/1.0"><head n="1" coords="1,56.0,300.0,60.0,9.9">Introduction</head>
        <p coords="1,56.0,320.0,240.0,80.0;2,56.0,60.0,240.0,20.0">Copper conducts heat at 401 W m<hi rend="superscript">-1</hi>
          K<hi rend="superscript">-1</hi> <ref type="bibr" target="#b0">[1]</ref>.</p>
        <formula xml:id="formula_0" coords="2,100.0,200.0,80.0,12.0">q = -k dT/dx<label>(1)</label></formula>
      </div>
      <div xmlns="http://www.tei-c.org/ns/1.0"><head n="2" coords="2,56.0,300.0,60.0,9.9">Results</head>
        <p coords="2,56.0,320.0,240.0,30.0">It falls with temperature.</p>
        <p>A paragraph without a place.</p></div>
      <figure xmlns="http://www.tei-c.org/ns/1.0" xml:id="fig_0" coords="1,300.0,60.0,200.0,150.0"><head>Figure 1 .</head>
        <label>1</label><figDesc>Conductivity against temperature.</figDesc><graphic url="a.png"/></figure>
      <figure xmlns="http://www.tei-c.org/ns/1.0" type="table" xml:id="tab_0"><head>Table 1 .</head><label>1</label>
        <figDesc>Values.</figDesc><table><row><cell>T / K</cell><cell>k</cell></row><row><cell>4</cell><cell>162</cell></row>
        </table></figure>
      <note place="foot" n="1">A footnote.</note>
    </body>
    <back>
      <div type="acknowledgement"><div><head>Thanks</head><p>To all.</p></div></div>
      <div type="annex"><div xmlns="http://www.tei-c.org/ns/1.0"><head>Appendix</head><p coords="3,1,1,1,1">More values.</p></div></div>
      <div type="references"><listBibl><biblStruct><analytic><title>Another paper</title></analytic></biblStruct></listBibl></div>
    </back>
  </text>
</TEI>
"""
PARAGRAPHS = [
    "# Heat in annealed copper", "## Abstract", "We measured the conductivity.", "## 1 Introduction",
    "Copper conducts heat at 401 W m-1 K-1 [1].", "q = -k dT/dx(1)", "## 2 Results", "It falls with temperature.",
    "A paragraph without a place.", "Figure 1 . Conductivity against temperature.", "Table 1 . Values.",
    "T / K | k\n4 | 162", "## Appendix", "More values.",
]  # fmt: skip


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts servers that answer as a function says; gives their base URL."""
    with servers() as listen:
        yield lambda answer: f"http://127.0.0.1:{listen(answer)}"


def test_tei_to_text() -> None:
    """Title, abstract, sections, captions and tables come in order; authors, notes, thanks and references do not."""
    text, title = tei_text(read_tree(TEI.encode()))
    assert title == "Heat in annealed copper"
    assert text.split("\n\n") == PARAGRAPHS


def test_a_tei_file_is_read_natively() -> None:
    """An XML source that is TEI goes to its own reader; any other XML still does not."""
    text, title, parser = native_text("application/xml", TEI.encode())
    assert (parser, title) == ("tei", "Heat in annealed copper")
    assert "Nobody" not in text
    assert native_text("application/xml", b"<TEI><p>Not in its namespace.</p></TEI>")[2] == "xml"
    with pytest.raises(XmlError, match="root element note"):
        tei_text(read_tree(b"<note/>"))


def test_pages_of_a_tei_file() -> None:
    """Paragraphs go to the page that they begin on; what has no place, or one before, stays where it stands in the text."""
    pages = tei_pages(read_tree(TEI.encode()))
    found = {n: text.split("\n\n") for n, text in pages.items()}
    assert found == {1: PARAGRAPHS[:5], 2: PARAGRAPHS[5:13], 3: PARAGRAPHS[13:]}


def test_the_request_is_a_form_with_the_file(tmp_path: Path, start: Start) -> None:
    """GROBID gets the PDF's bytes and is asked for coordinates; its TEI becomes a page for each of the PDF's."""
    asked: list[dict[str, Any]] = []

    def answer(body: dict[str, Any]) -> tuple[int, bytes]:
        asked.append(body)
        return 200, TEI.encode()

    (tmp_path / "a.pdf").write_bytes(data := typeset(WORDS))
    pages = read_document(start(answer), str(tmp_path / "a.pdf"), 4, 20)
    assert [(p.number, p.parser, bool(p.lines)) for p in pages] == [
        (1, "grobid", True), (2, "grobid", True), (3, "grobid", True), (4, "grobid", False),
    ]  # fmt: skip
    assert asked[0]["path"] == "/api/processFulltextDocument"
    form = asked[0]["data"]
    assert data in form
    assert form.count(b'name="teiCoordinates"') == len(COORDINATES)
    assert b'name="input"; filename="a.pdf"' in form


@pytest.mark.parametrize(
    ("reply", "reason"),
    [((200, b"<TEI"), "damaged XML"), ((200, b"<html/>"), "unsupported XML"), ((500, b"[BAD_INPUT_DATA]"), "HTTP 500"),
     ((200, b'<TEI xmlns="http://www.tei-c.org/ns/1.0"><text/></TEI>'), "no text")],
)  # fmt: skip
def test_a_bad_answer_is_a_reason(tmp_path: Path, start: Start, reply: tuple[int, bytes], reason: str) -> None:
    """What is no TEI, or none with a text, is refused with a few words."""
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4")
    with pytest.raises(ServiceError) as caught:
        read_document(start(lambda _: reply), str(tmp_path / "a.pdf"), 1, 20, ())
    assert caught.value.reason == reason


def test_a_run_with_grobid(tmp_path: Path, start: Start) -> None:
    """Good PDFs are GROBID's, text by page; scans stay OCR's; where GROBID fails the layer stays, and says so."""
    pages = "#pagebreak()\n".join(f"Page {n}. {WORDS}" for n in (1, 2, 3))
    (tmp_path / "good.pdf").write_bytes(typeset(pages))
    (tmp_path / "refused.pdf").write_bytes(refused := typeset(f"Refused. {WORDS}"))
    (tmp_path / "scan.pdf").write_bytes(scan(typeset(WORDS[:90])))

    def answer(body: dict[str, Any]) -> tuple[int, bytes]:
        return (400, b"no") if refused in body["data"] else (200, TEI.encode())

    rows = [source(tmp_path / f"{n}.pdf") for n in ("good", "refused", "scan")]
    found = run_parse(tmp_path, rows, grobid_url=start(answer))
    text, spans = (found.by_name["good.pdf"][k] for k in ("text", "pages"))
    assert text.split("\n\n") == PARAGRAPHS
    assert {s["parser"] for s in spans} == {"grobid"}
    assert text[spans[2]["start"] : spans[2]["end"]].strip() == "More values."
    assert found.by_name["good.pdf"]["title"] == "Heat in annealed copper"
    parsers = {n: {s["parser"] for s in d["pages"]} for n, d in found.by_name.items()}
    assert parsers["refused.pdf"] == {"pypdfium2 (grobid: HTTP 400)"}
    assert parsers["scan.pdf"] == {"rapidocr"}
