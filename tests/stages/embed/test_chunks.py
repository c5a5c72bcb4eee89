"""Where documents are cut."""

from hypothesis import given, settings
from hypothesis import strategies as st

from stages.embed.chunks import MAX_WORD, chunks

TEXTS = st.text(alphabet="abc \n\u3000é", max_size=3000)


@settings(deadline=None)
@given(TEXTS, st.integers(100, 400), st.integers(1, 12))
def test_pieces_are_of_the_text_in_order(text: str, size: int, most: int) -> None:
    """Pieces are few, not empty, not long, and stand in the text one after the other."""
    found = chunks(text, size, most)
    assert len(found) <= most
    place = 0
    for piece in found:
        assert piece.strip()
        assert len(piece) <= size + MAX_WORD
        place = text.index(piece, place) + len(piece)


@settings(deadline=None)
@given(TEXTS, st.integers(100, 400))
def test_nothing_is_lost_if_all_are_taken(text: str, size: int) -> None:
    """With enough chunks allowed they hold all that is not blank."""
    found = chunks(text, size, 1000)
    assert "".join("".join(found).split()) == "".join(text.split())


@settings(deadline=None)
@given(st.text(alphabet=" \n\t\u3000", max_size=50))
def test_blank_texts_have_none(blank: str) -> None:
    """A text without words has no chunk."""
    assert chunks(blank, 100, 8) == []


def test_words_stay_whole() -> None:
    """A cut moves to the end of the word."""
    text = " ".join(f"word{n:04d}" for n in range(500))
    assert {w for piece in chunks(text, 300, 100) for w in piece.split()} == set(text.split())


def test_long_texts_are_read_all_over() -> None:
    """The chunks taken begin at the beginning and are spread evenly."""
    text = "".join(f"{n:09d} " for n in range(10_000))
    starts = [text.index(piece) / len(text) for piece in chunks(text, 1000, 8)]
    assert [round(s, 2) for s in starts] == [0, 0.12, 0.25, 0.37, 0.5, 0.62, 0.75, 0.87]
    assert chunks(text, 1000, 1)[0].startswith("000000000 000000001")
