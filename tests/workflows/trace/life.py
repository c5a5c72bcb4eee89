"""Documents to token files to an order by the real stages, and the ledger that a training by this order writes."""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest

from schemas.corpus import Document, Dropped, PageSpan
from schemas.manifest import Input, Manifest
from schemas.table import Row
from schemas.training import BatchLedger
from stages.base import Stage
from stages.command import main
from stages.index import Index
from stages.pretrain import Pretrain
from stages.stream.corpus import open_corpus
from stages.stream.opening import open_order
from stages.tables import Reader
from stages.tokenize import Tokenize
from stages.train_tokenizer import TrainTokenizer
from tests.tables import write_table

SOURCES = ("notes", "papers", "theses")
LICENCES = ("CC-BY-4.0", "CC0-1.0", None)
WORDS = ("basalt", "Ωmega", "x = 3.14", "naïve", "溶液", "g/cm³", "CCO", "the", "density", "of", "is", "\n")
NUM_DOCUMENTS = 45
STEPS = {"sequence_tokens": 32, "batch_sequences": 8, "num_steps": 40}


def document(i: int) -> Document:
    """A text in pages of some 60 characters, with a line between them."""
    return _document(i, random.Random(i))


def _document(i: int, chance: random.Random) -> Document:
    pages, text = [], ""
    for number in range(1, chance.randint(1, 6) + 1):
        page = "".join(f"{chance.choice(WORDS)} " for _ in range(chance.randint(8, 14)))
        pages.append(PageSpan(page=number, start=len(text), end=len(text) + len(page), parser="p", origin="native"))
        text += page + "\n\n"
    return Document(
        doc_id=hashlib.sha256(text.encode()).hexdigest(), text=text, pages=pages, media_type="text/plain",
        path=f"papers/{i:02d}.txt", source=SOURCES[i % 3], licence=LICENCES[i % 4 % 3], title=f"Paper {i}",
        doi=f"10.5/{i}", language="en",
    )  # fmt: skip


def run(stage: type[Stage], out: Path, settings: dict[str, Any], shards: int = 1, **inputs: Path) -> Path:
    """A stage in this process, as its command line does it, in shards."""
    config = out.with_suffix(".json")
    config.write_text(json.dumps(settings))
    flags = ["--config", str(config), "--out", str(out), *(w for n, f in inputs.items() for w in (f"--{n}", str(f)))]
    parts = [["--shard", f"{i}/{shards}"] for i in range(shards)] if shards > 1 else [[]]
    for part in [*parts, *([["--commit", str(shards)]] if shards > 1 else [])]:
        with pytest.raises(SystemExit) as ended:
            main(stage, [*flags, *part])
        assert ended.value.code == 0
    return out


def tokenized(root: Path, count: int = NUM_DOCUMENTS) -> dict[str, Path]:
    """Tables that an index and a training read, made of `count` documents by two shards; the next one was dropped."""
    rows, lost = [document(i) for i in range(count)], document(count)
    found = write_table(root / "found", Document, [*rows, lost], "documents")
    drop = Dropped(row_id=lost.doc_id, path=lost.path, reason="too short", detail="3 words")
    tables: dict[str, tuple[type[Row], list[Row]]] = {"documents": (Document, rows), "dropped": (Dropped, [drop])}
    outputs = {}
    for name, (row, some) in tables.items():
        write_table(root / "filter", row, some, name)
        outputs |= Manifest.read(root / "filter").outputs
    given = {"documents": Input(fingerprint="0" * 16, path=f"../{found.parent.name}/documents", num_rows=0)}
    changes = {"stage": "filter", "outputs": outputs, "inputs": given}
    Manifest.read(root / "filter").model_copy(update=changes).write(root / "filter")
    kept = root / "filter" / "documents"
    made = run(TrainTokenizer, root / "tokenizer", {"vocab_size": 400, "fertility_bytes": 0}, documents=kept)
    both = {"tokenizer": made / "tokenizer", "split": made / "split"}
    run(Tokenize, root / "tokenize", {"encoder": "tokenizers"}, shards=2, documents=kept, **both)
    return tables_of(root)


def tables_of(root: Path) -> dict[str, Path]:
    """The tables of tokens under a root, by the names of a training's inputs."""
    tokens = root / "tokenize"
    return {"tokens": tokens / "shards", "documents": tokens / "documents", "tokenizer": root / "tokenizer/tokenizer"}


def trained(tables: dict[str, Path], out: Path, **settings: Any) -> Path:
    """An output like pretrain's: the order fixed by the real index, and the ledger of all its steps, or of the first."""
    num_done = settings.pop("num_done", None)
    own = {name: tables[name] for name in Index.inputs}
    index = run(Index, out.with_name(f"{out.name}-index"), {**STEPS, **settings}, **own)
    inputs = {**tables, **{name: index / name for name in Index.outputs}}
    readers = {name: Reader(table, Pretrain.inputs[name]) for name, table in inputs.items()}
    fixed = (readers[name] for name in ("order", "mixture", "arrays"))
    opened = open_order(*fixed, open_corpus(readers["tokens"], "train"))
    size = opened.order.batch_sequences
    ledger = [
        BatchLedger(
            phase="pretrain",
            step=step,
            num_samples=size,
            samples_sha=opened.samples.take((step - 1) * size, step * size).digest(),
        )
        for step in range(1, (num_done or opened.order.num_steps) + 1)
    ]
    write_table(out, BatchLedger, ledger, "ledger")
    given = {
        n: r.record().model_copy(update={"path": f"../{r.folder.relative_to(out.parent)}"}) for n, r in readers.items()
    }
    Manifest.read(out).model_copy(update={"stage": "pretrain", "inputs": given}).write(out)
    return out
