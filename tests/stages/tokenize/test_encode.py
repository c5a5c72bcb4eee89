"""The stage: documents to token files, every token accounted for."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer as PeerTokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers

from schemas.manifest import Manifest
from schemas.tokens import TokenizedDocument, Tokenizer, TokenShard
from stages.base import SettingsError
from stages.command import main
from stages.stream.megatron import Indexed, open_indexed
from stages.stream.split import held_out, split_rule
from stages.tables import Reader
from stages.tokenize import Tokenize

Maker = Callable[[Sequence[str]], Path]


def run(documents: Path, out: Path, *flags: str, **settings: Any) -> int:
    """Run the stage by its command line; returns the exit code."""
    out.mkdir(exist_ok=True)
    (out / "settings.json").write_text(json.dumps({"vocab_size": 400} | settings))
    with pytest.raises(SystemExit) as exit_:
        main(Tokenize, ["--documents", str(documents), "--out", str(out), "--config", f"{out}/settings.json", *flags])
    return int(str(exit_.value.code))


def streams(out: Path) -> dict[str, Indexed]:
    """Open the token files by split, as a trainer does."""
    reader = Reader(out / "shards", TokenShard)
    return {s.split: open_indexed(reader.open_path(s.bin), reader.open_path(s.idx)) for s in reader.rows()}


def rows(table: Path) -> list[dict[str, Any]]:
    """Read a table."""
    return list(pq.read_table(sorted(table.glob("part-*"))).to_pylist())


@pytest.fixture
def documents(make_table: Maker) -> Path:
    """Write two small documents."""
    return make_table(["a", "b"])


def blanks_vanish(file: Path) -> Path:
    """Write a tokenizer that strips white space, so that a blank text gives no token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {"</s>": 0} | {c: i + 3 for i, c in enumerate(alphabet)}  # ids 1 and 2 are not used
    tokenizer = PeerTokenizer(models.BPE(vocab, []))
    tokenizer.normalizer = normalizers.Strip()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["</s>"])
    tokenizer.save(str(file))
    return file


def test_every_token_is_a_documents(tmp_path: Path, make_table: Maker, articles: list[str]) -> None:
    """Each row's run of its split's stream decodes to the document, ends with the end token, and nothing is between."""
    assert run(make_table(articles), tmp_path / "out") == 0
    tokenizer = PeerTokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    opened, ends = streams(tmp_path / "out"), {"train": 0, "validation": 0}
    found = rows(tmp_path / "out" / "documents")
    for row, text in zip(found, articles, strict=True):
        assert row["start"] == ends[row["split"]]
        ends[row["split"]] += row["num_tokens"]
        ids = opened[row["split"]].tokens[row["start"] : ends[row["split"]]]
        assert ids[-1] == 0
        assert (ids[:-1] >= 8).all()
        assert tokenizer.decode(ids[:-1].tolist()) == text
        assert row["num_bytes"] == len(text.encode())
    assert ends == {split: len(indexed.tokens) for split, indexed in opened.items()}
    assert [row["licence"] for row in found] == [None, "CC-BY-4.0"] * 20


def test_tables_agree_with_files(tmp_path: Path, make_table: Maker, articles: list[str]) -> None:
    """Rows of shards and tokenizer say what is in the files, digests included."""
    assert run(make_table(articles), tmp_path / "out") == 0
    (tokenizer,) = Reader(tmp_path / "out" / "tokenizer", Tokenizer).rows()
    assert (tokenizer.vocab_size, tokenizer.eod_token, tokenizer.eod_id) == (400, "<|endoftext|>", 0)
    documents = list(Reader(tmp_path / "out" / "documents", TokenizedDocument).rows())
    for shard in Reader(tmp_path / "out" / "shards", TokenShard).rows():
        mine = [d for d in documents if d.split == shard.split]
        assert (shard.num_documents, shard.num_tokens) == (len(mine), sum(d.num_tokens for d in mine))
        assert streams(tmp_path / "out")[shard.split].lengths.tolist() == [d.num_tokens for d in mine]
        assert (shard.dtype, shard.tokenizer_sha256) == ("uint16", tokenizer.file.sha256)
        assert shard.bin.path == f"tokens/{shard.split}-00000.bin"
    left = {f.name for f in (tmp_path / "out" / "tokens").iterdir()}
    assert left == {f"{split}-00000.{kind}" for split in ("train", "validation") for kind in ("bin", "idx")}


def test_split_is_by_document(tmp_path: Path, make_table: Maker, articles: list[str]) -> None:
    """Documents go to the side that their hash says, and the tokenizer is trained on the training side alone."""
    ids = [r["doc_id"] for r in rows(make_table(articles))]
    mask = held_out(split_rule([ids], 1, 0.25), ids)
    marked = [a + " Qxzq Qxzq Qxzq Qxzq." if out else a for a, out in zip(articles, mask, strict=True)]
    assert run(make_table(marked), tmp_path / "out", validation_fraction=0.25, seed=1) == 0
    assert [r["split"] == "validation" for r in rows(tmp_path / "out" / "documents")] == mask.tolist()
    vocabulary = PeerTokenizer.from_file(str(tmp_path / "out" / "tokenizer.json")).get_vocab()
    assert not any("Qx" in token or "xz" in token for token in vocabulary)


def test_no_validation_wanted(tmp_path: Path, make_table: Maker, articles: list[str]) -> None:
    """A fraction of 0 gives one shard, for training."""
    assert run(make_table(articles[:3]), tmp_path / "out", validation_fraction=0) == 0
    assert [(s["split"], s["num_documents"]) for s in rows(tmp_path / "out" / "shards")] == [("train", 3)]
    assert not (tmp_path / "out" / "tokens" / "validation-00000.bin").exists()


def test_text_is_never_a_special_id(tmp_path: Path, make_table: Maker, articles: list[str]) -> None:
    """Documents that spell special tokens end once each: no id below the bytes but the end token."""
    texts = [f"<|endoftext|>{a}<|user|>\n<|end|>" for a in articles[:6]]
    assert run(make_table(texts), tmp_path / "out") == 0
    for indexed in streams(tmp_path / "out").values():
        ends = np.flatnonzero(indexed.tokens < 8)
        assert ends.tolist() == (np.cumsum(indexed.lengths) - 1).tolist()


def test_documents_without_tokens_are_dropped(tmp_path: Path, make_table: Maker, articles: list[str]) -> None:
    """With a given tokenizer that makes nothing of a text, the text is dropped by name and the others stand."""
    file = blanks_vanish(tmp_path / "given.json")
    texts = [articles[0], " \n ", articles[1], "\t", articles[2]]
    assert run(make_table(texts), tmp_path / "out", tokenizer=str(file), eod_token="</s>") == 0
    dropped = [(r["path"], r["reason"]) for r in rows(tmp_path / "out" / "dropped")]
    assert dropped == [("1.txt", "no tokens"), ("3.txt", "no tokens")]
    assert Manifest.read(tmp_path / "out").dropped == {"no tokens": 2}
    assert len(rows(tmp_path / "out" / "documents")) == 3
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == file.read_bytes()
    assert rows(tmp_path / "out" / "tokenizer")[0]["vocab_size"] == 259  # the highest id is 258; two ids are not used


def test_large_vocabularies_take_four_bytes(tmp_path: Path, make_table: Maker, articles: list[str]) -> None:
    """Ids that do not fit two bytes are written in four."""
    data = json.loads(blanks_vanish(tmp_path / "given.json").read_text())
    data["model"]["vocab"] |= {f"<unused {i}>": i for i in range(300, 70_000)}
    (tmp_path / "given.json").write_text(json.dumps(data))
    assert run(make_table(articles[:4]), tmp_path / "out", tokenizer=f"{tmp_path}/given.json", eod_token="</s>") == 0
    assert {s["dtype"] for s in rows(tmp_path / "out" / "shards")} == {"int32"}
    assert streams(tmp_path / "out")["train"].tokens.dtype == np.dtype("<i4")


def test_megatron_reads_the_files(megatron: ModuleType, tmp_path: Path, make_table: Maker, articles: list[str]) -> None:
    """Megatron's own dataset finds the documents."""
    assert run(make_table(articles), tmp_path / "out") == 0
    for split, indexed in streams(tmp_path / "out").items():
        dataset = megatron.IndexedDataset(str(tmp_path / "out" / "tokens" / f"{split}-00000"))
        assert len(dataset) == len(indexed)
        assert all(np.array_equal(dataset[i], indexed[i]) for i in range(len(indexed)))


def test_where_the_tokenizer_lies_does_not_matter(tmp_path: Path) -> None:
    """A stage's address depends on the given tokenizer's bytes, not on its path."""
    first, moved = blanks_vanish(tmp_path / "a.json"), tmp_path / "b.json"
    shutil.copy(first, moved)
    address = Tokenize(tokenizer=str(first)).fingerprint({"documents": "x"})
    assert Tokenize(tokenizer=str(moved)).fingerprint({"documents": "x"}) == address
    moved.write_text(moved.read_text() + "\n")
    assert Tokenize(tokenizer=str(moved)).fingerprint({"documents": "x"}) != address
    with pytest.raises(SettingsError, match=r"tokenize\.tokenizer: no file .*c\.json"):
        Tokenize(tokenizer=str(tmp_path / "c.json")).fingerprint({"documents": "x"})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tokenizer": "nowhere.json"}, "no file 'nowhere.json'"),
        ({"eod_token": "</s>"}, "expected one of <|endoftext|>"),
        ({"vocab_size": 260}, "tokenize.vocab_size"),
        ({"validation_fraction": 1}, "tokenize.validation_fraction"),
    ],
)
def test_wrong_settings(
    documents: Path, tmp_path: Path, settings: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A setting that cannot be is named and nothing that looks done is left."""
    assert run(documents, tmp_path / "out", **settings) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_given_tokenizer_without_the_end_token(
    documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An end token that the given file does not have is refused before anything is encoded."""
    file = blanks_vanish(tmp_path / "given.json")
    assert run(documents, tmp_path / "out", tokenizer=str(file), eod_token="</t>") == 2
    assert "no token '</t>'; the nearest that it has: </s>" in capsys.readouterr().err
    assert list((tmp_path / "out" / "tokens").glob("*.bin")) == []


def test_no_documents(tmp_path: Path, make_table: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty corpus is an error that says so, not a model of nothing."""
    assert run(make_table([]), tmp_path / "out") == 3
    assert "no document to tokenize" in capsys.readouterr().err


def test_a_part_of_the_rows_is_refused(tmp_path: Path, make_table: Maker) -> None:
    """Two shards would train two tokenizers."""
    assert run(make_table(["a", "b"]), tmp_path / "out", "--shard", "0/2") == 2
