"""Which documents go when one is taken down, and which come back.

    goes       the document itself; every copy of its cluster with the same text, or with a DOI or an arXiv id in common
               with one that goes; and, if the copy that had stayed goes, those copies of it that have no such name
    comes back if the copy that had stayed goes: what is left of its cluster has names of its own, so it is other works
               that were only left out for being alike; they are compared anew, and the best of each group comes back
    stays      everything else; a cluster whose best copy stays is not looked at again

A title is no name here. In doubt a copy goes: what is taken down must not live on in a copy that another parser made.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from schemas.corpus import Document, Duplicate, Sketch
from stages.dedup import Dedup
from stages.dedup.family import Family
from stages.dedup.survivor import rank
from stages.dedup.verify import set_similarities
from stages.tables import Reader
from workflows.base import Node

NAMED = ("doi:", "arxiv:")
ASKED, SAME_TEXT, SAME_WORK, UNNAMED = "asked for", "the same text", "the same work", "a copy without a name of its own"
TAKEN_DOWN = "the copy that had stayed was taken down"
Fact = dict[str, Any]
Scores = dict[tuple[str, str], dict[str, float]]


class Fate(BaseModel):
    """What a run of dedup has to change: who goes and why, and new rows of `duplicates` for who stays left out."""

    goes: dict[str, str]
    back: list[str] = []
    moved: dict[str, Duplicate] = {}
    unknown: int = 0  # documents that were left out for one that only a filter knows


def fate(node: Node, stage: Dedup, doc_id: str) -> Fate:
    """Decide by the rule above, from one run of dedup."""
    duplicates = Reader(node.path / "duplicates", Duplicate)
    mine = _rows(duplicates, "doc_id", [doc_id])
    stays = mine[0]["of"] if mine and mine[0]["of"] else doc_id
    cluster = _rows(duplicates, "of", [stays])
    members = [stays, *(row["doc_id"] for row in cluster)]
    sketches = Reader(node.inputs["sketches"].path, Sketch)
    facts = {f["doc_id"]: f for f in _rows(sketches, "doc_id", members)}
    goes = _going(doc_id, stays, facts)
    found = Fate(goes=goes, unknown=sum(batch["of"].null_count for batch in duplicates.batches(["of"])))
    left = [facts[m] for m in members if m not in goes and m in facts]
    if stays in goes and left:
        scores = _similarities(left, node, Family.of(sketches))
        groups = _groups(left, lambda a, b: _alike(a, b, scores[_pair(a, b)], stage))
        _return(found, groups, {row["doc_id"]: row for row in cluster}, scores)
    elif any(row["cluster"] in goes for row in cluster):
        _rename(found, stays, [row for row in cluster if row["doc_id"] not in goes])
    return found


def _rows(reader: Reader, column: str, values: Sequence[str]) -> list[Fact]:
    wanted = pa.array(values, pa.string())
    return [row for batch in reader.batches() for row in batch.filter(pc.is_in(batch[column], wanted)).to_pylist()]


def _going(doc_id: str, stays: str, facts: dict[str, Fact]) -> dict[str, str]:
    goes = {doc_id: ASKED}
    changed = True
    while changed:
        changed = False
        for name, fact in facts.items():
            reason = None if name in goes else _reason(fact, goes, stays, facts)
            if reason:
                goes[name] = reason
                changed = True
    return goes


def _reason(fact: Fact, goes: dict[str, str], stays: str, facts: dict[str, Fact]) -> str | None:
    gone = [facts[g] for g in goes if g in facts]
    if any(g["content_sha"] == fact["content_sha"] for g in gone):
        return SAME_TEXT
    if any(names(g) & names(fact) for g in gone):
        return SAME_WORK
    return UNNAMED if stays in goes and not names(fact) else None


def names(fact: Fact) -> set[str]:
    """The DOIs and arXiv ids of a document."""
    return {w for w in fact["works"] if w.startswith(NAMED)}


def _return(found: Fate, groups: Iterable[list[Fact]], rows: dict[str, Fact], scores: Scores) -> None:
    """The best of each group comes back, the others are left out for it."""
    for group in groups:
        best, *others = sorted(group, key=rank)
        name = min(f["doc_id"] for f in group)
        found.back.append(best["doc_id"])
        for other in others:
            similarity = scores[_pair(other, best)]["similarity"]
            changes = {"of": best["doc_id"], "cluster": name, "score": similarity, "note": TAKEN_DOWN}
            found.moved[other["doc_id"]] = Duplicate.model_validate({**rows[other["doc_id"]], **changes})


def _alike(a: Fact, b: Fact, likeness: dict[str, float], stage: Dedup) -> bool:
    contained = likeness["contained"] >= stage.containment and likeness["lengths"] >= stage.min_length_fraction
    return bool(names(a) & names(b)) or likeness["similarity"] >= stage.threshold or contained


def _rename(found: Fate, stays: str, rows: Sequence[Fact]) -> None:
    """Name a cluster anew that bore the name of a document that goes."""
    name = min([stays, *(row["doc_id"] for row in rows)])
    found.moved = {row["doc_id"]: Duplicate.model_validate({**row, "cluster": name}) for row in rows}


def _pair(a: Fact, b: Fact) -> tuple[str, str]:
    return min(a["doc_id"], b["doc_id"]), max(a["doc_id"], b["doc_id"])


def _similarities(left: Sequence[Fact], node: Node, family: Family) -> Scores:
    texts = {
        row["doc_id"]: row["text"]
        for row in _rows(Reader(node.inputs["documents"].path, Document), "doc_id", [f["doc_id"] for f in left])
    }
    found = {}
    for pair in combinations(sorted(texts), 2):
        one, other = (family.minhash.sets(pa.array([texts[name]])) for name in pair)
        similarity, sizes = float(set_similarities(one, other)[0]), sorted(len(s.hashes) for s in (one, other))
        common = similarity * sum(sizes) / (1 + similarity)
        shares = {"contained": common / max(1, sizes[0]), "lengths": sizes[0] / max(1, sizes[1])}
        found[pair] = {"similarity": similarity, **shares}
    return found


def _groups(left: Sequence[Fact], alike: Callable[[Fact, Fact], bool]) -> Iterator[list[Fact]]:
    """Connected components, in the order of their first members' names."""
    waiting = sorted(left, key=lambda f: f["doc_id"])
    while waiting:
        group = [waiting.pop(0)]
        for member in group:
            near = [f for f in waiting if alike(member, f)]
            group += near
            waiting = [f for f in waiting if f not in near]
        yield group
