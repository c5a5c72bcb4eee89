"""The stage's work: names, then near-duplicates, then clusters, then who stays.

What grows with the corpus lies on disk, sorted (`spill`, `keys`); memory holds the filters, some bits a document and some
tens of bytes a copy. Each step gives the same rows in the same order with any number of workers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.corpus import Duplicate
from stages.dedup import Dedup, certificate
from stages.dedup.bloom import BandFilters
from stages.dedup.clusters import flatten, union_all
from stages.dedup.decide import Clusters, Evidence, Verdict, decide, unnamed
from stages.dedup.family import Family
from stages.dedup.names import Links, Names, find_links
from stages.dedup.near import NAMED, batches_of_keys, blocks, candidates, flag, write_united
from stages.dedup.old import decided
from stages.dedup.plain import drop_seen
from stages.dedup.segments import FILTERS, Segment, check_inputs, list_files, open_segments
from stages.dedup.shape import Shape
from stages.dedup.spill import U64, Spill, scratch
from stages.dedup.verify import Limits, join_copies, read_shingles
from stages.tables import Outputs, Reader

Mask = npt.NDArray[np.bool_]

REASONS = {"exact": "exact duplicate", "work": "same work", "near": "near duplicate"}


@dataclass(frozen=True)
class Work:
    """One run: `segments` are the earlier corpora and, last, the one that is decided on."""

    stage: Dedup
    family: Family
    segments: Sequence[Segment]
    outputs: Outputs
    scratch: Path

    @property
    def own(self) -> Segment:
        """The corpus that is decided on."""
        return self.segments[-1]

    @property
    def shape(self) -> Shape:
        """Of the filters."""
        num_bands, rate = self.family.settings.num_bands, self.stage.filter_rate
        return Shape(num_bands, max(1, self.own.sketches.num_rows), rate, self.family.digest)


def dedup(stage: Dedup, documents: Reader, sketches: Reader, outputs: Outputs) -> None:
    """Do the stage's work; see `Dedup`."""
    pa.set_memory_pool(pa.system_memory_pool())  # gives back what is freed: 20 MB less beside the filter
    check_inputs(documents, sketches)
    family = Family.of(sketches)
    old = open_segments(stage.against, family.digest, verify=stage.verify)
    own = Segment(outputs.folder, max((s.stop for s in old), default=0), documents, sketches)
    with scratch(outputs.folder) as folder:
        work = Work(stage, family, [*old, own], outputs, folder)
        outputs.progress.start("sketches", sketches.num_rows)
        links = find_links(Names(sketches, folder / "names"), work.segments, outputs.folder / "keys")
        pa.default_memory_pool().release_unused()  # what is free goes back before the filter is made
        stays, alone = (_verified if stage.verify else _plain)(work, links)
        _certify(work, alone)
        outputs["index"].write(list_files(work.segments, family.digest))
        _pass_on(work, stays)


def _verified(work: Work, links: Links) -> tuple[Mask, Mask]:
    """Decide by candidates and their texts: which documents stay, and which in the filters have no candidate."""
    own = work.own
    added = _mask(links.copies[:, 0], own)
    np.logical_not(added, out=added)
    flagged = flag(work.shape, work.segments, added, work.scratch, work.outputs.progress)
    found = Spill(work.scratch / "candidates", 3, flagged.keys.num_records, own.stop.bit_length())
    candidates(flagged, own, found)
    found.add(np.column_stack([links.doubtful, np.full(len(links.doubtful), NAMED)]))
    pairs = write_united(found, work.scratch / "pairs.u64")
    compared = np.unique(np.concatenate([np.zeros(0, np.uint64), *(np.unique(b[:, :2]) for b in blocks(pairs))]))
    file = work.scratch / "shingles.u64"
    shingles = read_shingles(work.segments, compared, work.family, file, work.outputs.progress)
    stays = _decided(work, links, Evidence(links.copies, work.shape.num_bands, shingles, pairs))
    return stays, added & ~_mask(compared, own)


def _plain(work: Work, links: Links) -> tuple[Mask, Mask]:
    """Decide by name, then by the filters alone: which documents stay, and which are in the filters."""
    own = work.own
    stays = _decided(work, links, Evidence(links.copies, work.shape.num_bands))
    old = [BandFilters.open(s.path("filters"), work.family.digest) for s in work.segments[:-1]]
    added = stays.copy()
    with BandFilters.create(own.folder / FILTERS, work.shape) as filters:
        for rows, keys in batches_of_keys(own.sketches, added):
            flagged = drop_seen(rows, keys, filters, old)
            for verdict in unnamed(own, flagged):
                _leave_out(work, verdict)
                stays[verdict.row - own.start] = added[verdict.row - own.start] = False
            work.outputs.progress.advance(len(rows))
    return stays, added


def _decided(work: Work, links: Links, evidence: Evidence) -> Mask:
    """Leave out all but the best copy of each cluster; which documents stay."""
    own, sets = work.own, evidence.shingles
    linked = np.concatenate([links.copies, links.works])
    rows = np.unique(np.append(linked, sets.rows if sets else np.zeros(0, np.uint64)))
    kept, old_links = decided(work.segments[:-1], rows[rows < np.uint64(own.start)])
    linked = np.concatenate([linked, old_links])
    members = np.union1d(rows, old_links)
    parents = np.arange(len(members))
    union_all(parents, np.searchsorted(members, linked))
    limits = Limits(work.stage.threshold, work.stage.containment, work.stage.min_length_fraction)
    if sets:
        for block in blocks(evidence.candidates):
            join_copies(parents, block, sets, members, limits)
    flatten(parents)
    stays = np.ones(own.sketches.num_rows, np.bool_)
    clusters = Clusters.of(members, parents)
    for verdict in decide(work.segments, clusters, kept, evidence, work.scratch / "facts"):
        _leave_out(work, verdict)
        stays[verdict.row - own.start] = False
    return stays


def _mask(rows: U64, own: Segment) -> Mask:
    """A mark for each of the corpus' own rows that is among these."""
    mask = np.zeros(own.sketches.num_rows, np.bool_)
    mask[rows[rows >= np.uint64(own.start)] - np.uint64(own.start)] = True
    return mask


def _leave_out(work: Work, verdict: Verdict) -> None:
    row = verdict.duplicate
    work.outputs["duplicates"].write(row)
    work.outputs.drop(row.doc_id, REASONS[row.method], _words(row, work.shape.num_bands), verdict.path)


def _words(row: Duplicate, num_bands: int) -> str:
    match row.method:
        case "exact":
            return f"the same text as {row.of}"
        case "work":
            return f"the same work as {row.of}"
    if row.of is None:
        return f"{row.num_bands} of {num_bands} bands seen before"
    alike = "through others" if row.score is None else f"{row.score:.2f} of the n-grams of both"
    return f"like {row.of}: {alike}, {row.num_bands} of {num_bands} bands"


def _certify(work: Work, eligible: Mask) -> None:
    """Write the certificate; stop here if it did not pass."""
    stage = work.stage
    if not stage.num_decoys:
        return
    test = certificate.Test(stage.num_decoys, stage.certificate_rate_factor, stage.certificate_recall_slack, stage.seed)
    filters = BandFilters.open(work.own.folder / FILTERS)
    rows = np.flatnonzero(eligible)
    lines = certificate.certify(work.own.documents, rows, work.family, filters, test)
    work.outputs["certificate"].write(lines)
    for line in lines:
        print(certificate.describe(line), flush=True)
    certificate.check(lines)


def _pass_on(work: Work, stays: Mask) -> None:
    """Write the documents that stay, in their order."""
    documents, first = work.own.documents, 0
    work.outputs.progress.start("documents", documents.num_rows)
    for batch in documents.batches():
        work.outputs["documents"].write(batch.filter(pa.array(stays[first : first + batch.num_rows])))
        first += batch.num_rows
        work.outputs.progress.advance(batch.num_rows)
