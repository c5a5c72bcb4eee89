"""Small corpora with passages, and the stage run on them."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from schemas.corpus import Document, PageSpan
from stages.command import main
from stages.substring import Substring
from tests.tables import write_table

LICENCE = (
    "This article is distributed under the terms of a licence that permits use, copying and reproduction in any medium, "
    "provided that you give credit to the authors and to the source, link to the licence, and say what you have changed."
)


def document(number: int, text: str, pages: Sequence[int] = ()) -> Document:
    """A document whose pages begin at these characters."""
    bounds = [0, *pages, len(text)]
    spans = [
        PageSpan(page=i + 1, start=bounds[i], end=bounds[i + 1], parser="p", origin="native")
        for i in range(len(bounds) - 1)
    ]
    return Document(
        doc_id=hashlib.sha256(b"%d" % number).hexdigest(),
        text=text,
        pages=spans,
        media_type="text/plain",
        path=f"{number}.txt",
        source="test",
        licence="CC0-1.0",
        title=None,
        doi=None,
        language=None,
    )  # fmt: skip


def prose(number: int, num_words: int = 120) -> str:
    """Words that no other document has."""
    return " ".join(f"w{number}x{i}" for i in range(num_words))


def table(folder: Path, texts: Iterable[str]) -> Path:
    """Write documents of these texts as an input table."""
    return write_table(folder, Document, [document(i, t) for i, t in enumerate(texts)], "documents")


def run(documents: Path, out: Path, *arguments: str, **settings: Any) -> int:
    """Run the stage by its command line; returns the exit code."""
    out.mkdir(exist_ok=True, parents=True)
    (out / "settings.json").write_text(json.dumps(settings))
    config = ["--config", str(out / "settings.json")]
    with pytest.raises(SystemExit) as exit_:
        main(Substring, ["--documents", str(documents), "--out", str(out), *config, *arguments])
    return int(str(exit_.value.code))


def rows(out: Path, name: str) -> list[dict[str, Any]]:
    """The rows of an output table."""
    return pq.read_table(out / name).to_pylist()


def texts(out: Path) -> list[str]:
    """The texts that were passed on."""
    return [row["text"] for row in rows(out, "documents")]
