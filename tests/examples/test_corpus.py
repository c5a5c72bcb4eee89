import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pypdfium2
import pytest

from examples.__main__ import main
from examples.collection import make
from examples.damage import LIES
from examples.marker import MARKER, VERSION, CorpusError, is_complete, truth_folder
from examples.plan import MAX_ARTICLES, MIN_ARTICLES, REFUSED_LICENCE, Plan, make_plan
from tests.examples.conftest import NUM_ARTICLES, SEED
from tests.examples.measures import jaccard, pdf_text, recall

REPOSITORY = Path(__file__).parents[2]
Rows = list[dict[str, Any]]


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def truth(corpus: Path, row: dict[str, Any]) -> str:
    """The true text of a document."""
    return (truth_folder(corpus) / f"{row['stem']}.txt").read_text()


def of_kind(manifest: Rows, kind: str) -> Rows:
    """The rows of a kind; there must be some."""
    rows = [row for row in manifest if row["kind"] == kind]
    assert rows, kind
    return rows


def test_the_full_plan_is_what_was_asked_for() -> None:
    """80 articles must have a tenth of scans, 4 broken layers, 6 to 8 near-duplicates, 2 copies and one of each special."""
    kinds = Counter(e.kind for e in make_plan(80, 0).entries)
    assert kinds["scanned"] == 8
    assert kinds["broken-layer"] == len(LIES) == 4
    assert 6 <= kinds["near-duplicate"] <= 8
    assert kinds["exact-duplicate"] == 2
    assert kinds["other-language"] == kinds["refused-licence"] == kinds["too-short"] == 1
    assert (kinds["markdown"] + kinds["text"], kinds["jats"], kinds["record"], kinds["member"], kinds["bad"]) == (
        3,
        2,
        8,
        2,
        5,
    )
    articles = [e for e in make_plan(80, 0).entries if e.path.startswith("articles/")]
    assert len(articles) == 80


def test_the_full_plan_has_every_lie_and_layout() -> None:
    """80 articles must have all four ways of breaking a text layer and all layouts."""
    entries = make_plan(80, 0).entries
    assert {e.detail for e in entries if e.kind == "broken-layer"} == set(LIES)
    counts = Counter(e.layout for e in entries if e.kind == "born-digital")
    assert min(counts.values()) >= 8
    assert len(counts) == 4


@pytest.mark.parametrize("count", [MIN_ARTICLES, 13, 50, 100, MAX_ARTICLES])
@pytest.mark.parametrize("seed", [0, 1, 99])
def test_every_plan_adds_up(count: int, seed: int) -> None:
    """Any plan must have the number of articles asked for, unique paths and names, and one of each kind at least."""
    entries = make_plan(count, seed).entries
    assert sum(e.path.startswith("articles/") for e in entries) == count
    assert len({e.path for e in entries}) == len({e.stem for e in entries}) == len(entries)
    assert len({e.kind for e in entries}) == 14


@pytest.mark.parametrize("count", [-1, 0, MIN_ARTICLES - 1, MAX_ARTICLES + 1])
def test_wrong_counts_are_refused(count: int) -> None:
    """A count that cannot be made must be an error that says so."""
    with pytest.raises(CorpusError, match=str(count)):
        make_plan(count, 0)


def test_copies_sort_after_their_originals(plan: Plan) -> None:
    """Sorted by path, an original must come before its copies, because the first of a group stays."""
    copies = [e for e in plan.entries if e.duplicate_of]
    assert copies
    assert all(e.duplicate_of < e.path for e in copies)
    originals = {e.path: e.kind for e in plan.entries}
    assert {originals[e.duplicate_of] for e in copies} == {"born-digital"}


def test_the_manifest_names_every_document(corpus: Path, manifest: Rows, plan: Plan) -> None:
    """The manifest must have a row for each document of the plan, with its true text, words, pages and file."""
    assert [row["path"] for row in manifest] == [e.path for e in plan.entries]
    for row in manifest:
        if row["kind"] == "bad":
            assert not (truth_folder(corpus) / f"{row['stem']}.txt").exists()
            continue
        assert row["words"] == len(truth(corpus, row).split()) > 10
        assert truth(corpus, row).startswith(row["title"])
        if row["path"].endswith(".pdf"):
            assert row["pages"] >= 1


def test_every_file_is_in_the_plan(corpus: Path) -> None:
    """The marker must list the files of the folder with their sizes, no more and no fewer."""
    marker = json.loads((truth_folder(corpus) / MARKER).read_text())
    assert marker["files"] == {name: len(data) for name, data in contents(corpus).items()}
    assert (marker["complete"], marker["version"], marker["articles"], marker["seed"]) == (
        True,
        VERSION,
        NUM_ARTICLES,
        SEED,
    )


@pytest.mark.parametrize(
    "kind", ["born-digital", "near-duplicate", "exact-duplicate", "other-language", "refused-licence"]
)
def test_text_layers_are_true(corpus: Path, manifest: Rows, kind: str) -> None:
    """What PDFium reads from a PDF with a good text layer must hold 97 % of the true words."""
    for row in of_kind(manifest, kind):
        assert recall(truth(corpus, row), pdf_text(corpus / row["path"])) >= 0.97, row["path"]


def test_scans_have_no_text_layer(corpus: Path, manifest: Rows) -> None:
    """A scan must have pages and no character of text."""
    for row in of_kind(manifest, "scanned"):
        assert row["pages"] >= 1
        assert pdf_text(corpus / row["path"]).strip() == ""


def test_broken_layers_are_garbage(corpus: Path, manifest: Rows) -> None:
    """A broken text layer must give fewer than 3 of 10 true words."""
    for row in of_kind(manifest, "broken-layer"):
        assert recall(truth(corpus, row), pdf_text(corpus / row["path"])) < 0.3


def test_near_duplicates_are_near_and_others_far(corpus: Path, manifest: Rows) -> None:
    """Near-duplicates must agree to 0.78 to 0.99 with their original (5-grams), and to less than 0.3 with the rest."""
    texts = {row["path"]: truth(corpus, row) for row in manifest if row["kind"] != "bad"}
    for row in of_kind(manifest, "near-duplicate"):
        for path, text in texts.items():
            likeness = jaccard(texts[row["path"]], text)
            if path == row["duplicate_of"]:
                assert 0.78 <= likeness <= 0.99
            elif path != row["path"]:
                assert likeness < 0.3


def test_near_duplicates_have_another_layout(manifest: Rows) -> None:
    """A near-duplicate must be typeset anew."""
    layouts = {row["path"]: row["layout"] for row in manifest}
    assert all(row["layout"] != layouts[row["duplicate_of"]] for row in of_kind(manifest, "near-duplicate"))


def test_exact_duplicates_are_exact(corpus: Path, manifest: Rows) -> None:
    """A copy must have the bytes of its original under another name."""
    for row in of_kind(manifest, "exact-duplicate"):
        assert (corpus / row["path"]).read_bytes() == (corpus / row["duplicate_of"]).read_bytes()
        assert row["path"] != row["duplicate_of"]


def test_licences(corpus: Path, manifest: Rows) -> None:
    """Each PDF must have a sidecar with its title and licence, and one licence must be one that is refused."""
    for row in manifest:
        if row["path"].startswith(("articles/", "notes/")):
            facts = json.loads((corpus / row["path"]).with_suffix(".meta.json").read_text())
            assert facts == {"title": row["title"], "licence": row["licence"], "doi": None}
    licences = {row["licence"] for row in manifest if row["kind"] not in {"bad", "refused-licence"}}
    assert licences == {"CC-BY-4.0", "CC0-1.0"}
    assert [row["licence"] for row in of_kind(manifest, "refused-licence")] == [REFUSED_LICENCE]


def test_bad_files_cannot_be_opened(corpus: Path, manifest: Rows) -> None:
    """None of the bad files must open as a PDF with a page."""
    rows = of_kind(manifest, "bad")
    assert {row["detail"] for row in rows} == {"truncated", "empty", "locked", "no-pages", "not-a-pdf"}
    for row in rows:
        with pytest.raises(pypdfium2.PdfiumError, match="load"):
            pypdfium2.PdfDocument(corpus / row["path"])


def test_facts_are_written_down(corpus: Path, plan: Plan) -> None:
    """`facts.jsonl` must have every fact of every subject."""
    rows = [json.loads(line) for line in (truth_folder(corpus) / "facts.jsonl").read_text().splitlines()]
    assert len(rows) == 6 * len(plan.subjects)
    assert rows[0] == {
        "subject": plan.subjects[0].name, "kind": "alloy", "property": plan.subjects[0].facts[0].prop,
        "value": plan.subjects[0].facts[0].value, "unit": plan.subjects[0].facts[0].unit,
    }  # fmt: skip


def test_two_generations_give_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    """The same count and seed must give the same files, byte for byte, in another folder and at another time."""
    folder = tmp_path / "again"
    make(folder, NUM_ARTICLES, SEED, lambda _: None)
    assert contents(folder) == contents(corpus)
    assert contents(truth_folder(folder)) == contents(truth_folder(corpus))


def test_a_killed_run_can_be_repeated(corpus: Path, tmp_path: Path) -> None:
    """Killed in the middle, the same command must give what it gives without the kill, and not say before that it is done."""
    folder = tmp_path / "killed"
    command = [sys.executable, "-m", "examples", str(folder), "--articles", str(NUM_ARTICLES), "--seed", str(SEED)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(folder.glob("articles/*.pdf")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)  # ends only when nothing that it started still holds the pipe
    assert list(folder.glob("articles/*.pdf"))
    assert not is_complete(folder, NUM_ARTICLES, SEED)
    assert subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True).returncode == 0
    assert contents(folder) == contents(corpus)
    assert is_complete(folder, NUM_ARTICLES, SEED)


def test_a_complete_corpus_is_left_alone(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run again, the command must do nothing, say so, and take less than a second."""
    before = {p: p.stat().st_mtime_ns for p in corpus.rglob("*")}
    start = time.monotonic()
    assert main([str(corpus), "--articles", str(NUM_ARTICLES), "--seed", str(SEED)]) == 0
    assert time.monotonic() - start < 1
    assert "nothing to do" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in corpus.rglob("*")} == before


def test_a_damaged_or_other_corpus_is_not_complete(corpus: Path, tmp_path: Path) -> None:
    """A missing or changed file, another seed or count, or a marker that cannot be read must not pass for complete."""
    folder = tmp_path / "copy"
    shutil.copytree(corpus, folder)
    shutil.copytree(truth_folder(corpus), truth_folder(folder))
    assert is_complete(folder, NUM_ARTICLES, SEED)
    assert not is_complete(folder, NUM_ARTICLES, SEED + 1)
    assert not is_complete(folder, NUM_ARTICLES + 1, SEED)
    archive = folder / "bundle.zip"
    archive.write_bytes(archive.read_bytes()[:-1])
    assert not is_complete(folder, NUM_ARTICLES, SEED)
    (truth_folder(folder) / MARKER).write_text("{")
    assert not is_complete(folder, NUM_ARTICLES, SEED)


def test_files_of_others_are_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with a file that this command did not make must be refused, with the file's name, and stay as it is."""
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "mine.pdf").write_text("precious")
    assert main([str(tmp_path / "papers"), "--articles", "12"]) == 2
    assert "mine.pdf" in capsys.readouterr().err
    assert contents(tmp_path) == {"papers/mine.pdf": b"precious"}


def test_a_file_in_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the folder is a file, or the truth is another's folder, the command must say so and touch neither."""
    (tmp_path / "taken").write_text("x")
    assert main([str(tmp_path / "taken")]) == 2
    assert "not a folder" in capsys.readouterr().err
    (tmp_path / "a-truth").mkdir()
    (tmp_path / "a-truth" / "diary.txt").write_text("x")
    assert main([str(tmp_path / "a")]) == 2
    assert MARKER in capsys.readouterr().err
    assert (tmp_path / "a-truth" / "diary.txt").read_text() == "x"


def test_another_seed_replaces_the_corpus(tmp_path: Path) -> None:
    """Made again with another seed, the folder must hold the new corpus and no file of the old one."""
    folder = tmp_path / "corpus"
    make(folder, MIN_ARTICLES, 1, lambda _: None)
    old = set(contents(folder)) | set(contents(truth_folder(folder)))
    make(folder, MIN_ARTICLES, 2, lambda _: None)
    expected = json.loads((truth_folder(folder) / MARKER).read_text())["files"]
    assert set(contents(folder)) == set(expected)
    stems = {json.loads(line)["stem"] for line in (truth_folder(folder) / "manifest.jsonl").read_text().splitlines()}
    assert {p.stem for p in truth_folder(folder).glob("*.txt")} <= stems
    assert old - set(contents(folder))


def test_help_and_wrong_options(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` must name every option; a count that is no number must be exit 2."""
    with pytest.raises(SystemExit) as done:
        main(["--help"])
    assert done.value.code == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("FOLDER", "--articles", "--seed", "examples/corpus"))
    with pytest.raises(SystemExit) as done:
        main(["--articles", "many"])
    assert done.value.code == 2
