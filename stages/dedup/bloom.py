"""One Bloom filter a band (LSHBloom, arXiv 2411.04257) in one file that any number of processes can map and read.

All probes of a key go to one page of 4 KiB: one page fault a band where a plain filter has one a probe. `shape` says how
large a filter is, and how it grows.

Bands do not see each other: each is one writer's work, needs no lock, and the file is the same with any number of
threads and any size of batches. A key is put in whether or not it was there. What is given up: keys cannot be taken
out, and nobody reads a file while it is written.

Layout: a header of one page (`HEADER`, little endian), then slice after slice, in each band after band.
"""

import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt

from schemas.table import ContractError
from stages.compiled import compiled, inlined
from stages.dedup.shape import PAGE_BYTES, Shape
from stages.sketch.kernel import mix

Keys = npt.NDArray[np.uint64]
Bits = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

POSITION_SHIFT = np.uint64(64 - 15)  # 15 bits name a bit of a page
STEP, ODD = np.uint64(6364136223846793005), np.uint64(1442695040888963407)  # Knuth's MMIX: next probe
MAX_SLICES = 40
MAGIC = b"borealis bloom\r\n"  # a copy that translates line ends breaks it
VERSION = 1
SLICE = np.dtype([("capacity", "<u8"), ("count", "<u8"), ("num_pages", "<u8"), ("num_probes", "<u8")])
HEADER = np.dtype(
    [
        ("magic", "S16"),
        ("version", "<u4"),
        ("closed", "<u4"),
        ("seed", "<u8"),
        ("num_bands", "<u8"),
        ("capacity", "<u8"),
        ("rate", "<f8"),
        ("settings", "S64"),
        ("num_slices", "<u8"),
        ("slices", SLICE, (MAX_SLICES,)),
    ]
)


class BandFilters:
    """A filter file. Keys are (N, num_bands) unsigned 64-bit integers, one row a document.

    Slices that are made here stay in memory until `close`: a mapped file's pages would be written to disk again and
    again while keys fall into them. Slices of a file that is opened are mapped.
    """

    def __init__(self, path: Path, *, write: bool) -> None:
        self.path, self.write = path, write
        mode: Literal["r", "r+"] = "r+" if write else "r"
        self._page: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, mode, shape=(PAGE_BYTES,))
        self.header = self._page[: HEADER.itemsize].view(HEADER)[0]
        self._parts: list[Bits] = [np.memmap(path, np.uint8, mode, *self._place(i)) for i in range(len(self.slices))]
        self._made: list[int] = []  # slices that are not in the file yet
        self._pool: ThreadPoolExecutor | None = None

    @classmethod
    def create(cls, path: Path, shape: Shape) -> Self:
        """Make an empty filter; what was at `path` is replaced."""
        path.unlink(missing_ok=True)
        _reserve(path, PAGE_BYTES)
        filters = cls(path, write=True)
        head = filters.header
        assert len(shape.settings) <= HEADER["settings"].itemsize, shape.settings
        head["magic"], head["version"], head["settings"] = MAGIC, VERSION, shape.settings.encode()
        for name in ("seed", "num_bands", "capacity", "rate"):
            head[name] = getattr(shape, name)
        filters._grow()
        return filters

    @classmethod
    def open(cls, path: Path, settings: str | None = None, *, write: bool = False) -> Self:
        """Map a filter that was closed; `ContractError` if it is not whole or was made with other `settings`."""
        if problems := _damage(path):
            raise ContractError(str(path), [*problems, "make the filter again from the sketches"])
        filters = cls(path, write=write)
        if settings is not None and settings != filters.shape.settings:
            found = [f"settings: expected {settings!r}, found {filters.shape.settings!r}"]
            raise ContractError(str(path), [*found, "use the filter's settings, or make it again"])
        if write:
            filters.header["closed"] = 0
        return filters

    def close(self) -> None:
        """Write all to disk and mark the file whole."""
        self._stop()
        if not self.write:
            return
        with self.path.open("r+b") as file:
            for index in self._made:
                file.seek(self._place(index)[0])
                file.write(self._parts[index].data)
        for part in self._parts:
            if isinstance(part, np.memmap):
                part.flush()
        self._made = []
        self._flush()
        self.header["closed"] = 1
        self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        self._stop()  # a file that was given up stays marked as not whole

    @property
    def shape(self) -> Shape:
        """What the file was made for."""
        num_bands, capacity, rate, settings, seed = (self.header[f.name].item() for f in fields(Shape))
        return Shape(num_bands, capacity, rate, settings.decode(), seed)

    @property
    def num_documents(self) -> int:
        """Documents that were put in."""
        return int(self.slices["count"].sum())

    @property
    def size_bytes(self) -> int:
        """Bytes of the file."""
        return _file_bytes(self.header)

    def contains(self, keys: Keys, workers: int = 1) -> Flags:
        """Which keys are in: (N, num_bands)."""
        seen = np.zeros(keys.shape, np.bool_)
        self._each_band(partial(self._look, keys=keys, seen=seen, num_slices=len(self.slices)), workers)
        return seen

    def insert(self, keys: Keys, workers: int = 1) -> None:
        """Put all keys in."""
        self.first_seen(keys, workers)

    def first_seen(self, keys: Keys, workers: int = 1) -> Flags:
        """Put all keys in, row by row; says which were in before their row came: (N, num_bands)."""
        seen = np.zeros(keys.shape, np.bool_)
        for rows in self._spans(len(keys)):
            self._each_band(partial(self._put, keys=keys[rows], seen=seen[rows]), workers)
        return seen

    def merge(self, other: "BandFilters") -> None:
        """Take in all keys of another filter of the same shape; `ContractError` if the two do not fit together."""
        problems = [] if self.shape == other.shape else [f"expected {self.shape}, found {other.shape}"]
        for i, (mine, theirs) in enumerate(zip(self.slices, other.slices, strict=False)):
            both = int(mine["count"] + theirs["count"])
            if both > mine["capacity"]:
                problems.append(f"slice {i}: {both} documents in both, capacity {mine['capacity']}")
        if problems:
            raise ContractError(
                str(other.path), [*problems, "make both with one shape and a capacity for all documents"]
            )
        while len(self.slices) < len(other.slices):
            self._grow()
        for i, theirs in enumerate(other.slices):
            self.slices["count"][i] += theirs["count"]
            for band in range(self.shape.num_bands):
                self.bits(i, band)[:] |= other.bits(i, band)

    # ---- slices

    @property
    def slices(self) -> npt.NDArray[Any]:
        """Capacity, documents, pages a band and probes a key of each slice: records of `SLICE`, in the mapped header."""
        slices: npt.NDArray[Any] = self.header["slices"][: int(self.header["num_slices"])]
        return slices

    def _grow(self) -> None:
        index = int(self.header["num_slices"])
        capacity, num_pages, num_probes = self.shape.slice_size(index)
        self.header["slices"][index] = (capacity, 0, num_pages, num_probes)
        self.header["num_slices"] = index + 1
        self._flush()
        _reserve(self.path, _file_bytes(self.header))
        self._parts.append(_memory(self._place(index)[1][0]))
        self._made.append(index)

    def _flush(self) -> None:
        self._page.flush()  # type: ignore[attr-defined]

    def _place(self, index: int) -> tuple[int, tuple[int]]:
        """Where a slice begins in the file, and how many bytes it has."""
        pages = [int(n) for n in self.slices["num_pages"]]
        num_bands = int(self.header["num_bands"])
        return PAGE_BYTES * (1 + num_bands * sum(pages[:index])), (PAGE_BYTES * num_bands * pages[index],)

    def _spans(self, num_rows: int) -> Iterator[slice]:
        """Ranges of rows that go into one slice; the file grows between them."""
        start = 0
        while start < num_rows:
            last = self.slices[-1]
            if last["count"] == last["capacity"]:
                self._grow()
                continue
            stop = min(num_rows, start + int(last["capacity"] - last["count"]))
            last["count"] += stop - start
            yield slice(start, stop)
            start = stop

    def bits(self, index: int, band: int) -> Bits:
        """The bytes of a band in a slice."""
        return cast("Bits", self._bands(index)[band])

    def _bands(self, index: int) -> Bits:
        return cast("Bits", self._parts[index].reshape(int(self.header["num_bands"]), -1))

    # ---- bands

    def _each_band(self, work: Callable[[int, int], None], workers: int) -> None:
        """Give each worker some neighbouring bands, from the first number to before the second."""
        num_bands = int(self.header["num_bands"])
        if workers == 1:
            work(0, num_bands)
            return
        self._pool = self._pool or ThreadPoolExecutor(workers)
        ends = [num_bands * n // workers for n in range(workers + 1)]
        list(self._pool.map(work, ends[:-1], ends[1:]))

    def _stop(self) -> None:
        if self._pool:
            self._pool.shutdown()
        self._pool = None

    def _look(self, first: int, stop: int, keys: Keys, seen: Flags, num_slices: int) -> None:
        for i, part in enumerate(self.slices[:num_slices]):
            bits, probes = self._bands(i)[first:stop], int(part["num_probes"])
            _contains(bits, probes, self.header["seed"], keys[:, first:stop], seen[:, first:stop])

    def _put(self, first: int, stop: int, keys: Keys, seen: Flags) -> None:
        last = len(self.slices) - 1
        self._look(first, stop, keys, seen, last)
        bits, probes = self._bands(last)[first:stop], int(self.slices["num_probes"][last])
        _insert(bits, probes, self.header["seed"], keys[:, first:stop], seen[:, first:stop])


def _memory(size: int) -> Bits:
    """Zeros, in large pages where the system has them: keys fall all over, and each small page is a miss of its own."""
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8)


def _reserve(file: Path, size: int) -> None:
    """Make a file as large, with its blocks on disk: a disk that is full says so now, not when a mapped page is written."""
    with file.open("ab") as stream:
        os.posix_fallocate(stream.fileno(), 0, size)


def _file_bytes(head: Any) -> int:
    pages = int(head["slices"]["num_pages"][: int(head["num_slices"])].sum())
    return PAGE_BYTES * (1 + int(head["num_bands"]) * pages)


def _damage(path: Path) -> list[str]:
    """What makes a file unfit to be read."""
    if not path.is_file():
        return ["the file is missing"]
    size = path.stat().st_size
    if size < PAGE_BYTES:
        return [f"expected a header of {PAGE_BYTES} bytes, found {size} bytes"]
    head = np.fromfile(path, HEADER, 1)[0]
    if head["magic"] != MAGIC:
        return ["it is not a filter file"]
    if head["version"] != VERSION:
        return [f"layout: expected version {VERSION}, found {head['version']}"]
    problems = [] if head["closed"] == 1 else ["it was not closed: its writer was stopped"]
    if size != _file_bytes(head):
        problems.append(f"expected {_file_bytes(head)} bytes, found {size}")
    return problems


# ---- compiled: one band


@inlined
def _start(key: np.uint64, seed: np.uint64, num_pages: np.uint64) -> tuple[np.uint64, np.int64]:
    """What a key's probes are drawn from, and the first byte of the page that they go to."""
    state = mix(key ^ seed)
    return state, np.int64(((state >> np.uint64(32)) * num_pages) >> np.uint64(32)) * PAGE_BYTES


@compiled
def _contains(bits: Bits, num_probes: int, seed: np.uint64, keys: Keys, seen: Flags) -> None:
    num_pages = np.uint64(bits.shape[1] // PAGE_BYTES)
    for band in range(bits.shape[0]):
        for row in range(keys.shape[0]):
            if seen[row, band]:
                continue
            state, page = _start(keys[row, band], seed, num_pages)
            found = True
            for _ in range(num_probes):
                state = state * STEP + ODD
                position = np.int64(state >> POSITION_SHIFT)
                if not bits[band, page + (position >> 3)] >> (position & 7) & 1:
                    found = False
                    break
            seen[row, band] = found


@compiled
def _insert(bits: Bits, num_probes: int, seed: np.uint64, keys: Keys, seen: Flags) -> None:
    num_pages = np.uint64(bits.shape[1] // PAGE_BYTES)
    for band in range(bits.shape[0]):
        for row in range(keys.shape[0]):
            if seen[row, band]:
                continue
            state, page = _start(keys[row, band], seed, num_pages)
            found = 1
            for _ in range(num_probes):
                state = state * STEP + ODD
                position = np.int64(state >> POSITION_SHIFT)
                byte = page + (position >> 3)
                found &= bits[band, byte] >> (position & 7)
                bits[band, byte] |= np.uint8(1 << (position & 7))
            seen[row, band] = found & 1
