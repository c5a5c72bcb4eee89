"""A sample of documents by hash is the same in any order, and small."""

import random
import tracemalloc
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.train_tokenizer.sample import PIECE_CHARS, LowestDraws, pieces

Documents = list[tuple[float, int]]
DOCUMENTS = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 50)), max_size=60, unique_by=lambda d: d[0])


def sample(documents: Documents, max_bytes: int, batch: int = 7) -> LowestDraws:
    """Look at documents (draw, size) in batches."""
    lowest = LowestDraws(max_bytes)
    for first in range(0, len(documents), batch):
        part = np.array(documents[first : first + batch])
        lowest.add(part[:, 0], part[:, 1].astype(np.int64))
    return lowest


def plain(documents: Documents, max_bytes: int) -> Documents:
    """Sort all documents and take the first ones that fit, or the first."""
    taken: Documents = []
    for document in sorted(documents):
        if taken and sum(size for _, size in taken) + document[1] > max_bytes:
            break
        taken.append(document)
    return taken


@settings(max_examples=300, deadline=None)
@given(DOCUMENTS, st.integers(1, 300), st.integers(1, 60), st.randoms())
def test_the_lowest_that_fit(documents: Documents, max_bytes: int, batch: int, order: random.Random) -> None:
    """The sample is what sorting all documents gives, whatever the order and the batches."""
    expected = plain(documents, max_bytes)
    order.shuffle(documents)
    lowest = sample(documents, max_bytes, batch)
    assert sorted(d for d in documents if d[0] < lowest.below()) == expected
    assert lowest.num_bytes() == sum(size for _, size in expected)


def test_all_of_a_small_corpus() -> None:
    """A corpus that fits is taken whole, at once or in parts."""
    assert sample([(0.5, 10), (0.9, 10)], 20).below() == np.inf
    assert LowestDraws(5).below() == np.inf


def test_memory_goes_with_the_limit() -> None:
    """A hundred times as many documents take no more memory."""

    def peak(num_batches: int) -> int:
        draw = np.random.default_rng(0)
        lowest = LowestDraws(1_000_000)
        tracemalloc.start()
        for _ in range(num_batches):
            lowest.add(draw.random(2_000), np.full(2_000, 1_000))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert lowest.num_bytes() == 1_000_000
        return found

    peak(2)
    assert peak(1_000) < 1.5 * peak(10)


def test_large_texts_come_in_pieces() -> None:
    """A large text is cut after lines, or where there are none anywhere; nothing is lost; a small text is one piece."""
    assert list(pieces("a\nb")) == ["a\nb"]
    assert list(pieces("")) == [""]
    for text in ("x" * (PIECE_CHARS * 2 + 5), ("line of text\n" * (PIECE_CHARS // 5))):
        found = list(pieces(text))
        assert "".join(found) == text
        assert max(map(len, found)) <= PIECE_CHARS
        assert all(before.endswith("\n") for before, _ in pairwise(found)) or "\n" not in text
