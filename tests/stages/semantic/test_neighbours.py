"""Pairs that are found, against all pairs in float64."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from stages.dedup.spill import U64
from stages.semantic import neighbours as module
from stages.semantic.kmeans import kmeans, nearest
from stages.semantic.neighbours import MAX_LINKS, Clusters, Facts, Limits, capped, measure, search
from tests.stages.semantic.corpora import cloud, cosines
from tests.stages.semantic.test_kmeans import stored

COUNT = 1500
THRESHOLD = 0.9


def clusters(vectors: np.ndarray, folder: Path, count: int, probes: int, places: np.ndarray) -> Clusters:
    """Clusters of vectors that are all of one length."""
    found = stored(vectors, folder / "v")
    with ThreadPoolExecutor(2) as pool:
        centres = kmeans(found, count, 0, pool, folder / "sample")
        facts = Facts(nearest(found, centres, probes, pool).centres, places, np.ones(len(vectors), np.float32))
    return Clusters.arrange(found, facts, folder / "clustered")


def links(made: Clusters, workers: int = 2, fraction: float = 0.0) -> tuple[U64, np.ndarray, np.ndarray]:
    """All links, and by row the nearest and its cosine."""
    with ThreadPoolExecutor(workers) as pool:
        found = list(search(made, Limits(THRESHOLD, fraction), pool, workers))
    near = np.concatenate([f.neighbours for f in found])
    by_row, values = np.empty(len(near), np.int64), np.empty(len(near))
    by_row[made.rows] = made.rows[near]
    values[made.rows] = np.concatenate([f.cosines for f in found])
    return np.concatenate([f.links for f in found]), by_row, values


def pairs(found: U64) -> set[tuple[int, int]]:
    """Links as pairs of places."""
    return {(int(a), int(b)) for a, b, _ in found}


def test_all_clusters_probed_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probing every cluster finds just the pairs of an exact comparison, worse place first, and the true nearest."""
    monkeypatch.setattr(module, "MAX_LINKS", COUNT)
    vectors, places = cloud(COUNT, 0), np.random.default_rng(0).permutation(COUNT)
    found, near, values = links(clusters(vectors, tmp_path, 9, 9, places))
    exact = cosines(vectors)
    rows = np.argsort(places)
    ordered = exact[rows][:, rows]
    sure = {(a, b) for a, b in np.argwhere(ordered >= THRESHOLD + 1e-6).tolist() if a > b}
    possible = {(a, b) for a, b in np.argwhere(ordered >= THRESHOLD - 1e-6).tolist() if a > b}
    assert sure <= pairs(found) <= possible
    assert len(sure) > 300
    assert np.allclose(values, exact.max(axis=1), atol=1e-6)
    assert np.allclose(exact[np.arange(COUNT), near], exact.max(axis=1), atol=1e-6)
    scores = found[:, 2].astype(np.uint32).view(np.float32)
    assert np.allclose(scores, ordered[found[:, 0].astype(int), found[:, 1].astype(int)], atol=1e-6)


@pytest.mark.parametrize("probes", [1, 2, 4])
def test_what_is_measured_is_what_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probes: int) -> None:
    """The recall that `measure` says of all documents is that of the pairs that `search` gives, and 4 probes have 0.95."""
    monkeypatch.setattr(module, "MAX_LINKS", COUNT)
    vectors = cloud(COUNT, 1, spread=0.6)
    made = clusters(vectors, tmp_path, 25, probes, np.arange(COUNT))
    with ThreadPoolExecutor(2) as pool:
        sampled = measure(made, THRESHOLD, np.arange(COUNT), pool)
    exact = np.argwhere(np.triu(cosines(vectors) >= THRESHOLD, 1))
    assert sampled.num_pairs == 2 * len(exact)  # each seen from both ends
    assert sampled.num_compared == 2 * len(pairs(links(made)[0]))
    if probes == 4:
        assert sampled.num_compared >= 0.95 * sampled.num_pairs


def test_no_pair_is_linked_from_both_sides(tmp_path: Path) -> None:
    """Where both documents probe each other's cluster the pair is written once."""
    found, _, _ = links(clusters(cloud(COUNT, 2), tmp_path, 10, 4, np.arange(COUNT)))
    assert len(pairs(found)) == len(found)


def test_workers_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The links and their order are the same with one thread and three, in small blocks."""
    monkeypatch.setattr(module, "QUERIES", 37)
    made = clusters(cloud(COUNT, 3), tmp_path, 10, 3, np.arange(COUNT))
    one, other = links(made, 1), links(made, 3)
    assert [a.tobytes() for a in one] == [a.tobytes() for a in other]


def test_a_short_one_is_no_copy(tmp_path: Path) -> None:
    """Pairs of which one is too short beside the other are not linked, though they count as near."""
    vectors = np.repeat(cloud(4, 4)[:1], 4, axis=0)
    made = clusters(vectors, tmp_path, 1, 1, np.arange(4))
    lengths = np.array([1000, 400, 399, 160], np.float32)
    made = made._replace(facts=made.facts._replace(lengths=lengths[made.rows]))
    assert pairs(links(made, fraction=0.4)[0]) == {(1, 0), (2, 1), (3, 1), (3, 2)}
    assert len(pairs(links(made)[0])) == 6


def test_a_document_with_many_better_ones_keeps_the_best(tmp_path: Path) -> None:
    """Of hundreds alike each has a bounded number of links, and the very best is among them."""
    found, _, _ = links(clusters(np.repeat(cloud(2, 5), 300, axis=0), tmp_path, 1, 1, np.arange(600)))
    worse, counts = np.unique(found[:, 0], return_counts=True)
    assert counts.max() == MAX_LINKS
    assert {(int(w), 0 if w < 300 else 300) for w in worse} <= pairs(found)


def test_capped_is_sorted() -> None:
    """Links come by document and by place of the better one."""
    draw = np.random.default_rng(0)
    made = np.column_stack([draw.integers(5, size=200), np.arange(200), draw.integers(9, size=200)]).astype(np.uint64)
    found = capped(made)
    assert len(found) == 5 * MAX_LINKS
    assert found.tolist() == sorted(found.tolist())
    for worse in range(5):
        mine = sorted(b for a, b, _ in made.tolist() if a == worse)
        assert [b for a, b, _ in found.tolist() if a == worse] == mine[:MAX_LINKS]
