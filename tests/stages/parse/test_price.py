"""One price: budgets are kept whatever comes together, and what is bought is nearly the best that could be."""

import itertools
import random

import numpy as np
import pytest

from stages.parse.router.price import AHEAD, Campaign, Document, steps


def corpus(num_documents: int, seed: int = 0) -> list[Document]:
    """Documents of 1 to 12 pages, a tenth of which gain by two parsers, the better of which is dearer."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(num_documents):
        pages = int(rng.integers(1, 13))
        gains = np.stack([rng.uniform(-0.3, 0.05, pages), rng.uniform(-0.2, 0.05, pages)], axis=1)
        bad = rng.random(pages) < 0.1
        gains[bad] = np.stack([rng.uniform(0.3, 0.8, pages), rng.uniform(0.5, 0.9, pages)], axis=1)[bad]
        seconds = np.stack([rng.uniform(0.5, 2, pages), rng.uniform(2, 6, pages)], axis=1)
        found.append(Document(tuple(steps(gains, seconds)), pages))
    return found


def spend(documents: list[Document], campaign: Campaign, ahead: int = AHEAD) -> list[dict[int, int]]:
    """Choices for all documents, each decided when those `ahead` of it have been seen."""
    choices = []
    for number, document in enumerate(documents):
        campaign.see(document)
        if number >= ahead:
            choices.append(campaign.decide())
    return choices + [campaign.decide() for _ in range(len(documents) - len(choices))]


def worth(documents: list[Document], choices: list[dict[int, int]]) -> tuple[float, float]:
    """Gain and seconds of what was chosen."""
    gain = seconds = 0.0
    for document, chosen in zip(documents, choices, strict=True):
        for page, parser in chosen.items():
            upto = list(
                itertools.takewhile(lambda s, p=parser: s.parser != p, (s for s in document.steps if s.page == page))
            )
            taken = [*upto, next(s for s in document.steps if s.page == page and s.parser == parser)]
            gain += sum(s.rate * s.seconds for s in taken)
            seconds += sum(s.seconds for s in taken)
    return gain, seconds


@pytest.mark.parametrize("ahead", [1, 7, 64, 256])
@pytest.mark.parametrize("seconds", [0.2, 1.0])
def test_the_budget_is_kept_for_any_batch(seconds: float, ahead: int) -> None:
    """Of documents that come 1 to 256 at a time, the seconds spent are the budget within 2 in 100, and never more."""
    documents = corpus(800)
    total = seconds * len(documents)
    campaign = Campaign(len(documents), total=total)
    _, spent = worth(documents, spend(documents, campaign, ahead))
    assert spent == pytest.approx(campaign.spent)
    assert 0.98 * total <= spent <= total * (1 + 1e-9)


def test_a_share_of_the_pages() -> None:
    """Of a page share, as many pages are read again, the ones that gain most, where there are as many that gain."""
    rng = random.Random(1)
    documents = [
        Document(tuple(steps(np.array([[rng.random()] for _ in range(5)]), np.ones((5, 1)))), 5) for _ in range(800)
    ]
    choices = spend(documents, Campaign(800, page_share=0.1))
    gain, pages = worth(documents, choices)
    assert 0.98 * 400 <= pages <= 400
    assert gain > 0.93 * sum(sorted((s.rate for d in documents for s in d.steps), reverse=True)[:400])


def test_near_the_best() -> None:
    """Documents decided as they come gain 97 in 100 of what one decision about all of them does."""
    documents = corpus(1000, seed=2)
    rates = sorted(((s.rate, s.seconds) for d in documents for s in d.steps), reverse=True)
    gain, _ = worth(documents, spend(documents, Campaign(len(documents), total=200.0)))
    left, best = 200.0, 0.0
    for rate, seconds in rates:
        best += rate * min(seconds, left)
        left -= min(seconds, left)
    assert gain > 0.97 * best


def test_a_small_corpus_is_decided_at_once() -> None:
    """Where all documents are read ahead, what is bought is the best but for the last page, found by trying all ways."""
    gains, seconds = np.array([[0.5, 0.9], [0.4, 0.8], [0.2, 0.1]]), np.array([[1.0, 3.0], [1.0, 2.0], [1.0, 3.0]])
    documents = [Document(tuple(steps(gains, seconds)), 3)]
    for total in (1.0, 2.0, 3.0, 5.0, 6.0):
        gain, spent = worth(documents, spend(documents, Campaign(1, total=total)))
        options = itertools.product((-1, 0, 1), repeat=3)
        best = max(
            sum(gains[p, c] for p, c in enumerate(o) if c >= 0)
            for o in options
            if sum(seconds[p, c] for p, c in enumerate(o) if c >= 0) <= total
        )
        assert spent <= total
        assert gain >= best - 0.41
    assert worth(documents, spend(documents, Campaign(1, total=100.0)))[0] == pytest.approx(0.9 + 0.8 + 0.2)


def test_steps_are_a_hull() -> None:
    """A page's steps fall in gain a second; a parser that is dearer and no better, or below the line, is left out."""
    found = steps(np.array([[0.5, 0.6, 0.55, -0.1]]), np.array([[1.0, 2.0, 3.0, 0.1]]))
    assert [(round(s.rate, 6), s.seconds, s.parser) for s in found] == [(0.5, 1.0, 0), (0.1, 1.0, 1)]
    below = steps(np.array([[0.1, 0.9]]), np.array([[1.0, 2.0]]))
    assert [(s.rate, s.parser) for s in below] == [(0.45, 1)]
    assert steps(np.array([[-0.5, 0.0]]), np.array([[1.0, 2.0]])) == []


def test_nothing_to_buy_costs_nothing() -> None:
    """Documents without gain spend nothing, and an empty campaign decides nothing."""
    documents = [Document((), 3)] * 4
    campaign = Campaign(4, total=10.0)
    assert spend(documents, campaign) == [{}] * 4
    assert campaign.spent == 0
