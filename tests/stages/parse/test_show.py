"""The page of a run's routing, and the truth of real papers' pages."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stages.base import PACKAGE_ROOT
from stages.parse.router.show import write
from stages.parse.train.gold import papers, tied
from tests.stages.parse.conftest import WORDS, scan, source, typeset


def test_the_page_of_a_run(tmp_path: Path, parse) -> None:
    """It shows what was decided and why, the curve with the run on it, and pages with picture and text; nothing is fetched."""
    (tmp_path / "good.pdf").write_bytes(typeset(WORDS))
    (tmp_path / "scan.pdf").write_bytes(scan(typeset(WORDS)))
    rows = [source(tmp_path / "good.pdf"), source(tmp_path / "scan.pdf")]
    found = parse(rows, "out", parsers="rapidocr", budget="0 s")
    page = write(found.folder).read_text()
    assert "no text, price" in page
    assert page.count("data:image/png;base64,") == 2
    assert page.count("<polyline") == page.count("<polygon") == page.count("<circle") == 1
    assert re.search(r"This run: a quality of 0\.\d+ a page expected for 0 s a document", page)
    assert re.search(r"All that gains: [01]\.\d+ \([01]\.\d+ to [01]\.\d+\)", page)
    assert "thermal conductivity" in page
    assert 'src="http' not in page
    plain = parse(rows[:1], "plain", ocr="none")
    with pytest.raises(ValueError, match=r"parse\.budget"):
        write(plain.folder)


def test_words_go_to_their_pages() -> None:
    """Words of a gold text go to the page that has them, those between go with the nearest, and repeats tie nothing."""
    first, second = "one two three four five six seven", "eight nine ten eleven twelve thirteen"
    gold = f"{first} extra {second}".split()
    truths, ties = tied(gold, [f"head {first}", f"{second} foot"])
    assert truths == [f"{first} extra", second]
    assert ties == 7
    repeated = tied(gold, [f"{first} {second}", second])
    assert repeated[0][1] == ""


def test_pages_of_a_folder(tmp_path: Path) -> None:
    """A copy that cannot be read takes the truth of the same pages of the one that can; a broken one has no pages."""
    good = typeset(f"{WORDS}\n#pagebreak()\nA second page follows here with quite other words in it.")
    (tmp_path / "good.pdf").write_bytes(good)
    (tmp_path / "scan.pdf").write_bytes(scan(good))
    (tmp_path / "bad.pdf").write_bytes(good[:200])
    (tmp_path / "a.gold.txt").write_text(f"{WORDS} A second page follows here with quite other words in it.")
    with (tmp_path / "manifest.csv").open("w") as file:
        table = csv.DictWriter(file, ["file", "gold", "kind"])
        table.writeheader()
        table.writerows({"file": f"{n}.pdf", "gold": "a.gold.txt", "kind": n} for n in ("scan", "bad", "good"))
    pages = list(papers(tmp_path))
    assert [(p.kind, p.index) for p in pages] == [("scan", 0), ("scan", 1), ("good", 0), ("good", 1)]
    assert pages[0].truth == pages[2].truth == WORDS.strip()
    assert pages[3].truth.startswith("A second page")
    assert {p.group for p in pages} == {"a.gold.txt"}


def test_a_folder_that_is_no_output_of_parse(tmp_path: Path) -> None:
    """What the page is made of is missed by name, without a traceback, with exit 2."""
    command = [sys.executable, "-m", "stages.parse.router.show", str(tmp_path / "nowhere")]
    found = subprocess.run(command, cwd=PACKAGE_ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert "nowhere: no routes, which a finished output of parse has where parse.budget is set" in found.stderr
    assert "Traceback" not in found.stderr
