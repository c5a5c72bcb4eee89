import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.manifest import Manifest
from schemas.table import ContractError
from schemas.tokens import Tokenizer, TokenShard
from stages.stream.corpus import open_corpus
from stages.stream.opening import tokens_sha256
from stages.tables import Reader
from tests.stages.index.conftest import LENGTHS, SETTINGS, Corpus, Start, content, opened, rows, run, write_corpus
from tests.stages.model.token_files import write_tables

VOCAB_BELOW = 490


def taken(corpus: Corpus, out: Path) -> list[Counter[str]]:
    """For each step, how many samples of each source."""
    order, datasets = opened(corpus, out)
    size, names = order.order.batch_sequences, [d.source for d in datasets]
    steps = [order.samples.take(s * size, (s + 1) * size) for s in range(order.order.num_steps)]
    return [Counter(names[k] for k in step.datasets.tolist()) for step in steps]


def test_the_order_is_the_settings(corpus: Corpus, start: Start, tmp_path: Path) -> None:
    """One row says all that an order is made of, and of which files."""
    assert start() == 0
    (order,) = rows(tmp_path / "out", "order")
    assert {name: getattr(order, name) for name in SETTINGS} == SETTINGS
    assert (order.kind, order.packing, order.middle_fraction, order.middle_sources) == ("virtual", "contiguous", 0, [])
    assert order.tokens_sha256 == tokens_sha256(open_corpus(Reader(corpus.tokens, TokenShard), "train"))
    assert rows(tmp_path / "out", "arrays") == []


def test_by_size_is_by_size(corpus: Corpus, start: Start, tmp_path: Path) -> None:
    """With no weights given, each source has the weight of its tokens, and the rows say what it has and gives."""
    assert start() == 0
    sizes = {d.source: len(d) for d in open_corpus(Reader(corpus.tokens, TokenShard), "train")}
    mixture = rows(tmp_path / "out", "mixture")
    assert [r.source for r in mixture] == sorted(LENGTHS)
    for row in mixture:
        assert row.weight == pytest.approx(sizes[row.source] / sum(sizes.values()))
        assert (row.num_tokens, row.num_samples) == (sizes[row.source], (sizes[row.source] - 1) // 16)
        assert row.epochs == pytest.approx(row.num_taken / row.num_samples)
        assert (row.first_step, row.last_step) == (1, 30)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"weights": {"big": 1, "small": 2}},
        {"temperature": 3.0},
        {"packing": "best_fit"},
        {"packing": "best_fit", "weights": {"middle": 2, "small": 1}},
        {"phases": [{"until": 0.4, "weights": {"big": 3, "middle": 1}}, {"until": 1, "weights": {"small": 1}}]},
    ],
)
def test_the_run_takes_what_the_mixture_promises(
    settings: dict[str, Any], corpus: Corpus, start: Start, tmp_path: Path
) -> None:
    """Counted over all steps of a phase, the samples of each source are those of its row; in every step, within two."""
    assert start(**settings) == 0
    steps, mixture = taken(corpus, tmp_path / "out"), rows(tmp_path / "out", "mixture")
    for row in mixture:
        phase = steps[row.first_step - 1 : row.last_step]
        assert sum(step[row.source] for step in phase) == row.num_taken
        off = 2 if settings.get("order") == "megatron" else 1
        assert all(abs(step[row.source] - 10 * row.weight) < off for step in phase)
    assert sum(row.num_taken for row in mixture) == 300


def test_phases_cover_the_run(start: Start, tmp_path: Path) -> None:
    """Phases follow one another without a gap, and epochs add up over them."""
    phases = [{"until": 0.25, "weights": {"big": 1, "small": 1}}, {"until": 0.5}, {"until": 1, "weights": {"small": 1}}]
    assert start(phases=phases) == 0
    mixture = rows(tmp_path / "out", "mixture")
    assert sorted({(r.phase, r.first_step, r.last_step) for r in mixture}) == [(0, 1, 8), (1, 9, 15), (2, 16, 30)]
    small = [r for r in mixture if r.source == "small"]
    assert small[-1].epochs == pytest.approx(sum(r.num_taken for r in small) / small[0].num_samples)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"phases": [{"until": 0.5}, {"until": 1, "weights": {"small": 1}}]},
        {"packing": "best_fit"},
        {"packing": "best_fit", "weights": {"big": 2, "small": 1}},
        {"order": "megatron", "weights": {"big": 2, "small": 1}},
    ],
)
def test_shards_write_what_one_writes(settings: dict[str, Any], corpus: Corpus, start: Start, tmp_path: Path) -> None:
    """Two or five shards and a commit give the rows and files of one process, though each works on its own sources."""
    assert start(**settings) == 0
    for count in (2, 5):
        out = tmp_path / f"out-{count}"
        for index in reversed(range(count)):
            assert run(corpus, out, "--shard", f"{index}/{count}", **settings) == 0
        assert run(corpus, out, "--commit", str(count), **settings) == 0
        assert content(out) == content(tmp_path / "out")


def test_a_run_without_reading_writes_the_same(corpus: Corpus, start: Start, tmp_path: Path) -> None:
    """Without `verify` the rows are the same, to the bit, and a changed byte goes by unseen."""
    assert start() == 0
    flip(corpus.files / "train-big-0.bin")
    assert run(corpus, tmp_path / "unread", verify=False) == 0
    assert content(tmp_path / "unread") == content(tmp_path / "out")


def test_the_mixture_is_printed(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """Before training one reads what is taken of each source, how often, what is left out, and what is too often."""
    assert start(weights={"small": 3, "big": 1}) == 0
    words = capsys.readouterr().out
    lines = {line.split()[1]: line.split() for line in words.splitlines() if line.startswith("1-30")}
    assert lines["big"][2] == "0.2500"
    assert lines["big"][5] == "75"
    assert float(lines["small"][6]) > 4
    assert "not taken: middle" in words
    assert "warning: small: " in words
    assert "above max_epochs 4" in words


def test_too_many_epochs_are_refused_if_asked_to(start: Start, tmp_path: Path, capsys: Any) -> None:
    """`over_epochs: refuse` makes the warning a settings error, and no output is there."""
    assert start(weights={"small": 3, "big": 1}, over_epochs="refuse") == 2
    assert "index: small: " in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert start(weights={"small": 3, "big": 1}, over_epochs="refuse", max_epochs=50) == 0


def test_sample_rows_have_the_contracts(start: Start, tmp_path: Path) -> None:
    """A stub run writes rows of all three tables without looking at a file."""
    assert start("--stub") == 0
    assert all(rows(tmp_path / "out", name) for name in ("order", "mixture", "arrays"))
    assert Manifest.read(tmp_path / "out").stub


def test_best_fit_cuts_no_document_that_fits(corpus: Corpus, start: Start, tmp_path: Path) -> None:
    """Samples of best fit are whole documents wherever a document fits, and all of them together are all tokens."""
    assert start(packing="best_fit", sequence_tokens=64) == 0
    order, datasets = opened(corpus, tmp_path / "out")
    mixture = {row.source: row for row in rows(tmp_path / "out", "mixture")}
    for k, dataset in enumerate(datasets):
        lengths = np.concatenate([file.document_lengths() for file in dataset.files])
        starts = np.cumsum(lengths) - lengths
        num_samples = mixture[dataset.source].num_samples
        spans = [s for i in range(num_samples) for s in order.samples.spans(k, i)]
        assert sorted(spans) == sorted(zip(starts.tolist(), lengths.tolist(), strict=True))
        assert all(sum(s.length for s in order.samples.spans(k, i)) <= 65 for i in range(num_samples))


def test_the_arrays_are_megatrons(corpus: Corpus, start: Start, tmp_path: Path) -> None:
    """Every array of the order is in the table with its source, and is what the algorithm's definition gives."""
    assert start(order="megatron", weights={"big": 2, "small": 1}) == 0
    found = {(r.source, r.name): np.load(tmp_path / "out" / r.file.path) for r in rows(tmp_path / "out", "arrays")}
    assert {source for source, _ in found} == {"", "big", "small"}
    errors, expected = np.zeros(2), []
    for n in range(len(found["", "dataset_index"])):
        k = int(np.argmax(np.array([2 / 3, 1 / 3]) * max(n, 1) - errors))
        expected.append(k)
        errors[k] += 1
    assert len(expected) >= 300
    assert found["", "dataset_index"].tolist() == expected
    (big,) = (d for d in open_corpus(Reader(corpus.tokens, TokenShard), "train") if d.source == "big")
    order = found["big", "document_index"]
    assert sorted(order.tolist()) == list(range(len(big.document_lengths())))
    rows_of_samples = found["big", "sample_index"]
    ends = np.cumsum(big.document_lengths()[order])
    starts = np.concatenate([[0], ends])[rows_of_samples[:, 0]] + rows_of_samples[:, 1]
    assert starts.tolist() == [16 * i for i in range(len(rows_of_samples))]


def test_what_packing_costs_is_printed(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """One reads how many samples a source's documents fill, and how much of them is empty."""
    assert start(packing="best_fit", sequence_tokens=64, weights={"big": 1}) == 0
    words = capsys.readouterr().out
    assert "big: " in words
    assert "% empty; 0 of them cut" in words
    assert "small: " not in words


# ---- what is refused


def flip(file: Path) -> None:
    """Turn a bit of the tenth byte round."""
    data = bytearray(file.read_bytes())
    data[9] ^= 4
    file.write_bytes(data)


def test_a_flipped_byte_is_named_with_its_file(corpus: Corpus, start: Start, capsys: Any) -> None:
    """One wrong bit in a `.bin`, and one in an `.idx`, of either split, end the stage with exit status 3 and both names."""
    flip(corpus.files / "train-middle-1.bin")
    flip(corpus.files / "validation-big-0.idx")
    assert start() == 3
    words = capsys.readouterr().err
    assert "train-middle-1.bin: expected SHA-256" in words
    assert "validation-big-0.idx" in words


def test_the_shard_of_a_broken_file_fails_alone(corpus: Corpus, tmp_path: Path, capsys: Any) -> None:
    """Of two shards only that with the broken file's source fails, and nothing can be committed."""
    flip(corpus.files / "train-small-0.bin")
    codes = [run(corpus, tmp_path / "out", "--shard", f"{i}/2") for i in range(2)]
    assert sorted(codes) == [0, 3]
    capsys.readouterr()
    assert run(corpus, tmp_path / "out", "--commit", "2") == 3
    assert "is not done" in capsys.readouterr().err


@pytest.mark.parametrize("cut", [20, 100])
def test_an_index_cut_short_is_refused(cut: int, corpus: Corpus, start: Start, capsys: Any) -> None:
    """An `.idx` that ends in its header or in its lengths is named with the size that was recorded."""
    file = corpus.files / "train-big-1.idx"
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:cut])
    assert start() == 3
    words = capsys.readouterr().err
    assert "train-big-1.idx" in words
    assert f"expected {size} bytes, found {cut}" in words


def test_a_missing_file_is_refused(corpus: Corpus, start: Start, capsys: Any) -> None:
    """A `.bin` that is gone is named, together with everything else that is wrong."""
    (corpus.files / "train-big-0.bin").unlink()
    flip(corpus.files / "train-small-0.bin")
    assert start() == 3
    words = capsys.readouterr().err
    assert "train-big-0.bin" in words
    assert "missing" in words
    assert "train-small-0.bin: expected SHA-256" in words


def changed(corpus: Corpus, folder: Path, **fields: Any) -> Corpus:
    """The corpus with another tokenizer row."""
    (row,) = Reader(corpus.tokenizer, Tokenizer).rows()
    tables = write_tables(folder, {"tokenizer": (Tokenizer, [row.model_copy(update=fields)])})
    return corpus._replace(tokenizer=tables["tokenizer"])


def test_shards_of_another_tokenizer_are_refused(corpus: Corpus, tmp_path: Path, capsys: Any) -> None:
    """Every file is named with the tokenizer that made it and the one that was given."""
    (row,) = Reader(corpus.tokenizer, Tokenizer).rows()
    other = changed(corpus, tmp_path / "t", file=row.file.model_copy(update={"sha256": "1" * 64}))
    assert run(other, tmp_path / "out") == 3
    assert capsys.readouterr().err.count("given is 111111111111") == 12


def test_ids_above_the_vocabulary_are_refused(corpus: Corpus, tmp_path: Path, capsys: Any) -> None:
    """Files with ids that the tokenizer does not have are named with their number and the first place."""
    assert run(changed(corpus, tmp_path / "t", vocab_size=VOCAB_BELOW), tmp_path / "out") == 3
    words = capsys.readouterr().err
    assert f"are not in 0..{VOCAB_BELOW - 1}, the tokenizer's vocabulary; the first is" in words


@pytest.mark.parametrize("lengths", [{}, {"a": 0}])
def test_a_corpus_with_no_tokens_is_refused(lengths: dict[str, int], tmp_path: Path, capsys: Any) -> None:
    """No file, or files without a token, are a contract error that says so."""
    corpus = write_corpus(tmp_path / "corpus", lengths)
    empty = [
        row.model_copy(update={"num_tokens": 0, "num_documents": 0}) for row in Reader(corpus.tokens, TokenShard).rows()
    ]
    tables = write_tables(tmp_path / "t", {"tokens": (TokenShard, empty)})
    assert run(corpus._replace(tokens=tables["tokens"]), tmp_path / "out") == 3
    assert "no token in the training files" in capsys.readouterr().err


def test_too_few_tokens_are_refused(start: Start, capsys: Any) -> None:
    """A corpus whose largest source is shorter than a sample is a contract error that says what a sample needs."""
    assert start(sequence_tokens=100_000) == 3
    words = capsys.readouterr().err
    assert "in the largest source, 'big', but a sample needs 100001" in words


def test_a_source_too_small_for_its_weight_is_refused(start: Start, tmp_path: Path, capsys: Any) -> None:
    """A source without the tokens of one sample cannot be asked for; by size it is left out, and one is told."""
    settings = {"sequence_tokens": 512}
    assert start(**settings, weights={"small": 1, "big": 1}) == 3
    assert "small: it has a weight and" in capsys.readouterr().err
    assert start(**settings) == 0
    assert "not taken: small" in capsys.readouterr().out
    assert [r.source for r in rows(tmp_path / "out", "mixture")] == ["big", "middle"]


def test_names_that_no_source_has_are_refused(start: Start, capsys: Any) -> None:
    """A misspelt source in weights, phases or middle_sources is a settings error with the nearest name."""
    assert start(weights={"bgi": 1, "smal": 2}) == 2
    words = capsys.readouterr().err
    assert "'bgi', which the corpus does not have; the nearest of its sources: 'big'" in words
    assert "'small'" in words
    assert start(phases=[{"until": 1, "weights": {"midle": 1}}]) == 2
    assert "'middle'" in capsys.readouterr().err
    assert start(middle_fraction=0.5, middle_sources=["bigg"]) == 2
    assert "index.middle_sources names 'bigg'" in capsys.readouterr().err


def test_more_sources_than_16_bits_are_refused(corpus: Corpus, tmp_path: Path, capsys: Any) -> None:
    """32,768 sources cannot be mixed, and that is said before any file is opened."""
    (row, *_) = Reader(corpus.tokens, TokenShard).rows()
    many = [row.model_copy(update={"source": f"s{i}"}) for i in range(32_768)]
    tables = write_tables(tmp_path / "t", {"tokens": (TokenShard, many)})
    assert run(corpus._replace(tokens=tables["tokens"]), tmp_path / "out") == 2
    assert "32,768 sources, at most 32,767 can be mixed" in capsys.readouterr().err


def test_other_tokens_are_not_opened_with_this_order(corpus: Corpus, start: Start, tmp_path: Path) -> None:
    """An order and the files of another corpus are refused together, though names and sizes could agree."""
    assert start() == 0
    other = write_corpus(tmp_path / "other", {**LENGTHS, "small": 400})
    with pytest.raises(ContractError, match="run index again"):
        opened(other, tmp_path / "out")


def test_opening_needs_no_token(corpus: Corpus, start: Start, tmp_path: Path) -> None:
    """The same output opened twice gives the same samples; the digest of a step is that of its samples."""
    assert start() == 0
    (one, _), (two, _) = opened(corpus, tmp_path / "out"), opened(corpus, tmp_path / "out")
    for first in (0, 10, 290):
        a, b = one.samples.take(first, first + 10), two.samples.take(first, first + 10)
        assert np.array_equal(a.samples, b.samples)
        assert a.digest() == b.digest()


def test_settings_are_recorded(start: Start, tmp_path: Path) -> None:
    """The manifest has nested settings as they were given."""
    phases = [{"until": 0.5, "weights": {"big": 1.0}}, {"until": 1.0, "weights": {}}]
    assert start(phases=phases) == 0
    assert json.loads(Manifest.read(tmp_path / "out").model_dump_json())["settings"]["phases"] == phases
