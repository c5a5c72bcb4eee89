"""Clusters: their centres, and the nearest of them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from stages.semantic import kmeans as module
from stages.semantic.kmeans import Nearest, default_clusters, kmeans, nearest
from stages.semantic.vectors import Vectors
from tests.stages.semantic.corpora import WIDTH, cloud


def stored(vectors: np.ndarray, file: Path) -> Vectors:
    """Vectors in a file."""
    vectors.astype("<f2").tofile(file)
    return Vectors(file, vectors.shape[1])


def cluster(
    vectors: Vectors, count: int, folder: Path, workers: int = 1, probes: int = 1
) -> tuple[np.ndarray, Nearest]:
    """Centres and the nearest of every vector."""
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(workers) as pool:
        centres = kmeans(vectors, count, 0, pool, folder / "sample")
        return centres, nearest(vectors, centres, probes, pool)


def test_nearest_is_that_of_all(tmp_path: Path) -> None:
    """The nearest centres and their order are those of a plain comparison in float64."""
    vectors = stored(cloud(2000, 1), tmp_path / "v")
    centres, found = cluster(vectors, 20, tmp_path, probes=5)
    exact = vectors.unit(slice(None)).astype(np.float64) @ centres.astype(np.float64).T
    ordered = np.sort(exact, axis=1)[:, ::-1]
    assert np.allclose(np.take_along_axis(exact, found.centres, 1), ordered[:, :5], atol=1e-5)
    assert np.allclose(found.cosines, ordered[:, 0], atol=1e-5)
    assert all(len(set(row)) == 5 for row in found.centres.tolist())


def test_groups_that_lie_apart_are_found(tmp_path: Path) -> None:
    """Vectors of one tight group share a cluster, as long as the beginning falls into every group."""
    groups = np.repeat(np.eye(4, WIDTH), 400, axis=0) + 0.02 * np.random.default_rng(0).normal(size=(1600, WIDTH))
    _, found = cluster(stored(groups, tmp_path / "v"), 16, tmp_path)
    homes = found.centres[:, 0].reshape(4, 400)
    assert all(not set(homes[a]) & set(homes[b]) for a in range(4) for b in range(a))


def test_rounds_bring_centres_nearer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After ten rounds the mean cosine with the own centre is higher than after one."""
    vectors = stored(cloud(3000, 2), tmp_path / "v")
    after = cluster(vectors, 25, tmp_path)[1].cosines.mean()
    monkeypatch.setattr(module, "MAX_ROUNDS", 1)
    assert after > cluster(vectors, 25, tmp_path)[1].cosines.mean() + 0.005


def test_workers_do_not_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Centres and homes have the same bits with one thread and with three."""
    monkeypatch.setattr(module, "BLOCK_COSINES", 64 * 30)  # many blocks
    vectors = stored(cloud(3000, 3), tmp_path / "v")
    one, other = (cluster(vectors, 30, tmp_path, workers, probes=4) for workers in (1, 3))
    assert one[0].tobytes() == other[0].tobytes()
    assert [a.tobytes() for a in one[1]] == [a.tobytes() for a in other[1]]


def test_equal_vectors_and_zeros_do_no_harm(tmp_path: Path) -> None:
    """Clusters that nothing falls into keep their centres; all numbers stay finite."""
    vectors = np.zeros((600, WIDTH))
    vectors[:500, 0] = 1
    centres, found = cluster(stored(vectors, tmp_path / "v"), 8, tmp_path, probes=8)
    assert np.isfinite(centres).all()
    assert np.allclose(found.cosines[:500], 1)


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (511, 1), (512, 2), (65_536, 256), (1_000_000, 1000)])
def test_default_number(count: int, expected: int) -> None:
    """The square root, but no tiny clusters."""
    assert default_clusters(count) == expected
