"""The stage's work: vectors to a file, clusters, neighbours, who stays, then the documents.

What grows with the corpus lies on disk; memory holds some 80 bytes a document and some hundred a copy. A worker compares a
stretch of a cluster at a time, and the results come in the clusters' order, so they are the same with any number of workers.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from schemas.corpus import Certificate, Duplicate
from schemas.table import ContractError
from stages.base import num_workers
from stages.dedup.certificate import clopper_pearson
from stages.dedup.spill import Spill, scratch
from stages.dedup.take import take
from stages.semantic import Semantic
from stages.semantic.kmeans import default_clusters, kmeans, nearest
from stages.semantic.neighbours import Clusters, Facts, Limits, measure, search
from stages.semantic.settle import Places, Sketched, settle
from stages.semantic.show import Alike, Counts, examples
from stages.semantic.vectors import Rows, Vectors, write_vectors
from stages.tables import Outputs, Reader

REASON = "same meaning"


@dataclass(frozen=True)
class Work:
    """One run: its settings, tables, a folder for what is needed until it is done, threads."""

    stage: Semantic
    inputs: Mapping[str, Reader]
    outputs: Outputs
    scratch: Path
    pool: ThreadPoolExecutor


def semantic(stage: Semantic, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
    """Do the stage's work; see `Semantic`."""
    documents = inputs["documents"]
    with scratch(outputs.folder) as folder, threadpool_limits(1, "blas"), ThreadPoolExecutor(num_workers()) as pool:
        vectors = write_vectors(documents, inputs["embeddings"], folder / "vectors")
        work = Work(stage, inputs, outputs, folder, pool)
        alike = Alike.none(documents.num_rows) if vectors is None else compare(work, vectors)
    _pass_on(documents, alike, outputs)
    outputs["examples"].write(examples(documents, alike, stage.threshold))


def compare(work: Work, vectors: Vectors) -> Alike:
    """Cluster, prove that enough is compared, look for neighbours, decide."""
    stage = work.stage
    num_clusters = min(stage.num_clusters or default_clusters(len(vectors)), len(vectors))
    centres = kmeans(vectors, num_clusters, stage.seed, work.pool, work.scratch / "sample")
    found = nearest(vectors, centres, min(stage.num_probes, num_clusters), work.pool)
    sketched = Sketched.read(work.inputs["documents"], work.inputs["sketches"])
    places = Places.of(found.cosines if stage.keep == "farthest" else sketched.keys)
    facts = Facts(found.centres, places.places, sketched.lengths)
    clusters = Clusters.arrange(vectors, facts, work.scratch / "clustered")
    _certify(work, clusters)
    neighbours = np.full(len(vectors), -1)
    links = Spill(work.scratch / "links", 3, len(vectors), max(1, len(vectors).bit_length()))
    _look(work, clusters, links, neighbours)
    of = _rows_of(settle(links.sorted(), len(vectors)), places)
    partners = np.where(of < 0, neighbours, of)
    alone = np.flatnonzero(partners >= 0)
    cosines = np.zeros(len(vectors))
    cosines[alone] = vectors.cosines(alone, partners[alone])
    return Alike(of, partners, cosines)


def _look(work: Work, clusters: Clusters, links: Spill, neighbours: Rows) -> None:
    """Write the links of all documents to disk, and the nearest of each into `neighbours`, by row."""
    work.outputs.progress.start("compared documents", len(clusters.rows))
    done = 0
    limits = Limits(work.stage.threshold, work.stage.min_length_fraction)
    for found in search(clusters, limits, work.pool, num_workers()):
        links.add(found.links)
        rows = clusters.rows[done : done + len(found.neighbours)]
        neighbours[rows] = np.where(found.neighbours < 0, -1, clusters.rows[found.neighbours])
        done += len(rows)
        work.outputs.progress.reach(done)


def _rows_of(of: Rows, places: Places) -> Rows:
    """From places to rows: for each row the row that it goes for, or -1."""
    by_row = of[places.places]
    return np.where(by_row < 0, -1, places.rows[by_row])


def _certify(work: Work, clusters: Clusters) -> None:
    """Compare a sample with all; stop here if surely too few of its pairs are compared."""
    stage = work.stage
    if not stage.num_sampled:
        return
    draw = np.random.default_rng(stage.seed)
    sample = np.sort(draw.choice(len(clusters.rows), min(stage.num_sampled, len(clusters.rows)), replace=False))
    pairs, compared = measure(clusters, stage.threshold, sample, work.pool)
    low, high = clopper_pearson(compared, pairs)
    row = Certificate(
        similarity=stage.threshold,
        num_decoys=pairs,
        num_found=compared,
        expected=stage.min_recall,
        low=low,
        high=high,
        passed=high >= stage.min_recall,
    )
    work.outputs["certificate"].write(row)
    words = f"{compared} of {pairs} pairs of {len(sample)} sampled documents are compared, {low:.3f} to {high:.3f}"
    print(f"recall: {words}", flush=True)
    if not row.passed:
        cure = f"raise semantic.num_probes (now {stage.num_probes}) or lower semantic.num_clusters"
        raise ContractError("the certificate of this run", [f"{words}, {stage.min_recall} is required", cure])


def _pass_on(documents: Reader, alike: Alike, outputs: Outputs) -> None:
    """Write the documents that stay, in their order, and what became of the others."""
    names, counts, first = Names.read(documents, alike.of), Counts(), 0
    outputs.progress.start("documents", documents.num_rows)
    for batch in documents.batches():
        rows = np.arange(first, first + batch.num_rows)
        stays = alike.of[rows] < 0
        counts.add(batch["source"].to_pylist(), alike.cosines[rows], stays)
        outputs["documents"].write(batch.filter(pa.array(stays)))
        for row in rows[~stays].tolist():
            of, score = int(alike.of[row]), float(alike.cosines[row])
            outputs["duplicates"].write(names.duplicate(row, of, score))
            doc_id, path = names.found[row]
            outputs.drop(doc_id, REASON, f"like {names.found[of][0]}: cosine {score:.3f}", path)
        first += batch.num_rows
        outputs.progress.advance(batch.num_rows)
    outputs["similarities"].write(counts.rows())


@dataclass(frozen=True)
class Names:
    """The doc_id and path of rows that go or that others go for, and the least doc_id of each group, by who stays."""

    found: Mapping[int, tuple[str, str]]
    groups: Mapping[int, str]

    @classmethod
    def read(cls, documents: Reader, of: Rows) -> "Names":
        """Look up the rows that `of` (-1 for none) is about."""
        gone = np.flatnonzero(of >= 0)
        found: dict[int, tuple[str, str]] = {}
        wanted = np.union1d(gone, of[gone])
        for span, table in take(documents, wanted, ("doc_id", "path")):
            facts = zip(table["doc_id"].to_pylist(), table["path"].to_pylist(), strict=True)
            found |= dict(zip(wanted[span].tolist(), facts, strict=True))
        groups = {row: found[row][0] for row in np.unique(of[gone]).tolist()}
        for row in gone.tolist():
            stays = int(of[row])
            groups[stays] = min(groups[stays], found[row][0])
        return cls(found, groups)

    def duplicate(self, row: int, of: int, score: float) -> Duplicate:
        """The row about a document that goes."""
        facts = {"method": "semantic", "score": score, "num_bands": 0, "note": ""}
        doc_id, kept = self.found[row][0], self.found[of][0]
        return Duplicate.model_validate({"doc_id": doc_id, "of": kept, "cluster": self.groups[of], **facts})
