"""The stage: documents to token files, every token accounted for, whatever the number of shards."""

import random
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer as Reference
from tokenizers import decoders, models, normalizers, pre_tokenizers

from schemas.manifest import Manifest
from schemas.table import BlobRef
from schemas.tokens import SplitRule, TokenizedDocument, Tokenizer, TokenShard
from stages.stream.megatron import Indexed, open_indexed
from stages.stream.split import held_out
from stages.tables import Reader
from stages.tokenize import Tokenize, encode
from tests.stages.tokenize.conftest import Inputs, Maker, doc_id
from tests.tables import write_table


def rows(table: Path) -> list[dict[str, Any]]:
    """Read a table."""
    return list(pq.read_table(sorted(table.glob("part-*"))).to_pylist())


def files(out: Path) -> dict[str, tuple[TokenShard, Indexed]]:
    """Open the token files by the path of their ids, as a trainer does."""
    reader = Reader(out / "shards", TokenShard)
    return {s.bin.path: (s, open_indexed(reader.open_path(s.bin), reader.open_path(s.idx))) for s in reader.rows()}


def datasets(out: Path) -> dict[tuple[str, str], bytes]:
    """The ids of each split and source: the bytes of its files, one after the other."""
    found: dict[tuple[str, str], bytes] = defaultdict(bytes)
    for shard in Reader(out / "shards", TokenShard).rows():
        found[shard.split, shard.source] += (out / shard.bin.path).read_bytes()
    return dict(found)


def blanks_vanish(file: Path, num_unused: int = 0) -> Path:
    """Write a tokenizer that strips white space, so that a blank text gives no token; ids 1 and 2 are not used."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"</s>": 0} | {c: i + 3 for i, c in enumerate(alphabet)}
    vocab |= {f"<unused {i}>": 300 + i for i in range(num_unused)}
    tokenizer = Reference(models.BPE(vocab, []))
    tokenizer.normalizer = normalizers.Strip()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["</s>"])
    tokenizer.save(str(file))
    return file


def test_every_token_is_a_documents(tmp_path: Path, make_inputs: Maker, articles: list[str], small: Path) -> None:
    """Each row's run of its file decodes to the document and ends with the end token; nothing is between or left over."""
    assert make_inputs(articles, sources=["a", "b"]).run(tmp_path / "out") == 0
    tokenizer, opened = Reference.from_file(str(small)), files(tmp_path / "out")
    ends: dict[str, int] = defaultdict(int)
    found = rows(tmp_path / "out" / "documents")
    for number, (row, text) in enumerate(zip(found, articles, strict=True)):
        shard, indexed = opened[row["bin"]]
        assert (row["doc_id"], row["source"]) == (doc_id(number), "ab"[number % 2])
        assert (row["split"], row["source"]) == (shard.split, shard.source)
        assert row["start"] == ends[row["bin"]]
        ends[row["bin"]] += row["num_tokens"]
        ids = indexed.tokens[row["start"] : ends[row["bin"]]]
        assert ids[-1] == 0
        assert (ids[:-1] >= 8).all()
        assert tokenizer.decode(ids[:-1].tolist()) == text
        assert row["num_bytes"] == len(text.encode())
    assert ends == {path: len(indexed.tokens) for path, (_, indexed) in opened.items()}
    assert [row["licence"] for row in found] == [None, "CC-BY-4.0"] * 20


def test_tables_agree_with_files(tmp_path: Path, make_inputs: Maker, articles: list[str]) -> None:
    """Rows of shards say what is in the files, digests included, and nothing else lies beside them."""
    inputs, out = make_inputs(articles, sources=["a", "b"]), tmp_path / "out"
    assert inputs.run(out) == 0
    documents = list(Reader(out / "documents", TokenizedDocument).rows())
    (tokenizer,) = rows(inputs.tokenizer)
    for shard, indexed in files(out).values():
        mine = [d for d in documents if d.bin == shard.bin.path]
        assert (shard.num_documents, shard.num_tokens) == (len(mine), sum(d.num_tokens for d in mine))
        assert indexed.lengths.tolist() == [d.num_tokens for d in mine]
        assert (shard.dtype, shard.tokenizer_sha256) == ("uint16", tokenizer["file"]["sha256"])
        assert [shard.bin, shard.idx] == [type(b).of(out / b.path, out) for b in (shard.bin, shard.idx)]
    left = {str(f.relative_to(out)) for f in (out / "tokens").rglob("*.*")}
    assert left == {b.path for s, _ in files(out).values() for b in (s.bin, s.idx)}
    assert sorted((s.split, s.source) for s, _ in files(out).values()) == [
        (split, source) for split in ("train", "validation") for source in "ab"
    ]


def test_split_is_by_document(tmp_path: Path, make_inputs: Maker, articles: list[str]) -> None:
    """A document goes to the side that the rule says for its id, whatever else is in the corpus."""
    inputs = make_inputs(articles, below=0.4)
    assert inputs.run(tmp_path / "out") == 0
    (rule,) = Reader(inputs.split, SplitRule).rows()
    found = rows(tmp_path / "out" / "documents")
    mask = held_out(rule, [row["doc_id"] for row in found])
    assert [row["split"] == "validation" for row in found] == mask.tolist()
    assert 0 < mask.sum() < len(mask)


def test_no_validation_wanted(tmp_path: Path, make_inputs: Maker, articles: list[str]) -> None:
    """A threshold of 0 gives one pair of files, for training."""
    assert make_inputs(articles[:3], below=0.0).run(tmp_path / "out") == 0
    assert [(s.split, s.num_documents) for s, _ in files(tmp_path / "out").values()] == [("train", 3)]


@pytest.mark.parametrize("encoder", ["gigatoken", "fastokens", "tokenizers"])
def test_text_is_never_a_special_id(tmp_path: Path, make_inputs: Maker, articles: list[str], encoder: str) -> None:
    """Documents that spell special tokens end once each, and no other special id is in the files."""
    texts = [f"<|endoftext|>{a}<|user|>\n<|end|>" for a in articles[:6]]
    assert make_inputs(texts).run(tmp_path / "out", encoder=encoder) == 0
    for _, indexed in files(tmp_path / "out").values():
        assert np.flatnonzero(indexed.tokens < 8).tolist() == (np.cumsum(indexed.lengths) - 1).tolist()


@pytest.mark.parametrize("encoder", ["gigatoken", "fastokens", "tokenizers"])
def test_the_encoder_does_not_matter(tmp_path: Path, many: Inputs, encoder: str) -> None:
    """All encoders give the same files, and a stage has the same address with each."""
    assert many.run(tmp_path / "auto") == 0
    assert many.run(tmp_path / encoder, encoder=encoder) == 0
    assert datasets(tmp_path / "auto") == datasets(tmp_path / encoder)
    assert rows(tmp_path / "auto" / "documents") == rows(tmp_path / encoder / "documents")
    assert Tokenize(encoder="auto").fingerprint({}) == Tokenize.parse({"encoder": encoder}).fingerprint({})


def test_megatron_reads_the_files(
    megatron: ModuleType, tmp_path: Path, make_inputs: Maker, articles: list[str]
) -> None:
    """Megatron's own dataset finds the documents."""
    assert make_inputs(articles).run(tmp_path / "out") == 0
    for path, (_, indexed) in files(tmp_path / "out").items():
        dataset = megatron.IndexedDataset(str((tmp_path / "out" / path).with_suffix("")))
        assert len(dataset) == len(indexed)
        assert all(np.array_equal(dataset[i], indexed[i]) for i in range(len(indexed)))


def test_megatrons_writer_writes_the_same(
    megatron: ModuleType, tmp_path: Path, make_inputs: Maker, articles: list[str], small: Path
) -> None:
    """The reference's ids through Megatron's own builder give the same two files, byte for byte."""
    assert make_inputs(articles, below=0.0).run(tmp_path / "out") == 0
    builder = megatron.IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=np.uint16)
    tokenizer = Reference.from_file(str(small))
    for text in articles:
        ids = [*tokenizer.encode(text, add_special_tokens=False).ids, 0]
        builder.add_document(ids, [len(ids)])
    builder.finalize(str(tmp_path / "theirs.idx"))
    ((shard, _),) = files(tmp_path / "out").values()
    assert (tmp_path / "out" / shard.bin.path).read_bytes() == (tmp_path / "theirs.bin").read_bytes()
    assert (tmp_path / "out" / shard.idx.path).read_bytes() == (tmp_path / "theirs.idx").read_bytes()


@pytest.mark.parametrize("count", [2, 3, 7])
def test_any_number_of_shards(tmp_path: Path, many: Inputs, count: int) -> None:
    """A source's files of all shards, in order, are the bytes that one shard writes; so are the rows of documents."""
    assert many.run(tmp_path / "one") == 0
    for index in random.Random(count).sample(range(count), count):
        assert many.run(tmp_path / "out", "--shard", f"{index}/{count}") == 0
    assert many.run(tmp_path / "out", "--commit", str(count)) == 0
    assert datasets(tmp_path / "out") == datasets(tmp_path / "one")
    columns = ("doc_id", "split", "source", "num_tokens", "num_bytes")
    one, other = ([[r[c] for c in columns] for r in rows(tmp_path / d / "documents")] for d in ("one", "out"))
    assert one == other
    opened = files(tmp_path / "out")
    for row in rows(tmp_path / "out" / "documents"):
        assert opened[row["bin"]][1].tokens[row["start"] + row["num_tokens"] - 1] == 0


def test_more_shards_than_documents(tmp_path: Path, make_inputs: Maker, articles: list[str]) -> None:
    """A shard without a document writes no file, and the whole is the same."""
    inputs = make_inputs(articles[:2], below=0.0)
    assert inputs.run(tmp_path / "one") == 0
    for index in range(5):
        assert inputs.run(tmp_path / "out", "--shard", f"{index}/5") == 0
    assert inputs.run(tmp_path / "out", "--commit", "5") == 0
    assert datasets(tmp_path / "out") == datasets(tmp_path / "one")
    assert len(files(tmp_path / "out")) == 2


def test_another_number_of_shards_leaves_nothing_behind(tmp_path: Path, many: Inputs) -> None:
    """Files of an earlier run with other shards are gone when a new one is done."""
    assert many.run(tmp_path / "out", "--shard", "1/3") == 0
    assert many.run(tmp_path / "out") == 0
    assert [f.name for f in (tmp_path / "out" / "tokens").iterdir()] == ["00000-of-00001"]


def test_the_size_of_a_piece_does_not_matter(tmp_path: Path, many: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a few documents, and pieces of one, give what one piece of all gives."""
    assert many.run(tmp_path / "whole") == 0
    for size in (1, 20_000):
        monkeypatch.setattr(encode, "PIECE_BYTES", size)
        assert many.run(tmp_path / str(size)) == 0
        assert datasets(tmp_path / str(size)) == datasets(tmp_path / "whole")
        assert rows(tmp_path / str(size) / "documents") == rows(tmp_path / "whole" / "documents")


def test_documents_without_tokens_are_dropped(tmp_path: Path, make_inputs: Maker, articles: list[str]) -> None:
    """A text of which the tokenizer makes nothing is dropped by name, also if its file has no other; the rest stands."""
    texts = [articles[0], " \n ", articles[1], "\t", articles[2]]
    inputs = make_inputs(texts, ["a", "b"], below=0.0, file=blanks_vanish(tmp_path / "given.json"), eod_token="</s>")
    assert inputs.run(tmp_path / "out") == 0
    dropped = [(r["path"], r["reason"]) for r in rows(tmp_path / "out" / "dropped")]
    assert dropped == [("1.txt", "no tokens"), ("3.txt", "no tokens")]
    assert Manifest.read(tmp_path / "out").dropped == {"no tokens": 2}
    assert [r["doc_id"] for r in rows(tmp_path / "out" / "documents")] == [doc_id(n) for n in (0, 2, 4)]
    assert [(s.source, s.num_documents) for s, _ in files(tmp_path / "out").values()] == [("a", 3)]


def test_large_vocabularies_take_four_bytes(tmp_path: Path, make_inputs: Maker, articles: list[str]) -> None:
    """Ids that do not fit two bytes are written in four."""
    file = blanks_vanish(tmp_path / "given.json", num_unused=70_000)
    assert make_inputs(articles[:4], below=0.0, file=file, eod_token="</s>").run(tmp_path / "out") == 0
    ((shard, indexed),) = files(tmp_path / "out").values()
    assert (shard.dtype, indexed.tokens.dtype) == ("int32", np.dtype("<i4"))
    assert Reference.from_file(str(file)).decode(indexed[1][:-1].tolist()) == articles[1].strip()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"eod_id": 3}, "end token '<|endoftext|>': expected the id 3, its id is 0"),
        ({"eod_token": "</s>", "eod_id": 0}, "end token '</s>': expected the id 0, it has no such token"),
        ({"vocab_size": 300}, "ids: expected less than 300, found up to 411; run train_tokenizer again"),
    ],
)
def test_a_row_that_is_not_the_files(
    tmp_path: Path, make_inputs: Maker, changes: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tokenizer that lacks the end token, has it elsewhere, or has more ids than its row says is refused."""
    assert make_inputs(["a", "b"], **changes).run(tmp_path / "out") == 3
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_tokenizer_that_changed(
    tmp_path: Path, make_inputs: Maker, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tokenizer file with one byte changed, or cut short, is refused by name before anything is encoded."""
    file = tmp_path / "changing.json"
    file.write_bytes(small.read_bytes())
    inputs = make_inputs(["a", "b"], file=file)
    file.write_bytes(file.read_bytes().replace(b'"version": "1.0"', b'"version": "1.1"'))
    assert inputs.run(tmp_path / "out") == 3
    assert "changing.json" in (errors := capsys.readouterr().err)
    assert "the file changed since; run train_tokenizer again" in errors
    file.write_bytes(file.read_bytes()[:-1])
    assert inputs.run(tmp_path / "out") == 3
    assert "expected" in capsys.readouterr().err
    assert not (tmp_path / "out" / "tokens").exists()


def test_a_file_that_is_no_tokenizer(tmp_path: Path, many: Inputs, capsys: pytest.CaptureFixture[str]) -> None:
    """A row that points at something else is refused by the file's name."""
    file = tmp_path / "other.json"
    file.write_text("{}")
    row = Tokenizer(file=BlobRef.of(file), vocab_size=300, eod_token="</s>", eod_id=0)
    table = write_table(tmp_path / "row", Tokenizer, [row], name="tokenizer")
    assert many._replace(tokenizer=table).run(tmp_path / "out") == 2
    assert "other.json is not a tokenizer.json" in capsys.readouterr().err


def test_two_rules_or_none(tmp_path: Path, many: Inputs, capsys: pytest.CaptureFixture[str]) -> None:
    """A table that must have one row is refused with another number."""
    for number, num_rows in enumerate((0, 2)):
        folder = tmp_path / str(number)
        rule = SplitRule(seed=0, validation_fraction=0.1, below=0.1)
        table = write_table(folder, SplitRule, [rule] * num_rows, name="split")
        assert many._replace(split=table).run(tmp_path / "out") == 3
        assert f"expected 1 row, found {num_rows}" in capsys.readouterr().err


def test_no_documents(tmp_path: Path, make_inputs: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty corpus is an error that says so, not a model of nothing."""
    assert make_inputs([]).run(tmp_path / "out") == 3
    assert "no document to tokenize" in capsys.readouterr().err


def test_an_unknown_encoder(tmp_path: Path, many: Inputs, capsys: pytest.CaptureFixture[str]) -> None:
    """An encoder that there is none of is refused with those that there are."""
    assert many.run(tmp_path / "out", encoder="fast") == 2
    assert "'gigatoken', 'fastokens' or 'tokenizers'" in capsys.readouterr().err


def test_stub(tmp_path: Path, many: Inputs) -> None:
    """The graph can be tried without work."""
    assert many.run(tmp_path / "out", "--stub") == 0
    assert {name: len(rows(tmp_path / "out" / name)) for name in Tokenize.outputs} == dict.fromkeys(Tokenize.outputs, 3)
