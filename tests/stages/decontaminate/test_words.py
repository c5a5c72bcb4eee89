"""Words as OCR sees them."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.decontaminate.letters import CONFUSED, DIGIT, DROPPED, LETTER, SEPARATOR, folded, letters
from stages.decontaminate.words import words


def hashes(text: str) -> list[int]:
    """The hashes of a text's words."""
    found: list[int] = words(text).hashes.tolist()
    return found


def plain_words(text: str) -> list[str]:
    """The words of a text without numbers or hyphens, by another road: a loop over characters."""
    tables, found, open_word = letters(), [], ""
    for char in text:
        kind = tables.kinds[ord(char)]
        if kind == SEPARATOR:
            found.append(open_word)
            open_word = ""
        elif kind != DROPPED:
            open_word += folded(char).replace("rn", "m").replace("vv", "w")
    return [w for w in [*found, open_word] if w]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("clock", "c1ock"),
        ("Illinois", "lllinois"),
        ("modern", "modem"),
        ("vvater", "water"),
        ("Soil", "5oil"),
        ("zero", "Zer0"),
        ("ﬁnding oﬀ", "finding off"),
        ("façade naïve", "facade naive"),
        ("fac\u0327ade", "façade"),
        ("photo-\nsynthesis", "photosynthesis"),
        ("photo-  \n  synthesis", "photosynthesis"),
        ("soft\u00adhyphen zero\u200bwidth", "softhyphen zerowidth"),
        ("1,234.5 7", "8 9"),
        ("Ｆｕｌｌ", "full"),
    ],
)
def test_these_are_the_same(one: str, other: str) -> None:
    """What OCR, typesetting and other numbers change does not change a word."""
    assert hashes(one) == hashes(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cat", "car"),
        ("ab c", "a bc"),
        ("well-known", "wellknown"),
        ("a-\n\nb", "ab"),
        ("H2O", "7"),
        ("αβ", "βα"),
        ("漢", "字"),
    ],
)
def test_these_are_not(one: str, other: str) -> None:
    """Other letters, other gaps and paragraphs make other words."""
    assert hashes(one) != hashes(other)


@given(
    st.text(
        st.characters(codec="utf-8", max_codepoint=0x1FFFF, exclude_categories=["Nd"], exclude_characters="-"),
        max_size=200,
    )
)
def test_the_compiled_pass_reads_what_a_plain_loop_reads(text: str) -> None:
    """As many words as a loop over characters finds, and the same hash for the same word only."""
    plain, found = plain_words(text), hashes(text)
    assert len(plain) == len(found)
    pairs = set(zip(plain, found, strict=True))
    assert len(pairs) == len({p for p, _ in pairs}) == len({h for _, h in pairs})


@given(st.text(st.characters(codec="utf-8"), max_size=300))
def test_places_lie_on_words(text: str) -> None:
    """Words come in order, do not overlap, and their bytes decode to what gives the word again."""
    data, found = text.encode(), words(text)
    assert (found.starts[1:] >= found.ends[:-1]).all()
    for start, end, expected in zip(found.starts, found.ends, found.hashes, strict=True):
        piece = data[start:end].decode()
        assert piece
        again = words(piece).hashes
        assert len(again) == 1
        assert again[0] == expected


def test_the_tables_follow_unicode() -> None:
    """Kinds agree with the character database over the whole range, and every letter folds to something."""
    tables = letters()
    for code in range(0, len(tables.kinds), 7):
        char = chr(code)
        category = unicodedata.category(char)
        expected = {"L": LETTER, "N": LETTER}.get(category[0], SEPARATOR)
        expected = DIGIT if category == "Nd" else DROPPED if category in ("Mn", "Me", "Cf") else expected
        assert tables.kinds[code] == expected
        assert (tables.at[code + 1] > tables.at[code]) == (expected in (LETTER, DIGIT))


def test_confusions_are_classes() -> None:
    """A letter's representative represents itself, so folding twice changes nothing."""
    assert all(CONFUSED[representative] == representative for representative in CONFUSED.values())


def test_no_text_has_no_words() -> None:
    """Nothing and punctuation alone have none."""
    assert len(words("").hashes) == 0
    assert len(words(" .-\n—“” ").hashes) == 0
    assert words("").hashes.dtype == np.uint64
