"""Choose `semantic.threshold` from labelled documents: what part of the pairs over each cosine are copies, what part is found.

    python -m stages.semantic.threshold LABELLED.jsonl.gz [MORE.jsonl.gz ...] [--precision 0.95] [--config SETTINGS.json]

A line has `text`; lines with the same `cluster` are copies of each other, but for those whose `relation` begins with
`partial`, which count neither way. A line without `cluster` is like no other: a corpus of different documents shows what would
be lost there. All pairs are compared, so some ten thousand documents are the most.
"""

import argparse
import gzip
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stages.base import SettingsError
from stages.embed import Embed
from stages.embed.rows import STORED, embedded, open_model

STEPS = np.arange(50, 100) / 100
Cosines = npt.NDArray[np.float64]


class Pairs(NamedTuple):
    """Cosines of pairs that are copies, and of pairs that are not."""

    copies: Cosines
    others: Cosines


class Point(NamedTuple):
    """What a threshold does to the labelled pairs."""

    threshold: float
    precision: float
    recall: float
    num_others: int


def read(files: Sequence[Path]) -> list[dict[str, Any]]:
    """The lines of the files, with a cluster of its own for each that has none."""
    rows: list[dict[str, Any]] = []
    for file in files:
        with gzip.open(file, "rt", encoding="utf-8") if file.suffix == ".gz" else file.open(encoding="utf-8") as lines:
            rows += [json.loads(line) for line in lines]
    return [{**row, "cluster": row.get("cluster", f"line {number}")} for number, row in enumerate(rows)]


def vectors(stage: Embed, texts: Sequence[str]) -> Cosines:
    """The embeddings of texts (n, width) as `semantic` reads them; zeros for a text without words."""
    ids = [f"{number:064x}" for number in range(len(texts))]
    batch = pa.record_batch({"doc_id": ids, "text": list(texts)})
    found = [v for rows in embedded(stage, open_model(stage), _pieces(batch)) for v in rows["vector"].to_pylist()]
    width = max(map(len, found), default=0)
    made = np.frombuffer(b"".join(v or bytes(width) for v in found), STORED).astype(np.float64)
    made = made.reshape(len(texts), -1)
    unit: Cosines = made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-300)
    return unit


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for start in range(0, batch.num_rows, 8):
        yield batch.slice(start, 8)


def labelled(unit: Cosines, rows: Sequence[dict[str, Any]]) -> Pairs:
    """The cosines of all pairs, by what the labels say of them."""
    _, clusters = np.unique([row["cluster"] for row in rows], return_inverse=True)
    partial = np.array([str(row.get("relation", "")).startswith("partial") for row in rows])
    first, second = np.triu_indices(len(rows), 1)
    cosines, same = (unit @ unit.T)[first, second], clusters[first] == clusters[second]
    return Pairs(cosines[same & ~(partial[first] | partial[second])], cosines[~same])


def curve(pairs: Pairs) -> list[Point]:
    """Precision and recall at each cosine from 0.5 to 0.99."""
    points = []
    for threshold in STEPS.tolist():
        found, wrong = (int(np.count_nonzero(side >= threshold)) for side in pairs)
        recall = found / len(pairs.copies) if len(pairs.copies) else 0.0
        points.append(Point(threshold, found / (found + wrong) if found + wrong else 1.0, recall, wrong))
    return points


def choose(points: Sequence[Point], precision: float) -> Point:
    """The least threshold from which on the precision is kept; `SettingsError` if none keeps it."""
    kept = [p for p in points if all(q.precision >= precision for q in points if q.threshold >= p.threshold)]
    if not kept or not kept[0].recall:
        best = max((p.precision for p in points if p.recall), default=0.0)
        raise SettingsError(f"no threshold that finds copies has a precision of {precision}; the best is {best:.3f}")
    return kept[0]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the curve and the choice."""
    parser = argparse.ArgumentParser(prog="python -m stages.semantic.threshold", description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path, help="labelled documents, JSON lines")
    parser.add_argument("--precision", type=float, default=0.95, help="that the threshold must have")
    parser.add_argument("--config", type=Path, help="settings of embed, a JSON file (default: its own defaults)")
    options = parser.parse_args(arguments)
    try:
        settings = json.loads(options.config.read_text()) if options.config else {}
        rows = read(options.files)
        pairs = labelled(vectors(Embed.parse(settings), [row["text"] for row in rows]), rows)
        points = curve(pairs)
        print(f"{len(rows)} documents: {len(pairs.copies)} pairs of copies, {len(pairs.others)} of others")
        for p in points:
            print(
                f"{p.threshold:.2f}  precision {p.precision:.4f}  recall {p.recall:.4f}  others over it {p.num_others}"
            )
        print(f"semantic.threshold={choose(points, options.precision).threshold}")
    except SettingsError as error:
        print(f"stages.semantic.threshold: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
