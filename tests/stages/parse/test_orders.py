"""Orders of lines, cut words, plain words and times: nothing is lost, doubled or put elsewhere."""

from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stages.parse import times
from stages.parse.hyphens import SOFT_HYPHEN, Joiner
from stages.parse.lines import LINE_HYPHEN, Line, Page, lost
from stages.parse.ocr import even, in_reading_order
from stages.parse.reading_order import by_rows
from stages.parse.score.markup import plain
from stages.parse.times import Times

places = st.tuples(st.integers(0, 60), st.integers(0, 90), st.integers(0, 60), st.integers(1, 20))


@given(st.lists(places, max_size=40))
@settings(deadline=None)
def test_no_line_is_read_twice_or_not_at_all(boxes: list[tuple[int, int, int, int]]) -> None:
    """Whatever the boxes are, also those of no width that stand on a gutter, each line is in the order once."""
    lines = [Line(str(i), 10 * x, 8 * y, 10 * (x + w), 8 * (y + h), h) for i, (x, y, w, h) in enumerate(boxes)]
    for ordered in (in_reading_order(lines), by_rows(lines), even(lines)):
        assert Counter(n.text for n in ordered) == Counter(n.text for n in lines)


words = st.text("abcXY1", min_size=1, max_size=6)


@given(
    words,
    words,
    st.sampled_from([LINE_HYPHEN, SOFT_HYPHEN]),
    st.lists(words | st.just("ab-c"), max_size=8).map(" ".join),
)
def test_a_cut_word_keeps_its_letters(head: str, tail: str, hyphen: str, document: str) -> None:
    """The two parts are one word, with or without a hyphen, and nothing else of the line changes; across lines too."""
    joiner = Joiner(document)
    inside = joiner.inside(f"x {head}{hyphen}{tail} y")
    assert inside in (f"x {head}{tail} y", f"x {head}-{tail} y")
    across = joiner.across(f"x {head}-", f"{tail} y")
    assert across in (f"x {head}", f"x {head}-")
    assert f"{across}{tail} y" == inside


# ---- times


class Sink:
    """Outputs that add up seconds."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.shard, self.sums = folder, (0, 1), Counter[str]()

    def spent(self, name: str, seconds: float) -> None:
        """Add."""
        self.sums[name] += seconds  # type: ignore[assignment]


def test_times_come_back(tmp_path: Path) -> None:
    """A line for each reading that took time, by source, page and parser; sums by parser; a source can be forgotten."""
    sink: Any = Sink(tmp_path)
    found = Times(sink)
    again = (Page(2, parser="rapidocr", seconds=1.5), lost(1, "time limit"))
    found.add("a" * 64, [0.25, 0.0, 0.5], again)
    found.add("b" * 64, [1.0], (), parser="grobid, one")
    found.close()
    rows = [("a" * 64, 1, "pypdfium2", 0.25), ("a" * 64, 3, "pypdfium2", 0.5), ("a" * 64, 2, "rapidocr", 1.5)]
    assert list(times.rows(tmp_path)) == [*rows, ("b" * 64, 1, "grobid, one", 1.0)]
    assert sink.sums == {"pypdfium2": 0.75, "rapidocr": 1.5, "grobid, one": 1.0}
    times.forget(tmp_path, {"a" * 64})
    assert list(times.rows(tmp_path)) == [("b" * 64, 1, "grobid, one", 1.0)]
    times.forget(tmp_path, {"c" * 64})
    assert list(times.rows(tmp_path)) == [("b" * 64, 1, "grobid, one", 1.0)]


@given(st.text("ab c|*#-\n", max_size=40))
def test_plain_words_are_left(text: str) -> None:
    """Of any text with signs of Markdown, the letters that come out are those that went in, in order."""
    assert [c for c in plain(text) if c.isalpha()] == [c for c in text if c.isalpha()]
