"""JATS and other sources without pages."""

import contextlib
import json
import re

import pytest

from stages.parse.jats import XmlError, jats_text, read_tree
from stages.parse.native import NativeError, decode, html_text, native_text, record_text

ARTICLE = r"""<?xml version="1.0"?>
<!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96) Journal Publishing DTD v1.2 20190208//EN" "JATS.dtd">
<article xmlns:mml="http://www.w3.org/1998/Math/MathML" xmlns:xlink="http://www.w3.org/1999/xlink">
<front><journal-meta><journal-title>Heat</journal-title></journal-meta><article-meta>
<title-group><article-title>Heat in <italic>thin</italic> films<xref ref-type="fn">*</xref></article-title></title-group>
<contrib-group><contrib><name><surname>Nobody</surname></name></contrib></contrib-group>
<abstract><title>Abstract</title><sec><title>Aim</title><p>We measure H<sub>2</sub>O.</p></sec></abstract>
</article-meta></front>
<body><sec id="s1"><label>1</label><title>Methods</title>
<p>Heat flows<xref ref-type="bibr" rid="r1">[1]</xref>. <!-- a comment --> See <xref ref-type="fig">Fig. 1</xref>.
<disp-formula id="e1"><label>(1)</label><alternatives><tex-math>\documentclass{a}\begin{document}$q = -k$\end{document}
</tex-math><mml:math><mml:mi>q</mml:mi></mml:math></alternatives></disp-formula> after the formula.</p>
<p>Inline <inline-formula><mml:math><mml:mi>k</mml:mi><mml:mo>=</mml:mo><mml:mn>2</mml:mn></mml:math></inline-formula>.</p>
<list list-type="bullet"><list-item><p>First.</p></list-item><list-item><p>Second.</p></list-item></list>
<fig><label>Figure 1.</label><caption><title>The film.</title><p>Seen from above.</p></caption><graphic/></fig>
<table-wrap><label>Table 1</label><caption><p>Values.</p></caption><table><thead><tr><th>Metal</th><th>k</th></tr></thead>
<tbody><tr><td>Cu</td><td>401</td></tr><tr><td>Ag</td><td>429</td></tr></tbody></table>
<table-wrap-foot><p>At 300 K.</p></table-wrap-foot></table-wrap>
<sec><title>Deeper</title><p>Deep words&#233;.</p></sec></sec></body>
<back><ack><p>Thanks.</p></ack><ref-list><ref id="r1"><mixed-citation>Fourier, 1822.</mixed-citation></ref></ref-list>
<app-group><app><title>Appendix</title><p>More.</p></app></app-group></back></article>"""

EXPECTED = [
    "Heat in thin films*",
    "Abstract",
    "Aim",
    "We measure H2O.",
    "Methods",
    "Heat flows[1]. See Fig. 1.",
    "$q = -k$",
    "after the formula.",
    "Inline k = 2 .",
    "- First.\n- Second.",
    "Figure 1. The film.",
    "Seen from above.",
    "Table 1. Values.",
    "Metal | k\nCu | 401\nAg | 429",
    "Deeper",
    "Deep wordsé.",
    "Appendix",
    "More.",
]


def test_jats_part_by_part() -> None:
    """Title, abstract, sections, formulas, lists, captions, tables and appendices come in order; references do not."""
    text, title, parser = native_text("application/jats+xml", ARTICLE.encode())
    assert text.split("\n\n") == EXPECTED
    assert (title, parser) == ("Heat in thin films*", "jats")


def test_no_word_of_the_body_is_lost() -> None:
    """Every word of the body that is no label, TeX wrapper or table's foot is in the text, however elements are nested."""
    body = read_tree(ARTICLE.encode()).find("body")
    expected = {w for e in body.iter("p", "title", "td", "th") for t in e.itertext() for w in re.findall(r"\w+", t)}
    expected -= {"At", "300", "K", "documentclass", "begin", "end", "document", "a", "1"}
    found = set(re.findall(r"\w+", jats_text(read_tree(ARTICLE.encode()))[0]))
    assert expected - found == set()


def test_entities_are_not_expanded() -> None:
    """An entity is not expanded, be it a file or a bomb; a character's name is read from the standard list."""
    head = '<!DOCTYPE article [<!ENTITY x SYSTEM "file:///etc/passwd"><!ENTITY alpha "bad">]>'
    data = f"{head}<article><body><p>A &alpha; b &x; c.</p></body></article>".encode()
    assert jats_text(read_tree(data))[0] == "A α b &x; c."
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
    bomb = f'<!DOCTYPE article [<!ENTITY l0 "ha">{laughs}]><article><body><p>&l11; he.</p></body></article>'
    with contextlib.suppress(XmlError):  # libxml2 may refuse it, or leave it as it stands
        assert len(jats_text(read_tree(bomb.encode()))[0]) < 100


def test_xml_that_is_no_article() -> None:
    """Other XML gives its words; XML without words is unsupported, broken XML is damaged."""
    assert (
        native_text("application/xml", b"<book><t>One <i>two</i> three</t><p>four</p></book>")[0]
        == "One three\ntwo\nfour"
    )
    for data, reason in (
        (b"<a><b/></a>", "unsupported XML"),
        (b"<a><b></a>", "damaged XML"),
        (b"<a>" * 10**5, "damaged XML"),
    ):
        with pytest.raises(NativeError) as error:
            native_text("application/xml", data)
        assert error.value.reason == reason


def test_xml_in_other_encodings() -> None:
    """An XML file's own declaration of its encoding is followed."""
    data = ARTICLE.replace('version="1.0"', 'version="1.0" encoding="utf-16"').encode("utf-16")
    assert "Deep wordsé." in native_text("application/jats+xml", data)[0]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252", "cp1251"]
)
def test_encodings(encoding: str) -> None:
    """Text in an encoding that says what it is, or that can be judged from enough words, comes back as it was."""
    text = "Größe und Wärme: «naïve» façade, 20 °C. Die Messung wurde häufig über Nacht durchgeführt. " * 8
    if encoding == "cp1251":
        text = "Теплопроводность меди высока, потому что электроны свободны и переносят тепло по решётке. " * 8
    marks = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}
    assert decode(marks.get(encoding, b"") + text.encode(encoding)).strip("\ufeff") == text


def test_what_is_no_text() -> None:
    """Bytes that no encoding explains are "not text"; a stray control character is left out."""
    for data in (bytes(range(256)) * 20, b"\x01\x02\x03words" * 50, b"\xff\xfe\x00"):
        with pytest.raises(NativeError, match="not text"):
            decode(data)
    assert decode(b"one\r\ntwo\rthree\x01\x0c " + b"four " * 30).startswith("one\ntwo\nthree four")


def test_markdown_keeps_its_text_and_names_its_title() -> None:
    """Markdown comes back as it is; its first heading is the title."""
    text = "Intro\n\n# On *heat*\n\n| a | b |\n"
    assert native_text("text/markdown", text.encode()) == (text, "On *heat*", "markdown")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"text": "A", "body": "B"}, "A"),
        ({"text": " ", "content": "B"}, "B"),
        ({"abstract": "C", "title": "T"}, "C"),
        ({"text": ["A"], "body": "B"}, "B"),
    ],
)
def test_records(fields: dict[str, object], expected: str) -> None:
    """A record's text is the first of its text fields that holds a text."""
    assert record_text(json.dumps(fields).encode()) == (expected, fields.get("title"))


def test_records_without_text() -> None:
    """A record without text is refused, with its keys named."""
    with pytest.raises(NativeError, match=r"no text field: keys: smiles, name"):
        record_text(b'{"smiles": "CCO", "name": "ethanol"}')


def test_html_shows_what_a_browser_shows() -> None:
    """HTML gives its visible words, block by block; scripts, styles and menus do not show."""
    page = """<!DOCTYPE html><html><head><title>T</title><style>p{}</style></head><body><nav>Menu</nav><h1>Head</h1>
    <p>One <b>two</b>,
    three&nbsp;&alpha;.</p><script>bad()</script><table><tr><td>a</td><td>b</td></tr></table><ul><li>x<li>y</ul>"""
    assert html_text(page) == ("Head\nOne two, three α.\na b\nx\ny", "T")
    with pytest.raises(NativeError):
        html_text("")
