"""The stage against what finds repeats in other ways: by looking at each window, and by a suffix array."""

import gzip
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.stages.substring import plain
from tests.stages.substring.corpora import document, rows, run, table

ROOT = Path(__file__).parents[3]
CORPUS = ROOT.parent / "shared" / "data" / "corpora" / "pmc-ccby-260.jsonl.gz"
WORDS = ("a", "a", "b", "b,", "é", "12", "|", "中", "国。", "กิ", "\U00020000", "x-1")
GAPS = (" ", " ", "\n", "\n\n", "\u00a0", "")
texts = st.lists(
    st.lists(st.tuples(st.sampled_from(WORDS), st.sampled_from(GAPS)), min_size=1, max_size=30).map(
        lambda pairs: "".join(w + gap for w, gap in pairs)
    ),
    min_size=1,
    max_size=6,
)


def squeezed(text: str) -> str:
    """The words of a text, without what is between them."""
    return "".join(w.text for w in plain.words(text))


def rest(found: Sequence[str], gone: Sequence[set[int]], size: int) -> list[str]:
    """What must be left of each text of which something goes and enough stays, and of each of which nothing goes."""
    left = []
    for text, out in zip(found, gone, strict=True):
        own = plain.words(text)
        if not out or len(own) - len(out) >= size:
            left.append("".join(w.text for i, w in enumerate(own) if i not in out))
    return left


@given(
    found=texts,
    size=st.integers(2, 4),
    least=st.tuples(st.integers(2, 4), st.integers(1, 3)),
    first_stays=st.booleans(),
)
@example(found=["a b " * 40], size=3, least=(2, 1), first_stays=True)
@example(found=["a b a b a b", "a b", "", "b a b"][:2], size=2, least=(2, 2), first_stays=False)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_left_is_what_looking_leaves(
    found: list[str], size: int, least: tuple[int, int], first_stays: bool
) -> None:
    """Texts, spans and passages are those that a dictionary of all windows gives, in any script and at any repetition."""
    expected = plain.answer(found, size, (max(least), least[1]), first_stays=first_stays)
    keep = "first" if first_stays else "none"
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out"
        options = {"min_words": size, "min_occurrences": least[0], "min_documents": least[1], "keep": keep}
        assert run(table(Path(name) / "in", found), out, **options) == 0
        documents, spans, passages = (rows(out, n) for n in ("documents", "spans", "passages"))
    assert [squeezed(d["text"]) for d in documents] == rest(found, expected.gone, size)
    check_spans(found, expected, spans)
    ids = {tuple(w.text for w in plain.words(p["text"])): p for p in passages}
    assert len(ids) == len(passages)
    for window, passage in ids.items():
        places = expected.places[window]
        assert passage["num_occurrences"] == len(places)
        assert passage["num_documents"] == len({row for row, _ in places})
        assert passage["doc_id"] == document(places[0][0], "x").doc_id
        text = found[places[0][0]]
        assert text[passage["start"] : passage["end"]] == passage["text"]
        own = [s for s in spans if s["passage_id"] == passage["passage_id"]]
        assert passage["num_spans"] == len(own) > 0
        assert passage["num_characters"] == sum(s["end"] - s["start"] for s in own)
        assert passage["max_words"] == max(s["num_words"] for s in own)


def check_spans(found: Sequence[str], expected: plain.Answer, spans: Sequence[dict[str, object]]) -> None:
    """Each span is a run of words that go, all of them, and takes no other word."""
    numbers = {document(i, "x").doc_id: i for i in range(len(found))}
    gone: list[set[int]] = [set() for _ in found]
    for span in spans:
        row, start, end = numbers[str(span["doc_id"])], int(str(span["start"])), int(str(span["end"]))
        inside = {i for i, w in enumerate(plain.words(found[row])) if start <= w.start and w.end <= end}
        assert len(inside) == span["num_words"]
        assert not gone[row] & inside
        gone[row] |= inside
    assert gone == expected.gone


@pytest.mark.skipif(not CORPUS.is_file(), reason="the corpora of shared/data are not there")
def test_papers_lose_what_a_suffix_array_finds(tmp_path: Path) -> None:
    """In real papers, the words that go with `keep=none` are those of all common prefixes of 25 words and more."""
    with gzip.open(CORPUS, "rt", encoding="utf-8") as lines:
        found = [json.loads(line)["text"] for line, _ in zip(lines, range(40), strict=False)]
    own = [plain.words(text) for text in found]
    gone: list[set[int]] = [set() for _ in found]
    for row, i in by_suffix_array([[w.text for w in words] for words in own], 25):
        if 2 * sum(w.lettered for w in own[row][i : i + 25]) >= 25:  # rows of numbers are no passages
            gone[row].update(range(i, i + 25))
    assert run(table(tmp_path / "in", found), tmp_path / "out", min_words=25, min_documents=1, keep="none") == 0
    assert [squeezed(d["text"]) for d in rows(tmp_path / "out", "documents")] == rest(found, gone, 25)
    assert sum(map(len, gone)) > 1000


def by_suffix_array(documents: Sequence[Sequence[str]], size: int) -> set[plain.Place]:
    """Where a window of `size` words stands that stands elsewhere too."""
    numbers: dict[str, int] = {}
    flat, home = [], []
    for row, words in enumerate(documents):
        flat += [numbers.setdefault(w, len(numbers)) for w in words]
        flat.append(-1 - row)  # no other document goes on like this one
        home += [(row, i) for i in range(len(words) + 1)]
    ids = np.array(flat, np.int64) + len(documents)
    order = plain.suffix_array(ids).tolist()
    shared = plain.common_prefixes(ids.tolist(), order)
    numbered = [n for n, words in enumerate(shared) if words >= size]
    return {home[place] for n in numbered for place in (order[n], order[n + 1])}
