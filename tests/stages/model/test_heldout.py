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

EOD = 0


def held_out(lengths: list[int], sequence_tokens: int = 8, sources: tuple[str, ...] = ("one",)) -> HeldOut:
    """Documents of random tokens, `lengths` with the end token, two bytes a token; sources take turns, one file each."""
    chance = np.random.default_rng(5)
    files: dict[str, list[int]] = {f"{source}.bin": [] for source in sources}
    rows = []
    for number, length in enumerate(lengths):
        source = sources[number % len(sources)]
        file = files[f"{source}.bin"]
        rows.append(document(len(file), length, source))
        file += [*chance.integers(1, 40, length - 1).tolist(), EOD]
    arrays = {name: np.array(tokens, np.uint16) for name, tokens in files.items()}
    return HeldOut(arrays, TokenizedDocument.table(rows), EOD, sequence_tokens)


def document(start: int, num_tokens: int, source: str = "one") -> TokenizedDocument:
    """A row for tokens `start : start + num_tokens` of the source's file."""
    fields = {"doc_id": f"{start:064x}", "split": "validation", "bin": f"{source}.bin", "licence": None}
    return TokenizedDocument(start=start, num_tokens=num_tokens, num_bytes=2 * num_tokens, source=source, **fields)


def loss_of(network: Network, split: HeldOut, size: int) -> list[float]:
    """Nats a token of each source, measured in batches of `size`."""
    with joined() as world:
        found: list[float] = (split.nats(network, size, world) / split.num_tokens_S).tolist()
    return found


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
    """Over all windows the scored targets are the file itself, in order."""
    split = held_out(lengths)
    targets = [t[t != IGNORED] for _, _, t in split.batches(2)]
    assert torch.cat(targets).tolist() == split.files[0].tolist()


def test_every_source_is_predicted_once() -> None:
    """With several sources, whose documents lie in files of their own, each batch is of one source and leaves no token out."""
    split = held_out([3, 20, 9, 1, 17], sources=("b", "a", "c"))
    found: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for source, _, targets in split.batches(2):
        found[source] += targets[targets != IGNORED].tolist()
    assert split.sources == ["a", "b", "c"]
    by_name = {"b": split.files[0], "a": split.files[1], "c": split.files[2]}
    assert found == {i: by_name[name].tolist() for i, name in enumerate(split.sources)}
    assert split.num_tokens_S.tolist() == [37, 4, 9]
    assert split.num_bytes_S.tolist() == [74, 8, 18]


def test_every_prediction_sees_its_own_document_only() -> None:
    """A document's first token is predicted from the end token, a later window's from the token before it."""
    split = held_out([12, 5])
    _, inputs, targets = next(split.batches(10))
    stream = split.files[0].tolist()
    assert inputs[0].tolist() == [EOD, *stream[:7]]
    assert inputs[1].tolist() == [stream[7], *stream[8:11], EOD, EOD, EOD, EOD]
    assert inputs[2].tolist() == [EOD, *stream[12:16], EOD, EOD, EOD]
    assert targets[1].tolist() == [*stream[8:12], *[IGNORED] * 4]


def test_loss_is_the_mean_over_tokens(network: Network) -> None:
    """The number is the sum of -log p, token by token, divided by the number of tokens, whatever the batch size."""
    split = held_out([12, 5, 30, 1], sources=("a", "b"))
    nats, count = [0.0, 0.0], [0, 0]
    with torch.no_grad():
        for source, inputs, targets in split.batches(1):
            log_p = network.logits(inputs).double().log_softmax(-1)[0]
            for position, target in enumerate(targets[0].tolist()):
                if target != IGNORED:
                    nats[source] -= float(log_p[position, target])
                    count[source] += 1
    assert count == [42, 6]
    for size in (1, 3, 100):
        assert loss_of(network, split, size) == pytest.approx([n / c for n, c in zip(nats, count, strict=True)])


def test_rows_are_the_split_and_its_sources() -> None:
    """The first row is all tokens together; with several sources each has a row, and their bytes add up."""
    split = held_out([10, 20], sources=("x", "y"))
    whole, x, y = split.measured(7, np.array([30.0, 40.0]))
    assert [r.name for r in (whole, x, y)] == ["validation", "validation/x", "validation/y"]
    assert (whole.step, whole.value, x.value, y.value) == (7, 70 / 30, 3.0, 2.0)
    assert (x.bits_per_byte, y.bits_per_byte) == pytest.approx((1.5 / math.log(2), 1.0 / math.log(2)))
    assert whole.bits_per_byte == pytest.approx(70 / 60 / math.log(2))
    assert [r.name for r in held_out([10, 20]).measured(1, np.array([1.0]))] == ["validation"]


def test_ranks_take_every_window_once(network: Network) -> None:
    """The windows of all ranks together are those of one rank, and all ranks have as many batches, if with nothing to score."""
    split = held_out([12, 5, 30, 1, 18], sources=("a", "b"))
    alone = [t.tolist() for _, _, targets in split.batches(1) for t in targets]
    batches = [[targets for _, _, targets in split.batches(2, rank, 3)] for rank in range(3)]
    shared = [t.tolist() for own in batches for targets in own for t in targets if bool((t != IGNORED).any())]
    assert len({len(own) for own in batches}) == 1
    assert Counter(map(tuple, alone)) == Counter(map(tuple, shared))


def test_measuring_leaves_the_network_training(network: Network) -> None:
    """Validation makes no gradients and puts the network back in training mode."""
    network.train()
    loss_of(network, held_out([9]), 2)
    assert network.training
    assert all(p.grad is None for p in network.parameters())


def test_unigram_is_the_entropy_of_the_text() -> None:
    """Two tokens, three to one, have the entropy of a textbook's biased coin: 0.8113 bits a token."""
    split = HeldOut({"one.bin": np.array([1, 1, 1, 0])}, TokenizedDocument.table([document(0, 4)]), EOD, 8)
    row = split.unigram()
    assert (row.name, row.step) == ("unigram", 0)
    assert row.value / math.log(2) == pytest.approx(0.8112781244591328)
    assert row.bits_per_byte == pytest.approx(0.8112781244591328 / 2)


def test_unigram_of_pieces_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting a long split in pieces changes nothing, and no fitted unigram model scores below it."""
    split = held_out([300, 200])
    whole = split.unigram()
    monkeypatch.setattr("stages.model.heldout.COUNTED_TOKENS", 7)
    assert split.unigram() == whole
    tokens = split.files[0]
    counts = np.bincount(tokens, minlength=40)
    smoothed = (counts + 1) / (counts + 1).sum()
    assert whole.value <= -np.log(smoothed[tokens]).mean()


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ([], "no document"),
        ([document(1, 5)], "starts at token 1, expected 0"),
        ([document(0, 3)], "does not end with the end token"),
        ([document(0, 4)], "hold 4 tokens, the file 6"),
        ([document(0, 9)], "does not end with the end token"),
        (
            [document(0, 4), document(4, 2), document(0, 5, "two")],
            "two.bin: it holds documents and is not among the token files",
        ),
    ],
)
def test_documents_that_do_not_cover_the_files_are_refused(documents: list[TokenizedDocument], words: str) -> None:
    """Gaps, wrong ends and an empty validation split are contract errors, so that no token is skipped or doubled."""
    files = {"one.bin": np.array([5, 6, 7, EOD, 8, EOD])}
    with pytest.raises(ContractError, match=words):
        HeldOut(files, TokenizedDocument.table(documents), EOD, 8)


def test_text_without_bytes_is_refused() -> None:
    """Bits a byte cannot be told where the rows say that the text has none."""
    row = document(0, 2).model_copy(update={"num_bytes": 0})
    with pytest.raises(ContractError, match="no bytes of text"):
        HeldOut({"one.bin": np.array([5, EOD])}, TokenizedDocument.table([row]), EOD, 8)
