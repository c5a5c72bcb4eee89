"""A shard's token files while they grow: one `.bin/.idx` pair a split and source, and what of them is on disk for good.

For each `name.bin` a journal holds `name.lengths`, the tokens of each row (int32, 0 for a row without tokens), and its
`state.json` says how long these files were at a moment when all of them were on disk, and of how many rows, so that a
process that takes up after a kill cuts them to these sizes and goes on. `name.idx` is written at the end; the journal goes
when the stage's output is committed. Files are opened only to be appended to, so there may be any number of sources.
"""

import hashlib
import json
import os
import re
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schemas.manifest import write_atomic
from schemas.table import BLOCK_BYTES, BlobRef
from schemas.tokens import Split, TokenShard
from stages.stream.megatron import CODES, DTYPES, DtypeName, write_index
from stages.tables import Outputs

SAVE_SECONDS = 2.0  # work that a kill may cost
SAVE_SHARE = 10  # ... or this many times what saving takes, if there are very many files
STATE = "state.json"
SLUG_CHARS = 40

Tokens = npt.NDArray[np.uint16] | npt.NDArray[np.int32]
Lengths = npt.NDArray[np.int32]


def file_name(split: Split, source: str) -> str:
    """A name that any file system takes, that people can read, and that no other split and source has."""
    slug = re.sub("[^a-z0-9]+", "-", source.lower())[:SLUG_CHARS].strip("-")
    digest = hashlib.sha256(source.encode()).hexdigest()[:8]
    return "-".join(filter(None, (split, slug, digest)))


class TokenFile:
    """The tokens of one split and source. `num_tokens` and `num_documents` count what is in it."""

    def __init__(self, bin_file: Path, lengths: Path, name: tuple[Split, str], dtype: DtypeName) -> None:
        self.bin, self.lengths, self.dtype = bin_file, lengths, dtype
        self.split, self.source = name
        self.num_tokens = self.num_documents = self._num_rows = 0
        self._itemsize = np.dtype(DTYPES[CODES[dtype]]).itemsize
        self._digest = hashlib.sha256()

    def append(self, tokens: Tokens, lengths: Lengths) -> None:
        """Add rows: their tokens one after another, and how many each has."""
        for file, array in ((self.bin, tokens), (self.lengths, lengths)):
            with file.open("ab") as stream:
                stream.write(array.data)
        self._digest.update(tokens.data)
        self._count(lengths)

    def reread(self, num_rows: int) -> Lengths:
        """Take the next rows from what an earlier process wrote; returns their lengths."""
        lengths = np.fromfile(self.lengths, np.int32, num_rows, offset=4 * self._num_rows)
        left = int(lengths.sum(dtype=np.int64)) * self._itemsize
        with self.bin.open("rb") as stream:
            stream.seek(self.num_tokens * self._itemsize)
            while left and (block := stream.read(min(left, BLOCK_BYTES))):
                self._digest.update(block)
                left -= len(block)
        self._count(lengths)
        return lengths

    def finish(self, outputs: Outputs, tokenizer_sha256: str) -> TokenShard:
        """Write the index; the pair is readable from here on."""
        lengths = np.memmap(self.lengths, np.int32, mode="r")
        idx = self.bin.with_suffix(".idx")
        write_index(idx, lengths if self.num_documents == len(lengths) else lengths[lengths > 0], self.dtype)
        path = os.path.relpath(self.bin, outputs.folder)
        size = self.num_tokens * self._itemsize
        return TokenShard(
            split=self.split,
            source=self.source,
            bin=BlobRef(path=path, size_bytes=size, sha256=self._digest.hexdigest()),
            idx=outputs.blob(idx),
            dtype=self.dtype,
            num_tokens=self.num_tokens,
            num_documents=self.num_documents,
            tokenizer_sha256=tokenizer_sha256,
        )

    def _count(self, lengths: Lengths) -> None:
        self._num_rows += len(lengths)
        self.num_documents += int(np.count_nonzero(lengths))
        self.num_tokens += int(lengths.sum(dtype=np.int64))


class TokenFolder:
    """The token files of a shard. `num_rows_done` rows of this very work (`key`) were on disk when it was opened."""

    def __init__(self, folder: Path, journal: Path, key: str, dtype: DtypeName) -> None:
        self.folder, self.journal, self.key, self.dtype = folder, journal, key, dtype
        self._files: dict[tuple[Split, str], TokenFile] = {}
        self._grown: set[Path] = set()
        self._save_at = time.monotonic() + SAVE_SECONDS
        for place in (folder, journal):
            place.mkdir(parents=True, exist_ok=True)
        self.num_rows_done, self._sizes = self._saved()
        for path in (*folder.iterdir(), *journal.iterdir()):
            if path.name in self._sizes:
                os.truncate(path, self._sizes[path.name])
            elif path.name != STATE:
                path.unlink()

    @property
    def num_tokens(self) -> int:
        """Tokens in all files."""
        return sum(f.num_tokens for f in self._files.values())

    def file(self, split: Split, source: str) -> TokenFile:
        """The file of a split and source, to append to."""
        found = self._files.get((split, source))
        if found is None:
            name = file_name(split, source)
            found = TokenFile(self._place(f"{name}.bin"), self._place(f"{name}.lengths"), (split, source), self.dtype)
            self._files[split, source] = found
        self._grown |= {found.bin, found.lengths}
        return found

    def save(self, num_rows: int) -> None:
        """If it is time: put the files on disk and write down that they hold the first `num_rows` rows of the shard."""
        started = time.monotonic()
        if started >= self._save_at:
            self._save(num_rows)
            now = time.monotonic()
            self._save_at = now + max(SAVE_SECONDS, SAVE_SHARE * (now - started))

    def finish(self, num_rows: int, outputs: Outputs, tokenizer_sha256: str) -> None:
        """Write the index of every file and a row for it, training first, sources in order of their names."""
        self._save(num_rows)
        for _, file in sorted(self._files.items()):
            if file.num_documents:
                outputs["shards"].write(file.finish(outputs, tokenizer_sha256))

    def _save(self, num_rows: int) -> None:
        for path in self._grown:
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
                self._sizes[path.name] = path.stat().st_size
        self._grown.clear()
        state = {"key": self.key, "rows": num_rows, "sizes": self._sizes}
        write_atomic(self.journal / STATE, json.dumps(state))

    def _saved(self) -> tuple[int, dict[str, int]]:
        """How many rows an earlier process put on disk, and the sizes of its files then."""
        try:
            state = json.loads((self.journal / STATE).read_text())
            whole = all(self._place(name).stat().st_size >= size for name, size in state["sizes"].items())
        except (FileNotFoundError, ValueError):  # never saved, or a file that it names has gone
            return 0, {}
        return (state["rows"], state["sizes"]) if whole and state["key"] == self.key else (0, {})

    def _place(self, name: str) -> Path:
        return (self.journal if name.endswith(".lengths") else self.folder) / name
