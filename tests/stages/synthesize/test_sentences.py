"""Splitting text into sentences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.tokenize import punkt  # type: ignore[import-untyped]

from stages.synthesize.sentences import ABBREVIATIONS, body, passages, split_sentences

TEXT = (
    "The samples were dried in air. They lost 3.2 % of their mass (see Fig. 3). Smith et al. (2010) found the same, "
    "i.e. a loss of about one twentieth. Is the furnace to blame? We think not! Approx. 20 runs were made by J. Doe. "
    "Crystals of E. coli phage were grown at 4 °C. The plates were washed for 5 min. Then they were dried at 300 K. "
    "The capacity was 41 mmol/L. The cell held 3 L. It was full. "
    '"All was well." Nobody said so.'
)
SENTENCES = [
    "The samples were dried in air.",
    "They lost 3.2 % of their mass (see Fig. 3).",
    "Smith et al. (2010) found the same, i.e. a loss of about one twentieth.",
    "Is the furnace to blame?",
    "We think not!",
    "Approx. 20 runs were made by J. Doe.",
    "Crystals of E. coli phage were grown at 4 °C.",
    "The plates were washed for 5 min.",
    "Then they were dried at 300 K.",
    "The capacity was 41 mmol/L.",
    "The cell held 3 L.",
    "It was full.",
    '"All was well."',
    "Nobody said so.",
]


def test_abbreviations_decimals_and_units_do_not_end_or_join_sentences() -> None:
    """Stops of abbreviations, initials and decimals end nothing; a unit's stop ends its sentence."""
    assert split_sentences(TEXT) == SENTENCES


@pytest.mark.parametrize(
    "text",
    [
        "One stop. Two stops. Three stops.",
        "No stop at all",
        "Why? Because of Prof. Miller. Nothing else.",
        "It cost 12.50 marks in 1921. By 1923 it cost millions.",
        "Values (vs. the first run) agree. See Eq. 4 and Ref. 7 for more.",
        "He left (or so it was said). She stayed.",
    ],
)
def test_splits_as_punkt_does_when_it_knows_the_same_abbreviations(text: str) -> None:
    """On plain scientific sentences the rules agree with NLTK's Punkt, given our abbreviations."""
    parameters = punkt.PunktParameters()
    parameters.abbrev_types = set(ABBREVIATIONS)
    assert split_sentences(text) == punkt.PunktSentenceTokenizer(parameters).tokenize(text)


@given(st.text(alphabet="aB.?! \n\t(“”)1°Cé", max_size=80))
def test_no_character_is_lost(text: str) -> None:
    """Joined by spaces, the sentences are the paragraph with its white space made single."""
    assert " ".join(split_sentences(text)) == " ".join(text.split())


def test_headings_part_paragraphs_and_are_no_sentences() -> None:
    """Markdown headings, numbered headings and the usual names of parts are left out and end a paragraph."""
    text = "# A title\n\n## Abstract\n\nFirst one. Second one.\nINTRODUCTION\nThird one.\n2.1 Heat treatment\nFourth."
    assert list(passages(text)) == [["First one.", "Second one."], ["Third one."], ["Fourth."]]


def test_a_wrapped_line_that_begins_with_a_number_stays_in_its_sentence() -> None:
    """A line of running text is not taken for a numbered heading."""
    assert list(passages("The mass fell by about\n12 percent of what it was before, in air.")) == [
        ["The mass fell by about 12 percent of what it was before, in air."]
    ]


@pytest.mark.parametrize("name", ["References", "## References", "REFERENCES:", "7. Bibliography", "Literature cited"])
def test_the_list_of_references_is_not_read(name: str) -> None:
    """What follows the heading of the references is no part of the body."""
    text = f"{'The text goes on. ' * 9}\n\n{name}\n\n[1] A. Author. The density is 3 g."
    assert body(text) == f"{'The text goes on. ' * 9}\n\n"


def test_a_table_of_contents_does_not_end_the_text() -> None:
    """A line "References" near the beginning of a text does not cut it."""
    text = "Contents\nReferences\n" + "The text goes on. " * 20
    assert body(text) == text
