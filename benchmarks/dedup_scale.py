"""How `sketch` and `dedup` grow: 10 k, 100 k, 1 M and 10 M short documents, a twentieth of them near copies, two workers.

Texts are random letters, so that unrelated ones share nothing; each stage runs as its command does. Then what the
measured figures make of five billion documents, with the arithmetic.
"""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.dedup_tables import Ran, run_stage, write_documents
from benchmarks.table import Comparison, Options
from schemas.manifest import Manifest
from stages.dedup import Dedup
from stages.dedup.bloom import BandFilters
from stages.dedup.shape import Shape
from stages.sketch import Sketch

TEXT_BYTES, MEAN_WORD_BYTES = 400, 7
COPY_EVERY, COPY_BEHIND, COPY_CHANGED = 20, 7, 24  # a copy of the text 7 rows before, with its last 24 bytes others
BATCH_ROWS = 20_000
WORKERS = 2
FEW_MEGABYTES = 300  # that the stage may hold beside the filter
TARGET = 5_000_000_000


def scale(options: Options) -> Iterator[Comparison]:
    """Memory against the filter's size, seconds a document against the size before, and copies found."""
    counts = (1000, 10_000) if options.quick else (10_000, 100_000, 1_000_000, 10_000_000)
    before: tuple[int, float] | None = None
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="dedup-scale-") as name:
            sketched, deduped, filter_bytes, share = _run(Path(name), count)
        seconds = sketched.seconds + deduped.seconds
        print(
            f"{count} documents: sketch {sketched}, dedup {deduped}, filter {filter_bytes / 1e6:.0f} MB, {share:.4f} of the copies found"
        )
        yield _memory(f"dedup, {count} documents", deduped, filter_bytes)
        if before:
            ratio = before[1] / before[0] * count / seconds
            yield Comparison(
                f"{count} documents", f"{before[0]}, scaled", seconds, seconds * ratio, "s", ratio, share > 0.98
            )
        before = (count, seconds)
    if before:
        _extrapolate(before[0], sketched, deduped)


def _memory(what: str, ran: Ran, filter_bytes: int) -> Comparison:
    peak, most = ran.peak_memory_bytes / 1e6, filter_bytes / 1e6 + FEW_MEGABYTES
    return Comparison(
        f"{what}: peak memory", f"filter + {FEW_MEGABYTES} MB", peak, most, "MB", most / peak, peak <= most
    )


def _run(folder: Path, count: int) -> tuple[Ran, Ran, int, float]:
    documents = write_documents(folder / "in", texts(count))
    sketched = run_stage("sketch", folder / "sketch", {}, {"documents": documents}, WORKERS)
    inputs = {"documents": documents, "sketches": folder / "sketch" / "sketches"}
    deduped = run_stage("dedup", folder / "dedup", {"num_decoys": 0}, inputs, WORKERS)
    filters = next(file for file in (folder / "dedup").rglob("*") if file.is_file() and _is_filter(file))
    dropped = sum(Manifest.read(folder / "dedup").dropped.values())
    return sketched, deduped, BandFilters.open(filters).size_bytes, dropped / (count // COPY_EVERY)


def _is_filter(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(8) == b"borealis"


def texts(count: int) -> Iterator[pa.StringArray]:
    """Texts of random words; every twentieth is nearly the one some rows before."""
    draw = np.random.Generator(np.random.PCG64(0))
    for start in range(0, count, BATCH_ROWS):
        rows = min(BATCH_ROWS, count - start)
        letters = draw.integers(97, 123, (rows, TEXT_BYTES), np.uint8)
        letters[draw.random((rows, TEXT_BYTES)) < 1 / MEAN_WORD_BYTES] = 32
        copies = np.arange(COPY_EVERY - 1, rows, COPY_EVERY)
        letters[copies, : TEXT_BYTES - COPY_CHANGED] = letters[copies - COPY_BEHIND, : TEXT_BYTES - COPY_CHANGED]
        offsets = np.arange(0, (rows + 1) * TEXT_BYTES, TEXT_BYTES, dtype=np.int32)
        yield pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(letters))


def _extrapolate(count: int, sketched: Ran, deduped: Ran) -> None:
    """What five billion documents take, if a document costs what one of `count` does."""
    sketch, settings = Sketch(), Dedup()
    shape = Shape(sketch.num_bands, TARGET, settings.filter_rate)
    bits = -math.log(shape.rate_per_band) / math.log(2) ** 2
    _, num_pages, _ = shape.slice_size(0)
    keys = TARGET * sketch.num_bands
    print(
        f"{TARGET:,} documents, {sketch.num_bands} bands, rate {settings.filter_rate:g}, {shape.rate_per_band:.3g} a band:"
    )
    print(
        f"  filter, theory: {keys:.3g} keys x {bits:.2f} bits = {keys * bits / 8e9:.0f} GB; as laid out: {num_pages * 4096 * sketch.num_bands / 1e9:.0f} GB"
    )
    print(f"  sorted keys on disk: {keys:.3g} x 16 bytes = {keys * 16 / 1e12:.2f} TB")
    for name, ran in (("sketch", sketched), ("dedup", deduped)):
        each = ran.seconds / count
        days = each * TARGET / 86400
        print(
            f"  {name}: {each * 1e6:.1f} us a document of {TEXT_BYTES} bytes on {WORKERS} workers = {days:.1f} days on them, {days * 24 * WORKERS:.0f} core hours"
        )
