"""What counts as the same text."""

import pytest

from stages.sketch.normalize import normalize, words


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("The eﬃcient ﬁt", "the efficient fit"),  # ligatures
        ("a hyphen-\nated word", "a hyphenated word"),
        ("a hyphen\u2010 \r\n  ated word", "a hyphenated word"),
        ("soft\u00adhy\u00ad\nphen", "softhyphen"),
        ("one  two\n\n three\tfour ", "one two three four"),
        ("ＦＵＬＬ Ｗidth", "full width"),
        ("Straße", "STRASSE"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("e\u0301tude", "\u00e9tude"),  # a combining accent and a ready one
    ],
)
def test_same(left: str, right: str) -> None:
    """Texts that differ in what a parser may change are one text."""
    assert normalize(left) == normalize(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1995-\n1999", "19951999"),  # a range of numbers is not a hyphenated word
        ("a-b", "ab"),
        ("x = 1", "x = 2"),
        ("no result", "result"),
    ],
)
def test_different(left: str, right: str) -> None:
    """Texts that say different things stay different."""
    assert normalize(left) != normalize(right)


def test_words() -> None:
    """Words are runs of letters and digits of any script."""
    assert words(normalize("H₂O, α-helix & 3.5 kJ/mol (Größe)")) == [
        *("h2o", "α", "helix", "3", "5", "kj", "mol", "grösse"),
    ]
    assert words("± → …") == []
