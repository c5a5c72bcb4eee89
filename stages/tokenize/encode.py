"""Documents to token files: read, encode, write, each in a thread of its own, a piece of some 16 MB at a time.

Nothing is done document by document in Python. A piece's texts are put in the order of their files before they are
encoded, so that each file takes one slice of the ids. Rows go out in the order in which they came.
"""

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.table import ContractError, sha256_file
from schemas.tokens import Split, SplitRule, Tokenizer
from stages.base import Stage, code_sha256
from stages.stream import vocabulary
from stages.stream.megatron import CODES, DTYPES, dtype_for
from stages.stream.split import held_out
from stages.tables import Outputs, Reader
from stages.tokenize import Tokenize
from stages.tokenize.encoders import Encoded, Encoder, choose
from stages.tokenize.token_files import Lengths, TokenFolder, Tokens

if TYPE_CHECKING:
    import tokenizers

PIECE_BYTES = (
    32 << 20
)  # of text: enough for a hundred cores, and 250 MB of memory for the three pieces that are under way
PIECE_ROWS = 1 << 17
SAMPLE_CHARS = 4096
NUM_SAMPLES = 16
COLUMNS = ["doc_id", "text", "path", "source", "licence"]
SPLITS: tuple[Split, ...] = get_args(Split)

Indices = npt.NDArray[np.int64]
T = TypeVar("T")


class Piece(NamedTuple):
    """Some rows of a shard, and in which file each belongs.

    `order` lists the rows file by file (R), `groups` the files (split and source), `stops` where in `order` each ends.
    """

    rows: pa.RecordBatch
    order: Indices
    groups: list[tuple[Split, str]]
    stops: Indices

    def texts(self) -> pa.StringArray:
        """The texts, file by file."""
        texts = self.rows["text"]
        return texts if len(self.groups) == 1 else texts.take(pa.array(self.order))

    def slices(self) -> Iterator[tuple[tuple[Split, str], slice]]:
        """Each file, and which of the rows in `order` are its."""
        first = 0
        for group, last in zip(self.groups, self.stops.tolist(), strict=True):
            yield group, slice(first, last)
            first = last

    def in_row_order(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Values that are in the order of the files, in the order of the rows."""
        placed = np.empty_like(values)
        placed[self.order] = values
        return placed


class Vocabulary(NamedTuple):
    """The tokenizer of this run: its row, its file, and the file as `tokenizers` reads it."""

    row: Tokenizer
    file: Path
    tokenizer: "tokenizers.Tokenizer"


def tokenize(stage: Tokenize, inputs: Mapping[str, Reader], outputs: Outputs) -> None:
    """Do the stage's work; see `Tokenize`."""
    documents = inputs["documents"]
    if not documents.output.num_rows:
        raise ContractError(str(documents.folder), ["no document to tokenize: look at what the stages before dropped"])
    words, rule = read_vocabulary(inputs["tokenizer"]), only_row(inputs["split"])
    dtype = dtype_for(words.row.vocab_size)
    folder = TokenFolder(*_shard_folders(outputs), _key(stage, inputs, outputs.shard), dtype)
    outputs.progress.start("documents", documents.num_rows, folder.num_rows_done)
    num_rows = 0
    pieces = ahead(read_pieces(documents, rule))
    for piece, encoded in ahead(encode_pieces(pieces, folder.num_rows_done, words, stage)):
        num_rows += piece.rows.num_rows
        if encoded is None:
            _describe(piece, *_reread(piece, folder), folder, outputs)
            continue
        tokens, lengths = with_ends(encoded, words.row.eod_id, np.dtype(DTYPES[CODES[dtype]]))
        _describe(piece, lengths, _append(piece, tokens, lengths, folder), folder, outputs)
        folder.save(num_rows)
        outputs.progress.reach(num_rows, tokens=folder.num_tokens)
    folder.finish(num_rows, outputs, words.row.file.sha256)


def only_row(reader: Reader) -> Any:
    """The row of a table that has one; `ContractError` if it has another number."""
    rows = list(reader.rows())
    if len(rows) != 1:
        raise ContractError(str(reader.folder), [f"expected 1 row, found {len(rows)}"])
    return rows[0]


def read_vocabulary(reader: Reader) -> Vocabulary:
    """The tokenizer that a row points at; `ContractError` says all in which the file is not what the row says."""
    row: Tokenizer = only_row(reader)
    file = reader.open_path(row.file)
    if (found := sha256_file(file)) != row.file.sha256:
        problem = f"expected the digest {row.file.sha256[:16]}..., found {found[:16]}...: the file changed since"
        raise ContractError(str(file), [f"{problem}; run train_tokenizer again"])
    tokenizer = vocabulary.load(file)
    problems = []
    if (eod_id := tokenizer.token_to_id(row.eod_token)) != row.eod_id:
        words = "it has no such token" if eod_id is None else f"its id is {eod_id}"
        problems.append(f"end token {row.eod_token!r}: expected the id {row.eod_id}, {words}")
    if (num_ids := vocabulary.num_ids(tokenizer)) > row.vocab_size:
        problems.append(f"ids: expected less than {row.vocab_size}, found up to {num_ids - 1}")
    if problems:
        problems[-1] += "; run train_tokenizer again"
        raise ContractError(str(file), problems)
    return Vocabulary(row, file, tokenizer)


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; the next one is made in a thread while the last one is used."""
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = thread.submit(next, items, None)
            yield item


def read_pieces(documents: Reader, rule: SplitRule) -> Iterator[Piece]:
    """The documents of a shard in pieces of about `PIECE_BYTES` of text, each row with its split."""
    for batch in documents.batches(COLUMNS, PIECE_ROWS):
        ends = np.cumsum(pc.binary_length(batch["text"]).to_numpy(), dtype=np.int64)
        cuts = np.flatnonzero(np.diff(ends // PIECE_BYTES)) + 1
        for first, last in zip([0, *cuts.tolist()], [*cuts.tolist(), batch.num_rows], strict=True):
            yield grouped(batch.slice(first, last - first), rule)


def grouped(rows: pa.RecordBatch, rule: SplitRule) -> Piece:
    """Rows with the files that they belong in."""
    sides = held_out(rule, rows["doc_id"].to_pylist())
    sources = rows["source"].dictionary_encode()
    codes = sources.indices.to_numpy() * len(SPLITS) + sides
    found, counts = np.unique(codes, return_counts=True)
    names = sources.dictionary.to_pylist()
    groups = [(SPLITS[code % len(SPLITS)], names[code // len(SPLITS)]) for code in found.tolist()]
    return Piece(rows, np.argsort(codes, kind="stable"), groups, np.cumsum(counts))


def encode_pieces(
    pieces: Iterable[Piece], num_rows_done: int, words: Vocabulary, stage: Tokenize
) -> Iterator[tuple[Piece, Encoded | None]]:
    """Each piece with its ids, file by file; None for those that an earlier process has written."""
    encoder: Encoder | None = None
    row = 0
    for piece in pieces:
        row += piece.rows.num_rows
        if row <= num_rows_done:
            yield piece, None
            continue
        if encoder is None:
            samples = [text[:SAMPLE_CHARS] for text in piece.rows["text"][:NUM_SAMPLES].to_pylist()]
            encoder = choose(words.tokenizer, words.file, stage.encoder, samples)
        yield piece, encoder.encode(piece.texts())


def with_ends(encoded: Encoded, eod_id: int, dtype: np.dtype[Any]) -> tuple[Tokens, Lengths]:
    """Ids with the end token after each text, and lengths that count it; a text without tokens has no end either."""
    full = encoded.lengths > 0
    ends = np.cumsum(encoded.lengths, dtype=np.int64)[full]
    return np.insert(encoded.ids.astype(dtype), ends, eod_id), encoded.lengths + full.astype(np.int32)


def _append(piece: Piece, tokens: Tokens, lengths: Lengths, folder: TokenFolder) -> Indices:
    """Write a piece; returns where in its file each row starts, in tokens, file by file."""
    ends = np.cumsum(lengths, dtype=np.int64)
    starts = ends - lengths
    for group, rows in piece.slices():
        file = folder.file(*group)
        first, last = starts[rows.start], ends[rows.stop - 1]
        starts[rows] += file.num_tokens - first
        file.append(tokens[first:last], lengths[rows])
    return starts


def _reread(piece: Piece, folder: TokenFolder) -> tuple[Lengths, Indices]:
    """Lengths and starts, file by file, of a piece that is on disk."""
    lengths = np.empty(piece.rows.num_rows, np.int32)
    starts = np.empty(piece.rows.num_rows, np.int64)
    for group, rows in piece.slices():
        file = folder.file(*group)
        first = file.num_tokens
        lengths[rows] = file.reread(rows.stop - rows.start)
        starts[rows] = first + np.cumsum(lengths[rows], dtype=np.int64) - lengths[rows]
    return lengths, starts


def _describe(piece: Piece, lengths: Lengths, starts: Indices, folder: TokenFolder, outputs: Outputs) -> None:
    """Write a row for every document of a piece, or the reason why it has none."""
    rows, num_tokens = piece.rows, piece.in_row_order(lengths)
    group = pa.array(piece.in_row_order(np.repeat(np.arange(len(piece.groups)), np.diff(piece.stops, prepend=0))))
    files = [str(folder.file(*g).bin.relative_to(outputs.folder)) for g in piece.groups]
    table = pa.table(
        {
            "doc_id": rows["doc_id"],
            "split": pa.array([split for split, _ in piece.groups]).take(group),
            "bin": pa.array(files).take(group),
            "start": piece.in_row_order(starts),
            "num_tokens": num_tokens.astype(np.int64),
            "num_bytes": pc.binary_length(rows["text"]).cast(pa.int64()),
            "source": rows["source"],
            "licence": rows["licence"],
        }
    )
    kept = pa.array(num_tokens > 0)
    outputs["documents"].write(table.filter(kept))
    for fields in rows.filter(pc.invert(kept)).to_pylist():
        words = f"{len(fields['text'])} characters, and the tokenizer makes nothing of them"
        outputs.drop(fields["doc_id"], "no tokens", words, fields["path"])


def _shard_folders(outputs: Outputs) -> tuple[Path, Path]:
    """Where this shard's files and their journal are; those of other numbers of shards are removed by the first shard."""
    index, count = outputs.shard
    places = [outputs.folder / "tokens", outputs.folder / "progress" / "tokens"]  # progress goes with the commit
    for folder in (f for place in places for f in place.glob("*") if index == 0):
        if not folder.name.endswith(f"-of-{count:05d}"):
            shutil.rmtree(folder)
    tokens, journal = (place / f"{index:05d}-of-{count:05d}" for place in places)
    return tokens, journal


def _key(stage: Stage, inputs: Mapping[str, Reader], shard: tuple[int, int]) -> str:
    """What says whether files on disk are the beginning of this very work: its code, its inputs and its shard."""
    parts = [code_sha256(type(stage)), str(shard)]
    for reader in inputs.values():
        parts += [reader.manifest.fingerprint, reader.output.model_dump_json()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
