import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.table import BlobRef, ContractError
from schemas.tokens import Tokenizer, TokenShard
from stages.index import verify
from stages.progress import Progress
from stages.tables import Reader
from tests.stages.model.token_files import shard_row, write_pair
from tests.tables import write_table

SHA = "1" * 64
VOCAB = 100


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """Three files of two documents each, ids 0 to 99."""
    chance = np.random.default_rng(0)
    rows = []
    for name in ("a", "b", "c"):
        pair = write_pair(tmp_path / "files", name, [chance.integers(0, VOCAB, 1000).tolist() for _ in range(2)])
        rows.append(shard_row(pair, "train", "s", SHA))
    return Reader(write_table(tmp_path / "tokens", TokenShard, rows, "tokens"), TokenShard)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are many blocks long, and the last one is not full."""
    monkeypatch.setattr(verify, "BLOCK_BYTES", 512)


def problems(reader: Reader, tmp_path: Path, vocab_size: int = VOCAB) -> list[str]:
    """All that is wrong with the files of a table."""
    return verify.file_problems(list(reader.rows()), reader, vocab_size, Progress(tmp_path / "progress.json"))


def flip(file: Path, offset: int) -> None:
    """Turn one bit of one byte round; the size stays."""
    content = bytearray(file.read_bytes())
    content[offset] ^= 1
    file.write_bytes(content)


def test_files_as_they_were_written_are_fine(reader: Reader, tmp_path: Path) -> None:
    """Nothing is said of files with the recorded digests and ids of the vocabulary."""
    assert problems(reader, tmp_path) == []


@pytest.mark.parametrize("offset", [0, 511, 512, 1999, 3999])
def test_a_flipped_bit_is_found_anywhere(offset: int, reader: Reader, tmp_path: Path) -> None:
    """One bit in one byte of one file is named with its file, at both ends and at the seams of blocks."""
    flip(tmp_path / "files" / "b.bin", offset)
    (problem,) = problems(reader, tmp_path)
    assert "b.bin: expected SHA-256" in problem
    assert "its bytes have changed" in problem


def test_all_broken_files_come_at_once(reader: Reader, tmp_path: Path) -> None:
    """Two files with a bit flipped and an index changed are a line each; of files that are cut or gone others speak."""
    files = tmp_path / "files"
    flip(files / "a.bin", 7)
    flip(files / "b.bin", 0)
    flip(files / "b.idx", 60)
    os.truncate(files / "c.bin", 100)
    found = "\n".join(problems(reader, tmp_path))
    assert len(found.splitlines()) == 3
    for words in ("a.bin: expected SHA", "b.bin: expected SHA", "b.idx: expected SHA"):
        assert words in found
    (files / "c.idx").unlink()
    assert len(problems(reader, tmp_path)) == 3


@pytest.mark.parametrize(
    ("offset", "words"),
    [(34, "the starts do not follow from the lengths"), (34 + 4 * 2 + 8, "the starts do not follow"), (58, "go back")],
)
def test_an_index_that_was_written_wrong_is_refused(offset: int, words: str, reader: Reader, tmp_path: Path) -> None:
    """Where the digest is that of the row and lengths, starts or marks do not agree, the file is named with what is wrong."""
    idx = tmp_path / "files" / "a.idx"
    data = bytearray(idx.read_bytes())
    data[offset : offset + 4] = (1_000_000).to_bytes(4, "little")
    idx.write_bytes(data)
    rows = [
        row.model_copy(update={"idx": BlobRef.of(idx)}) if "a.idx" in row.idx.path else row for row in reader.rows()
    ]
    (problem, *_) = verify.file_problems(rows, reader, VOCAB, Progress(tmp_path / "progress.json"))
    assert "a.idx: " in problem
    assert words in problem


def test_ids_above_the_vocabulary_are_counted(reader: Reader, tmp_path: Path) -> None:
    """Each file with ids that the tokenizer lacks is named with their number and the place of the first."""
    ids = [np.fromfile(tmp_path / "files" / f"{name}.bin", "<u2") for name in "abc"]
    found = problems(reader, tmp_path, vocab_size=95)
    assert len(found) == 3
    for problem, file in zip(found, ids, strict=True):
        wrong = np.flatnonzero(file >= 95)
        assert f"{len(wrong)} id(s) are not in 0..94" in problem
        assert f"the first is {file[wrong[0]]} at token {wrong[0]}" in problem


def test_negative_ids_are_refused(tmp_path: Path) -> None:
    """Of four-byte ids those below 0 are outside the vocabulary, too."""
    np.array([0, 5, -1, 99, -7, 100], "<i4").tofile(tmp_path / "x.bin")
    digest, wrong, first = verify.scan(tmp_path / "x.bin", np.dtype("<i4"), 100)
    assert digest == hashlib.sha256((tmp_path / "x.bin").read_bytes()).hexdigest()
    assert (wrong, first) == (3, "the first is -1 at token 2")


def test_a_changed_file_is_not_blamed_for_its_ids(reader: Reader, tmp_path: Path) -> None:
    """Where the digest is wrong the ids are noise: one line a file, not two."""
    for name in "abc":
        flip(tmp_path / "files" / f"{name}.bin", 5)  # the high byte of an id: 256 more than it was
    assert len(problems(reader, tmp_path)) == 3


def test_another_tokenizers_files_are_named() -> None:
    """Every file that another tokenizer made is named with both digests."""
    blob = BlobRef(path="x.bin", size_bytes=0, sha256=SHA)
    fields: dict[str, Any] = {"split": "train", "source": "s", "dtype": "uint16", "num_tokens": 0, "num_documents": 0}
    row = TokenShard(bin=blob, idx=blob, tokenizer_sha256="2" * 64, **fields)
    tokenizer = Tokenizer(file=blob, vocab_size=10, eod_token="", eod_id=0)
    assert verify.tokenizer_problems([row.model_copy(update={"tokenizer_sha256": SHA})], tokenizer) == []
    assert verify.tokenizer_problems([row], tokenizer) == [
        "x.bin: made with tokenizer 222222222222, given is 111111111111"
    ]


def test_very_many_problems_are_cut_short() -> None:
    """Of a thousand broken files fifty are named, and the rest counted."""
    with pytest.raises(ContractError) as error:
        verify.refuse("the token files", [f"file {i}" for i in range(1000)])
    assert len(error.value.problems) == 51
    assert error.value.problems[-1] == "and 950 more"
    verify.refuse("the token files", [])
