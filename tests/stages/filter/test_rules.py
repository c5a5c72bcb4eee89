"""The stage: every document is kept or dropped for one stated reason."""

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from schemas.manifest import Manifest
from stages.command import main
from stages.filter import Filter
from stages.filter.rules import Rules

PAPERS = Path(__file__).parents[4] / "shared" / "data" / "corpora" / "pmc-ccby-260.jsonl.gz"
Maker = Callable[..., Path]


@pytest.fixture
def two_languages(make_table: Maker, english: str, german: str) -> Path:
    """Write an English document and a German one."""
    return make_table(english, german)


def run(documents: Path, out: Path, *flags: str, **settings: Any) -> int:
    """Run the stage by its command line; returns the exit code."""
    out.mkdir(exist_ok=True)
    (out / "settings.json").write_text(json.dumps(settings))
    with pytest.raises(SystemExit) as exit_:
        main(Filter, ["--documents", str(documents), "--out", str(out), "--config", f"{out}/settings.json", *flags])
    return int(str(exit_.value.code))


def reasons(out: Path) -> dict[str, str]:
    """Return the reason by the number in the document's path."""
    return {r["path"].removesuffix(".txt"): r["reason"] for r in pq.read_table(out / "dropped").to_pylist()}


def vary(text: str) -> list[str]:
    """Make texts that break one rule each, in the order of `REASONS`."""
    number_soup = " ".join(f"=={'-' * (i % 7 + 1)}==" for i in range(200))
    return [
        text,
        "Too few words to learn from.",
        text.replace("e", "\ufffd"),
        text + number_soup,
        text.replace(" ", " ... "),
        "".join(text.split()[:100]) + " " + " ".join(["electroencephalographically"] * 60),
        text + "\n" + "\n".join(["All rights are reserved by the owner of this page, say its makers."] * 12),
        text + " and so on without an end" * 60,
        " ".join(w for w in text.split() if w.lower() not in {"the", "be", "to", "of", "and", "that", "have", "with"}),
    ]


REASONS = {
    "1": "too short",
    "2": "garbage",
    "3": "garbage",
    "4": "garbage",
    "5": "garbage",
    "6": "repetition",
    "7": "repetition",
    "8": "not prose",
    "9": "language",
}


def test_each_reason(tmp_path: Path, make_table: Maker, english: str, german: str) -> None:
    """A document that breaks a rule is dropped for that rule, the others go on, and no row is lost."""
    documents = make_table(*vary(english), german)
    assert run(documents, tmp_path / "out") == 0
    assert reasons(tmp_path / "out") == REASONS
    kept = pq.read_table(tmp_path / "out" / "documents").to_pylist()
    assert [(row["path"], row["text"], row["language"]) for row in kept] == [("0.txt", english, "en")]
    manifest = Manifest.read(tmp_path / "out")
    assert manifest.dropped == Counter(REASONS.values())
    assert all(row["detail"] for row in pq.read_table(tmp_path / "out" / "dropped").to_pylist())


def test_every_column_passes_unchanged(tmp_path: Path, make_table: Maker, english: str) -> None:
    """Only the language is written; pages, licence, title and the rest are as they came."""
    page = {"page": 1, "start": 0, "end": 5, "parser": "x", "origin": "ocr"}
    columns = {"pages": [page], "licence": "CC0-1.0", "title": "Salt", "doi": "10.1/1", "language": "fr"}
    documents = make_table((english, columns))
    assert run(documents, tmp_path / "out") == 0
    before, after = pq.read_table(documents), pq.read_table(tmp_path / "out" / "documents")
    assert after.drop_columns(["language"]).equals(before.drop_columns(["language"]))
    assert after["language"].to_pylist() == ["en"]


@pytest.mark.parametrize(
    ("settings", "dropped"),
    [
        ({}, {}),
        ({"licences": ["CC-BY-4.0", "cc0 1.0"]}, {"2": "licence"}),
        (
            {"licences": "cc_by_4.0", "unknown_licence": "drop"},
            {"1": "licence", "2": "licence", "3": "unknown licence"},
        ),
        ({"unknown_licence": "drop"}, {"3": "unknown licence"}),
    ],
)
def test_licences(
    tmp_path: Path, make_table: Maker, english: str, settings: dict[str, Any], dropped: dict[str, str]
) -> None:
    """The allow-list takes SPDX names in any spelling of case and hyphens, and BY is not BY-NC."""
    licences = ["CC-BY-4.0", "CC0-1.0", "CC-BY-NC-4.0", None]
    documents = make_table(*((english, {"licence": licence}) for licence in licences))
    assert run(documents, tmp_path / "out", **settings) == 0
    assert reasons(tmp_path / "out") == dropped


@pytest.mark.parametrize(("languages", "kept"), [(["de"], ["de"]), (["en", "de"], ["en", "de"]), ([], ["en", "de"])])
def test_languages(two_languages: Path, tmp_path: Path, languages: list[str], kept: list[str]) -> None:
    """The list says what passes, an empty one all, and the language is written in any case."""
    assert run(two_languages, tmp_path / "out", languages=languages) == 0
    assert pq.read_table(tmp_path / "out" / "documents")["language"].to_pylist() == kept


def test_shards_join_to_the_same_rows(tmp_path: Path, make_table: Maker, english: str, german: str) -> None:
    """Three shards give the rows that one gives, in the same order."""
    documents = make_table(*vary(english), german, english)
    assert run(documents, tmp_path / "one") == 0
    for shard in range(3):
        assert run(documents, tmp_path / "three", "--shard", f"{shard}/3") == 0
    assert run(documents, tmp_path / "three", "--commit", "3") == 0
    for table in ("documents", "dropped"):
        assert pq.read_table(tmp_path / "one" / table).equals(pq.read_table(tmp_path / "three" / table))


def test_same_input_same_bytes(tmp_path: Path, make_table: Maker, english: str, german: str) -> None:
    """A second run writes the same files."""
    documents = make_table(*vary(english), german)
    for name in ("a", "b"):
        assert run(documents, tmp_path / name) == 0
    for table in ("documents", "dropped"):
        first, second = (next((tmp_path / name / table).glob("part-*")) for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    "settings",
    [{"min_words": 0}, {"unknown_licence": "maybe"}, {"max_waste_fraction": 1.5}, {"max_top_ngram_fractions": [0.1]}],
)
def test_settings_have_limits(
    tmp_path: Path, make_table: Maker, english: str, settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """A setting that cannot be is named, with exit code 2."""
    assert run(make_table(english), tmp_path / "out", **settings) == 2
    assert f"filter.{next(iter(settings))}" in capsys.readouterr().err


def test_real_papers_pass() -> None:
    """Fewer than 2 % of 260 real papers, with their tables and numbers, are dropped, and all are found English."""
    if not PAPERS.exists():
        pytest.skip("the set of real papers is not on this machine")
    rules = Rules(Filter())
    with gzip.open(PAPERS, "rt") as file:
        papers = [json.loads(line) for line in file]
    judged = [rules.judge(paper["text"], paper["licence"]) for paper in papers]
    failures = [failure for _, failure in judged if failure]
    assert len(failures) < 0.02 * len(papers), failures
    assert {language for language, _ in judged} == {"en"}
