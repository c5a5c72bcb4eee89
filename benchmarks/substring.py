"""Repeated passages in real papers: this stage, and a suffix array of the same words by libdivsufsort (pydivsufsort).

The suffix array is what Lee et al. (arXiv 2107.06499) find repeats with. Their own program does not come as a package;
libdivsufsort makes the same array, in memory. It sees each word as three bytes, the first of which begins no other place in
a word, so its repeats are those of words. `equal`: the same words of the same documents are found, of real papers, with
either setting of `keep`. Times: ours is the whole stage, from Parquet to Parquet with the text cut; the peer's is the array,
its common prefixes (Kasai et al. 2001) and the repeated ranges, of bytes that are in memory already. Once it sees words, once
the text as it is, as the paper's program does. Memory is the peak of a process of its own. Growth is the time of ten times
the text, of which each tenth has words of its own, for ten times the time.

    python -m benchmarks.substring [--quick] [--data DIR] [--only PART]     DIR is laid out like shared/data/corpora

    pip install pydivsufsort==0.0.20     (or `.[bench]`; without it, growth is all that is measured)
"""

import gzip
import importlib.util
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from benchmarks.table import Comparison, Options, interleaved, main, seconds
from schemas.corpus import Document
from stages.base import PACKAGE_ROOT
from stages.substring import Substring
from stages.substring.passages import substring
from stages.substring.windows import words
from stages.tables import Outputs, Reader
from tests.stages.substring.corpora import document
from tests.tables import write_table

DATA = PACKAGE_ROOT.parent / "shared" / "data" / "corpora"
QUICK_PAPERS, TIMES = 100, 10
CODE_BYTES = 3  # of a word: 7 bits a byte, the highest bit marks the first
PEER = "libdivsufsort"
Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]


def papers(data: Path, count: int | None) -> list[str]:
    """The texts of the corpora."""
    files = sorted(data.glob("pmc-*.jsonl.gz"))
    return [json.loads(line)["text"] for file in files for line in gzip.open(file, "rt", encoding="utf-8")][:count]


def compare(options: Options) -> Iterator[Comparison]:
    """Equality, speed, memory, growth."""
    texts = papers(options.data or DATA, QUICK_PAPERS if options.quick else None)
    size = sum(len(t.encode()) for t in texts) / 1e6
    print(f"{len(texts)} papers, {size:.1f} MB")
    wanted = options.only or PARTS
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        made = table(work / "in", texts)
        if "growth" in wanted:
            yield growth(work, texts, made)
        if importlib.util.find_spec("pydivsufsort") is None:
            print("pydivsufsort is not installed (see the head of this file): nothing to compare with")
            return
        if "equal" in wanted:
            yield from equality(work, texts, made)
        if "speed" in wanted:
            yield from speed(work, texts, made, size)
        if "memory" in wanted:
            yield memory(work, texts, made)


def table(folder: Path, texts: Sequence[str]) -> Path:
    """Documents of these texts."""
    return write_table(folder, Document, [document(i, t) for i, t in enumerate(texts)], "documents")


def ours(made: Path, out: Path, **settings: Any) -> None:
    """The whole stage."""
    shutil.rmtree(out, ignore_errors=True)
    stage = Substring(**settings)
    outputs = Outputs(out, stage.outputs, (0, 1))
    substring(stage, Reader(made, Document), outputs)
    outputs.close()


# ---- the peer


class Words:
    """The words of some texts: where each is, whether it has a letter, its number."""

    def __init__(self, texts: Sequence[str]) -> None:
        numbers: dict[bytes, int] = {}
        ids, self.lettered, self.rows, self.starts, self.ends = [], list[bool](), list[int](), list[int](), list[int]()
        for row, text in enumerate(texts):
            data = text.encode()
            starts, ends = (p.tolist() for p in words(data))
            own = [data[a:b] for a, b in zip(starts, ends, strict=True)]
            ids += [numbers.setdefault(w, len(numbers)) for w in own]
            self.lettered += [any(map(str.isalpha, w.decode())) for w in own]
            self.rows += [row] * len(own)
            self.starts += starts
            self.ends += ends
        self.ids = np.array(ids, np.int64)


def codes(found: Words) -> npt.NDArray[np.uint8]:
    """The words as three bytes each, documents kept apart by words that occur once."""
    last = np.flatnonzero(np.diff(found.rows, append=-1))
    apart = int(found.ids.max()) + 1 + np.arange(len(last))
    ids = np.insert(found.ids, last + 1, apart)
    assert ids.max() < 1 << 7 * CODE_BYTES
    digits = np.column_stack([ids >> 14, ids >> 7 & 127, ids & 127]).astype(np.uint8)
    digits[:, 0] |= 128
    return np.ascontiguousarray(digits).reshape(-1)


def repeated(data: npt.NDArray[np.uint8], size: int) -> tuple[Numbers, Numbers]:
    """Places of which the next `size` bytes stand elsewhere too, equal ones after one another, and their groups."""
    from pydivsufsort import divsufsort, kasai

    order = divsufsort(data)
    shared = kasai(data, order) >= size  # of a suffix with the next one
    inside = shared | np.concatenate([[False], shared[:-1]])
    groups = np.cumsum(~np.concatenate([[False], shared[:-1]]))
    return order[inside].astype(np.int64), groups[inside]


def peer(texts: Sequence[str], stage: Substring) -> tuple[Words, Mask]:
    """Which words go, by the suffix array."""
    found = Words(texts)
    places, groups = repeated(codes(found), stage.min_words * CODE_BYTES)
    aligned = places % CODE_BYTES == 0
    places, groups = places[aligned] // CODE_BYTES, groups[aligned]
    last = np.flatnonzero(np.diff(found.rows, append=-1))
    apart = last + 1 + np.arange(len(last))
    places -= np.searchsorted(apart, places)
    letters = np.concatenate([[0], np.cumsum(found.lettered)])
    enough = 2 * (letters[places + stage.min_words] - letters[places]) >= stage.min_words
    places, groups = places[enough], groups[enough]
    order = np.lexsort([places, groups])
    places, groups = places[order], groups[order]
    rows = np.array(found.rows)[places]
    first = np.diff(groups, prepend=-1) != 0
    other = first | (np.diff(rows, prepend=-1) != 0)
    number = np.cumsum(first) - 1
    documents = np.bincount(number, other)
    chosen = documents[number] >= stage.min_documents
    if stage.keep == "first":
        chosen &= ~first
    gone = np.zeros(len(found.ids) + 1, np.int64)
    np.add.at(gone, places[chosen], 1)
    np.add.at(gone, places[chosen] + stage.min_words, -1)
    return found, np.cumsum(gone)[:-1] > 0


# ---- comparisons


def equality(work: Path, texts: Sequence[str], made: Path) -> Iterator[Comparison]:
    """The words that go."""
    for keep in ("first", "none"):
        stage = Substring(keep=keep)
        ours(made, work / "out", keep=keep)
        found, theirs = peer(texts, stage)
        mine = marked(found, texts, work / "out")
        agreed = bool((mine == theirs).all())
        a, b = int(mine.sum()), int(theirs.sum())
        yield Comparison(f"words that go, keep={keep}", PEER, a, b, "words", a / max(b, 1), agreed)


def marked(found: Words, texts: Sequence[str], out: Path) -> Mask:
    """The words inside the spans that the stage wrote."""
    numbers = {document(i, "x").doc_id: i for i in range(len(texts))}
    first = np.searchsorted(found.rows, np.arange(len(texts) + 1))
    gone = np.zeros(len(found.ids), bool)
    for span in pq.read_table(out / "spans").to_pylist():
        row = numbers[span["doc_id"]]
        low, high = (len(texts[row][: span[edge]].encode()) for edge in ("start", "end"))
        own = slice(first[row], first[row + 1])
        gone[own] |= (np.array(found.starts[own]) >= low) & (np.array(found.ends[own]) <= high)
    return gone


def speed(work: Path, texts: Sequence[str], made: Path, size: float) -> Iterator[Comparison]:
    """Megabytes of text a second on one core."""
    os.environ["BOREALIS_WORKERS"] = "1"
    as_words = codes(Words(texts))
    raw = np.frombuffer("\x00".join(texts).encode(), np.uint8).copy()
    for what, data, length in (("words", as_words, 30 * CODE_BYTES), ("bytes", raw, 200)):
        mine, other = interleaved(lambda: ours(made, work / "out"), lambda d=data, n=length: repeated(d, n), 3)
        yield Comparison(f"text searched, {what}", PEER, size / mine, size / other, "MB/s", other / mine, None)


def memory(work: Path, texts: Sequence[str], made: Path) -> Comparison:
    """Peak memory of a process that does nothing else."""
    raw = work / "raw"
    raw.write_bytes("\x00".join(texts).encode())
    mine = peak(ours, made, work / "out")
    other = peak(_array_of, raw)
    return Comparison("peak memory", f"{PEER}, bytes", mine, other, "MB", other / mine, None)


def _array_of(file: Path) -> None:
    repeated(np.fromfile(file, np.uint8), 200)


def peak(do: Callable[..., object], *arguments: object) -> float:
    """Peak memory in megabytes of a new process that calls a function; RuntimeError where that fails."""
    context = multiprocessing.get_context("spawn")
    there, here = context.Pipe()
    process = context.Process(target=_report, args=(here, do, *arguments))
    process.start()
    here.close()  # so that the end of the other one is seen
    try:
        found = float(there.recv())
    except EOFError:
        process.join()
        raise RuntimeError(f"{do.__name__} ended with {process.exitcode}") from None
    process.join()
    return found


def _report(pipe: Any, do: Callable[..., object], *arguments: object) -> None:
    do(*arguments)
    status = Path("/proc/self/status").read_text()  # `getrusage` would count the process that started this one
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    pipe.send(int(line.split()[1]) / 1024)


def growth(work: Path, texts: Sequence[str], made: Path) -> Comparison:
    """How the time of ten times the text compares with ten times the time."""
    more = [text.replace(" ", f" {letter}") for letter in "abcdefghij"[:TIMES] for text in texts]
    large = table(work / "large", more)
    ours(made, work / "out")  # compiled, and in the cache
    small_seconds, large_seconds = (seconds(lambda m=m: ours(m, work / "out")) for m in (made, large))
    peaks = [peak(ours, m, work / "out") for m in (made, large)]
    print(f"peak memory {peaks[0]:.0f} MB of one, {peaks[1]:.0f} MB of ten times the text")
    ratio = TIMES * small_seconds / large_seconds
    return Comparison("ten times the text", "linear growth", large_seconds, TIMES * small_seconds, "s", ratio, None)


PARTS = ("equal", "speed", "memory", "growth")

if __name__ == "__main__":
    main("substring", compare, PARTS)
