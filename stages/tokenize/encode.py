"""Documents to token files: split, train or load the tokenizer, encode in row order, write as the ids come.

A kill costs at most one batch: `tokens/lengths` holds how many ids each document gave, and is written after the ids
are on disk, so a second run cuts the files to what it says and goes on. `tokens/key` says of which settings, input and
code these files are; others start from nothing.
"""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.manifest import write_atomic
from schemas.table import ContractError, sha256_file
from schemas.tokens import Split, TokenizedDocument, Tokenizer, TokenShard
from stages.base import SettingsError, Stage, code_sha256
from stages.stream.megatron import DtypeName, IndexedWriter, dtype_for
from stages.stream.split import Mask, held_out, split_rule
from stages.stream.vocabulary import load, num_ids, special_id
from stages.tables import Outputs, Reader
from stages.tokenize import Tokenize
from stages.train_tokenizer import bpe

if TYPE_CHECKING:
    import tokenizers

BATCH_ROWS = 64  # of papers: about 4 MB of text, 2 s of work, 100 MB while it is encoded
COLUMNS = ["doc_id", "text", "path", "source", "licence"]
SPLITS: tuple[Split, ...] = get_args(Split)
Lengths = npt.NDArray[np.int32]


def tokenize(stage: Tokenize, documents: Reader, outputs: Outputs) -> None:
    """Do the stage's work; see `Tokenize`."""
    if outputs.shard[1] != 1:
        raise SettingsError("tokenize: one tokenizer and one token stream a split: run it as one shard")
    ids = [i for b in documents.batches(["doc_id"]) for i in b["doc_id"].to_pylist()]
    mask = held_out(split_rule([ids], stage.seed, stage.validation_fraction), ids)
    if not len(mask):
        raise ContractError(str(documents.folder), ["no document to tokenize: look at what the stages before dropped"])
    folder = _work_folder(stage, documents, outputs.folder)
    tokenizer = _tokenizer(stage, documents, mask, outputs)
    encoder = Encoder(tokenizer, special_id(tokenizer, stage.eod_token))
    dtype = dtype_for(num_ids(tokenizer))
    writers = _encode(encoder, Work(documents, mask, outputs, folder), dtype)
    _describe(stage, encoder, writers, outputs)
    (folder / "lengths").unlink()
    (folder / "key").unlink()


def _work_folder(stage: Stage, documents: Reader, out: Path) -> Path:
    """Return the folder of the token files, emptied unless it is the beginning of this very work."""
    parts = (stage.model_dump_json(), stage.external(), documents.record().fingerprint, code_sha256(type(stage)))
    key = hashlib.sha256("\n".join([*parts, documents.output.model_dump_json()]).encode()).hexdigest()
    folder = out / "tokens"
    if not (folder / "key").is_file() or (folder / "key").read_text() != key:
        shutil.rmtree(folder, ignore_errors=True)
        (out / "tokenizer.json").unlink(missing_ok=True)
        folder.mkdir(parents=True)
        write_atomic(folder / "key", key)
    return folder


def _tokenizer(stage: Tokenize, documents: Reader, mask: Mask, outputs: Outputs) -> "tokenizers.Tokenizer":
    file = outputs.folder / "tokenizer.json"
    if not file.exists():
        if stage.tokenizer:
            load(Path(stage.tokenizer).expanduser())  # refuse it before it is copied
            temporary = file.with_suffix(".tmp")
            shutil.copyfile(Path(stage.tokenizer).expanduser(), temporary)
            temporary.replace(file)
        else:
            outputs.progress.start("documents (training the tokenizer)", int((~mask).sum()))
            bpe.train(_training_texts(documents, mask, outputs), stage.vocab_size, file)
    return load(file)


def _training_texts(documents: Reader, mask: Mask, outputs: Outputs) -> Iterator[list[str]]:
    row = 0
    for batch in documents.batches(["text"], BATCH_ROWS):
        texts = [t for t, out in zip(batch["text"].to_pylist(), mask[row:], strict=False) if not out]
        row += batch.num_rows
        yield texts
        outputs.progress.advance(len(texts))


class Encoder:
    """Texts to ids, each text with the end token after it."""

    def __init__(self, tokenizer: "tokenizers.Tokenizer", eod_id: int) -> None:
        self.tokenizer, self.eod_id = tokenizer, eod_id

    def __call__(self, texts: list[str]) -> list[list[int]]:
        """Encode in parallel, in order; a text that gives no token gives no end token either."""
        found = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [[*e.ids, self.eod_id] if e.ids else [] for e in found]


class Work:
    """What the encoding loop reads and writes: rows, their sides, tables and folder."""

    def __init__(self, documents: Reader, mask: Mask, outputs: Outputs, folder: Path) -> None:
        self.documents, self.mask, self.outputs, self.folder = documents, mask, outputs, folder
        self.starts = dict.fromkeys(SPLITS, 0)

    def batches(self) -> Iterator[tuple[pa.RecordBatch, Mask, int]]:
        """Yield rows, their sides, and the number of the first."""
        row = 0
        for batch in self.documents.batches(COLUMNS, BATCH_ROWS):
            yield batch, self.mask[row : row + batch.num_rows], row
            row += batch.num_rows

    def bin(self, split: Split) -> Path:
        """Return the file for a split's ids."""
        return self.folder / f"{split}-00000.bin"

    def mine(self, lengths: Lengths, side: int) -> Lengths:
        """Pick those of the first rows' lengths that went to a side."""
        mine: Lengths = lengths[(self.mask[: len(lengths)] == side) & (lengths > 0)]
        return mine

    def record(self, batch: pa.RecordBatch, sides: Mask, lengths: Lengths) -> None:
        """Write the rows of a batch that is encoded."""
        for fields, side, length in zip(batch.to_pylist(), sides, lengths.tolist(), strict=True):
            if not length:
                words = f"{len(fields['text'])} characters, and the tokenizer makes nothing of them"
                self.outputs.drop(fields["doc_id"], "no tokens", words, fields["path"])
                continue
            split = SPLITS[int(side)]
            self.outputs["documents"].write(_row(fields, split, self.starts[split], length))
            self.starts[split] += length


def _row(fields: dict[str, Any], split: Split, start: int, length: int) -> TokenizedDocument:
    return TokenizedDocument(
        doc_id=fields["doc_id"],
        split=split,
        shard=0,
        start=start,
        num_tokens=length,
        num_bytes=len(fields["text"].encode()),
        source=fields["source"],
        licence=fields["licence"],
    )


def _encode(encoder: Encoder, work: Work, dtype: DtypeName) -> dict[Split, IndexedWriter]:
    """Encode what an earlier run has not; return the finished writers."""
    done = _done(work, np.dtype(dtype).itemsize)
    work.outputs.progress.start("documents", len(work.mask), len(done))
    with ExitStack() as stack:
        journal = stack.enter_context((work.folder / "lengths").open("ab"))
        journal.truncate(done.nbytes)
        writers = {}
        for side, split in enumerate(SPLITS):
            writer = IndexedWriter(work.bin(split), dtype, work.mine(done, side))
            writers[split] = stack.enter_context(writer)
        for batch, sides, row in work.batches():
            known = done[row : row + batch.num_rows]
            ids = encoder(batch["text"].to_pylist()[len(known) :])
            lengths = np.array([len(i) for i in ids], np.int32)
            if ids:
                _append(ids, sides[len(known) :], writers)
                journal.write(lengths.tobytes())
                journal.flush()
            work.record(batch, sides, np.concatenate([known, lengths]))
            work.outputs.progress.advance(len(ids), tokens=sum(work.starts.values()))
    return writers


def _append(ids: list[list[int]], sides: Mask, writers: dict[Split, IndexedWriter]) -> None:
    for side, split in enumerate(SPLITS):
        mine = [np.array(i, np.int32) for i, s in zip(ids, sides, strict=True) if i and s == side]
        if mine:
            writers[split].append(np.concatenate(mine), np.array([len(i) for i in mine], np.int32))
            writers[split].sync()


def _done(work: Work, itemsize: int) -> Lengths:
    """Read the lengths that an earlier run wrote; a torn last number, or ids that are not on disk, do not count."""
    journal = work.folder / "lengths"
    data = journal.read_bytes() if journal.exists() else b""
    done = np.frombuffer(data[: len(data) // 4 * 4], np.int32)
    for side, split in enumerate(SPLITS):
        expected = int(work.mine(done, side).sum(dtype=np.int64)) * itemsize
        if expected and (not work.bin(split).exists() or work.bin(split).stat().st_size < expected):
            return done[:0]
    return done


def _describe(stage: Tokenize, encoder: Encoder, writers: dict[Split, IndexedWriter], outputs: Outputs) -> None:
    file = outputs.folder / "tokenizer.json"
    size, digest = num_ids(encoder.tokenizer), sha256_file(file)
    row = Tokenizer(file=outputs.blob(file), vocab_size=size, eod_token=stage.eod_token, eod_id=encoder.eod_id)
    outputs["tokenizer"].write(row)
    for split, writer in writers.items():
        if not writer.num_documents:
            writer.bin.unlink()
            writer.idx.unlink()
            continue
        shard = TokenShard(
            split=split,
            bin=outputs.blob(writer.bin),
            idx=outputs.blob(writer.idx),
            dtype=writer.dtype,
            num_tokens=writer.num_tokens,
            num_documents=writer.num_documents,
            tokenizer_sha256=digest,
        )
        outputs["shards"].write(shard)
