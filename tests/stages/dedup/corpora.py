"""Texts whose likeness is known, and the two stages run on them."""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from schemas.corpus import Document
from schemas.manifest import Manifest
from stages.command import main
from stages.dedup import Dedup
from stages.sketch import Sketch
from tests.tables import write_table

VOCABULARY = [f"w{number:x}" for number in range(5000)]


def text(seed: int, num_words: int = 400) -> str:
    """Make a text of random words: two of them have no 5-gram in common."""
    return " ".join(random.Random(seed).choices(VOCABULARY, k=num_words))


def changed(original: str, share: float, seed: int) -> str:
    """Put another word in the place of a share of a text's words."""
    draw = random.Random(seed)
    return " ".join(draw.choice(VOCABULARY) if draw.random() < share else word for word in original.split())


def shingles(words: str) -> set[tuple[str, ...]]:
    """The 5-grams of a text without punctuation, by the plain definition."""
    cut = words.split()
    return {tuple(cut[i : i + 5]) for i in range(len(cut) - 4)}


def jaccard(a: str, b: str) -> float:
    """How alike two texts are."""
    one, other = shingles(a), shingles(b)
    return len(one & other) / len(one | other)


def document(number: int, words: str, **fields: Any) -> Document:
    """A document of this text; its name is that of its number."""
    row = {"doc_id": doc_id(number), "text": words, "path": f"{number:05d}.txt", "pages": [], "source": "test"}
    empty = {"licence": None, "title": None, "doi": None, "language": "en", "media_type": "text/plain"}
    return Document.model_validate({**row, **empty, **fields})


def doc_id(number: int) -> str:
    """Name a document."""
    return hashlib.sha256(b"%d" % number).hexdigest()


def rows(table: Path) -> list[dict[str, Any]]:
    """Read a table."""
    return list(pq.read_table(table).to_pylist())


def call(stage: Any, out: Path, settings: dict[str, Any], **inputs: Path) -> int:
    """Run a stage by its command line; returns the exit code."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "settings.json").write_text(json.dumps(settings))
    flags = [word for name, folder in inputs.items() for word in (f"--{name}", str(folder))]
    with pytest.raises(SystemExit) as exit_:
        main(stage, ["--out", str(out), "--config", str(out / "settings.json"), *flags])
    return int(str(exit_.value.code))


@dataclass
class Corpus:
    """Documents and their sketches under one folder, and runs of dedup on them."""

    folder: Path
    documents: list[Document]

    def sketch(self, **settings: Any) -> "Corpus":
        """Write both tables."""
        write_table(self.folder / "in", Document, self.documents, name="documents")
        file = self.folder / "in" / "manifest.json"
        name = hashlib.sha256("".join(d.model_dump_json() for d in self.documents).encode()).hexdigest()[:16]
        file.write_text(Manifest.read(self.folder / "in").model_copy(update={"fingerprint": name}).model_dump_json())
        assert call(Sketch, self.folder / "sketch", settings, documents=self.folder / "in" / "documents") == 0
        return self

    def dedup(self, name: str = "out", **settings: Any) -> Path:
        """Run the stage; returns its output's folder."""
        assert self.code(name, **settings) == 0
        return self.folder / name

    def code(self, name: str = "out", **settings: Any) -> int:
        """Run the stage; returns its exit code."""
        inputs = {"documents": self.folder / "in" / "documents", "sketches": self.folder / "sketch" / "sketches"}
        return call(Dedup, self.folder / name, {"num_decoys": 0, **settings}, **inputs)

    def flags(self) -> list[str]:
        """The inputs as the command line has them."""
        tables = {"documents": self.folder / "in" / "documents", "sketches": self.folder / "sketch" / "sketches"}
        return [word for name, folder in tables.items() for word in (f"--{name}", str(folder))]


@dataclass
class Maker:
    """Makes corpora in folders of a test's own."""

    folder: Path
    count: int = 0

    def __call__(self, documents: Sequence[Document | str], **settings: Any) -> Corpus:
        """Sketch documents; texts become documents with numbers from 0."""
        self.count += 1
        made = [document(i, d) if isinstance(d, str) else d for i, d in enumerate(documents)]
        return Corpus(self.folder / f"corpus-{self.count}", made).sketch(**settings)


def lost(output: Path) -> dict[str, dict[str, Any]]:
    """The `duplicates` of a run by document."""
    return {row["doc_id"]: row for row in rows(output / "duplicates")}
