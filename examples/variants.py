"""Near-duplicates: an article as its preprint, its second edition or a cut copy would be, and a note too short to keep.

Each changes a few sentences, so that 5-grams of words agree to about 0.8 to 0.97 (Jaccard), and is typeset in another
layout, so that not one line of the file is the same.
"""

import random
from collections.abc import Callable
from dataclasses import replace

from examples.document import Article, Block, Heading, Paragraph


def preprint(article: Article, rng: random.Random) -> Article:
    """Two sentences of the text are missing, and the byline says that it is a preprint."""
    return replace(article, byline=f"{article.byline} (preprint)", body=_without(article.body, 2, rng))


def second_edition(article: Article, rng: random.Random) -> Article:
    """Two paragraphs have their first and last sentences exchanged; a remark stands before the conclusion."""
    body = list(article.body)
    for place in rng.sample(_long_paragraphs(article.body), 2):
        block = body[place]
        assert isinstance(block, Paragraph)
        first, *middle, last = block.sentences
        body[place] = Paragraph((last, *middle, first))
    remark = Paragraph(("In this second edition a few words were set right; no measured value was touched.",))
    final = max(i for i, block in enumerate(body) if isinstance(block, Heading))
    body.insert(final, remark)
    return replace(article, byline=f"{article.byline}, second edition", body=tuple(body))


def cut_copy(article: Article, rng: random.Random) -> Article:  # noqa: ARG001 - all variants are called alike
    """The conclusion and the references are missing, as in a copy whose last page was lost."""
    final = max(i for i, block in enumerate(article.body) if isinstance(block, Heading))
    return replace(article, body=article.body[:final], references=())


VARIANTS: dict[str, Callable[[Article, random.Random], Article]] = {
    "preprint": preprint,
    "second-edition": second_edition,
    "cut-copy": cut_copy,
}


def too_short(article: Article) -> Article:
    """A note of one sentence, with fewer words than a filter asks for."""
    fact = next(s for s in article.abstract.sentences if any(c.isdigit() for c in s))
    return replace(
        article, title="Erratum", notice="Invented for demonstration.", abstract=Paragraph((fact,)), keywords=(),
        body=(), references=(),
    )  # fmt: skip


def _long_paragraphs(body: tuple[Block, ...]) -> list[int]:
    return [i for i, block in enumerate(body) if isinstance(block, Paragraph) and len(block.sentences) >= 4]


def _without(body: tuple[Block, ...], count: int, rng: random.Random) -> tuple[Block, ...]:
    """The body with one sentence less in each of `count` longer paragraphs."""
    blocks = list(body)
    for place in rng.sample(_long_paragraphs(body), count):
        block = blocks[place]
        assert isinstance(block, Paragraph)
        gone = rng.randrange(1, len(block.sentences))
        blocks[place] = Paragraph(block.sentences[:gone] + block.sentences[gone + 1 :])
    return tuple(blocks)
