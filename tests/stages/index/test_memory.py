import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from schemas.tokens import Tokenizer, TokenShard
from stages.base import PACKAGE_ROOT
from stages.stream.megatron import IndexedWriter
from stages.tables import Reader
from tests.stages.index.conftest import Corpus, flags, write_corpus
from tests.stages.model.token_files import shard_row, write_tables

MIB = 1 << 20
# A child's `ru_maxrss` begins with its parent's; the high-water mark of its own memory does not.
CODE = """
import sys
from pathlib import Path
from stages.command import main
from stages.index import Index
try:
    main(Index, sys.argv[1:])
finally:
    print(Path("/proc/self/status").read_text())
"""


def large_corpus(folder: Path, num_documents: int) -> Corpus:
    """One file of documents of 100 tokens, 24 MB for 120,000 of them."""
    corpus = write_corpus(folder, {"one": 1})
    (tokenizer,) = Reader(corpus.tokenizer, Tokenizer).rows()
    ids = np.random.default_rng(0).integers(1, 400, 100 * num_documents)
    with IndexedWriter(folder / "large.bin", "uint16") as writer:
        writer.append(ids, np.full(num_documents, 100))
    rows = [shard_row((writer.bin, writer.idx), "train", "one", tokenizer.file.sha256)]
    return corpus._replace(tokens=write_tables(folder / "t", {"tokens": (TokenShard, rows)})["tokens"])


def peak(folder: Path, num_documents: int) -> int:
    """Largest resident size, in bytes, of an index of this many documents."""
    corpus = large_corpus(folder / "corpus", num_documents)
    command = [sys.executable, "-c", CODE, *flags(corpus, folder / "out", {})]
    done = subprocess.run(command, cwd=PACKAGE_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", done.stdout)
    return int(kilobytes) * 1024


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path) -> None:
    """Ten times the documents, a file of 240 MB instead of 24 MB, take at most 4 MiB more."""
    small, large = peak(tmp_path / "small", 120_000), peak(tmp_path / "large", 1_200_000)
    assert large < small + 4 * MIB
