"""Counts of characters and words, against Python's own character database and regular expressions."""

import re
import unicodedata

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.parse.kernel import count_kinds
from stages.parse.kinds import Counts, folds, table
from stages.parse.lines import LINE_HYPHEN
from tests.stages.parse.conftest import WORDS

LONE = re.compile(r"(?<![\w'’-])(?:[b-hj-zB-HJ-Z])(?![\w'’.-])")
BROKEN = re.compile(r"[^\W\d_]+[\d|!$@#&^~\\<>{}*_]+[^\W\d_]+")
ODD = "ab1|_ .'’-é²ﬁβΩ5٣\u2028\ue000\ufffd\x03𝛼漢"
TEXTS = st.text(st.characters(exclude_characters=LINE_HYPHEN, max_codepoint=0x1FFFE)) | st.text(ODD) | st.text("aB1| -")


def counted(text: str) -> Counts:
    """A text's counts."""
    return Counts(*count_kinds(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32), table()).tolist())


@settings(deadline=None)  # the first text waits for the table
@given(TEXTS)
def test_characters_are_counted_as_the_database_has_them(text: str) -> None:
    """Every kind's count is what Python says of the characters one by one."""
    found = counted(text)
    visible = [c for c in text if not c.isspace()]
    kinds = [unicodedata.category(c) for c in visible]
    assert found.visible == len(visible)
    bad = [c == "\ufffd" or k in {"Cc", "Co", "Cn", "Cs"} for c, k in zip(visible, kinds, strict=True)]
    assert found.bad == sum(bad)
    assert (found.digits, found.upper) == (kinds.count("Nd"), kinds.count("Lu"))
    assert found.signs == sum(k[0] in "PS" for k in kinds)
    assert found.wide == sum(c > "\u024f" for c in visible)
    assert found.ligatures == len(re.findall("[\ufb00-\ufb06]", text))


@settings(deadline=None)  # the first text waits for the table
@given(TEXTS)
def test_words_are_counted_as_expressions_find_them(text: str) -> None:
    """Words, lone letters, broken words and changes of case are as many as regular expressions find."""
    found = counted(text)
    words = re.findall(r"[^\W\d_]+", text)
    assert (found.words, found.letters) == (len(words), sum(map(len, words)))
    assert found.lone == len(LONE.findall(text))
    assert found.broken == len(BROKEN.findall(text))
    assert found.mixed_case == len(re.findall("[a-z][A-Z]", text))


def test_broken_words() -> None:
    """Signs and digits inside a word break it, as often as they do; at its ends, or beside a space, they do not."""
    assert counted(WORDS).broken == 0
    assert counted("h3at").broken == counted("h|1at").broken == 1
    assert counted("h3a|t").broken == 1
    assert counted("h3a|t1s").broken == 2
    assert counted("3heat heat3 heat 3 heat <heat>").broken == 0


def test_what_a_character_folds_to() -> None:
    """A character is the letters of its compatibility form, the end of a word, or nothing, in base 28."""
    assert [int(folds()[ord(c)]) for c in "aBé1 \u2013\u0301"] == [1, 2, 5, 27, 27, 0, 0]
    assert int(folds()[ord("\ufb03")]) == 6 + 28 * (6 + 28 * 9)


def test_nothing() -> None:
    """An empty text has none of anything."""
    assert set(counted("")) == {0}
    assert counted("\U000f0000").bad == 1
    assert set(counted(f" \n{LINE_HYPHEN}")) == {0}
