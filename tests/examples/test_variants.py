import random

import pytest

from examples.document import Article, Heading, plain_text
from examples.facts import catalogue
from examples.prose import compose
from examples.variants import VARIANTS, too_short
from tests.examples.measures import jaccard, words

SUBJECTS = catalogue(30, 8)


def article(index: int, *, short: bool = False) -> Article:
    """An article with one reference."""
    return compose(SUBJECTS[index], [SUBJECTS[index - 1]], 8, "CC-BY-4.0", short=short)


@pytest.mark.parametrize("how", VARIANTS)
@pytest.mark.parametrize("short", [True, False])
def test_near_duplicates_are_near(how: str, short: bool) -> None:
    """A near-duplicate's 5-grams must agree with the original's to 0.78 to 0.99: not equal, and above dedup's 0.72."""
    for index in range(14):
        first = article(index, short=short)
        again = VARIANTS[how](first, random.Random(index))
        assert 0.78 <= jaccard(plain_text(first), plain_text(again)) <= 0.99, (how, index)


@pytest.mark.parametrize("how", VARIANTS)
def test_variants_are_deterministic(how: str) -> None:
    """The same random numbers must give the same variant, and the original must stay as it is."""
    first = article(3)
    before = plain_text(first)
    assert VARIANTS[how](first, random.Random(7)) == VARIANTS[how](first, random.Random(7))
    assert plain_text(first) == before


def test_a_preprint_lacks_two_sentences() -> None:
    """A preprint must have exactly two sentences less, and say that it is one."""
    first = article(4)
    again = VARIANTS["preprint"](first, random.Random(0))
    count = [sum(len(getattr(b, "sentences", ())) for b in a.body) for a in (first, again)]
    assert count[1] == count[0] - 2
    assert again.byline.endswith("(preprint)")


def test_a_second_edition_keeps_every_sentence() -> None:
    """A second edition must have all words of the first, and its remark."""
    first = article(5)
    again = VARIANTS["second-edition"](first, random.Random(0))
    assert set(words(plain_text(first))) <= set(words(plain_text(again)))
    assert "second edition" in again.byline


def test_a_cut_copy_lacks_the_conclusion() -> None:
    """A cut copy must be the beginning of the body, one section short, without references."""
    first = article(6)
    again = VARIANTS["cut-copy"](first, random.Random(0))
    assert first.body[: len(again.body)] == again.body
    sections = [sum(isinstance(b, Heading) for b in a.body) for a in (first, again)]
    assert sections[1] == sections[0] - 1
    assert again.references == ()


def test_the_short_one_is_too_short() -> None:
    """The short note must stay below the 50 words that a filter asks for, and still state a fact."""
    for index in range(14):
        text = plain_text(too_short(article(index)))
        assert len(text.split()) < 45
        assert SUBJECTS[index].name in text
