"""Documents with vectors whose likeness is known, and the stage run on them; the reference compares all with all in float64."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from schemas.corpus import Document, Embedding, Sketch
from stages.semantic import Semantic
from tests.stages.dedup.corpora import call, doc_id, document, rows
from tests.tables import write_table

WIDTH = 32


def cloud(count: int, seed: int, *, centres: int = 12, spread: float = 0.35) -> np.ndarray:
    """Unit vectors (count, WIDTH) around random centres, every fifth of them near an earlier one, as float16."""
    draw = np.random.default_rng(seed)
    middle = draw.normal(size=(centres, WIDTH))
    found = middle[draw.integers(centres, size=count)] + spread * draw.normal(size=(count, WIDTH)) * WIDTH**0.5 / 3
    for row in range(5, count, 5):
        found[row] = found[draw.integers(row)] + draw.uniform(0.01, 0.25) * draw.normal(size=WIDTH)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


def cosines(vectors: np.ndarray) -> np.ndarray:
    """All pairs in float64; vectors of zeros are like nothing, and nothing is like itself."""
    exact = vectors.astype(np.float64)
    exact /= np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), 1e-300)
    found = exact @ exact.T
    np.fill_diagonal(found, -1)
    return found


def sketch(number: int, **fields: Any) -> Sketch:
    """What dedup knows of a document; all are equal but for their fields."""
    row = {"doc_id": doc_id(number), "content_sha": f"{number:032x}", "works": [], "num_shingles": 100}
    more = {"num_characters": 1000, "band_keys": b"", "quality": 1.0, "licence": None, "path": f"{number:05d}.txt"}
    return Sketch.model_validate({**row, **more, **fields})


@dataclass
class Corpus:
    """Tables under one folder, and runs of the stage on them."""

    folder: Path
    vectors: Sequence[np.ndarray | bytes]
    facts: dict[int, dict[str, Any]] = field(default_factory=dict)
    sources: Sequence[str] = ("left", "right")

    def __post_init__(self) -> None:
        numbers = range(len(self.vectors))
        texts = [document(n, f"text {n}", source=self.sources[n % len(self.sources)]) for n in numbers]
        made = [v if isinstance(v, bytes) else v.astype("<f2").tobytes() for v in self.vectors]
        vectors = [Embedding(doc_id=doc_id(n), num_chunks=1, vector=v) for n, v in enumerate(made)]
        sketches = [sketch(n, **self.facts.get(n, {})) for n in reversed(numbers)]
        write_table(self.folder / "d", Document, texts, name="documents")
        write_table(self.folder / "e", Embedding, vectors, name="embeddings")
        write_table(self.folder / "s", Sketch, sketches, name="sketches")

    @property
    def inputs(self) -> dict[str, Path]:
        """The three tables."""
        names = {"documents": "d", "sketches": "s", "embeddings": "e"}
        return {name: self.folder / short / name for name, short in names.items()}

    def code(self, name: str = "out", **settings: Any) -> int:
        """Run the stage; returns its exit code."""
        return call(Semantic, self.folder / name, settings, **self.inputs)

    def run(self, name: str = "out", **settings: Any) -> Path:
        """Run the stage; returns its output's folder."""
        assert self.code(name, **settings) == 0
        return self.folder / name

    def flags(self, out: Path, **settings: Any) -> list[str]:
        """The command line of a run."""
        (self.folder / "flags.json").write_text(json.dumps(settings))
        inputs = [word for name, folder in self.inputs.items() for word in (f"--{name}", str(folder))]
        return [*inputs, "--out", str(out), "--config", str(self.folder / "flags.json")]


def gone(out: Path) -> dict[int, int]:
    """Which document went for which, by number."""
    numbers = {doc_id(n): n for n in range(5000)}
    return {numbers[r["doc_id"]]: numbers[r["of"]] for r in rows(out / "duplicates")}


def greedy(found: np.ndarray, threshold: float, order: Sequence[int]) -> dict[int, int]:
    """The rule by its words: in this order, each goes for the most like of those that stayed, if that is like enough."""
    stayed: list[int] = []
    result = {}
    for row in order:
        near = [(found[row, other], -place) for place, other in enumerate(stayed) if found[row, other] >= threshold]
        if near:
            result[row] = stayed[-max(near)[1]]
        else:
            stayed.append(row)
    return result
