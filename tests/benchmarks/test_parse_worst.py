"""The page of the worst pages: which they are, and what stands on it."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import parse_worst
from stages.parse import pdf
from stages.parse.train.fit import Labelled
from stages.parse.train.pages import Known
from stages.parse.train.readings import Reading
from tests.stages.parse.conftest import WORDS, scan, typeset


@pytest.fixture
def rows(tmp_path: Path) -> list[Labelled]:
    """Two good pages and a scan, read by an engine with qualities that are given."""
    found = []
    for number, (kind, layer, read) in enumerate([("good", 0.9, 0.5), ("good", 0.7, 0.6), ("scan", 0.0, 0.8)]):
        path = tmp_path / f"{number}.pdf"
        path.write_bytes(scan(typeset(WORDS)) if kind == "scan" else typeset(WORDS))
        document = pdf.open_pdf(str(path))
        page = pdf.read_page(document, 0)
        document.close()
        known = Known(path, 0, f"<true> text {number}", str(number), kind)
        found.append(Labelled(known, page, layer, {"engine": (read, 1.0)}))
    return found


def test_the_worst_pages_are_one_of_each_kind(rows: list[Labelled]) -> None:
    """Worst first, one of each kind, as many as asked for; a scan's empty layer is no bad layer."""
    assert [r.known.path.stem for r in parse_worst.worst(rows, "engine", 5)] == ["0", "2"]
    assert [r.known.path.stem for r in parse_worst.worst(rows, "engine", 1)] == ["0"]
    assert [r.known.path.stem for r in parse_worst.worst(rows, parse_worst.LAYER, 5)] == ["1"]


def test_the_page_shows_means_and_texts(rows: list[Labelled], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Means are those of numpy by kind; a page has its picture, its truth as text and what the engine read."""

    def read(_self: object, path: Path, index: int, name: str) -> Reading:
        return Reading(pdf.Page(index + 1, lines=(), parser=name), 1.0) if path else Reading(pdf.Page(1), 0.0)

    monkeypatch.setattr(parse_worst.Readings, "read", read)
    monkeypatch.setattr(parse_worst, "BUILD", tmp_path)
    parse_worst.write(rows, ["engine"], tmp_path / "worst.html", 2)
    text = (tmp_path / "worst.html").read_text()
    good = [r for r in rows if r.known.kind == "good"]
    means = np.mean([[r.layer, r.read["engine"][0]] for r in good], axis=0)
    assert f"<tr><td>good<td>2<td>{means[0]:.3f}<td>{means[1]:.3f}" in text
    assert text.count("data:image/png;base64,") == 3
    assert "&lt;true&gt; text 1" in text
    assert "1.pdf, page 1 (good): 0.70 by text layer, 0.60 by engine" in text
