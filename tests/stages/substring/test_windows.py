"""Words and the hashes of their windows, against plain Python."""

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.substring.characters import kinds
from stages.substring.windows import BASES, CHECK, MERSENNE, Rule, _product, characters, windows, words
from tests.stages.substring import plain

texts = st.text(
    st.one_of(st.sampled_from(" \n\u3000|a,é1中国ก\u0e34\u0301\U00020001\U0001f600"), st.characters(codec="utf-8"))
)


@given(texts)
@settings(max_examples=300, deadline=None)
def test_words_are_the_plain_ones(text: str) -> None:
    """Every word begins and ends where plain Python says, in any script."""
    data = text.encode()
    found = words(data)
    starts, ends = (characters(data, places.astype(np.int64)).tolist() for places in found)
    assert list(zip(starts, ends, strict=True)) == [(w.start, w.end) for w in plain.words(text)]


@given(st.lists(st.lists(st.sampled_from(["a", "b", "7"]), max_size=12), min_size=1, max_size=5), st.integers(2, 5))
@settings(max_examples=200, deadline=None)
def test_equal_hashes_are_equal_windows(found: list[list[str]], size: int) -> None:
    """Two windows have the same record but for their place if and only if they have the same words."""
    records, counts = windows(pa.array([" ".join(t) for t in found]), Rule.of(size))
    assert counts.tolist() == [len(t) for t in found]
    flat = [w for t in found for w in t]
    known: dict[tuple[int, int], tuple[str, ...]] = {}
    for one, two in records:
        place = int(two & ~CHECK)
        window = tuple(flat[place : place + size])
        assert known.setdefault((int(one), int(two & CHECK)), window) == window
    assert len(set(known.values())) == len(known)
    inside = {(row, i) for row, t in enumerate(found) for i in range(len(t) - size + 1)}
    passages = [(row, i) for row, i in inside if 2 * sum(w != "7" for w in found[row][i : i + size]) >= size]
    assert len(records) == len(passages)


def test_products_are_modular() -> None:
    """The product of two numbers is that of Python's integers modulo the prime, at its ends too."""
    draw = np.random.default_rng(0)
    prime = int(MERSENNE)
    numbers = [0, 1, 2, prime - 1, prime - 2, 1 << 30, 1 << 31, *BASES, *draw.integers(0, prime, 200).tolist()]
    for a in numbers:
        for b in numbers[:20]:
            assert int(_product(np.uint64(a), np.uint64(b))) == a * b % prime


def test_a_slice_of_a_table_is_read_as_it_is() -> None:
    """An array that begins inside a larger one gives the records of its own texts."""
    found = pa.array(["x y z x y", "a b c", "d e f g"])
    whole, _ = windows(found, Rule.of(3))
    part, counts = windows(found.slice(1), Rule.of(3))
    assert counts.tolist() == [3, 4]
    assert (part + np.array([0, 5], np.uint64) == whole[3:]).all()


def test_every_character_has_the_kind_that_unicode_gives() -> None:
    """Spaces are those of `str.isspace`, and no other character is one."""
    table = kinds()
    assert [c for c in range(len(table)) if table[c] == 1] == [c for c in range(len(table)) if chr(c).isspace()]
