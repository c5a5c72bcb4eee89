"""Loss on a validation split: nats a token and bits a byte, and what a unigram model would score.

Every document by itself, as an evaluation would see it: the end token stands before its first token, each of its tokens
(its own end token included) is predicted exactly once, and a document longer than the context goes on in windows that
see the last token of the one before and nothing earlier, which makes the number an upper bound. Bits a byte divide by
the bytes of the text, so that they compare across tokenizers. The unigram baseline is the entropy of the validation
split's own token frequencies: no model without context, however well fitted, scores below it.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from schemas.table import ContractError
from schemas.tokens import TokenizedDocument
from stages.model.distributed import World
from stages.model.network import IGNORED, Network
from stages.model.stream import TokenStream

COUNTED_TOKENS = 1 << 24  # tokens counted at a time: 128 MiB


class HeldOut:
    """The validation documents as windows of `sequence_tokens` targets."""

    def __init__(
        self, stream: TokenStream, documents: Sequence[TokenizedDocument], eod_id: int, sequence_tokens: int
    ) -> None:
        _check_cover(stream, documents, eod_id)
        self.stream, self.eod_id, self.sequence_tokens = stream, eod_id, sequence_tokens
        self.num_bytes = sum(d.num_bytes for d in documents)
        self.windows = [
            (start, min(sequence_tokens, d.start + d.num_tokens - start), start == d.start)
            for d in documents
            for start in range(d.start, d.start + d.num_tokens, sequence_tokens)
        ]

    @property
    def num_tokens(self) -> int:
        """Tokens that are predicted."""
        return len(self.stream)

    def bits_per_byte(self, nats_per_token: float) -> float:
        """The same loss, spread over the bytes of the text."""
        return nats_per_token * self.num_tokens / math.log(2) / self.num_bytes

    def unigram(self) -> float:
        """Entropy of the split's own token frequencies, in nats a token."""
        counts = np.zeros(0, np.int64)
        for start in range(0, len(self.stream), COUNTED_TOKENS):
            some = np.bincount(self.stream.read(start, min(COUNTED_TOKENS, len(self.stream) - start)))
            size = max(len(counts), len(some))
            counts = np.pad(counts, (0, size - len(counts))) + np.pad(some, (0, size - len(some)))
        fractions = counts[counts > 0] / counts.sum()
        return float(-(fractions * np.log(fractions)).sum())

    def batches(self, size: int, rank: int = 0, num_ranks: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """Windows of this rank, `size` at a time: inputs and targets, B x T, filled up with end tokens and -100."""
        mine = self.windows[rank::num_ranks]
        for first in range(0, len(mine), size):
            pairs = [self._window(*w) for w in mine[first : first + size]]
            yield torch.stack([p[0] for p in pairs]), torch.stack([p[1] for p in pairs])

    def nats_per_token(self, network: Network, size: int, world: World) -> float:
        """The network's mean loss over all tokens of the split, all ranks together."""
        total = torch.zeros((), dtype=torch.float64, device=world.device)
        network.eval()
        with torch.no_grad():
            for inputs_BT, targets_BT in self.batches(size, world.rank, world.size):
                total += network(inputs_BT.to(world.device), targets_BT.to(world.device), reduction="sum")
        network.train()
        return float(world.sum(total)) / self.num_tokens

    def _window(self, start: int, count: int, first: bool) -> tuple[Tensor, Tensor]:  # noqa: FBT001
        targets = torch.full((self.sequence_tokens,), IGNORED)
        targets[:count] = torch.from_numpy(self.stream.read(start, count))
        inputs = torch.full((self.sequence_tokens,), self.eod_id)
        inputs[1:count] = targets[: count - 1]
        if not first:
            inputs[0] = int(self.stream.read(start - 1, 1)[0])
        return inputs, targets


def _check_cover(stream: TokenStream, documents: Sequence[TokenizedDocument], eod_id: int) -> None:
    problems, end = [], 0
    for d in documents:
        if d.start != end:
            problems.append(f"document {d.doc_id} starts at token {d.start}, expected {end}")
        end = d.start + d.num_tokens
        if d.num_tokens < 1 or end > len(stream) or stream.read(end - 1, 1)[0] != eod_id:
            problems.append(f"document {d.doc_id} does not end with the end token {eod_id}")
    if end != len(stream):
        problems.append(f"the documents hold {end} tokens, the token files {len(stream)}")
    if not documents:
        problems = ["no document: validation needs at least one (tokenize.validation_fraction, or more documents)"]
    elif sum(d.num_bytes for d in documents) < 1:
        problems.append("the documents have no bytes of text")
    if problems:
        raise ContractError("the validation split", problems[:20])
