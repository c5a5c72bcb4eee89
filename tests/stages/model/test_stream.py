import os
from pathlib import Path

import numpy as np
import pytest

from schemas.table import BlobRef, ContractError
from schemas.tokens import TokenShard
from stages.model.stream import Batches, TokenStream, open_split
from stages.tables import Reader
from tests.stages.model.token_files import write_pair
from tests.tables import write_table


def stream(*lengths: int) -> TokenStream:
    """Files of these lengths whose tokens are their positions in the stream."""
    whole = np.arange(sum(lengths), dtype=np.uint16)
    return TokenStream(np.split(whole, np.cumsum(lengths)[:-1]))


def shard(folder: Path, split: str, name: str, num_tokens: int, claimed: int | None = None) -> TokenShard:
    """A row for a pair of files, one document of the tokens 0, 1, 2, ..."""
    write_pair(folder, name, [range(num_tokens)])
    return TokenShard(
        split=split,
        bin=BlobRef.of(folder / f"{name}.bin"),
        idx=BlobRef.of(folder / f"{name}.idx"),
        dtype="uint16",
        num_tokens=num_tokens if claimed is None else claimed,
        num_documents=1,
        tokenizer_sha256="0" * 64,
    )


def test_files_read_as_one() -> None:
    """Any range comes back as if all files were one, across boundaries and empty files."""
    tokens = stream(5, 0, 1, 10)
    for start in range(16):
        for count in range(17 - start):
            assert tokens.read(start, count).tolist() == list(range(start, start + count))


def test_reading_outside_is_refused() -> None:
    """A range that leaves the stream is an error, not a short read."""
    for start, count in ((-1, 1), (0, 17), (16, 1), (10, 7)):
        with pytest.raises(IndexError):
            stream(5, 11).read(start, count)


def test_windows_cover_the_stream_once_an_epoch() -> None:
    """In an epoch every token but the first is a target exactly once, up to the remainder at the end."""
    batches = Batches(stream(50, 60), sequence_tokens=8, batch_sequences=4, seed=1)  # 110 tokens: 13 windows
    assert batches.num_windows == 13
    windows = np.concatenate([batches.windows(step) for step in range(1, 14)])  # 52 samples: 4 epochs
    for epoch in range(4):
        assert sorted(windows[13 * epoch : 13 * (epoch + 1)].tolist()) == list(range(13))
    targets = np.sort(np.concatenate([batches.stream.read(int(w) * 8 + 1, 8) for w in windows[:13]]))
    assert targets.tolist() == list(range(1, 105))


def test_a_batch_follows_from_seed_and_step() -> None:
    """A batch is the same whenever it is asked for, and another for another seed or step."""
    first, second = (Batches(stream(1000), 8, 4, seed=7) for _ in range(2))
    second.batch(3, 0, 1)
    assert (first.batch(9, 0, 1) == second.batch(9, 0, 1)).all()
    assert (first.batch(9, 0, 1) != first.batch(10, 0, 1)).any()
    assert (first.batch(9, 0, 1) != Batches(stream(1000), 8, 4, seed=8).batch(9, 0, 1)).any()


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_ranks_share_the_same_batch(num_ranks: int) -> None:
    """The ranks' shares, in order, are the batch of one rank: no sample is lost or seen twice."""
    batches = Batches(stream(1000), 8, 4, seed=0)
    shares = [batches.batch(5, rank, num_ranks) for rank in range(num_ranks)]
    assert {len(s) for s in shares} == {4 // num_ranks}
    assert (np.concatenate(shares) == batches.batch(5, 0, 1)).all()


def test_a_window_is_inputs_and_what_follows() -> None:
    """A row of a batch is T + 1 neighbouring tokens."""
    rows = Batches(stream(1000), 8, 4, seed=0).batch(1, 0, 1)
    assert rows.shape == (4, 9)
    assert (np.diff(rows) == 1).all()
    assert (rows[:, 0] % 8 == 0).all()


def test_a_corpus_shorter_than_a_window_is_refused() -> None:
    """The error says how many tokens there are and how many a window needs."""
    with pytest.raises(ContractError, match=r"8 tokens, but a window needs 9"):
        Batches(stream(8), 8, 1, seed=0)
    assert Batches(stream(9), 8, 1, seed=0).num_windows == 1


def test_splits_are_read_in_row_order(tmp_path: Path) -> None:
    """A split's stream is its files in the table's order; other splits' files are left alone."""
    rows = [shard(tmp_path, s, n, k) for s, n, k in (("train", "b", 5), ("validation", "v", 3), ("train", "a", 4))]
    reader = Reader(write_table(tmp_path / "out", TokenShard, rows, "tokens"), TokenShard)
    assert open_split(reader, "train").read(0, 9).tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3]
    assert len(open_split(reader, "validation")) == 3


def test_a_row_that_lies_about_its_file_is_refused(tmp_path: Path) -> None:
    """A token count that is not the file's is a contract error that names both."""
    rows = [shard(tmp_path, "train", "a", 5, claimed=6)]
    reader = Reader(write_table(tmp_path / "out", TokenShard, rows, "tokens"), TokenShard)
    with pytest.raises(ContractError, match=r"the row says 6 tokens, the file holds 5"):
        open_split(reader, "train")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    """A token file cut short after it was recorded is found before training."""
    rows = [shard(tmp_path, "train", "a", 50)]
    folder = write_table(tmp_path / "out", TokenShard, rows, "tokens")
    os.truncate(tmp_path / "a.bin", 60)
    with pytest.raises(ContractError, match=r"expected 100 bytes, found 60"):
        open_split(Reader(folder, TokenShard), "train")
