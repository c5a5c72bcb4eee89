"""The stage: documents to a tokenizer, a split and fertility."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer as PeerTokenizer
from tokenizers import decoders, models, pre_tokenizers

from schemas.corpus import Document
from schemas.manifest import Manifest
from schemas.tokens import Fertility, SplitRule, Tokenizer
from stages.base import PACKAGE_ROOT, SettingsError
from stages.command import main
from stages.stream.split import draw, held_out
from stages.stream.vocabulary import SPECIAL_TOKENS
from stages.tables import Reader
from stages.train_tokenizer import TrainTokenizer
from tests.stages.train_tokenizer.conftest import Maker, document


def run(documents: Path, out: Path, *flags: str, **settings: Any) -> int:
    """Run the stage by its command line; returns the exit code."""
    out.mkdir(exist_ok=True)
    (out / "settings.json").write_text(json.dumps({"vocab_size": 400} | settings))
    command = ["--documents", str(documents), "--out", str(out), "--config", f"{out}/settings.json", *flags]
    with pytest.raises(SystemExit) as exit_:
        main(TrainTokenizer, command)
    return int(str(exit_.value.code))


def rows(out: Path, name: str) -> list[dict[str, Any]]:
    """Read a table."""
    return list(pq.read_table(sorted((out / name).glob("part-*"))).to_pylist())


def given(file: Path) -> Path:
    """Write somebody else's tokenizer, of bytes with an end token of its own."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = PeerTokenizer(models.BPE({"</s>": 0} | {c: i + 3 for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["</s>"])
    file.parent.mkdir(exist_ok=True)
    tokenizer.save(str(file))
    return file


def split_of(out: Path, documents: Path) -> list[bool]:
    """Say which documents the stage's rule holds out."""
    (rule,) = Reader(out / "split", SplitRule).rows()
    ids = [r["doc_id"] for r in rows(documents.parent, "documents")]
    return [bool(o) for o in held_out(rule, ids)]


def test_tables_agree_with_the_file(tmp_path: Path, make_table: Maker, articles: list[str]) -> None:
    """The rows say what is in tokenizer.json, digest included; there is one of each."""
    assert run(make_table(articles), tmp_path / "out") == 0
    (row,) = Reader(tmp_path / "out" / "tokenizer", Tokenizer).rows()
    assert (row.vocab_size, row.eod_token, row.eod_id) == (400, "<|endoftext|>", 0)
    assert row.file.path == "tokenizer.json"
    assert row.file.open_path(tmp_path / "out").is_file()
    (rule,) = Reader(tmp_path / "out" / "split", SplitRule).rows()
    assert (rule.seed, rule.validation_fraction, rule.below) == (0, 0.1, 0.1)
    assert Manifest.read(tmp_path / "out").dropped == {}


def test_what_is_held_out_teaches_nothing(tmp_path: Path, make_table: Maker, articles: list[str]) -> None:
    """The tokenizer is trained on the training side alone."""
    table = make_table(articles)
    assert run(table, tmp_path / "first", validation_fraction=0.25, seed=1) == 0
    sides = split_of(tmp_path / "first", table)
    assert 0 < sum(sides) < len(sides)
    marked = [a + " Qxzq Qxzq Qxzq Qxzq." if out else a for a, out in zip(articles, sides, strict=True)]
    assert run(make_table(marked, "marked"), tmp_path / "second", validation_fraction=0.25, seed=1) == 0
    files = [tmp_path / name / "tokenizer.json" for name in ("first", "second")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_sample_of_a_large_corpus(tmp_path: Path, make_table: Maker, articles: list[str]) -> None:
    """With a limit, training reads the documents of the training side with the lowest hashes, and no others."""
    table, limit = make_table(articles), 20_000
    assert run(table, tmp_path / "out", max_training_bytes=limit) == 0
    ids = [r["doc_id"] for r in rows(table.parent, "documents")]
    taken: list[str] = []
    for _, out, text in sorted(
        zip(draw(0, ids, "tokenizer"), split_of(tmp_path / "out", table), articles, strict=True)
    ):
        if not out:
            if sum(len(t.encode()) for t in [*taken, text]) > limit:
                break
            taken.append(text)
    assert 5 < len(taken) < 20
    assert run(make_table(taken, "taken"), tmp_path / "whole", validation_fraction=0) == 0
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (tmp_path / "whole" / "tokenizer.json").read_bytes()


def test_same_bytes_again_and_on_any_number_of_workers(tmp_path: Path, make_table: Maker, articles: list[str]) -> None:
    """Another run with another number of workers, on rows in another order, writes the same tokenizer and numbers."""
    documents = [document(n, text) for n, text in enumerate(articles)]
    for name, order, workers in (("a", documents, "1"), ("b", documents[::-1], "3")):
        (tmp_path / "settings.json").write_text(json.dumps({"vocab_size": 400, "max_training_bytes": 30_000}))
        command = [sys.executable, "-m", "stages.train_tokenizer", "--config", str(tmp_path / "settings.json")]
        command += ["--documents", str(make_table(order, f"in-{name}")), "--out", str(tmp_path / name)]
        environment = os.environ | {"BOREALIS_WORKERS": workers}
        subprocess.run(command, check=True, cwd=PACKAGE_ROOT, env=environment, capture_output=True)
    assert (tmp_path / "a" / "tokenizer.json").read_bytes() == (tmp_path / "b" / "tokenizer.json").read_bytes()
    for table in ("split", "fertility"):
        assert rows(tmp_path / "a", table) == rows(tmp_path / "b", table)


def test_fertility_of_sources(tmp_path: Path, make_table: Maker, articles: list[str]) -> None:
    """Each source and language has its rows, for the tokenizer and for those put beside it; the table is shown."""
    documents = [document(n, a, "ab"[n % 2], ["en", None][n % 2]) for n, a in enumerate(articles)]
    other = given(tmp_path / "other" / "tokenizer.json")
    assert run(make_table(documents), tmp_path / "out", compare=[str(other)], eod_token="<|end|>") == 0
    found = list(Reader(tmp_path / "out" / "fertility", Fertility).rows())
    assert {(r.tokenizer, r.source, r.language) for r in found} == {
        (name, *group) for name in ("trained", "other") for group in (("a", "en"), ("b", None))
    }
    assert {r.kind for r in found} == {"prose", "number"}
    assert all(r.num_tokens == r.num_bytes for r in found if r.tokenizer == "other")
    sizes = {s: sum(len(d.text.encode()) for d in documents if d.source == s) for s in "ab"}
    for source in "ab":
        mine = [r for r in found if (r.source, r.tokenizer) == (source, "trained")]
        assert sum(r.num_bytes for r in mine) == sizes[source]
        assert sum(r.num_tokens for r in mine) < 0.6 * sizes[source]
    assert rows(tmp_path / "out", "tokenizer")[0]["eod_id"] == 4


def test_fertility_is_measured_on_what_was_held_out(tmp_path: Path, make_table: Maker, articles: list[str]) -> None:
    """A sample of a source is its held-out documents first; no more text than the limit is read."""
    table = make_table(articles)
    limit = 5_000
    assert run(table, tmp_path / "out", fertility_bytes=limit, validation_fraction=0.3) == 0
    texts = [a for a, out in zip(articles, split_of(tmp_path / "out", table), strict=True) if out]
    found = sum(r["num_bytes"] for r in rows(tmp_path / "out", "fertility"))
    possible = {0}
    for text in texts:
        possible |= {p + len(text.encode()) for p in possible if p + len(text.encode()) <= limit}
    assert found in possible
    assert found > limit / 2


def test_one_document_larger_than_the_limit(tmp_path: Path, make_table: Maker, articles: list[str]) -> None:
    """Of a document that is larger than all that may be read, the beginning is measured."""
    assert run(make_table(["\n".join(articles)]), tmp_path / "out", fertility_bytes=1_000, max_training_bytes=1) == 0
    assert sum(r["num_characters"] for r in rows(tmp_path / "out", "fertility")) == 1_000


def test_no_fertility_wanted(tmp_path: Path, make_table: Maker, articles: list[str]) -> None:
    """With 0 bytes nothing is measured."""
    assert run(make_table(articles[:3]), tmp_path / "out", fertility_bytes=0) == 0
    assert rows(tmp_path / "out", "fertility") == []


@pytest.mark.parametrize("whitespace", ["code", "lines", "gpt2"])
@pytest.mark.parametrize("digits", ["single", "triples", "thousands", "runs"])
def test_every_rule_gives_text_back(
    tmp_path: Path, make_table: Maker, articles: list[str], digits: str, whitespace: str
) -> None:
    """Whatever the rules, decoding gives the exact text, and fill-in-the-middle tokens have their ids."""
    table = make_table(articles[:8])
    assert run(table, tmp_path / "out", digits=digits, whitespace=whitespace, fertility_bytes=0) == 0
    tokenizer = PeerTokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    for text in (*articles, "e\u0301 ﬁ Å\r\n\t x²  12345.678"):
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text
    assert [tokenizer.token_to_id(t) for t in SPECIAL_TOKENS] == list(range(8))


def test_a_given_tokenizer_is_taken_as_it_is(tmp_path: Path, make_table: Maker, articles: list[str]) -> None:
    """A given file is copied byte for byte; its ids may have gaps."""
    file = given(tmp_path / "given.json")
    assert run(make_table(articles[:4]), tmp_path / "out", tokenizer=str(file), eod_token="</s>") == 0
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == file.read_bytes()
    assert rows(tmp_path / "out", "tokenizer")[0]["vocab_size"] == 259  # the highest id is 258; two are not used
    assert {r["tokenizer"] for r in rows(tmp_path / "out", "fertility")} == {"given"}


def test_where_tokenizers_lie_does_not_matter(tmp_path: Path) -> None:
    """A stage's address depends on the given files' bytes and names, not on their folders."""
    first, moved = given(tmp_path / "a.json"), tmp_path / "elsewhere" / "a.json"
    moved.parent.mkdir()
    shutil.copy(first, moved)
    for field in ("tokenizer", "compare"):
        one, two = (TrainTokenizer.parse({field: str(file)}) for file in (first, moved))
        address = one.fingerprint({"documents": "x"})
        assert two.fingerprint({"documents": "x"}) == address
        assert TrainTokenizer().fingerprint({"documents": "x"}) != address
    moved.write_text(moved.read_text() + "\n")
    assert two.fingerprint({"documents": "x"}) != address
    with pytest.raises(SettingsError, match=r"no file .*c\.json"):
        TrainTokenizer(tokenizer=str(tmp_path / "c.json")).fingerprint({"documents": "x"})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"compare": ["nowhere.json"]}, "nowhere.json; give a tokenizer.json"),
        ({"tokenizer": "nowhere.json"}, "nowhere.json; give a tokenizer.json"),
        ({"eod_token": "</s>"}, "expected one of <|endoftext|>"),
        ({"vocab_size": 263}, "train_tokenizer.vocab_size"),
        ({"validation_fraction": 1}, "train_tokenizer.validation_fraction"),
        ({"digits": "pairs"}, "train_tokenizer.digits"),
        ({"compare": ["a/x.json", "b/x.json"]}, "more than one tokenizer is called x"),
    ],
)
def test_wrong_settings(
    tmp_path: Path, make_table: Maker, settings: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A setting that cannot be is named and nothing that looks done is left."""
    assert run(make_table(["a", "b"]), tmp_path / "out", **settings) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_files_that_are_no_tokenizers(tmp_path: Path, make_table: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of something else, or one without the end token, is refused before anything is trained."""
    (tmp_path / "words.json").write_text('{"a": 1}')
    table = make_table(["a", "b"])
    assert run(table, tmp_path / "out", compare=[str(tmp_path / "words.json")]) == 2
    assert "words.json is not a tokenizer.json" in capsys.readouterr().err
    assert run(table, tmp_path / "out", tokenizer=str(given(tmp_path / "g.json")), eod_token="</t>") == 2
    assert "the tokenizer has no token '</t>'" in capsys.readouterr().err
    assert not (tmp_path / "out" / "tokenizer.json").exists()


def test_no_documents(tmp_path: Path, make_table: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty corpus is an error that says so."""
    assert run(make_table([]), tmp_path / "out") == 3
    assert "no document to train on" in capsys.readouterr().err


def test_a_part_of_the_rows_is_refused(tmp_path: Path, make_table: Maker) -> None:
    """Two shards would train two tokenizers."""
    assert run(make_table(["a", "b"]), tmp_path / "out", "--shard", "0/2") == 2


def test_a_lone_document_is_trained_on(tmp_path: Path, make_table: Maker, articles: list[str]) -> None:
    """One document is for training, and is also what fertility is measured on."""
    table = make_table(articles[:1])
    assert run(table, tmp_path / "out", validation_fraction=0.99) == 0
    assert split_of(tmp_path / "out", table) == [False]
    assert sum(r["num_bytes"] for r in rows(tmp_path / "out", "fertility")) == len(articles[0].encode())


def test_rows_hold_what_a_reader_needs(tmp_path: Path, make_table: Maker, articles: list[str]) -> None:
    """Rows of fertility satisfy the contract and have no empty kinds."""
    assert (
        run(make_table([Document.model_validate(document(n, a)) for n, a in enumerate(articles)]), tmp_path / "out")
        == 0
    )
    found = list(Reader(tmp_path / "out" / "fertility", Fertility).rows())
    assert min(np.array([[r.num_bytes, r.num_characters, r.num_tokens] for r in found]).min(axis=0)) > 0
