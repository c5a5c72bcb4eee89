"""The compiled normalization is the plain one, on all text."""

import itertools
import sys
import unicodedata

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.sketch.characters import LETTER, SPACE, UNREADABLE, WORD, characters
from stages.sketch.fold import MAX_PIECE, fold
from stages.sketch.normalize import WORD as WORD_PATTERN
from stages.sketch.normalize import normalize

EVERY = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
ODD = [c for c in EVERY if unicodedata.normalize("NFKC", c) != c or unicodedata.combining(c) or c.casefold() != c]
EDGES = (
    "aB1 -\n\t\r\u200b\u00ad\u2010\u00a0\u0085\u2028_\x00\x1f\u0301\u0327\u0345é\u00b4\u1100\u1161\u11a8\uac00\u0344ẞŉ"
)


def folded(texts: list[str]) -> list[str]:
    """Normalize by the compiled pass."""
    found = fold(pa.array(texts, pa.string()))
    ends = found.offsets.tolist()
    return [found.data[a:b].tobytes().decode() for a, b in itertools.pairwise(ends)]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(), max_size=8))
def test_any_text(texts: list[str]) -> None:
    """Whatever the text, both passes give the same."""
    assert folded(texts) == [normalize(t) for t in texts]


@settings(max_examples=600, deadline=None)
@given(st.lists(st.text(st.sampled_from(EDGES), max_size=14), max_size=20))
def test_line_breaks_accents_and_blanks(texts: list[str]) -> None:
    """Hyphens at line ends, invisible characters, accents to compose and kinds of white space, in any order."""
    assert folded(texts) == [normalize(t) for t in texts]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.sampled_from(ODD), max_size=12), max_size=20))
def test_characters_that_change(texts: list[str]) -> None:
    """Characters that decompose, compose, move or have cases, beside each other."""
    assert folded(texts) == [normalize(t) for t in texts]


def test_every_character() -> None:
    """Each of Unicode's characters, alone and after a letter, becomes what the standard says."""
    texts = ["\n".join(EVERY), " ".join(f"e{c}\u0301" for c in EVERY)]
    assert folded(texts) == [normalize(t) for t in texts]
    assert folded(ODD) == [normalize(c) for c in ODD]


def test_kinds_are_pythons() -> None:
    """What counts as a letter, a word or white space is what Python's `re` says."""
    kinds = characters().kinds
    assert [c for c in EVERY if kinds[ord(c)] & WORD] == WORD_PATTERN.findall(" ".join(c for c in EVERY))
    assert [c for c in EVERY if kinds[ord(c)] & SPACE] == [c for c in EVERY if c.isspace()]
    letters = [c for c in EVERY if c.isalnum() and not c.isdecimal()]
    assert [c for c in EVERY if kinds[ord(c)] & LETTER] == letters


@pytest.mark.parametrize("length", [MAX_PIECE - 1, MAX_PIECE, MAX_PIECE + 1, 1000])
def test_piles_of_accents(length: int) -> None:
    """A pile that is too high for the compiled pass is done by the plain one, and its neighbours stay as they are."""
    pile = "x" + "\u0301\u0327" * (length // 2) + "y"
    assert folded(["Before", pile, "", "After ﬁ"]) == ["before", normalize(pile), "", "after fi"]


def test_text_that_grows() -> None:
    """Texts that become eleven times longer, in pieces or alone, beside texts that do not, find room."""
    long = [
        "\ufdfa" * 5000,
        "ab " * 30_000,
        "a\u0344" * 9000,
        "\u0390" * 9000,
        "-" * 70_000,
        ("a" + "\u0344" * 60) * 900,
    ]
    assert folded(long * 3) == [normalize(t) for t in long * 3]


def test_slices_of_arrays() -> None:
    """A slice of an Arrow array, with 32-bit or 64-bit offsets, is read from where it begins."""
    texts = ["one", "Two", "ﬁve", ""]
    for kind in (pa.string(), pa.large_string()):
        found = fold(pa.array(texts, kind)[1:3])
        assert found.data.tobytes() == b"twofive"
        assert found.offsets.tolist() == [0, 3, 7]
    assert folded([]) == []


def test_unreadable_characters_are_counted() -> None:
    """Controls, private use, unassigned and U+FFFD count, each once; white space and accents do not."""
    bad = "\x00\x7f\ufffd\ue000\U000f0000\uffff\u0378"
    texts = [bad, "a\u0301\n\tb", "", bad + "x" + "\u0301" * 200]
    assert fold(pa.array(texts)).unreadable.tolist() == [7, 0, 0, 7]
    kinds = characters().kinds
    expected = [c for c in EVERY if c == "\ufffd" or unicodedata.category(c) in {"Co", "Cn", "Cc"}]
    assert np.flatnonzero(kinds & UNREADABLE).tolist() == sorted(
        [*(ord(c) for c in expected if not c.isspace()), *range(0xD800, 0xE000)]
    )
