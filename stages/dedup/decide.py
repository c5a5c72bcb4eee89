"""From clusters to verdicts: the best copy of each stays, the others become `Duplicate` rows.

What an earlier run has kept stays kept, for others have built on it: a new copy that the rule would prefer is left out
all the same, with a note. The facts of copies are sorted by cluster on disk, so memory is some bytes a copy.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.corpus import Duplicate
from stages.compiled import compiled
from stages.dedup.near import NAMED
from stages.dedup.old import Kept
from stages.dedup.segments import Segment, take_all
from stages.dedup.spill import U64, Places
from stages.dedup.survivor import rank
from stages.dedup.verify import Shingles

FACTS = ("doc_id", "content_sha", "works", "num_shingles", "quality", "licence", "path")
PART_MEMBERS = 1 << 15  # copies whose facts are in memory at a time
Fact = dict[str, Any]


class Verdict(NamedTuple):
    """A document that does not stay: its row of all, where it was found, and why."""

    row: int
    path: str
    duplicate: Duplicate


@dataclass(frozen=True)
class Evidence:
    """What is known of pairs: links (copy, first) of equal texts by copy, texts that were read, candidates in order."""

    copies: U64
    num_bands: int
    shingles: Shingles | None = None
    candidates: U64 = field(default_factory=lambda: np.zeros((0, 3), np.uint64))

    def of(self, pairs: U64) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Jaccard similarity (not a number where unknown) and bands in common of pairs (n, 2) of rows."""
        first = self._first(pairs)
        scores = self.shingles.similarity(first) if self.shingles else np.full(len(pairs), np.nan)
        ordered = np.column_stack([first.max(axis=1), first.min(axis=1)])
        return scores, _num_bands(ordered, self.candidates)

    def compared(self, rows: U64) -> npt.NDArray[np.bool_]:
        """Whether the text of each row was compared with another's."""
        return np.isin(self._first(rows), self.shingles.rows) if self.shingles else np.zeros(len(rows), np.bool_)

    def _first(self, rows: U64) -> U64:
        """The first row with the same text, which stands for it."""
        if not len(self.copies):
            return rows
        places = np.minimum(np.searchsorted(self.copies[:, 0], rows), len(self.copies) - 1)
        return np.where(self.copies[places, 0] == rows, self.copies[places, 1], rows)


@compiled
def _num_bands(pairs: U64, candidates: U64) -> npt.NDArray[np.int64]:
    found = np.zeros(len(pairs), np.int64)
    for n in range(len(pairs)):
        low, high = 0, len(candidates)
        while low < high:
            middle = (low + high) // 2
            row, other = candidates[middle, 0], candidates[middle, 1]
            if row < pairs[n, 0] or (row == pairs[n, 0] and other < pairs[n, 1]):
                low = middle + 1
            else:
                high = middle
        if low < len(candidates) and candidates[low, 0] == pairs[n, 0] and candidates[low, 1] == pairs[n, 1]:
            found[n] = np.int64(candidates[low, 2] & np.uint64(NAMED - np.uint64(1)))
    return found


class Clusters(NamedTuple):
    """Ascending rows that have a copy, and the first row of each one's cluster."""

    rows: U64
    roots: U64

    @classmethod
    def of(cls, members: U64, parents: Places) -> Self:
        """Clusters of two or more, where the cluster of `members[i]` is that of `members[parents[i]]`."""
        many = (np.bincount(parents, minlength=len(members)) > 1)[parents]
        return cls(members[many], members[parents[many]])


def unnamed(own: Segment, flagged: Mapping[int, int]) -> Iterator[Verdict]:
    """Verdicts on rows of the newest segment of which only a number of bands is known that were seen before."""
    rows = np.array(sorted(flagged), np.uint64) + np.uint64(own.start)
    for places, table in take_all([own], "sketches", rows, ("doc_id", "path")):
        for row, doc_id, path in zip(rows[places].tolist(), *table.to_pydict().values(), strict=True):
            nothing = {"of": None, "cluster": None, "score": None, "note": ""}
            found = {"doc_id": doc_id, "method": "near", "num_bands": flagged[row - own.start]}
            yield Verdict(row, path, Duplicate.model_validate({**found, **nothing}))


class Left(NamedTuple):
    """A document that is left out for one that stays, by their facts."""

    document: Fact
    stays: Fact
    cluster: str
    note: str


def decide(
    segments: Sequence[Segment], clusters: Clusters, kept: Kept, evidence: Evidence, scratch: Path
) -> Iterator[Verdict]:
    """The verdicts on the newest segment's documents, cluster after cluster."""
    for members in _by_cluster(segments, clusters, scratch):
        left = [
            lost
            for _, cluster in groupby(members, key=itemgetter("root"))
            for lost in _left(list(cluster), kept, segments[-1].start)
        ]
        pairs = np.array([(lost.document["row"], lost.stays["row"]) for lost in left], np.uint64).reshape(-1, 2)
        compared = evidence.compared(pairs[:, 0])
        for lost, was_compared, score, num_bands in zip(left, compared, *evidence.of(pairs), strict=True):
            found = {"method": _method(lost, by_text=was_compared), "num_bands": num_bands}
            found["score"] = None if np.isnan(score) else score
            if found["method"] == "exact":
                found |= {"score": 1.0, "num_bands": evidence.num_bands}
            yield _verdict(lost, found)


def _left(cluster: list[Fact], kept: Kept, start: int) -> Iterator[Left]:
    old = [m for m in cluster if m["row"] < start and m["doc_id"] not in kept.of]
    stays = min(old or cluster, key=rank)
    least: str = min(m["doc_id"] for m in (old and [stays]) or cluster)
    name = kept.cluster.get(least, least)
    for m in cluster:
        if m["row"] >= start and m is not stays:
            notes = ["better than the copy that an earlier run kept"] * bool(old and rank(m) < rank(stays))
            notes += [f"joins {len(old)} documents that an earlier run kept"] * (len(old) > 1)
            yield Left(m, stays, name, "; ".join(notes))


def _method(left: Left, *, by_text: bool) -> str:
    if left.document["content_sha"] == left.stays["content_sha"]:
        return "exact"
    share_a_name = set(left.document["works"]) & set(left.stays["works"])
    return "near" if by_text and not share_a_name else "work"


def _verdict(left: Left, found: Mapping[str, Any]) -> Verdict:
    row = {"doc_id": left.document["doc_id"], "of": left.stays["doc_id"], "cluster": left.cluster, "note": left.note}
    return Verdict(left.document["row"], left.document["path"], Duplicate.model_validate({**row, **found}))


def _by_cluster(segments: Sequence[Segment], clusters: Clusters, scratch: Path) -> Iterator[list[Fact]]:
    """The members' facts with `row` and `root`, in order of cluster and row, whole clusters at a time."""
    parts = _parts(clusters.roots)
    scratch.mkdir()
    with ExitStack() as stack:
        writers: dict[int, Any] = {}
        for places, table in take_all(segments, "sketches", clusters.rows, FACTS):
            for name, numbers in (("row", clusters.rows), ("root", clusters.roots)):
                table = table.append_column(name, pa.array(numbers[places]))  # noqa: PLW2901 - one column more
            for part in np.unique(parts[places]).tolist():
                if part not in writers:
                    writers[part] = stack.enter_context(pa.ipc.new_stream(str(scratch / f"{part:06d}"), table.schema))
                writers[part].write_table(table.filter(pa.array(parts[places] == part)))
    for file in sorted(scratch.iterdir()):
        with pa.ipc.open_stream(str(file)) as stream:
            table = stream.read_all()
        yield table.sort_by([("root", "ascending"), ("row", "ascending")]).to_pylist()


def _parts(roots: U64) -> Places:
    """The part of each member: parts are ranges of clusters with about `PART_MEMBERS` members."""
    found, counts = np.unique(roots, return_counts=True)
    before = np.cumsum(counts) - counts
    parts: Places = (before // PART_MEMBERS)[np.searchsorted(found, roots)]
    return parts
