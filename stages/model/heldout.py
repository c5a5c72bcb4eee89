"""Loss on a validation split: nats a token and bits a byte, by source, and what a unigram model would score.

Every document by itself, as an evaluation would see it: the end token stands before its first token, each of its tokens
(its own end token included) is predicted exactly once, and a document longer than the context goes on in windows that
see the last token of the one before and nothing earlier, which makes the number an upper bound. Bits a byte divide by
the bytes of the text, so that they compare across tokenizers. The unigram baseline is the entropy of the validation
split's own token frequencies: no model without context, however well fitted, scores below it.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from schemas.table import ContractError
from schemas.training import Validation
from stages.model.distributed import World
from stages.model.network import IGNORED, Network
from stages.stream.order import Array, Indices

COLUMNS = ("split", "bin", "start", "num_tokens", "num_bytes", "source")
COUNTED_TOKENS = 1 << 24  # tokens counted at a time: 128 MiB
MAX_PROBLEMS = 20

Numbers = npt.NDArray[np.float64]


class HeldOut:
    """The validation documents as windows of `sequence_tokens` targets, source by source.

    `files` are the split's token files by `TokenShard.bin.path`, `documents` the columns `COLUMNS` of their rows.
    """

    def __init__(self, files: Mapping[str, Array], documents: pa.Table, eod_id: int, sequence_tokens: int) -> None:
        self.files, self.eod_id, self.sequence_tokens = list(files.values()), eod_id, sequence_tokens
        names = {name: index for index, name in enumerate(files)}
        self._places = np.array([names.get(b, -1) for b in documents["bin"].to_pylist()], np.int64)
        self._starts, self._lengths, num_bytes = (_numbers(documents, c) for c in ("start", "num_tokens", "num_bytes"))
        _check(documents, self._problems(documents, list(files)))
        sources = documents["source"].to_pylist()
        self.sources = sorted(set(sources))
        self._sources = np.searchsorted(np.array(self.sources), sources)
        count = len(self.sources)
        self.num_tokens_S = np.bincount(self._sources, self._lengths, count).astype(np.int64)
        self.num_bytes_S = np.bincount(self._sources, num_bytes, count).astype(np.int64)

    def unigram(self, step: int = 0) -> Validation:
        """Entropy of the split's own token frequencies, in nats a token."""
        counts = np.zeros(0, np.int64)
        for file in self.files:
            for start in range(0, len(file), COUNTED_TOKENS):
                some = np.bincount(file[start : start + COUNTED_TOKENS])
                size = max(len(counts), len(some))
                counts = np.pad(counts, (0, size - len(counts))) + np.pad(some, (0, size - len(some)))
        fractions = counts[counts > 0] / counts.sum()
        nats = -(fractions * np.log(fractions)).sum() * self.num_tokens_S.sum()
        return self._row("unigram", step, nats, slice(None))

    def measured(self, step: int, nats_S: Numbers) -> list[Validation]:
        """The rows of a measurement: all sources together, then each as `validation/SOURCE` where there are several."""
        rows = [self._row("validation", step, nats_S.sum(), slice(None))]
        if len(self.sources) > 1:
            each = enumerate(self.sources)
            rows += [self._row(f"validation/{name}", step, nats_S[i], slice(i, i + 1)) for i, name in each]
        return rows

    def nats(self, network: Network, size: int, world: World) -> Numbers:
        """The network's loss on all tokens of each source, all ranks together."""
        total_S = torch.zeros(len(self.sources), dtype=torch.float64, device=world.device)
        network.eval()
        with torch.no_grad():
            for source, inputs_BT, targets_BT in self.batches(size, world.rank, world.size):
                total_S[source] += network(inputs_BT.to(world.device), targets_BT.to(world.device), reduction="sum")
        network.train()
        found: Numbers = world.sum(total_S).cpu().numpy()
        return found

    def batches(self, size: int, rank: int = 0, num_ranks: int = 1) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Windows of this rank, `size` of one source at a time.

        Yields the source's number, inputs and targets, B x T, filled up with end tokens and -100. Every rank gets as
        many batches, if need be of one window without a target: a network that is cut over ranks takes all of them.
        """
        for source in range(len(self.sources)):
            documents, starts = self._windows(np.flatnonzero(self._sources == source))
            for first in range(0, len(starts), size * num_ranks):
                mine = slice(first + rank, first + size * num_ranks, num_ranks)
                pairs = [self._window(d, s) for d, s in zip(documents[mine], starts[mine], strict=True)]
                pairs = pairs or [(inputs := torch.full((self.sequence_tokens,), self.eod_id), inputs * 0 + IGNORED)]
                yield source, torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])

    def _windows(self, documents: Indices) -> tuple[Indices, Indices]:
        """Which document each window is of, and its first target, counted from the document's."""
        counts = -(-self._lengths[documents] // self.sequence_tokens)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(documents, counts), within * self.sequence_tokens

    def _window(self, document: int, offset: int) -> tuple[Tensor, Tensor]:
        file, start = self.files[self._places[document]], int(self._starts[document])
        count = min(self.sequence_tokens, int(self._lengths[document]) - offset)
        targets = torch.full((self.sequence_tokens,), IGNORED)
        targets[:count] = torch.from_numpy(file[start + offset : start + offset + count].astype(np.int64))
        inputs = torch.full((self.sequence_tokens,), self.eod_id)
        inputs[1:count] = targets[: count - 1]
        if offset:
            inputs[0] = int(file[start + offset - 1])
        return inputs, targets

    def _row(self, name: str, step: int, nats: float, sources: slice) -> Validation:
        tokens, size = int(self.num_tokens_S[sources].sum()), int(self.num_bytes_S[sources].sum())
        bits = float(nats) / math.log(2) / size if size else None
        return Validation(phase="pretrain", step=step, name=name, value=float(nats) / tokens, bits_per_byte=bits)

    def _problems(self, documents: pa.Table, names: list[str]) -> Iterator[str]:
        """Whether the documents of each file cover it, one after the other, each with the end token at its end."""
        for row in np.flatnonzero(self._places < 0):
            yield f"{documents['bin'][int(row)]}: it holds documents and is not among the token files"
        for number, name in enumerate(names):
            mine, file = np.flatnonzero(self._places == number), self.files[number]
            starts, ends = self._starts[mine], self._starts[mine] + self._lengths[mine]
            before = np.concatenate([[0], ends[:-1]])[: len(mine)]
            for i in np.flatnonzero(starts != before):
                yield f"{name}: document {i} starts at token {starts[i]}, expected {before[i]}"
            inside = (self._lengths[mine] >= 1) & (starts >= 0) & (ends <= len(file))
            closed = inside & (file[np.where(inside, ends - 1, 0)] == self.eod_id) if len(file) else inside
            for i in np.flatnonzero(~closed):
                yield f"{name}: document {i}, from token {starts[i]}, does not end with the end token {self.eod_id}"
            if (end := int(ends[-1]) if len(ends) else 0) != len(file):
                yield f"{name}: the documents hold {end} tokens, the file {len(file)}"


def _check(documents: pa.Table, problems: Iterator[str]) -> None:
    found = [p for p, _ in zip(problems, range(MAX_PROBLEMS), strict=False)]
    if not documents.num_rows:
        cure = "hold more back (train_tokenizer.validation_fraction), or give more documents"
        found = [f"no document: validation needs at least one; {cure}"]
    elif not found and _numbers(documents, "num_bytes").sum() < 1:
        found.append("the documents have no bytes of text")
    if found:
        raise ContractError("the validation split", found)


def _numbers(documents: pa.Table, column: str) -> Indices:
    numbers: Indices = documents[column].to_numpy().astype(np.int64)
    return numbers
