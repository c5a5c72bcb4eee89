"""Which text layers are usable."""

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.parse.features import Features, of_text
from stages.parse.garble import better, judge
from stages.parse.lines import LINE_HYPHEN, Line, Page
from tests.stages.parse.conftest import WORDS
from tests.stages.parse.test_letters import shift

BAD_READING = (
    "A pracfical guidc to cllmafe econ0mctrics: Noviqatirig kcy dccisiori p0lnfs iri weatber arid clirnate dafo analysis "
    "Thc usc of ccoriometrlcs fo sfudy h0w socla1, cconornic arid bi0physica1 systcrns rcsporid fo weathcr has sfarfed o "
    "torrerif of ricw reseorch. lf ls allowirig rcsearchcrs fo bcffcr uridersfarid thc lmpacfs of c1imofe charige."
)


def page(text: str, verdict: str = "good") -> Page:
    """A page with one line."""
    return Page(1, 400, 600, (Line(text, 0, 0, 100, 10, 10),), verdict=verdict)  # type: ignore[arg-type]


def codes(text: str) -> NDArray[np.uint32]:
    """The characters of a text."""
    return np.frombuffer(text.encode("utf-32-le"), np.uint32)


@pytest.mark.parametrize(
    ("text", "image_share", "map_errors", "expected"),
    [
        (WORDS, 0.0, 0.0, "good"),
        (WORDS, 1.0, 0.0, "good"),  # a scan with a clean reading behind it
        (WORDS, 0.0, 0.8, "garbled"),
        (shift(WORDS, 2), 0.0, 0.0, "garbled"),
        ("".join(chr(0xE000 + ord(c)) if c != " " else c for c in WORDS), 0.0, 0.0, "garbled"),
        (WORDS.replace("e", "\ufffd").replace("t", "\x03").replace("a", "\x04"), 0.0, 0.0, "garbled"),
        (BAD_READING, 1.0, 0.0, "suspect"),
        (BAD_READING, 0.3, 0.0, "good"),  # strange, but nothing says that it is a scan
        ("", 1.0, 0.0, "no text"),
        ("12", 0.0, 0.0, "no text"),
        ("Figure 3. A caption below a picture.", 0.6, 0.0, "no text"),
        ("Figure 3. A caption below a picture.", 0.1, 0.0, "good"),
        ("1.0 2.0 3.0 4.0 5.0 " * 20, 0.0, 0.0, "good"),
        ("Теплопроводность меди высока. " * 10, 0.0, 0.0, "good"),
    ],
)
def test_verdicts(text: str, image_share: float, map_errors: float, expected: str) -> None:
    """Each kind of layer gets the verdict that decides whether its page is read again from its picture."""
    noticed = Features(**of_text(codes(text)), image_share=image_share, map_errors=map_errors)
    assert judge(noticed, has_objects=True) == expected


def test_an_empty_page_is_empty() -> None:
    """A page with nothing on it at all is not sent to OCR."""
    assert judge(Features(), has_objects=False) == "empty"
    assert not page("", "empty").needs_ocr
    assert page("", "no text").needs_ocr


def test_hyphens_at_line_ends_are_no_damage() -> None:
    """PDFium's sign for a hyphen is a noncharacter, and is not counted as damage."""
    assert of_text(codes(f"con{LINE_HYPHEN}duct"))["bad_share"] == 0.0
    assert of_text(codes("ab\x01\ue000"))["bad_share"] == 0.5
    assert of_text(codes(" \n"))["bad_share"] == 0.0


def test_the_better_reading_wins() -> None:
    """Less surprising letters win; a reader that saw hardly anything does not, unless the layer is nonsense."""
    layer = page(BAD_READING, "suspect")
    good, worse, little = page(WORDS), page(shift(WORDS, 3)), page("Some words")
    assert better(layer, good) is good
    assert better(layer, worse) is layer
    assert better(layer, little) is layer
    assert better(page(shift(WORDS, 1), "garbled"), little) is little
    nothing = Page(1)
    caption = page("Figure 1", "no text")
    assert better(caption, nothing) is caption
