import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from schemas.manifest import Manifest
from schemas.table import BlobRef, Row
from schemas.tokens import IndexFile, MixtureShare, Split, Tokenizer, TokenOrder, TokenShard
from stages.command import main
from stages.index import Index
from stages.stream.corpus import Dataset, open_corpus
from stages.stream.opening import Opened, open_order
from stages.tables import Reader
from tests.stages.model.token_files import EOD, shard_row, write_pair, write_tables

VOCAB = 500
SETTINGS = {"sequence_tokens": 16, "batch_sequences": 10, "num_steps": 30, "seed": 3}
LENGTHS = {"big": 4000, "middle": 1000, "small": 300}
FIELDS = {"order": TokenOrder, "mixture": MixtureShare, "arrays": IndexFile}


class Corpus(NamedTuple):
    """Table folders, and the folder of the files that they point at."""

    tokens: Path
    tokenizer: Path
    files: Path


def write_corpus(folder: Path, lengths: dict[str, int], files: int = 2, vocab_size: int = VOCAB) -> Corpus:
    """A source of about each number of training tokens in documents of 5 to 60, and a fifth as many held out."""
    chance = np.random.default_rng(11)
    (folder / "files").mkdir(parents=True)
    (folder / "files" / "tokenizer.json").write_text("{}")
    blob = BlobRef.of(folder / "files" / "tokenizer.json")
    rows: list[Row] = []
    splits: tuple[tuple[Split, int], ...] = (("train", 1), ("validation", 5))
    for split, part in splits:
        for source, total in lengths.items():
            for number in range(files):
                sizes = chance.integers(5, 60, max(1, total // part // files // 32)).tolist()
                documents = [[*chance.integers(1, VOCAB, n - 1).tolist(), 0] for n in sizes]
                pair = write_pair(folder / "files", f"{split}-{source}-{number}", documents)
                rows.append(shard_row(pair, split, source, blob.sha256))
    tokenizer = Tokenizer(file=blob, vocab_size=vocab_size, eod_token=EOD, eod_id=0)
    tables = write_tables(folder, {"tokens": (TokenShard, rows), "tokenizer": (Tokenizer, [tokenizer])})
    return Corpus(tables["tokens"], tables["tokenizer"], folder / "files")


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Three sources in two files each."""
    return write_corpus(tmp_path / "corpus", LENGTHS)


def flags(corpus: Corpus, out: Path, settings: dict[str, Any]) -> list[str]:
    """The command line of a run, with its settings in a file beside `out`."""
    config = out.with_suffix(".json")
    config.write_text(json.dumps({**SETTINGS, **settings}))
    tables = ["--tokens", str(corpus.tokens), "--tokenizer", str(corpus.tokenizer)]
    return ["--config", str(config), *tables, "--out", str(out)]


def run(corpus: Corpus, out: Path, *more: str, **settings: Any) -> int:
    """Run the stage in this process and give its exit status."""
    with pytest.raises(SystemExit) as exit_status:
        main(Index, [*flags(corpus, out, settings), *more])
    assert isinstance(exit_status.value.code, int)
    return exit_status.value.code


Start = Callable[..., int]


@pytest.fixture
def start(corpus: Corpus, tmp_path: Path) -> Start:
    """Run the stage on the corpus into `tmp_path / "out"`."""
    return lambda *more, **settings: run(corpus, tmp_path / "out", *more, **settings)


def opened(corpus: Corpus, out: Path) -> tuple[Opened, list[Dataset]]:
    """The order of a finished output, and the datasets that it is of."""
    datasets = open_corpus(Reader(corpus.tokens, TokenShard), "train")
    readers = [Reader(out / name, row) for name, row in FIELDS.items()]
    return open_order(readers[0], readers[1], readers[2], datasets), datasets


def rows(out: Path, name: str) -> list[Any]:
    """The rows of an output table."""
    return list(Reader(out / name, FIELDS[name]).rows())


def content(out: Path) -> dict[str, Any]:
    """All rows, and the bytes of all files that they point at."""
    found: dict[str, Any] = {name: rows(out, name) for name in FIELDS}
    assert Manifest.read(out).stage == "index"
    return found | {row.file.path: (out / row.file.path).read_bytes() for row in found["arrays"]}
