"""What a document states: sentences with a quantity, passages that go on, and what an abstract begins with."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from stages.synthesize.quantities import Quantity, main_quantity
from stages.synthesize.sentences import passages

MIN_CHARS, MAX_CHARS = 30, 300  # of a sentence: shorter ones say nothing alone, longer ones are mostly tables
MIN_LETTERS = 0.6  # share of letters and spaces; rows of numbers and reference lists fall below
ABSTRACT_CHARS = 500
ABSTRACT = re.compile(r"^[ \t]*#*[ \t]*(?:abstract|summary)\b[ \t]*[.:—–-]*[ \t]*", re.IGNORECASE | re.MULTILINE)
PROSE = re.compile(r"[\"'“‘(]?[A-Z0-9À-ÖØ-ÞΑ-Ω].*[.!?][\"'”’)]*")
SPOILT = re.compile(r"[|\t\uFFFD]|\w- (?!and\b|or\b|to\b)[a-z]|\.{4}|_{2}|https?:")
PART = re.compile(r"[.,]\d")  # what follows a number that goes on
NO_LETTERS = re.compile(r"[^\w ]|[\d_]")
MAX_TITLE = 250
TITLE = re.compile(r"\A\s*#\s+(?P<title>\S.{5,250}?)[ \t]*$", re.MULTILINE)
FIRST_BLOCK = re.compile(r"(?=.{15,250}$)[A-Z0-9][^|]* [^|]* [^|]*[^\s.,;:!?|]")  # of three words at least


class Source(NamedTuple):
    """The document that a row is led back to."""

    doc_id: str
    title: str | None
    licence: str | None


class Statement(NamedTuple):
    """A sentence with the quantity it states, and the sentence before it in its paragraph ("" if it is the first)."""

    source: Source
    before: str
    sentence: str
    quantity: Quantity


class Continuation(NamedTuple):
    """A sentence and the one that follows it."""

    source: Source
    sentence: str
    following: str


class Reading(NamedTuple):
    """All that was found in one document."""

    source: Source
    abstract: str
    statements: list[Statement]
    continuations: list[Continuation]


def read(source: Source, text: str) -> Reading:
    """Find what a document states, in the order of its text; one with no quantity has continuations instead."""
    source = source._replace(title=title_of(source.title, text))
    paragraphs = list(passages(text))
    statements = list(_statements(source, paragraphs))
    continuations = [] if statements else list(_continuations(source, paragraphs))
    return Reading(source, abstract_of(text, source.title), statements, continuations)


def title_of(recorded: str | None, text: str) -> str | None:
    """A document's title: as recorded, else the top heading, else a first block of words that is no sentence."""
    if recorded and recorded.strip():
        return " ".join(recorded.split())
    match = TITLE.match(text)
    first = " ".join((match["title"] if match else text[: 2 * MAX_TITLE].strip().split("\n\n")[0]).split())
    return first if match or FIRST_BLOCK.fullmatch(first) else None


def abstract_of(text: str, title: str | None) -> str:
    """The first whole sentences of the abstract, or of the text if nothing is called one; "" if there is no prose."""
    match = ABSTRACT.search(text)
    for sentences in passages(text[match.end() :] if match else text):
        good = [s for s in sentences if is_prose(s) and s.rstrip(".") != title]
        if good and len(good) * 2 >= len(sentences):  # authors and addresses are paragraphs too, of another kind
            return _up_to(good, ABSTRACT_CHARS)
    return ""


def is_prose(sentence: str) -> bool:
    """Whether a string reads as one whole sentence: begins and ends as one, of words, not cut or run together."""
    if not MIN_CHARS <= len(sentence) <= MAX_CHARS or SPOILT.search(sentence) or not PROSE.fullmatch(sentence):
        return False
    return len(NO_LETTERS.sub("", sentence)) >= MIN_LETTERS * len(sentence)


def _statements(source: Source, paragraphs: list[list[str]]) -> Iterator[Statement]:
    for sentences in paragraphs:
        for before, sentence in pairwise(["", *sentences]):
            if is_prose(sentence) and (quantity := main_quantity(sentence)) and _once(sentence, quantity):
                yield Statement(source, before if is_prose(before) else "", sentence, quantity)


def _once(sentence: str, quantity: Quantity) -> bool:
    """Whether the number stands nowhere else in the sentence, so that blanking it hides it."""
    return not holds_number(sentence[: quantity.start] + " " + sentence[quantity.end :], quantity.number)


def holds_number(text: str, number: str) -> bool:
    """Whether `text` has this very number, not as part of another ("3.2" is not in "13.2" or "3.25")."""
    at = text.find(number)
    while at >= 0:
        before, after = text[max(0, at - 1) : at], text[at + len(number) :][:2]
        if not (before.isdigit() or before in (".", ",") or after[:1].isdigit() or PART.match(after)):
            return True
        at = text.find(number, at + 1)
    return False


def _continuations(source: Source, paragraphs: list[list[str]]) -> Iterator[Continuation]:
    for sentences in paragraphs:
        for sentence, following in pairwise(sentences):
            if is_prose(sentence) and is_prose(following):
                yield Continuation(source, sentence, following)


def _up_to(sentences: list[str], num_chars: int) -> str:
    text = sentences[0]
    for sentence in sentences[1:]:
        if len(text) + len(sentence) >= num_chars:
            break
        text += f" {sentence}"
    return text
