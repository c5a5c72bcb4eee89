"""OCR of one page's pixels: Tesseract (a program, Apache-2.0) or RapidOCR (PP-OCRv6 on ONNX Runtime, Apache-2.0).

RapidOCR's models come in its wheel; nothing is fetched. It runs on one thread, because pages run side by side. Its cost
goes with the number of lines (55 ms each), not with the resolution, and 110 dpi reads as well as 150 (0.986 against
0.983 of the words of a noisy two-column scan). Tesseract orders its own blocks, and reads small print worse at 150 dpi than
at 200 (0.670 against 0.688 of quality on generated pages); RapidOCR's boxes are ordered here. What
is given up: three columns, scans that lie on their side, and by Tesseract white letters on black (`tessedit_do_invert`),
for which it would read every poor line twice.
"""

import csv
import functools
import os
import subprocess
from collections.abc import Sequence
from statistics import median
from typing import Any, Protocol

from stages.parse.lines import Line, Page
from stages.parse.reading_order import by_rows

MIN_SCORE = 0.5
MIN_COLUMN_LINES = 5
MAX_CROSSING = 0.4  # of the lines may cross the gutter between two columns


class Engine(Protocol):
    """Reads pixels."""

    def read(self, pixels: Any, scale: float, height: float) -> tuple[Line, ...]:
        """Lines in reading order, of grey pixels at `scale` pixels a point on a page `height` points high."""
        ...


@functools.cache
def engine(name: str, language: str) -> Engine:
    """The engine, loaded once in a process."""
    return Tesseract(language) if name == "tesseract" else Rapid()


class Pictured:
    """An engine as a parser of pages."""

    def __init__(self, name: str, language: str, dpi: int) -> None:
        self.name, self.dpi = name, dpi
        self._engine = engine(name, language)

    def read(self, path: str, index: int) -> Page:
        """A page's lines, read from its picture."""
        from stages.parse import pdf

        document = pdf.open_pdf(path)
        pixels, scale, (width, height) = pdf.render(document, index, self.dpi)
        document.close()
        lines = self._engine.read(pixels, scale, height)
        return Page(index + 1, width, height, lines, parser=self.name, origin="ocr")


class Rapid:
    """RapidOCR with the models of its wheel, one thread, lines upright."""

    def __init__(self) -> None:
        from rapidocr import RapidOCR

        names = ("intra_op_num_threads", "inter_op_num_threads")
        threads = {f"EngineConfig.onnxruntime.{n}": 1 for n in names}
        arena = {"EngineConfig.onnxruntime.enable_cpu_mem_arena": True}
        sizes = {"Det.limit_side_len": 32, "Rec.rec_batch_num": 1, "Global.text_score": MIN_SCORE}
        self._read: Any = RapidOCR(
            params={"Global.log_level": "critical", "Global.use_cls": False, **threads, **arena, **sizes}
        )

    def read(self, pixels: Any, scale: float, height: float) -> tuple[Line, ...]:
        """Lines in reading order; see `Engine`."""
        import numpy as np

        found = self._read(np.repeat(pixels[:, :, None], 3, axis=2))
        if found.txts is None or found.boxes is None:
            return ()
        lines = []
        for text, box in zip(found.txts, found.boxes, strict=True):
            (left, top), (right, bottom) = (box.min(axis=0) / scale).tolist(), (box.max(axis=0) / scale).tolist()
            lines.append(Line(text, left, height - bottom, right, height - top, bottom - top))
        return in_reading_order(even(lines))


class Tesseract:
    """The `tesseract` program, given pixels on its standard input."""

    def __init__(self, language: str) -> None:
        self._command = ["tesseract", "stdin", "stdout", "-l", language, "--psm", "3", "-c", "tessedit_do_invert=0"]

    def read(self, pixels: Any, scale: float, height: float) -> tuple[Line, ...]:
        """Lines in reading order; `RuntimeError` with Tesseract's words if it fails."""
        rows, columns = pixels.shape
        image = b"P5 %d %d 255\n" % (columns, rows) + pixels.tobytes()
        command = [*self._command, "--dpi", str(round(scale * 72)), "tsv"]
        environment = os.environ | {"OMP_THREAD_LIMIT": "1"}
        done = subprocess.run(command, input=image, capture_output=True, check=False, env=environment)
        if done.returncode:
            raise RuntimeError(f"tesseract: {done.stderr.decode(errors='replace').strip()[-300:]}")
        return tuple(even(_tesseract_lines(done.stdout.decode(), scale, height)))


def _tesseract_lines(table: str, scale: float, height: float) -> list[Line]:
    words: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in csv.DictReader(table.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
        if row["level"] == "5" and row["text"] and row["text"].strip():
            words.setdefault((row["block_num"], row["par_num"], row["line_num"]), []).append(row)
    return [_tesseract_line(line, scale, height) for line in words.values()]


def _tesseract_line(words: Sequence[dict[str, str]], scale: float, height: float) -> Line:
    lefts = [int(w["left"]) for w in words]
    tops = [int(w["top"]) for w in words]
    right = max(x + int(w["width"]) for x, w in zip(lefts, words, strict=True)) / scale
    bottom = max(y + int(w["height"]) for y, w in zip(tops, words, strict=True)) / scale
    top = min(tops) / scale
    text = " ".join(w["text"] for w in words)
    return Line(text, min(lefts) / scale, height - bottom, right, height - top, bottom - top)


def even(lines: Sequence[Line]) -> list[Line]:
    """Lines with one size for all whose boxes differ only by which letters reach up and down."""
    if not lines:
        return []
    usual = median(line.size for line in lines)
    return [line._replace(size=usual) if 0.6 < line.size / usual < 1.35 else line for line in lines]


def in_reading_order(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Lines from top to bottom, column by column where a gutter divides the page or a part of it."""
    gutter = find_gutter(lines)
    if gutter is None:
        return tuple(by_rows(lines))
    ordered: list[Line] = []
    band: list[Line] = []
    for line in sorted(lines, key=lambda n: -(n.top + n.bottom)):
        if line.left < gutter < line.right:
            ordered += [*_columns(band, gutter), line]
            band = []
        else:
            band.append(line)
    return tuple(ordered + _columns(band, gutter))


def find_gutter(lines: Sequence[Line]) -> float | None:
    """The x of the gutter between two columns, or `None` where there is one column."""
    if len(lines) < 2 * MIN_COLUMN_LINES:
        return None
    low, high = min(n.left for n in lines), max(n.right for n in lines)
    candidates = [low + (high - low) * step / 100 for step in range(30, 71)]
    crossing = {x: sum(n.left < x < n.right for n in lines) for x in candidates}
    least = min(crossing.values())
    best = [x for x in candidates if crossing[x] == least]
    x = best[len(best) // 2]
    sides = sum(n.right <= x for n in lines), sum(n.left >= x for n in lines)
    return x if least <= MAX_CROSSING * len(lines) and min(sides) >= MIN_COLUMN_LINES else None


def _columns(band: Sequence[Line], gutter: float) -> list[Line]:
    """A band's lines: the left column's rows, then the right one's."""
    return by_rows([n for n in band if n.right <= gutter]) + by_rows([n for n in band if n.right > gutter])
