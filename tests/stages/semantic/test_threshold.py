"""Choosing a threshold from labels, against counting by hand."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from stages.base import SettingsError
from stages.semantic.threshold import Point, choose, curve, labelled, main, read
from tests.stages.embed.models import tiny

ROWS = [
    {"text": "a", "cluster": "x"},
    {"text": "b", "cluster": "x", "relation": "parser"},
    {"text": "c", "cluster": "x", "relation": "partial-not-duplicate"},
    {"text": "d", "cluster": "y"},
    {"text": "e"},
]


def files(folder: Path, *tables: list[dict]) -> list[Path]:
    """JSON lines, the first of them compressed."""
    found = []
    for number, table in enumerate(tables):
        found.append(folder / f"{number}.jsonl{'' if number else '.gz'}")
        text = "".join(json.dumps(row) + "\n" for row in table)
        found[-1].write_bytes(gzip.compress(text.encode()) if number == 0 else text.encode())
    return found


def test_pairs_by_label(tmp_path: Path) -> None:
    """Copies are of one cluster, others of two; a partial text is no copy of its own cluster, and not counted there."""
    rows = read(files(tmp_path, ROWS[:3], ROWS[3:]))
    assert [r["cluster"] for r in rows] == ["x", "x", "x", "y", "line 4"]
    unit = np.eye(5)
    unit[1] = [0.8, 0.6, 0, 0, 0]
    pairs = labelled(unit, rows)
    assert pairs.copies.tolist() == [0.8]
    assert len(pairs.others) == 10 - 3  # all pairs but those within the cluster


def test_curve_and_choice() -> None:
    """Precision and recall are counted at each threshold; the least is chosen from which on all are precise enough."""
    rows = [{"cluster": n // 2} for n in range(6)]
    unit = np.zeros((6, 6))
    for place, cosine in ((0, 0.9), (2, 0.8), (4, 0.6)):
        unit[place, place] = 1
        unit[place + 1, [place, place + 1]] = cosine, (1 - cosine**2) ** 0.5
    unit[4] = 0.7 * unit[2] + 0.51**0.5 * np.eye(6)[4]  # another one is as near to it as 0.7
    points = {p.threshold: p for p in curve(labelled(unit, rows))}
    assert points[0.85] == Point(0.85, 1.0, pytest.approx(1 / 3), 0)
    assert points[0.65].num_others == 1
    assert points[0.65].precision == pytest.approx(2 / 3)
    assert choose(list(points.values()), 0.95).threshold == 0.71
    assert choose(list(points.values()), 0.6).threshold < 0.7


def test_no_choice_is_said() -> None:
    """If no threshold is precise enough the best that there is is named."""
    with pytest.raises(SettingsError, match=r"precision of 0\.95; the best is 0\.400"):
        choose([Point(0.5, 0.4, 1, 3), Point(0.6, 1.0, 0, 0)], 0.95)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It reads files, embeds with the settings given, prints the curve and the setting."""
    (tmp_path / "model").mkdir()
    config = tmp_path / "embed.json"
    config.write_text(json.dumps({"model": str(tiny(tmp_path / "model"))}))
    texts = ["the yield of rice", "the yield of rice", "nitrogen soil", "rose with"]
    rows = [{"text": t, "cluster": "same" if n < 2 else str(n)} for n, t in enumerate(texts)]
    main([*map(str, files(tmp_path, rows)), "--config", str(config), "--precision", "0.9"])
    words = capsys.readouterr().out
    assert "4 documents: 1 pairs of copies, 5 of others" in words
    assert "0.99  precision 1.0000  recall 1.0000  others over it 0" in words
    assert "semantic.threshold=0." in words
