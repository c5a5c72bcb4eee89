"""Who stays, against the rule by its words."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.corpus import Document, Sketch
from schemas.table import ContractError
from stages.dedup.survivor import rank
from stages.semantic.settle import Places, Sketched, settle
from stages.tables import Reader
from tests.stages.dedup.corpora import document
from tests.stages.semantic.corpora import greedy, sketch
from tests.tables import write_table

COUNT = 12


@settings(deadline=None)
@given(st.sets(st.tuples(st.integers(0, COUNT - 1), st.integers(0, COUNT - 1), st.integers(1, 3)), max_size=60))
def test_the_rule(found: set[tuple[int, int, int]]) -> None:
    """What goes and for whom is what the rule says, with many ties."""
    links = sorted({(max(a, b), min(a, b), s) for a, b, s in found if a != b})
    scores = np.zeros((COUNT, COUNT))
    for a, b, s in links:
        scores[a, b] = scores[b, a] = s
    kept = [(a, b, int(scores[a, b])) for a, b in sorted({(a, b) for a, b, _ in links})]
    of = settle([np.array(kept, np.uint64).reshape(-1, 3)], COUNT)
    assert {n: int(o) for n, o in enumerate(of) if o >= 0} == greedy(scores, 1, range(COUNT))


def test_a_chain_does_not_hang_together() -> None:
    """Of three in a row the middle one goes for the first, and the last stays: it is like the middle one only."""
    of = settle([np.array([[1, 0, 9], [2, 1, 9]], np.uint64)], 3)
    assert of.tolist() == [-1, 0, -1]


def test_blocks_do_not_show() -> None:
    """Links in several blocks give what they give in one."""
    draw = np.random.default_rng(0)
    made = np.unique(np.sort(draw.integers(0, 200, (800, 2)), axis=1)[:, ::-1], axis=0)
    made = made[made[:, 0] > made[:, 1]].astype(np.uint64)
    links = np.column_stack([made, draw.integers(1, 9, len(made)).astype(np.uint64)])
    cut = np.searchsorted(links[:, 0], 100)
    assert settle([links[:cut], links[cut:]], 200).tolist() == settle([links], 200).tolist()


facts = st.builds(
    dict,
    quality=st.sampled_from([0.0, 0.44, 0.5, 1.0]),
    licence=st.sampled_from([None, "CC-BY-4.0", "CC-BY-NC-4.0"]),
    works=st.sampled_from([[], ["doi:10.1/x"], ["arxiv:1"]]),
    num_shingles=st.sampled_from([0, 1, 500, 2**31 - 1]),
)


@settings(deadline=None, max_examples=20)
@given(st.lists(facts, min_size=2, max_size=8))
def test_the_best_copy_is_that_of_dedup(tmp_path_factory: pytest.TempPathFactory, found: list[dict]) -> None:
    """Documents stand in the order of dedup's rule, whatever the order of their sketches; equals as they come."""
    folder = tmp_path_factory.mktemp("t")
    rows = [sketch(n, **row) for n, row in enumerate(found)]
    tables = {
        "documents": write_table(folder / "d", Document, [document(n, "t") for n in range(len(rows))], "documents"),
        "sketches": write_table(folder / "s", Sketch, reversed(rows), "sketches"),
    }
    readers = Reader(tables["documents"], Document), Reader(tables["sketches"], Sketch)
    order = Places.of(Sketched.read(*readers).keys).rows.tolist()
    assert order == sorted(range(len(rows)), key=lambda n: (*rank(rows[n].model_dump())[:4], n))


def test_places_and_rows_are_each_others_inverse() -> None:
    """The place of the row at a place is that place."""
    found = Places.of(np.array([3, 1, 2, 1], np.uint64))
    assert found.rows.tolist() == [1, 3, 2, 0]
    assert found.places[found.rows].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("known", [0, 2])
def test_a_document_without_a_sketch_is_refused(tmp_path: Path, known: int) -> None:
    """How many have none is said."""
    documents = write_table(tmp_path / "d", Document, [document(n, "t") for n in range(3)], "documents")
    sketches = write_table(tmp_path / "s", Sketch, [sketch(n) for n in range(known)], "sketches")
    with pytest.raises(ContractError, match=f"{3 - known} of 3 documents have no sketch"):
        Sketched.read(Reader(documents, Document), Reader(sketches, Sketch))
