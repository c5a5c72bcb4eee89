"""Compiled loops over characters and boxes, against the same in plain Python and numpy."""

import math
import statistics
import unicodedata
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.parse.kernel import UNKNOWN, _characters, find_lines, line_shapes
from stages.parse.kinds import table
from stages.parse.letters import HALF_BITS, MAX_CHARS, MIN_TRIGRAMS, surprise_of
from stages.parse.lines import LINE_HYPHEN

ODD = "ab Z9.-é²ﬁβΩ٣\u00a0\u2028\n\n\t\ue000\ufffd\x03\u0301𝛼漢" + LINE_HYPHEN
TEXTS = st.text(ODD, max_size=60) | st.text(st.characters(max_codepoint=0x1FFFE), max_size=40)


def codes(text: str) -> NDArray[np.uint32]:
    """The characters of a text."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32).copy()


@settings(deadline=None)
@given(TEXTS)
def test_lines_are_those_of_the_text_without_space_around(text: str) -> None:
    """Lines are what stands between newlines, without what is not seen around it; one with a cut word goes over several rows."""
    spans, several = find_lines(codes(text), table())
    unseen = {c for c in text if c != LINE_HYPHEN and table()[min(ord(c), 0x1FFFF)] == 0}
    lines = [line.strip("".join(unseen)) if unseen else line for line in text.split("\n")]
    expected = [(line, LINE_HYPHEN in line) for line in lines if line]
    assert [(text[a:b], bool(s)) for (a, b), s in zip(spans.tolist(), several.tolist(), strict=True)] == expected


@settings(deadline=None)
@given(TEXTS)
def test_no_visible_character_is_outside_of_lines(text: str) -> None:
    """Lines are in order, do not overlap, and hold every character that is not white space."""
    spans, _ = find_lines(codes(text), table())
    flat = [edge for span in spans.tolist() for edge in span]
    assert flat == sorted(flat)
    inside = Counter(c for a, b in spans.tolist() for c in text[a:b] if not c.isspace())
    assert inside == Counter(c for c in text if not c.isspace())


@settings(deadline=None)
@given(st.lists(st.integers(0, 0xFFFF) | st.sampled_from([2, 0x0D, 0x0B, 0xD835, 0xDC00, 0xDFFF, 0xFFFE]), max_size=40))
def test_any_halves_become_what_utf_16_says(units: list[int]) -> None:
    """Code units are decoded as UTF-16, a lone half is marked, and there are as many characters as units."""
    found = _characters(np.array(units, np.uint32)).tobytes().decode("utf-32-le")
    assert len(found) == len(units)
    swap = {2: ord(LINE_HYPHEN), 0x0D: 0x20, 0x0B: 0x0A, 0x2028: 0x0A, 0: UNKNOWN}
    raw = np.array([swap.get(u, u) for u in units], np.uint16).tobytes().decode("utf-16-le", "surrogatepass")
    expected = "".join(chr(UNKNOWN) if 0xD800 <= ord(c) < 0xE000 else c for c in raw)
    kept = [c for i, c in enumerate(found) if not (c == "\u200b" and units[i] != 0x200B)]
    assert "".join(kept) == expected


def long_way(text: str) -> tuple[list[float], int]:
    """Bits of all trigrams with a letter in the middle, and letters of other alphabets."""
    signs: list[int] = []
    others = 0
    for c in text:
        plain = unicodedata.normalize("NFKD", c).encode("ascii", "ignore").lower()[:3].decode()
        signs += [ord(p) - 96 if "a" <= p <= "z" else 0 for p in plain]
        category = unicodedata.category(c)
        others += not plain and c > "\u024f" and (category[0] == "L" or category in {"Nl", "No"})
    signs.append(0)
    before = [0, 0, *signs]
    three = zip(before, before[1:], before[2:], strict=False)
    return [HALF_BITS[(a * 27 + b) * 27 + c] / 2 for a, b, c in three if b], others


@settings(deadline=None)
@given(TEXTS)
def test_trigrams_are_those_of_the_long_way(text: str) -> None:
    """Accents and ligatures are opened, digits and signs end words, marks are passed over; other alphabets give no verdict."""
    text = (text * 70)[:MAX_CHARS]
    found, (bits, others) = surprise_of(codes(text)), long_way(text)
    if len(bits) < MIN_TRIGRAMS or len(bits) <= others:
        assert found is None
    else:
        assert found == pytest.approx(math.fsum(bits) / len(bits))


def test_the_verdict_is_of_the_first_characters() -> None:
    """What stands behind the first six thousand characters changes nothing."""
    text = "heat flows through copper " * 400
    assert surprise_of(codes(text)) == surprise_of(codes(text[:MAX_CHARS] + "zqxj " * 500))


boxes = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 700), st.integers(1, 300), st.integers(1, 20), st.integers(4, 20), st.integers(1, 90)),
    min_size=1,
    max_size=12,
)  # fmt: skip


@settings(deadline=None)
@given(boxes)
def test_shapes_are_the_formulas(found: list[tuple[int, int, int, int, int, int]]) -> None:
    """Covered share, median size, range of sizes, spread, narrow lines, lines that go up or lie on the one before."""
    width, height = 612.0, 792.0
    places = np.array([(x, y, x + w, y + h, s) for x, y, w, h, s, _ in found], float)
    lengths = np.array([n for *_, n in found], np.int64)
    sizes = places[:, 4].tolist()
    usual = statistics.median(sizes)
    narrow = sum(right < 0.55 * width for right in places[:, 2].tolist())
    backward = on_top = 0
    for a, b in pairwise(places.tolist()):
        backward += b[1] > a[3]
        above, beside = min(a[3], b[3]) - max(a[1], b[1]), min(a[2], b[2]) - max(a[0], b[0])
        on_top += above > 0.5 * (a[3] - a[1]) and beside > 0.5 * (b[2] - b[0])
    count = len(found)
    expected = [
        min(sum(w * h for _, _, w, h, _, _ in found) / (width * height), 2.0),
        usual,
        (max(sizes) - min(sizes)) / usual,
        statistics.median(w / (n * s) for _, _, w, _, s, n in found),
        narrow / count,
        backward / count,
        on_top / count,
    ]
    assert list(line_shapes(places, lengths, width, height))[-len(expected) :] == pytest.approx(expected)
