"""Loss on a validation split: nats a token and bits a byte, by source and domain, and what a unigram model would score.

Every document by itself, as an evaluation would see it: the end token stands before its first token, each of its tokens
(its own end token included) is predicted exactly once, and a document longer than the context goes on in windows that
see the last token of the one before and nothing earlier, which makes the number an upper bound. Bits a byte divide by
the bytes of the text, so that they compare across tokenizers. The unigram baseline is the entropy of the measured
documents' own token frequencies: no model without context, however well fitted, scores below it.

Documents may be measured in part: whole documents, those with the lowest hashes of a seed and their id, so that the same
ones are measured whatever the order of the table. By domain (see `stages.stream.domains`), a token's loss and its bytes
count for the same domain, so that the numbers of all domains add up; end tokens, which write no bytes, count for none.
"""

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from schemas.table import ContractError
from schemas.tokens import TextKind
from schemas.training import DomainLoss, MeasuredDocument, Validation
from stages.model.distributed import World
from stages.model.network import IGNORED, Network
from stages.stream.domains import DOMAINS, NO_TEXT, Domains
from stages.stream.order import Array, Indices
from stages.stream.split import draw

COLUMNS = ("doc_id", "split", "bin", "start", "num_tokens", "num_bytes", "source")
COUNTED_TOKENS = 1 << 24  # tokens counted at a time: 128 MiB
MAX_PROBLEMS = 20

Numbers = npt.NDArray[np.float64]


class Wanted(NamedTuple):
    """What of the split is measured: documents of at most `max_tokens` tokens (0: all), chosen by `seed`, by `domains`."""

    max_tokens: int = 0
    seed: int = 0
    domains: Domains | None = None


EVERYTHING = Wanted()


class Batch(NamedTuple):
    """Windows of one source (an index of `HeldOut.sources`), B x T: what is seen, what is predicted, and its domains."""

    source: int
    inputs_BT: Tensor
    targets_BT: Tensor
    domains_BT: Tensor


class HeldOut:
    """The validation documents as windows of `sequence_tokens` targets, source by source.

    `files` are the split's token files by `TokenShard.bin.path`, `documents` the columns `COLUMNS` of their rows, all
    of them; those that are measured are in `documents` afterwards.
    """

    def __init__(
        self,
        files: Mapping[str, Array],
        documents: pa.Table,
        eod_id: int,
        sequence_tokens: int,
        wanted: Wanted = EVERYTHING,
    ) -> None:
        self.files, self.eod_id, self.sequence_tokens = list(files.values()), eod_id, sequence_tokens
        names = {name: index for index, name in enumerate(files)}
        self._places = np.array([names.get(b, -1) for b in documents["bin"].to_pylist()], np.int64)
        self._starts, self._lengths = _numbers(documents, "start"), _numbers(documents, "num_tokens")
        _check(documents, self._problems(documents, list(files)))
        rows = _chosen(documents["doc_id"].to_pylist(), self._lengths, wanted)
        self._places, self._starts, self._lengths = self._places[rows], self._starts[rows], self._lengths[rows]
        self.documents = documents.take(pa.array(rows))
        sources, num_bytes = self.documents["source"].to_pylist(), _numbers(self.documents, "num_bytes")
        self.sources = sorted(set(sources))
        self._sources = np.searchsorted(np.array(self.sources), sources)
        count = len(self.sources)
        self.num_tokens_S = np.bincount(self._sources, self._lengths, count).astype(np.int64)
        self.num_bytes_S = np.bincount(self._sources, num_bytes, count).astype(np.int64)
        self._firsts = np.cumsum(self._lengths) - self._lengths  # of each document, among all that are measured
        self._tell(wanted.domains)

    def unigram(self, step: int = 0) -> Validation:
        """Entropy of the measured documents' own token frequencies, in nats a token."""
        counts = np.zeros(0, np.int64)
        for rows in np.split(np.arange(len(self._firsts)), np.flatnonzero(np.diff(self._firsts // COUNTED_TOKENS)) + 1):
            some = np.bincount(np.concatenate([self._tokens(row) for row in rows.tolist()]))
            size = max(len(counts), len(some))
            counts = np.pad(counts, (0, size - len(counts))) + np.pad(some, (0, size - len(some)))
        fractions = counts[counts > 0] / counts.sum()
        nats = -(fractions * np.log(fractions)).sum() * self.num_tokens_S.sum()
        return self._row("unigram", step, nats, slice(None))

    def measured_documents(self) -> list[MeasuredDocument]:
        """Which documents the loss is measured on, in the order of their table."""
        names = ("doc_id", "source", "num_tokens", "num_bytes")
        rows = zip(self.documents.select(names).to_pylist(), self._mostly, strict=True)
        return [MeasuredDocument(**fields, domain=domain) for fields, domain in rows]

    def measured(self, step: int, nats_SD: Numbers) -> list[Validation]:
        """The rows of a measurement: all sources together, then each as `validation/SOURCE` where there are several."""
        nats_S = nats_SD.sum(axis=1)
        rows = [self._row("validation", step, nats_S.sum(), slice(None))]
        if len(self.sources) > 1:
            each = enumerate(self.sources)
            rows += [self._row(f"validation/{name}", step, nats_S[i], slice(i, i + 1)) for i, name in each]
        return rows

    def by_domain(self, step: int, nats_SD: Numbers) -> list[DomainLoss]:
        """The rows of a measurement by domain: all text, then each domain that there is; none where none can be told."""
        nats_D = nats_SD.sum(axis=0)[:NO_TEXT]
        everything = (nats_D.sum(), self.num_tokens_D.sum(), self.num_bytes_D.sum())
        each = zip(DOMAINS, nats_D, self.num_tokens_D, self.num_bytes_D, strict=True)
        numbers = [("all", *everything), *each]
        return [_domain_row(step, name, nats, (int(n), int(b))) for name, nats, n, b in numbers if n]

    def nats(self, network: Network, size: int, world: World) -> Numbers:
        """The network's loss on all tokens of each source and domain (the last is `NO_TEXT`), all ranks together."""
        total_SD = torch.zeros(len(self.sources), NO_TEXT + 1, dtype=torch.float64, device=world.device)
        network.eval()
        with torch.no_grad():
            for batch in self.batches(size, world.rank, world.size):
                inputs_BT, targets_BT, domains_BT = (t.to(world.device) for t in batch[1:])
                losses_BT = network(inputs_BT, targets_BT, reduction="none")
                total_SD[batch.source].index_add_(0, domains_BT.flatten(), losses_BT.flatten().double())
        network.train()
        found: Numbers = world.sum(total_SD).cpu().numpy()
        return found

    def batches(self, size: int, rank: int = 0, num_ranks: int = 1) -> Iterator[Batch]:
        """Windows of this rank, `size` of one source at a time, filled up with end tokens and -100.

        Every rank gets as many batches, if need be of one window without a target: a network that is cut over ranks
        takes all of them.
        """
        for source in range(len(self.sources)):
            documents, starts = self._windows(np.flatnonzero(self._sources == source))
            for first in range(0, len(starts), size * num_ranks):
                mine = slice(first + rank, first + size * num_ranks, num_ranks)
                windows = [self._window(d, s) for d, s in zip(documents[mine], starts[mine], strict=True)]
                windows = windows or [[torch.full((self.sequence_tokens,), n) for n in (self.eod_id, IGNORED, NO_TEXT)]]
                yield Batch(source, *(torch.stack(each) for each in zip(*windows, strict=True)))

    def _windows(self, documents: Indices) -> tuple[Indices, Indices]:
        """Which document each window is of, and its first target, counted from the document's."""
        counts = -(-self._lengths[documents] // self.sequence_tokens)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(documents, counts), within * self.sequence_tokens

    def _tokens(self, document: int) -> Array:
        start = int(self._starts[document])
        found: Array = self.files[self._places[document]][start : start + int(self._lengths[document])]
        return found

    def _tell(self, domains: Domains | None) -> None:
        """Find the domain of every token that is measured, and how much of each domain there is."""
        self._domains = np.full(self._lengths.sum(), NO_TEXT, np.int8)
        self.num_tokens_D, self.num_bytes_D = np.zeros((2, NO_TEXT), np.int64)
        self._mostly: list[TextKind | None] = [None] * len(self._lengths)
        for row, first in enumerate(self._firsts.tolist() if domains else ()):
            assert domains is not None
            found = domains.tell(self._tokens(row))
            self._domains[first : first + len(found.domains)] = found.domains
            sizes_D = np.bincount(found.domains, found.num_bytes, NO_TEXT + 1)[:NO_TEXT].astype(np.int64)
            self.num_tokens_D += np.bincount(found.domains, minlength=NO_TEXT + 1)[:NO_TEXT]
            self.num_bytes_D += sizes_D
            self._mostly[row] = DOMAINS[sizes_D.argmax()] if sizes_D.any() else None

    def _window(self, document: int, offset: int) -> list[Tensor]:
        tokens, first = self._tokens(document), int(self._firsts[document]) + offset
        count = min(self.sequence_tokens, len(tokens) - offset)
        targets, inputs, domains = (torch.full((self.sequence_tokens,), n) for n in (IGNORED, self.eod_id, NO_TEXT))
        targets[:count] = torch.from_numpy(tokens[offset : offset + count].astype(np.int64))
        domains[:count] = torch.from_numpy(self._domains[first : first + count].astype(np.int64))
        inputs[1:count] = targets[: count - 1]
        if offset:
            inputs[0] = int(tokens[offset - 1])
        return [inputs, targets, domains]

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


def _chosen(doc_ids: list[str], lengths: Indices, wanted: Wanted) -> Indices:
    """Rows of the documents with the lowest draws, as many as fit, and one at least; in the order of the table."""
    if not wanted.max_tokens:
        return np.arange(len(doc_ids))
    order = np.argsort(draw(wanted.seed, doc_ids, "validation"), kind="stable")
    count = np.searchsorted(np.cumsum(lengths[order]), wanted.max_tokens, side="right")
    return np.sort(order[: max(1, int(count))])


def _domain_row(step: int, domain: str, nats: float, size: tuple[int, int]) -> DomainLoss:
    num_tokens, num_bytes = size
    with np.errstate(over="ignore"):  # of a network that has gone astray
        perplexity = float(np.exp(nats / num_tokens))
    fields = {"step": step, "domain": domain, "num_tokens": num_tokens, "num_bytes": num_bytes, "nats": float(nats)}
    bits = float(nats) / math.log(2) / num_bytes
    return DomainLoss.model_validate({"phase": "pretrain", **fields, "perplexity": perplexity, "bits_per_byte": bits})


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
