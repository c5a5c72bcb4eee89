import math
from collections import Counter

import numpy as np
import pytest
import torch

from schemas.table import ContractError
from schemas.tokens import TokenizedDocument
from stages.model.distributed import World, joined
from stages.model.heldout import EVERYTHING, HeldOut, Wanted
from stages.model.network import IGNORED, Network, Sizes
from stages.model.parallelize import Parallelism
from stages.stream.domains import DOMAINS, NO_TEXT, Domains
from tests.stages.model import ranks
from tests.stages.model.training import SIZES, Way, make

EOD = 0
WRITTEN = [b"", *(b" %d" % n for n in range(1, 20)), *(b" word%c" % n for n in range(97, 117))]
DIGITS = range(1, 20)  # ids that write a number; the others write a word


def held_out(
    lengths: list[int], sequence_tokens: int = 8, sources: tuple[str, ...] = ("one",), wanted: Wanted = EVERYTHING
) -> HeldOut:
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
    return HeldOut(arrays, TokenizedDocument.table(rows), EOD, sequence_tokens, wanted)


def document(start: int, num_tokens: int, source: str = "one") -> TokenizedDocument:
    """A row for tokens `start : start + num_tokens` of the source's file."""
    fields = {"doc_id": f"{start:064x}", "split": "validation", "bin": f"{source}.bin", "licence": None}
    return TokenizedDocument(start=start, num_tokens=num_tokens, num_bytes=2 * num_tokens, source=source, **fields)


def loss_of(network: Network, split: HeldOut, size: int) -> list[float]:
    """Nats a token of each source, measured in batches of `size`."""
    with joined() as world:
        found: list[float] = (split.nats(network, size, world).sum(axis=1) / split.num_tokens_S).tolist()
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
    targets = [b.targets_BT[b.targets_BT != IGNORED] for b in split.batches(2)]
    assert torch.cat(targets).tolist() == split.files[0].tolist()


def test_every_source_is_predicted_once() -> None:
    """With several sources, whose documents lie in files of their own, each batch is of one source and leaves no token out."""
    split = held_out([3, 20, 9, 1, 17], sources=("b", "a", "c"))
    found: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for source, _, targets, _ in split.batches(2):
        found[source] += targets[targets != IGNORED].tolist()
    assert split.sources == ["a", "b", "c"]
    by_name = {"b": split.files[0], "a": split.files[1], "c": split.files[2]}
    assert found == {i: by_name[name].tolist() for i, name in enumerate(split.sources)}
    assert split.num_tokens_S.tolist() == [37, 4, 9]
    assert split.num_bytes_S.tolist() == [74, 8, 18]


def test_every_prediction_sees_its_own_document_only() -> None:
    """A document's first token is predicted from the end token, a later window's from the token before it."""
    split = held_out([12, 5])
    _, inputs, targets, _ = next(split.batches(10))
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
        for source, inputs, targets, _ in split.batches(1):
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
    whole, x, y = split.measured(7, np.array([[10.0, 20.0], [15.0, 25.0]]))
    assert [r.name for r in (whole, x, y)] == ["validation", "validation/x", "validation/y"]
    assert (whole.step, whole.value, x.value, y.value) == (7, 70 / 30, 3.0, 2.0)
    assert (x.bits_per_byte, y.bits_per_byte) == pytest.approx((1.5 / math.log(2), 1.0 / math.log(2)))
    assert whole.bits_per_byte == pytest.approx(70 / 60 / math.log(2))
    assert [r.name for r in held_out([10, 20]).measured(1, np.ones((1, 2)))] == ["validation"]


def test_ranks_take_every_window_once(network: Network) -> None:
    """The windows of all ranks together are those of one rank, and all ranks have as many batches, if with nothing to score."""
    split = held_out([12, 5, 30, 1, 18], sources=("a", "b"))
    alone = [t.tolist() for batch in split.batches(1) for t in batch.targets_BT]
    batches = [[batch.targets_BT for batch in split.batches(2, rank, 3)] for rank in range(3)]
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


def test_domains_are_a_float64_sum(network: Network) -> None:
    """By domain: nats of -log p in float64, token by token, over the bytes that the same tokens write; ends count for none."""
    split = held_out([12, 5, 30, 1], sources=("a", "b"), wanted=Wanted(domains=Domains(WRITTEN)))
    nats, count, size = Counter[str](), Counter[str](), Counter[str]()
    for row in split.documents.to_pylist():
        ids = split.files["ab".index(row["source"])][row["start"] :][: row["num_tokens"] - 1].tolist()
        for i, target in enumerate(ids):
            first = i - i % 8  # of the window
            seen = torch.tensor([[EOD if first == 0 else ids[first - 1], *ids[first:i]]])
            with torch.no_grad():
                log_p = network.logits(seen)[0, -1].double().log_softmax(-1)
            domain = "number" if target in DIGITS else "prose"
            nats[domain] -= float(log_p[target])
            count[domain] += 1
            size[domain] += len(WRITTEN[target])
    with joined() as world:
        rows = {r.domain: r for r in split.by_domain(3, split.nats(network, 3, world))}
    assert set(rows) == {"all", "number", "prose"}
    for domain in ("number", "prose"):
        row = rows[domain]
        assert (row.step, row.num_tokens, row.num_bytes) == (3, count[domain], size[domain])
        assert row.nats == pytest.approx(nats[domain], rel=1e-6)
        assert row.bits_per_byte == pytest.approx(nats[domain] / math.log(2) / size[domain], rel=1e-6)
        assert row.perplexity == pytest.approx(math.exp(nats[domain] / count[domain]), rel=1e-6)
    assert rows["all"].nats == pytest.approx(nats.total(), rel=1e-6)
    assert (rows["all"].num_tokens, rows["all"].num_bytes) == (count.total(), size.total())


def test_domains_and_ends_are_all_of_the_loss(network: Network) -> None:
    """What the domains leave out of the whole loss is that of the end tokens, one a document."""
    split = held_out([12, 5, 30, 1], wanted=Wanted(domains=Domains(WRITTEN)))
    with joined() as world:
        nats_SD = split.nats(network, 4, world)
    (whole,), everything = split.measured(0, nats_SD), split.by_domain(0, nats_SD)[0]
    assert whole.value * 48 == pytest.approx(everything.nats + nats_SD[0, NO_TEXT])
    assert everything.num_tokens == 48 - 4
    assert nats_SD[0, NO_TEXT] > 0


def test_without_domains_there_is_the_whole_only(network: Network) -> None:
    """A vocabulary whose bytes cannot be told has its loss, no row by domain, and no domain of a document."""
    split = held_out([12, 5])
    with joined() as world:
        nats_SD = split.nats(network, 4, world)
    assert split.by_domain(0, nats_SD) == []
    assert split.measured(0, nats_SD)[0].value > 0
    assert [d.domain for d in split.measured_documents()] == [None, None]


def test_a_hopeless_loss_is_a_row() -> None:
    """A perplexity that no float holds is infinite, not an error in the middle of a run."""
    split = held_out([12], wanted=Wanted(domains=Domains(WRITTEN)))
    nats_SD = np.full((1, NO_TEXT + 1), 1e6)
    assert split.by_domain(0, nats_SD)[0].perplexity == math.inf


def test_documents_say_their_domain() -> None:
    """A measured document has its id, its size, and the domain of most of its bytes."""
    tokens = np.array([25, 25, 25, 1, EOD, 1, 2, 3, EOD, EOD])
    rows = [document(0, 5), document(5, 4), document(9, 1)]
    split = HeldOut({"one.bin": tokens}, TokenizedDocument.table(rows), EOD, 8, Wanted(domains=Domains(WRITTEN)))
    found = split.measured_documents()
    assert [d.domain for d in found] == ["prose", "number", None]
    assert [(d.doc_id, d.num_tokens, d.num_bytes) for d in found] == [
        (r.doc_id, r.num_tokens, r.num_bytes) for r in rows
    ]


def test_a_part_is_whole_documents_by_seed() -> None:
    """As many documents as fit, the same ones in any order of the table, others by another seed, one at least."""
    tokens = np.array([*[5, 6, EOD] * 40])
    rows = [document(3 * i, 3) for i in range(40)]

    def chosen(max_tokens: int, seed: int = 0) -> list[int]:
        split = HeldOut({"one.bin": tokens}, TokenizedDocument.table(rows), EOD, 8, Wanted(max_tokens, seed))
        return [int(d.doc_id, 16) for d in split.measured_documents()]

    assert len(chosen(31)) == 10
    assert set(chosen(31)) < set(chosen(60)) < set(chosen(0))
    assert chosen(31) == sorted(chosen(31))
    assert chosen(31, seed=1) != chosen(31)
    assert len(chosen(1)) == 1
    assert chosen(120) == chosen(0) == [3 * i for i in range(40)]


def test_a_part_is_measured_by_itself(network: Network) -> None:
    """Tokens, windows, bytes and the unigram baseline are those of the chosen documents alone."""
    split = held_out([9, 20, 14, 5, 11, 30], sources=("a", "b"), wanted=Wanted(40, 3))
    documents = split.documents.to_pylist()
    assert 0 < sum(d["num_tokens"] for d in documents) <= 40
    tokens = [np.array(split.files["ab".index(d["source"])][d["start"] :][: d["num_tokens"]]) for d in documents]
    found = [b.targets_BT[b.targets_BT != IGNORED] for b in split.batches(3)]
    assert sorted(torch.cat(found).tolist()) == sorted(np.concatenate(tokens).tolist())
    fractions = np.unique(np.concatenate(tokens), return_counts=True)[1] / sum(map(len, tokens))
    assert split.unigram().value == pytest.approx(float(-(fractions * np.log(fractions)).sum()))
    assert split.num_bytes_S.sum() == 2 * sum(map(len, tokens))
    assert len(loss_of(network, split, 2)) == len(split.sources)


def measured(world: World, ways: list[Way]) -> list[list[float]]:
    """Loss by source and domain under each of these layouts."""
    words = [b"" if n == 0 else b" %d" % n if n % 3 else b" word" for n in range(SIZES.vocab_size)]
    split = held_out([12, 40, 7, 33, 21], SIZES.context_tokens, ("a", "b"), Wanted(domains=Domains(words)))
    found = []
    for way in ways:
        engine = make(world, way)
        found.append(split.nats(engine.network, 2, engine.layout.data).flatten().tolist())
    return found


@pytest.mark.slow
def test_every_layout_measures_the_same() -> None:
    """Data, tensor and sequence ranks find the loss of one process in every source and domain."""
    ((alone,),) = ranks.run(1, measured, [Way()])
    ways = [
        Way(),
        Way(Parallelism(zero_stage=3)),
        Way(Parallelism(tensor_parallel=2)),
        Way(Parallelism(sequence_parallel=2)),
        Way(settings={"engine": "deepspeed"}),
    ]
    assert sum(n > 0 for n in alone) == 2 * len(("number", "prose", "end"))
    assert len(alone) == 2 * (len(DOMAINS) + 1)
    for answer in ranks.run(2, measured, ways):
        for way, nats in zip(ways, answer, strict=True):
            assert nats == pytest.approx(alone, rel=1e-5), way
