"""From tokens back to text and pages: a byte-level BPE writes each id as a fixed run of bytes.

So the bytes before a token are a sum, and the characters before it are those bytes that begin one. Where the bytes of a
document's ids are not its text (another kind of tokenizer, or one that rewrites what it reads), its pages are unknown.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from stages.stream.corpus import Dataset
from stages.tables import Reader
from workflows.trace.exposure import Run

Ids = npt.NDArray[np.int64]
COLUMNS = ["doc_id", "text", "pages"]


class Vocabulary:
    """What each id of a `tokenizer.json` writes; special tokens write nothing, though they have a name."""

    def __init__(self, file: Path) -> None:
        content = json.loads(file.read_text(encoding="utf-8"))
        letters = _byte_letters()
        vocab: Mapping[str, int] = content["model"].get("vocab", {}) if content["model"].get("type") == "BPE" else {}
        added = {token["id"]: token for token in content.get("added_tokens", [])}
        self._bytes = [b""] * (max([*vocab.values(), *added], default=-1) + 1)
        self.exact = bool(vocab)
        for word, i in vocab.items():
            if i in added:
                continue
            self.exact &= all(c in letters for c in word)
            self._bytes[i] = bytes(letters.get(c, ord("?")) for c in word)
        for i, token in added.items():
            self._bytes[i] = b"" if token["special"] else token["content"].encode()
        self.lengths = np.array([len(b) for b in self._bytes], np.int64)

    def bytes(self, ids: Ids) -> bytes:
        """The text of ids in UTF-8."""
        return b"".join([self._bytes[i] for i in ids.tolist()])

    def text(self, ids: Ids) -> str:
        """The text of ids; a character that is cut at an end shows as a replacement mark."""
        return self.bytes(ids).decode(errors="replace")


def _byte_letters() -> dict[str, int]:
    """GPT-2's letters for bytes (Radford et al. 2019): printable Latin-1 as it is, the rest from U+0100 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in printable]
    return {**{chr(b): b for b in printable}, **{chr(256 + n): b for n, b in enumerate(others)}}


class Paged:
    """A document's ids beside its text: which pages its tokens are from."""

    def __init__(self, vocabulary: Vocabulary, ids: Ids, text: str, pages: Iterable[Mapping[str, Any]]) -> None:
        written = text.encode()
        self.known = vocabulary.exact and vocabulary.bytes(ids) == written
        self._pages = [(p["page"], p["start"], p["end"]) for p in pages]
        if self.known:
            begins = (np.frombuffer(written, np.uint8) & 0xC0) != 0x80  # the others go on with a character
            self._characters = np.concatenate([[0], np.cumsum(begins)])
            self._bytes = np.concatenate([[0], np.cumsum(vocabulary.lengths[ids])])

    def pages(self, start: int, stop: int) -> list[int]:
        """Pages, ascending, of tokens `start : stop` of the document; none where unknown, or where nothing is written."""
        if not self.known or self._bytes[start] == self._bytes[stop]:
            return []
        first, last = self._characters[self._bytes[start] + 1] - 1, self._characters[self._bytes[stop]]
        return sorted({page for page, begin, end in self._pages if begin < last and end > first})


def read_documents(reader: Reader, doc_ids: Collection[str]) -> Iterator[dict[str, Any]]:
    """`doc_id`, `text` and `pages` of some documents; of the row groups without them only the ids are read."""
    for part in reader.output.parts:
        with pq.ParquetFile(reader.base / part.path) as parquet:
            for group in range(parquet.num_row_groups):
                ids = parquet.read_row_group(group, ["doc_id"])["doc_id"].to_pylist()
                rows = [i for i, doc_id in enumerate(ids) if doc_id in doc_ids]
                if rows:
                    yield from parquet.read_row_group(group, COLUMNS).take(rows).to_pylist()


def pages_of(
    texts: Reader, vocabulary: Vocabulary, datasets: Sequence[Dataset], runs: Mapping[str, Sequence[Run]]
) -> dict[Run, list[int]]:
    """The pages of runs of tokens, which are given by document; one document's text is held at a time."""
    found: dict[Run, list[int]] = {}
    for row in read_documents(texts, runs.keys()):
        mine = runs[row["doc_id"]]
        placed = mine[0].document
        ids = datasets[placed.dataset].read(placed.start, placed.num_tokens)
        paged = Paged(vocabulary, ids, row["text"], row["pages"])
        found |= {run: paged.pages(run.start, run.start + run.length) for run in mine}
    return found
