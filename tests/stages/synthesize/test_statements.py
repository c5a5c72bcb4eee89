"""What a document states."""

import pytest

from stages.synthesize.statements import Source, abstract_of, holds_number, is_prose, read, title_of
from tests.stages.synthesize.conftest import article, prose

SOURCE = Source("id", None, None)


def test_an_article_gives_its_statements_in_order() -> None:
    """Each sentence with a quantity is found once, with the sentence before it; references are not read."""
    reading = read(SOURCE, article(1))
    assert [(s.quantity.text, s.before) for s in reading.statements] == [
        ("3.07 g/cm³", ""),
        ("713 °C", "The second batch gave the same within errors."),
        ("63 GPa", "Teskar-1 has a melting point of 713 °C."),
        ("13 W/(m K)", ""),
    ]
    assert reading.source.title == "On the properties of Teskar-1"
    assert reading.continuations == []


def test_prose_without_quantities_gives_continuations() -> None:
    """A document without a quantity gives pairs of sentences that follow each other in one paragraph."""
    reading = read(SOURCE, prose(0))
    assert reading.statements == []
    pairs = [(c.sentence[:12], c.following[:12]) for c in reading.continuations]
    assert ("Letters of t", "The mines we") in pairs
    assert ("What is left", "Visitors of ") not in pairs  # another paragraph


def test_a_number_that_stands_twice_is_not_asked_for() -> None:
    """A sentence that has the number elsewhere too would tell it when blanked, so it is left out."""
    text = "The mass of 12 g was halved twice, from 12 g down to what we see."
    assert read(SOURCE, text).statements == []


@pytest.mark.parametrize(
    ("text", "number", "held"),
    [
        ("of 3.2 g", "3.2", True),
        ("of 3.25 g", "3.2", False),
        ("of 13.2 g", "3.2", False),
        ("of 1,200 g", "200", False),
        ("of 200, and", "200", True),
        ("of 200.", "200", True),
        ("13.2 or 3.2", "3.2", True),
        ("", "3.2", False),
    ],
)
def test_a_number_is_itself_and_no_part_of_another(text: str, number: str, held: bool) -> None:
    """Digits, stops and commas that belong to a longer number do not count."""
    assert holds_number(text, number) == held


@pytest.mark.parametrize(
    ("sentence", "good"),
    [
        ("The density of the alloy is 3.2 g/cm3.", True),
        ("Is the density of the alloy as high as was said?", True),
        ("the density of the alloy is 3.2 g/cm3.", False),  # begins in the middle
        ("The density of the alloy is 3.2 g/cm3", False),  # cut off
        ("Density 3.2 g.", False),  # too short
        ("A 1.2 3.4 5.6 7.8 9.1 2.3 4.5 6.7 8.9 1.2 3.4 mm.", False),  # a row of a table
        ("Alloy | density | 3.2 g/cm3 | melting point | 712.", False),
        ("The densi- ty of the alloy is about 3.2 g/cm3.", False),  # a word cut by a line's end
        ("The pre- and post-heating density is about 3.2 g/cm3.", True),
        ("Its density is 3.2 g/cm3 " + "and more " * 40 + ".", False),  # too long
    ],
)
def test_only_whole_sentences_of_words_are_used(sentence: str, good: bool) -> None:
    """Fragments, rows of tables and spoilt text are not prose."""
    assert is_prose(sentence) == good


def test_the_recorded_title_goes_before_the_heading() -> None:
    """The title column is taken first, then the top heading, else there is none."""
    assert title_of("  A  title ", "# Another\n\ntext") == "A title"
    assert title_of(None, "# Another title\n\ntext") == "Another title"
    assert title_of(" ", "Text without a heading.\n\n# Later heading") is None


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("How grain size and strength\nare linked in Ormel-2\n\nText.", "How grain size and strength are linked in Ormel-2"),
        ("Short one\n\nText.", None),
        ("A first paragraph that is a sentence.\n\nText.", None),
        ("Words without an end " * 20, None),
        ("Name | value | unit of it\n\nText.", None),
        ("", None),
    ],
)  # fmt: skip
def test_a_first_block_that_is_no_sentence_is_a_title(text: str, title: str | None) -> None:
    """Text from a PDF has no marks: a first block of three words to 250 characters without a stop is the title."""
    assert title_of(None, text) == title


@pytest.mark.parametrize(
    "text",
    [
        "# T\n\nA. Author, B. Writer, Town\n\n## Abstract\n\nWe report what is known of it. It may serve in springs and in light frames.\n\nMore.",
        "Title\nAbstract\nWe report what is known of it. It may serve in springs and in light frames.\n1 Introduction\nOther text is here now.",
        "Abstract. We report what is known of it. It may serve in springs and in light frames.",
        "A. Author\n\nWe report what is known of it. It may serve in springs and in light frames.\n\nOther text that goes on for a while.",
    ],
)  # fmt: skip
def test_the_abstract_is_found_in_many_forms(text: str) -> None:
    """After the word, on its own line or before the text; else the first paragraph of whole sentences."""
    assert abstract_of(text, None) == "We report what is known of it. It may serve in springs and in light frames."


def test_an_abstract_stops_at_whole_sentences() -> None:
    """At most about 500 characters, never a part of a sentence; nothing where there is no prose."""
    text = " ".join(f"This is sentence number {word} of a very long abstract." for word in "abcdefghijklmnop")
    short = abstract_of(text, None)
    assert len(short) <= 500
    assert text.startswith(short + " ")
    assert short.endswith("abstract.")
    assert abstract_of("1.2 3.4 5.6\n\n|a|b|", None) == ""
