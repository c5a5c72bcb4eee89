"""What a stage would cost: by its last run, by the fastest layout where it is training, unknown otherwise; and what must be copied."""

import pytest

from schemas.manifest import Input, Manifest, Shard
from workflows.base import Run
from workflows.cluster import Cluster
from workflows.estimate import copies, estimate
from workflows.plan.choose import options
from workflows.plan.command import site_machine
from workflows.plan.layout import Run as LayoutRun
from workflows.plan.shape import of_settings
from workflows.pretrain import workflow
from workflows.site import load_site


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch) -> None:
    for name in ("NODES", "QUEUE", "WALLTIME"):
        monkeypatch.delenv(f"BOREALIS_{name}", raising=False)
    monkeypatch.delenv("PBS_NODEFILE", raising=False)


@pytest.fixture
def run(tmp_path) -> Run:
    """The whole recipe under a root where nothing has run, with training of a known size."""
    return recipe(tmp_path, 120)


def recipe(tmp_path, batch_sequences: int) -> Run:
    """The graph with batches of so many sequences."""
    (tmp_path / "papers").mkdir()
    settings = {
        "ingest": {"paths": str(tmp_path / "papers")},
        "pretrain": {"depth": 10, "width": 1024, "num_heads": 16, "num_kv_heads": 8},
        "index": {"sequence_tokens": 1000, "batch_sequences": batch_sequences, "num_steps": 1000},
        "train_tokenizer": {"vocab_size": 10_000},
    }
    run = Run(tmp_path / "runs", settings)
    workflow(run)
    return run


def manifest(seconds: float, rows: int, shards: int = 1, *, stub: bool = False) -> Manifest:
    """The record of an earlier run that took so many seconds over so many shards."""
    part = Shard(
        index=0,
        count=shards,
        outputs={},
        dropped={},
        started="2026-11-22T00:00:00+00:00",
        seconds=seconds / shards,
        peak_memory_bytes=1,
        host="x1",
    )
    return Manifest(
        stage="filter",
        version=1,
        fingerprint="f",
        settings={},
        external="",
        inputs={"documents": Input(fingerprint="i", path="p", num_rows=rows)},
        outputs={},
        dropped={},
        shards=tuple(part.model_copy(update={"index": i}) for i in range(shards)),
        code_sha256="",
        git_commit="",
        packages={},
        stub=stub,
    )


def node(run: Run, name: str):
    """A node by its name."""
    return next(n for n in run.nodes if n.name == name)


def earlier(run: Run, name: str, record: Manifest) -> None:
    """Leave the record of a run with other settings."""
    folder = node(run, name).path.parent / "0123456789abcdef"
    folder.mkdir(parents=True)
    record.write(folder)


@pytest.mark.parametrize(("shards", "name", "hours"), [(1, "filter", 1.0), (4, "filter", 1.0), (1, "pretrain", 2.0)])
def test_by_the_last_run(run, shards: int, name: str, hours: float) -> None:
    """An hour on one node is a node-hour, however many shards it was added up from; a stage of two nodes takes two."""
    earlier(run, name, manifest(3600.0, 10, shards))
    found = estimate(node(run, name), run.nodes, load_site("aurora"))
    assert found.node_hours == pytest.approx(hours)
    assert "3600.0 s the last time, on x1" in found.basis


def test_sample_rows_are_no_basis(run) -> None:
    """A run that wrote sample rows says nothing about cost."""
    earlier(run, "filter", manifest(3600.0, 10, stub=True))
    found = estimate(node(run, "filter"), run.nodes, load_site("aurora"))
    assert found.node_hours is None
    assert str(found).startswith("unknown: it has not run under this root")


@pytest.mark.parametrize("name", ["aurora", "polaris"])
def test_training_by_the_fastest_layout(run, name: str) -> None:
    """Training that never ran costs what its tokens take in the fastest layout, on all nodes of the job."""
    site = load_site(name)
    machine = site_machine(site)
    assert machine
    asked = LayoutRun(of_settings(node(run, "pretrain").stage.model_dump(), 10_000), 1000, 120)
    best = options(asked, machine)[0]
    found = estimate(node(run, "pretrain"), run.nodes, site)
    assert found.node_hours == pytest.approx(1000 * 120 * 1000 / best.tokens_per_second / 3600 * machine.nodes)
    assert str(best.layout) in found.basis


def test_training_that_fits_nowhere_says_why(tmp_path) -> None:
    """A batch that no layout divides gives no figure but the reason."""
    run = recipe(tmp_path, 7)
    found = estimate(node(run, "pretrain"), run.nodes, load_site("aurora"))
    assert found.node_hours is None
    assert "no layout fits" in found.basis


def test_without_a_rate_training_is_unknown(run) -> None:
    """A site of which no rate is known gives no figure."""
    assert estimate(node(run, "pretrain"), run.nodes, load_site("slurm")).node_hours is None


@pytest.mark.parametrize(
    ("name", "path", "filesystem"),
    [("polaris", "/lus/flare/projects/abc/papers", "flare"), ("aurora", "/eagle/abc/papers", "eagle")],
)
def test_what_lies_on_the_other_machine_is_to_be_copied(tmp_path, name, path, filesystem) -> None:
    """A folder on a filesystem that the site does not mount is named once, with the way to bring it."""
    run = Run(tmp_path, {"ingest": {"paths": path}})
    workflow(run)
    found = copies(run.nodes, load_site(name))
    assert len(found) == 1
    assert f"ingest.paths={path} is on {filesystem}, not mounted on {name}" in found[0]
    other = {"polaris": "aurora", "aurora": "polaris"}[name]
    assert copies(run.nodes, load_site(other)) == copies(run.nodes, load_site("laptop")) == []


def test_a_cluster_says_where_its_values_are_from() -> None:
    """Every cluster names the page of its facility."""
    for name in ("aurora", "polaris", "slurm"):
        cluster = load_site(name).cluster
        assert isinstance(cluster, Cluster)
        assert cluster.source.startswith("https://")
