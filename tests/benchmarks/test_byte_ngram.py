"""The yardstick of `benchmarks.twenty_minutes`, against its formula taken word by word."""

from collections import Counter

import numpy as np
import pytest

from benchmarks.byte_ngram import ByteNgram, windows

TEXTS = [b"the density of the sample", b"the sample is dense; the mass is not", b"a"]
HELD_OUT = [b"the sampled mass", b"zq"]


def padded(documents: list[bytes], order: int) -> Counter[bytes]:
    """How often each string of `order` bytes ends at a byte of a document."""
    count: Counter[bytes] = Counter()
    for document in documents:
        text = bytes(order - 1) + document
        count.update(text[i : i + order] for i in range(len(document)))
    return count


def probability(counts: list[Counter[bytes]], string: bytes) -> float:
    """The interpolated formula of the module, by recursion over dictionaries; `counts` by order, from 1."""
    length = len(string)
    if not length:
        return 1 / 256
    lower = probability(counts, string[1:])
    own, context = counts[length - 1], string[:-1]
    following = {s: n for s, n in own.items() if s[:-1] == context}
    if not following:
        return lower
    once, twice = (sum(n == k for n in own.values()) for k in (1, 2))
    discount = once / (once + 2 * twice) if once else 0.5
    spread = discount * len(following) * lower
    return (max(following.get(string, 0) - discount, 0) * (string in following) + spread) / sum(following.values())


@pytest.mark.parametrize("order", [1, 2, 3, 5, 8])
def test_probabilities_are_those_of_the_formula(order: int) -> None:
    """Sorted keys of 64 bits give what dictionaries of strings give, in every context, seen or not."""
    counts = [padded(TEXTS, order)]
    for _ in range(order - 1):
        counts.insert(0, Counter(s[1:] for s in counts[0]))  # distinct bytes in front
    expected = []
    for document in HELD_OUT:
        text = bytes(order - 1) + document
        expected += [probability(counts, text[i : i + order]) for i in range(len(document))]
    found = ByteNgram(TEXTS, order).probabilities(HELD_OUT)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_probabilities_of_all_bytes_sum_to_one() -> None:
    """After a seen context, after one that was not, and at a document's beginning."""
    model = ByteNgram(TEXTS, 4)
    for before in (b"the", b"\xff\xfe\xfd", b"", b"mple"):
        last = [model.probabilities([before + bytes([byte])])[-1] for byte in range(256)]
        assert sum(last) == pytest.approx(1.0, abs=1e-12)


def test_documents_do_not_see_each_other() -> None:
    """The first byte of a document has no context but its beginning."""
    assert windows([b"ab", b"c"], 3).tolist() == [ord("a"), ord("a") << 8 | ord("b"), ord("c")]


def test_an_order_that_does_not_fit_is_refused() -> None:
    """Nine bytes are more than 64 bits."""
    with pytest.raises(ValueError, match="1 to 8"):
        ByteNgram(TEXTS, 9)
