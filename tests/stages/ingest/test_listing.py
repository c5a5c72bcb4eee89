"""The listing, and the digest that makes a fingerprint of it."""

import os
import time
from pathlib import Path

import pytest

from stages.base import SettingsError
from stages.ingest import Ingest
from stages.ingest.listing import admits, listing, stems


def names(*paths: Path, include: tuple[str, ...] = ("*",), exclude: tuple[str, ...] = ()) -> list[str]:
    """Relative paths as listed."""
    return [f.relative for f in listing([str(p) for p in paths], include, exclude)]


def test_sorted_and_without_hidden_files(corpus: Path) -> None:
    """Files come sorted by relative path, folders included, hidden files and folders left out."""
    for name in ("b.txt", "a/z.txt", "a/b.txt", ".hidden", ".git/config", "a/.x/y.txt", "c.txt"):
        (corpus / name).parent.mkdir(parents=True, exist_ok=True)
        (corpus / name).write_text(name)
    assert names(corpus) == ["a/b.txt", "a/z.txt", "b.txt", "c.txt"]


def test_links_are_followed_once(corpus: Path) -> None:
    """A link to a folder above does not loop, and a file that two paths lead to is listed once."""
    (corpus / "a").mkdir()
    (corpus / "a" / "one.txt").write_text("1")
    (corpus / "a" / "up").symlink_to(corpus)
    (corpus / "same.txt").symlink_to(corpus / "a" / "one.txt")
    assert names(corpus) == ["a/one.txt"]
    assert names(corpus, corpus / "a" / "one.txt", corpus) == ["a/one.txt"]


def test_patterns_match_names_and_relative_paths() -> None:
    """A pattern matches the name or the path below the root; `exclude` wins."""
    assert admits("2024/a.pdf", ["*.pdf"], [])
    assert admits("2024/a.pdf", ["2024/*"], [])
    assert not admits("2024/a.pdf", ["2023/*", "*.txt"], [])
    assert not admits("2024/a.pdf", ["*"], ["a.*"])


def test_stems_of_a_name() -> None:
    """A sidecar may be called after any part of the name before a dot."""
    assert list(stems("a.gold.txt")) == ["a.gold", "a"]
    assert list(stems("README")) == []


def test_digest_changes_with_files_not_with_place(corpus: Path, tmp_path: Path) -> None:
    """The digest changes with a file's name, size or time, with patterns, with a sidecar, and not with the folder's place."""
    (corpus / "a.txt").write_text("one")
    os.utime(corpus / "a.txt", ns=(10**18, 10**18))

    def digest(folder: Path = corpus, **settings: object) -> str:
        return Ingest.parse({"paths": str(folder), **settings}).external()

    first = digest()
    assert digest() == first
    assert digest(include="*.md") != first
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = corpus.rename(elsewhere / "corpus")
    assert digest(moved) == first
    seen = {first}
    os.utime(moved / "a.txt", ns=(10**18, 10**18 + 1))
    seen.add(digest(moved))
    (moved / "a.meta.json").write_text("{}")
    seen.add(digest(moved, include="*.txt"))
    (moved / "b.txt").write_text("two")
    seen.add(digest(moved))
    assert len(seen) == 4


def test_digest_of_200_files_is_quick(corpus: Path) -> None:
    """A plan asks for the digest every time: 200 files take less than 50 ms."""
    for i in range(200):
        (corpus / f"{i % 10}").mkdir(exist_ok=True)
        (corpus / f"{i % 10}" / f"{i}.txt").write_text(str(i))
    stage = Ingest(paths=(str(corpus),))
    stage.external()
    best = min(_seconds(stage) for _ in range(5))
    assert best < 0.05


def _seconds(stage: Ingest) -> float:
    started = time.perf_counter()
    stage.external()
    return time.perf_counter() - started


def test_a_lost_path_is_a_settings_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that is not there is named, each of them, and for the demo's path the cure is too."""
    monkeypatch.chdir(tmp_path)
    stage = Ingest.parse({"paths": ["none-1", str(tmp_path / "none-2")]})
    assert stage.paths == (str(tmp_path / "none-1"), str(tmp_path / "none-2"))
    with pytest.raises(SettingsError, match=r"none-1\n.*none-2$"):
        stage.external()
    with pytest.raises(SettingsError, match="python -m examples"):
        Ingest().external()


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    """An unknown setting, an empty list of paths and a wrong type are refused, all in one message."""
    with pytest.raises(SettingsError) as error:
        Ingest.parse({"path": "x", "paths": [], "max_ratio": "many"})
    assert {"did you mean ingest.paths?", "ingest.max_ratio"} <= {
        part for line in str(error.value).splitlines() for part in (line.split("; ")[-1], line.split(":")[0])
    }
