import math
from collections import Counter

import numpy as np
import pytest
import torch

from schemas.table import ContractError
from schemas.tokens import TokenizedDocument
from stages.model.distributed import joined
from stages.model.heldout import HeldOut
from stages.model.network import IGNORED, Network, Sizes
from stages.model.stream import TokenStream

EOD = 0


def held_out(lengths: list[int], sequence_tokens: int = 8) -> HeldOut:
    """Documents of random tokens, `lengths` with the end token, two bytes a token."""
    chance = np.random.default_rng(5)
    tokens = [np.append(chance.integers(1, 40, n - 1), EOD) for n in lengths]
    starts = np.cumsum(lengths) - lengths
    documents = [document(int(s), n) for s, n in zip(starts, lengths, strict=True)]
    return HeldOut(TokenStream([np.concatenate(tokens)]), documents, EOD, sequence_tokens)


def document(start: int, num_tokens: int) -> TokenizedDocument:
    """A row for tokens `start : start + num_tokens`."""
    fields = {"doc_id": f"{start:064x}", "split": "validation", "shard": 0, "source": "", "licence": None}
    return TokenizedDocument(start=start, num_tokens=num_tokens, num_bytes=2 * num_tokens, **fields)


@pytest.fixture(scope="module")
def network() -> Network:
    """A network of 8 tokens of context that has learned nothing but is not uniform."""
    torch.manual_seed(0)
    network = Network(Sizes.of_depth(1, 40, 8, width=32))
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return network


@pytest.mark.parametrize("lengths", [[3], [8], [9], [16, 1, 20], [1, 1, 1]])
def test_every_token_is_predicted_once(lengths: list[int]) -> None:
    """Over all windows the scored targets are the stream itself, in order."""
    split = held_out(lengths)
    targets = [t[t != IGNORED] for _, t in split.batches(2)]
    assert torch.cat(targets).tolist() == split.stream.read(0, sum(lengths)).tolist()


def test_every_prediction_sees_its_own_document_only() -> None:
    """A document's first token is predicted from the end token, a later window's from the token before it."""
    split = held_out([12, 5])
    inputs, targets = next(split.batches(10))
    stream = split.stream.read(0, 17).tolist()
    assert inputs[0].tolist() == [EOD, *stream[:7]]
    assert inputs[1].tolist() == [stream[7], *stream[8:11], EOD, EOD, EOD, EOD]
    assert inputs[2].tolist() == [EOD, *stream[12:16], EOD, EOD, EOD]
    assert targets[1].tolist() == [*stream[8:12], *[IGNORED] * 4]


def test_loss_is_the_mean_over_tokens(network: Network) -> None:
    """The number is the sum of -log p, token by token, divided by the number of tokens, whatever the batch size."""
    split = held_out([12, 5, 30, 1])
    nats, count = 0.0, 0
    with torch.no_grad():
        for inputs, targets in split.batches(1):
            log_p = network.logits(inputs).double().log_softmax(-1)[0]
            for position, target in enumerate(targets[0].tolist()):
                if target != IGNORED:
                    nats, count = nats - float(log_p[position, target]), count + 1
    with joined() as world:
        found = [split.nats_per_token(network, size, world) for size in (1, 3, 100)]
    assert count == 48
    assert found == pytest.approx([nats / count] * 3, rel=1e-6)


def test_ranks_take_every_window_once(network: Network) -> None:
    """The windows of all ranks together are the windows of one rank."""
    split = held_out([12, 5, 30, 1])
    alone = [t.tolist() for _, targets in split.batches(1) for t in targets]
    shared = [t.tolist() for rank in range(3) for _, targets in split.batches(1, rank, 3) for t in targets]
    assert Counter(map(tuple, alone)) == Counter(map(tuple, shared))


def test_measuring_leaves_the_network_training(network: Network) -> None:
    """Validation makes no gradients and puts the network back in training mode."""
    network.train()
    with joined() as world:
        held_out([9]).nats_per_token(network, 2, world)
    assert network.training
    assert all(p.grad is None for p in network.parameters())


def test_unigram_is_the_entropy_of_the_text() -> None:
    """Two tokens, three to one, have the entropy of a textbook's biased coin: 0.8113 bits."""
    stream = TokenStream([np.array([1, 1, 1, 0])])
    split = HeldOut(stream, [document(0, 4)], EOD, 8)
    assert split.unigram() / math.log(2) == pytest.approx(0.8112781244591328)


def test_unigram_of_pieces_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting a long split in pieces changes nothing, and no fitted unigram model scores below it."""
    split = held_out([300, 200])
    whole = split.unigram()
    monkeypatch.setattr("stages.model.heldout.COUNTED_TOKENS", 7)
    assert split.unigram() == whole
    tokens = split.stream.read(0, 500)
    counts = np.bincount(tokens, minlength=40)
    smoothed = (counts + 1) / (counts + 1).sum()
    assert whole <= -np.log(smoothed[tokens]).mean()


def test_bits_per_byte_is_tokenizer_free() -> None:
    """A loss of n nats a token over N tokens of 2 bytes each is n / log(2) / 2 bits a byte."""
    assert held_out([10, 20]).bits_per_byte(3.0) == pytest.approx(3.0 / math.log(2) / 2)


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ([], "no document"),
        ([document(1, 5)], "starts at token 1, expected 0"),
        ([document(0, 3)], "does not end with the end token"),
        ([document(0, 4)], "hold 4 tokens, the token files 6"),
        ([document(0, 9)], "does not end with the end token"),
    ],
)
def test_documents_that_do_not_cover_the_stream_are_refused(documents: list[TokenizedDocument], words: str) -> None:
    """Gaps, wrong ends and an empty validation split are contract errors, so that no token is skipped or doubled."""
    stream = TokenStream([np.array([5, 6, 7, EOD, 8, EOD])])
    with pytest.raises(ContractError, match=words):
        HeldOut(stream, documents, EOD, 8)
