"""Words of one block are never glued to those of another, and none is lost: every nesting that a standard allows."""

import re
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from stages.parse.jats import jats_text, read_tree
from stages.parse.native import HTML_BLOCKS, decode, html_text, native_text
from stages.parse.tei import tei_text

TEI = "http://www.tei-c.org/ns/1.0"
PLACE = "#"  # where a word of its own is put


def numbered(text: str) -> tuple[str, list[str]]:
    """The text with a word of its own at each place, and these words in order."""
    numbers = count()
    found = re.sub(PLACE, lambda _: f"w{next(numbers)}w", text)
    return found, re.findall(r"w\d+w", found)


def of_words(text: str) -> list[str]:
    """What stands between white space, without what sets cells, items and captions apart."""
    return [w for part in text.split() if (w := part.strip(".|-"))]


def nested(leaves: list[str], wrappers: list[str]) -> st.SearchStrategy[str]:
    """Elements around elements; `{}` is where one or more go."""
    some = lambda inner: st.lists(inner, min_size=1, max_size=3).map("".join)  # noqa: E731 - said twice
    return st.recursive(
        st.sampled_from(leaves), lambda inner: st.builds(str.replace, st.sampled_from(wrappers), st.just("{}"), some(inner)), max_leaves=6
    )  # fmt: skip


jats_blocks = nested(
    [
        "<p>#</p>", "<p># <italic>#</italic></p>", "<p>#<break/>#</p>", "<title>#</title>", "<preformat>#</preformat>",
        "<def-list><title>#</title><def-item><term>#</term><def><p>#</p></def></def-item></def-list>",
        "<verse-group><verse-line>#</verse-line><verse-line>#</verse-line></verse-group>",
        "<disp-quote><p>#</p><attrib>#</attrib></disp-quote>", "<speech><speaker>#</speaker><p>#</p></speech>",
        "<table><tr><td>#</td><td><p>#</p><p>#</p></td></tr><tr><th>#</th></tr></table>",
    ],
    [
        "<sec><title>#</title>{}</sec>", "<p>#{}#</p>", "<list><title>#</title><list-item>{}</list-item><list-item><p>#</p></list-item></list>",
        "<boxed-text>{}</boxed-text>", "<statement>{}</statement>", "<disp-quote>{}</disp-quote>",
        "<fig><caption><p>#</p></caption>{}</fig>", "<table-wrap><caption>{}</caption></table-wrap>",
        "<table><tr><td>{}</td><td>#</td></tr></table>",
    ],
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(jats_blocks, min_size=1, max_size=3))
def test_words_of_an_article(blocks: list[str]) -> None:
    """Every word of a JATS body is in the text once, by itself, in the order of the file; table rows in a table too."""
    body, words = numbered("".join(blocks))
    assert sorted(of_words(jats_text(read_tree(f"<article><body>{body}</body></article>".encode()))[0])) == sorted(
        words
    )


tei_blocks = nested(
    ["<p>#</p>", "<p># <hi>#</hi></p>", "<head>#</head>", "<quote>#</quote>", "<p>#<lb/>#</p>",
     "<list><item>#</item><item><p>#</p><p>#</p></item></list>",
     "<figure><head>#</head><figDesc><div><p>#</p><p>#</p></div></figDesc></figure>",
     "<figure><head>#</head><table><row><cell>#</cell><cell><p>#</p><p>#</p></cell></row><row><cell>#</cell></row></table></figure>"],
    ["<div><head>#</head>{}</div>", "<div>{}</div>"],
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(tei_blocks, min_size=1, max_size=3))
def test_words_of_a_tei_file(blocks: list[str]) -> None:
    """Every word of a TEI body is in the text once, by itself, in order."""
    body, words = numbered("".join(blocks))
    text, _ = tei_text(read_tree(f'<TEI xmlns="{TEI}"><text><body>{body}</body></text></TEI>'.encode()))
    assert of_words(text.replace("## ", "")) == words


html_blocks = nested(
    ["<p>#</p>", "<p>#<br>#</p>", " # <b>#</b> ", "<hr>", "<ul><li>#<li>#</ul>", "<dl><dt>#<dd>#</dl>",
     "<table><caption>#</caption><tr><td>#<th>#<tr><td>#</table>", "<select><option>#<option>#</select>"],
    ["<div>{}</div>", "<section><h2>#</h2>{}</section>", "<blockquote>{}</blockquote>", "<figure>{}<figcaption>#</figcaption></figure>",
     "<form><fieldset><legend>#</legend>{}</fieldset></form>", "<details><summary>#</summary>{}</details>"],
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(html_blocks, min_size=1, max_size=3))
def test_words_of_a_page(blocks: list[str]) -> None:
    """Every word of an HTML page is in the text once, by itself, in order."""
    body, words = numbered(" ".join(blocks))
    assert of_words(html_text(f"<body>{body}<p>end</p></body>")[0]) == [*words, "end"]


@pytest.mark.parametrize("tag", sorted(HTML_BLOCKS - {"br", "hr", "caption", "tr", "optgroup"}))
def test_a_block_sets_words_apart(tag: str) -> None:
    """What stands before, in and behind a block are three lines."""
    assert html_text(f"<div>a<{tag}>b</{tag}>c</div>")[0].split() == ["a", "b", "c"]


def test_titles_of_lists_stay() -> None:
    """A list's heading stands before its items, a term before its definition."""
    items = "<def-item><term>NMR</term><def><p>nuclear magnetic resonance</p></def></def-item>"
    body = f"<def-list><title>Abbreviations</title>{items}</def-list><list><title>Key points</title><list-item><p>A.</p></list-item></list>"
    text = jats_text(read_tree(f"<article><body>{body}</body></article>".encode()))[0]
    assert text.split("\n\n") == ["Abbreviations", "- NMR nuclear magnetic resonance", "Key points", "- A."]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@given(text=st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"])))
def test_a_mark_says_the_encoding(encoding: str, text: str) -> None:
    """Whatever a text is, with a byte order mark in front it comes back; that of UTF-32 is not taken for that of UTF-16."""
    assert decode(text.encode(encoding)) == text
    assert native_text("text/plain", text.encode(encoding)) == (text, None, "text")


def test_every_other_xml_keeps_its_words() -> None:
    """XML of no known kind gives all its words, those behind elements too."""
    body, words = numbered("<a>#<b>#</b>#<c><d>#</d></c>#</a>")
    text = native_text("application/xml", body.encode())[0]
    assert sorted(text.split()) == sorted(words)
    assert etree.fromstring(body.encode()).tag == "a"
