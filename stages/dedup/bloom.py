"""One Bloom filter a band (LSHBloom, arXiv 2411.04257) in one file that any number of processes can map and read.

A filter's bits lie in pages of 4 KiB and all probes of a key go to one page (blocked Bloom filters, Putze et al. 2009):
one page fault a band where a plain filter has one a probe. Pages fill unevenly, so the filter is made large enough
that the mean over all fillings has the rate that was asked for: 0.5 % more bits. Past its capacity a filter grows by a
slice of twice the size and half the rate (scalable Bloom filters, Almeida et al. 2007); the first slice may use 80 % of
the rate and all later ones together the rest, so growing costs a filter that never grows 1.5 % more bits.

Bands do not see each other: each is one writer's work, needs no lock, and the file is the same with any number of
threads and any size of batches. A key is put in whether or not it was there. What is given up: keys cannot be taken
out, and nobody reads a file while it is written.

Layout: a header of one page (`HEADER`, little endian), then slice after slice, in each band after band.
"""

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import lru_cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from numba import njit

from schemas.table import ContractError
from stages.sketch.kernel import mix

Keys = npt.NDArray[np.uint64]
Bits = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]

PAGE_BYTES = 4096
PAGE_BITS = 8 * PAGE_BYTES
POSITION_SHIFT = np.uint64(64 - 15)  # 15 bits name a bit of a page
FIRST_SHARE = 0.8  # of the rate, for the first slice
GROWTH = 2
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


@dataclass(frozen=True)
class Shape:
    """What two filters must have in common to be read or merged as one.

    `capacity` documents may be put in before the filter grows; `rate` is the share of new documents that all bands
    together may take for seen; `settings` names (a digest, at most 64 characters) what the keys were made with.
    """

    num_bands: int
    capacity: int
    rate: float
    settings: str = ""
    seed: int = 0

    @property
    def rate_per_band(self) -> float:
        """Each band's rate, such that all bands together have `rate`."""
        return -math.expm1(math.log1p(-self.rate) / self.num_bands)

    def slice_size(self, index: int) -> tuple[int, int, int]:
        """Capacity, pages a band and probes a key of slice `index`."""
        share = FIRST_SHARE if index == 0 else (1 - FIRST_SHARE) * 0.5**index
        capacity = max(1, self.capacity) * GROWTH**index
        return capacity, *pages_and_probes(capacity, self.rate_per_band * share)

    def theory_bytes(self) -> float:
        """Bytes of plain Bloom filters of this capacity and rate, as `-n ln p / ln(2)^2` bits has them."""
        return self.num_bands * self.capacity * -math.log(self.rate_per_band) / math.log(2) ** 2 / 8


class BandFilters:
    """A filter file, mapped. Keys are (N, num_bands) unsigned 64-bit integers, one row a document."""

    def __init__(self, path: Path, *, write: bool) -> None:
        self.path, self.write = path, write
        self._map: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, "r+" if write else "r")
        self.header = self._map[: HEADER.itemsize].view(HEADER)[0]

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
        if self.write:
            self._flush()
            self.header["closed"] = 1
            self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:  # a file that was given up stays marked as not whole
            self.close()

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
        return int(self._map.size)

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
        self._map = np.memmap(self.path, np.uint8, "r+")
        self.header = self._map[: HEADER.itemsize].view(HEADER)[0]

    def _flush(self) -> None:
        self._map.flush()  # type: ignore[attr-defined]

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
        """The mapped bytes of a band in a slice."""
        pages = [int(n) for n in self.slices["num_pages"]]
        num_bands = int(self.header["num_bands"])
        start = PAGE_BYTES * (1 + num_bands * sum(pages[:index]) + band * pages[index])
        return self._map[start : start + PAGE_BYTES * pages[index]]

    # ---- bands

    def _each_band(self, work: Callable[[int], None], workers: int) -> None:
        bands = range(int(self.header["num_bands"]))
        if workers == 1:
            for band in bands:
                work(band)
            return
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, bands))

    def _look(self, band: int, keys: Keys, seen: Flags, num_slices: int) -> None:
        for i, part in enumerate(self.slices[:num_slices]):
            _contains(self.bits(i, band), int(part["num_probes"]), self.header["seed"], keys[:, band], seen[:, band])

    def _put(self, band: int, keys: Keys, seen: Flags) -> None:
        last = len(self.slices) - 1
        self._look(band, keys, seen, last)
        probes = int(self.slices["num_probes"][last])
        _insert(self.bits(last, band), probes, self.header["seed"], keys[:, band], seen[:, band])


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


# ---- how large


@lru_cache(maxsize=256)
def pages_and_probes(capacity: int, rate: float) -> tuple[int, int]:
    """The fewest pages, and probes a key, that hold `capacity` keys at `rate`, given that pages fill unevenly."""
    num_probes = max(1, round(-math.log2(rate)))
    low = max(1, math.floor(capacity * -math.log(rate) / math.log(2) ** 2 / PAGE_BITS))
    high = low
    while expected_rate(capacity, high, num_probes) > rate:
        low, high = high, high + max(1, high // 8)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if expected_rate(capacity, middle, num_probes) <= rate else (middle + 1, high)
    return high, num_probes


def expected_rate(num_keys: int, num_pages: int, num_probes: int) -> float:
    """The mean, over a binomial number of keys in a page, of the chance that all probes of a new key hit set bits."""
    if num_pages == 1:
        return _page_rate(num_keys, num_probes)
    mean = num_keys / num_pages
    spread = 12 * math.sqrt(mean) + 12
    keys = range(max(0, int(mean - spread)), int(mean + spread))
    return math.fsum(math.exp(j * math.log(mean) - mean - math.lgamma(j + 1)) * _page_rate(j, num_probes) for j in keys)


def _page_rate(num_keys: int, num_probes: int) -> float:
    return float((1 - (1 - 1 / PAGE_BITS) ** (num_keys * num_probes)) ** num_probes)


# ---- compiled: one band


@njit(cache=True, nogil=True)
def _contains(bits: Bits, num_probes: int, seed: np.uint64, keys: Keys, seen: Flags) -> None:
    num_pages = np.uint64(bits.size // PAGE_BYTES)
    for row in range(keys.size):
        if seen[row]:
            continue
        state = mix(keys[row] ^ seed)
        page = np.int64(((state >> np.uint64(32)) * num_pages) >> np.uint64(32)) * PAGE_BYTES
        found = True
        for _ in range(num_probes):
            state = state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
            position = np.int64(state >> POSITION_SHIFT)
            if not bits[page + (position >> 3)] >> (position & 7) & 1:
                found = False
                break
        seen[row] = found


@njit(cache=True, nogil=True)
def _insert(bits: Bits, num_probes: int, seed: np.uint64, keys: Keys, seen: Flags) -> None:
    num_pages = np.uint64(bits.size // PAGE_BYTES)
    for row in range(keys.size):
        if seen[row]:
            continue
        state = mix(keys[row] ^ seed)
        page = np.int64(((state >> np.uint64(32)) * num_pages) >> np.uint64(32)) * PAGE_BYTES
        found = 1
        for _ in range(num_probes):
            state = state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
            position = np.int64(state >> POSITION_SHIFT)
            byte = page + (position >> 3)
            found &= bits[byte] >> (position & 7)
            bits[byte] |= np.uint8(1 << (position & 7))
        seen[row] = found & 1
