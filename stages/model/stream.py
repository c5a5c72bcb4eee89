"""Token files as one stream a split, cut into fixed windows in an order that depends on (seed, step) alone.

A window is T + 1 tokens: T inputs and the T tokens that follow them. Windows start every T tokens, so each token of the
stream but the first is a target once an epoch; up to T - 1 tokens at the end are left out. Documents follow one another
in a window, each closed by the end token, and see what stands before them. No state: to resume, know the step.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.table import ContractError
from schemas.tokens import Split, TokenShard
from stages.stream.feistel import Permutation
from stages.stream.megatron import open_indexed
from stages.tables import Reader

Tokens = npt.NDArray[np.int64]


class TokenStream:
    """The tokens of a split's files, one after the other; files are memory-mapped and nothing is copied."""

    def __init__(self, files: Sequence[npt.NDArray[Any]]) -> None:
        self.files = list(files)
        self.ends = np.cumsum([len(f) for f in self.files], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1]) if self.files else 0

    def read(self, start: int, count: int) -> Tokens:
        """`count` tokens from position `start`; IndexError outside the stream."""
        if not 0 <= start <= start + count <= len(self):
            raise IndexError(f"tokens {start}:{start + count} of a stream of {len(self)}")
        pieces, index = [], int(np.searchsorted(self.ends, start, side="right"))
        while count:
            offset = start - (int(self.ends[index]) - len(self.files[index]))
            piece = self.files[index][offset : offset + count]
            pieces.append(piece)
            start, count, index = start + len(piece), count - len(piece), index + 1
        return np.concatenate(pieces).astype(np.int64) if pieces else np.empty(0, np.int64)


class Batches:
    """Global batches of windows of a stream; each epoch goes through all windows in an order of its own."""

    def __init__(self, stream: TokenStream, sequence_tokens: int, batch_sequences: int, seed: int) -> None:
        self.stream, self.sequence_tokens, self.batch_sequences, self.seed = (
            stream,
            sequence_tokens,
            batch_sequences,
            seed,
        )
        self.num_windows = (len(stream) - 1) // sequence_tokens
        if self.num_windows < 1:
            need = f"a window needs {sequence_tokens + 1} (pretrain.sequence_tokens + 1)"
            raise ContractError("the train split", [f"{len(stream)} tokens, but {need}"])

    def windows(self, step: int) -> Tokens:
        """Which windows the global batch of `step` (from 1) holds."""
        samples = np.arange((step - 1) * self.batch_sequences, step * self.batch_sequences, dtype=np.int64)
        epochs, positions = np.divmod(samples, self.num_windows)
        chosen = [Permutation(self.num_windows, self.seed, int(e))[positions[epochs == e]] for e in np.unique(epochs)]
        return np.concatenate(chosen)

    def batch(self, step: int, rank: int, num_ranks: int) -> Tokens:
        """Take this rank's share of the global batch, windows x (T + 1) tokens; all ranks' shares are the batch."""
        share = np.array_split(self.windows(step), num_ranks)[rank]
        return np.stack([self.stream.read(int(w) * self.sequence_tokens, self.sequence_tokens + 1) for w in share])


def open_split(reader: Reader, split: Split) -> TokenStream:
    """The stream of a split; `ContractError` if a file is missing or does not hold what its row says."""
    rows: list[TokenShard] = [row for row in reader.rows() if row.split == split]
    files = [open_indexed(reader.open_path(row.bin), reader.open_path(row.idx)).tokens for row in rows]
    wrong = [
        f"{row.bin.path}: the row says {row.num_tokens} tokens, the file holds {len(file)}"
        for row, file in zip(rows, files, strict=True)
        if row.num_tokens != len(file)
    ]
    if wrong:
        raise ContractError(str(reader.folder), wrong)
    return TokenStream(files)
