"""`parsl trace` as a person and as a program uses it, on a run of the real stages: right words and wrong ones."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from schemas.corpus import Document
from schemas.manifest import NAME, Manifest
from schemas.tokens import TokenizedDocument, TokenOrder, TokenShard
from schemas.training import BatchLedger
from stages.base import PACKAGE_ROOT
from stages.tables import Reader
from tests.workflows.trace.life import NUM_DOCUMENTS, document, tables_of, tokenized, trained
from workflows.__main__ import main

Trace = Callable[..., str]

RECIPE = """
from stages.index import Index
from stages.pretrain import Pretrain
from workflows.corpus import corpus


def workflow(run):
    *_, made, tokens = corpus(run)
    order = run(Index(), tokens=tokens["shards"], tokenizer=made["tokenizer"])
    fixed = {name: order[name] for name in Index.outputs}
    run(Pretrain(), tokens=tokens["shards"], documents=tokens["documents"], tokenizer=made["tokenizer"], **fixed)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage root with a run of 40 steps in `train`."""
    root = tmp_path_factory.mktemp("life") / "root"
    trained(tokenized(root), root / "train")
    return root


@pytest.fixture
def root(base: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    shutil.copytree(base, tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def trace(base: Path, capsys: pytest.CaptureFixture[str]) -> Trace:
    """What the command says of the run in `root`."""

    def call(*words: str, root: Path = base, expect: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["trace", "--run", str(root / "train"), *words])
        said = capsys.readouterr()
        assert ended.value.code == expect, said.out + said.err
        return said.out + said.err

    return call


def rows(root: Path, table: str, row: type[Any]) -> list[Any]:
    """Rows of a table under the root."""
    return list(Reader(root / table, row).rows())


def test_without_a_question(base: Path, trace: Trace) -> None:
    """The run's size, its order, the digest of its ledger, and what can be asked."""
    words = trace()
    assert "40 steps x 8 sequences x 32 tokens = 10,240 tokens" in words
    assert "--document ID" in words
    assert json.loads(trace("--json"))["ledger_digest"] in words


def test_a_step_with_titles_pages_and_licences(base: Path, trace: Trace) -> None:
    """Every document of the step has its title, path, DOI, source and licence, and pages that are its own."""
    by_id = {d.doc_id: d for d in rows(base, "filter/documents", Document)}
    answer = json.loads(trace("--step", "7", "--json"))
    assert (answer["num_tokens"], answer["num_padding"]) == (8 * 32, 0)
    for found in answer["documents"]:
        d = by_id[found["doc_id"]]
        named = {"title": d.title, "path": d.path, "doi": d.doi, "source": d.source, "licence": d.licence or "unknown"}
        assert {key: found[key] for key in named} == named
        assert set(found["pages"]) <= {p.page for p in d.pages}
        assert sum(s["num_tokens"] for s in found["samples"]) == found["num_tokens"]
    words = trace("--step", "7")
    assert all(found["title"] in words for found in answer["documents"])


def test_the_text_of_a_sample_is_on_the_pages_that_are_said(base: Path, trace: Trace) -> None:
    """For each sample of some steps: its pieces are in their documents, on the pages that the trace names."""
    by_id = {d.doc_id: d for d in rows(base, "filter/documents", Document)}
    seen = 0
    for step in (1, 40):
        for sample in range(1, 9):
            answer = json.loads(trace("--step", str(step), "--sample", str(sample), "--json"))
            places = {(d["doc_id"], s["first_token"]): s for d in answer["documents"] for s in d["samples"]}
            for piece in answer["pieces"]:
                d, text = by_id[piece["doc_id"]], piece["text"].strip("\N{REPLACEMENT CHARACTER}")
                assert text in d.text
                assert d.text.startswith(text) or not piece["begins"]
                assert d.text.endswith(text) or not piece["ends"]
                if d.text.count(text) == 1 and len(text) > 10:
                    start = d.text.index(text)
                    expected = [p.page for p in d.pages if p.start < start + len(text) and p.end > start]
                    pages = places[piece["doc_id"], piece["first_token"]]["pages"]
                    assert set(pages) >= set(expected)  # and those of a character that was cut
                    assert len(pages) <= len(expected) + 2 * (text != piece["text"])
                    seen += 1
    assert seen > 12


def test_a_sample_shows_its_documents_in_words(trace: Trace) -> None:
    """The text is printed piece by piece, each under its document and how it begins and ends."""
    answer = json.loads(trace("--step", "3", "--sample", "2", "--json"))
    words = trace("--step", "3", "--sample", "2")
    assert words.count("\n--- ") == len(answer["pieces"])
    for piece in answer["pieces"]:
        assert piece["text"].strip() in words
        assert f"it {'begins here' if piece['begins'] else 'began before'}" in words


def test_a_document_by_each_of_its_names(base: Path, trace: Trace) -> None:
    """Id, beginning of the id, DOI and path say the same, and its steps have it."""
    placed = {t.doc_id for t in rows(base, "tokenize/documents", TokenizedDocument) if t.split == "train"}
    d = next(d for d in rows(base, "filter/documents", Document) if d.doc_id in placed)
    answers = [json.loads(trace("--document", w, "--json")) for w in (d.doc_id, d.doc_id[:14], d.doi or "", d.path)]
    assert all(a == answers[0] for a in answers)
    first = answers[0]["steps"][0]
    step = json.loads(trace("--step", str(first["step"]), "--json"))
    assert next(x for x in step["documents"] if x["doc_id"] == d.doc_id)["num_tokens"] == first["num_tokens"]
    assert answers[0]["num_seen"] == sum(s["num_tokens"] for s in answers[0]["steps"])
    assert f"of 40: {answers[0]['num_seen']:,} tokens" in trace("--document", d.path)


def test_never_is_said_plainly(base: Path, trace: Trace) -> None:
    """A held-out document and a dropped one were never seen, each for its reason."""
    held_out = next(t for t in rows(base, "tokenize/documents", TokenizedDocument) if t.split == "validation")
    assert "never seen, up to step 40: it is held out (validation)" in trace("--document", held_out.doc_id)
    lost = document(NUM_DOCUMENTS)
    assert "never seen, up to step 40: filter dropped it: too short (3 words)" in trace("--document", lost.doc_id)
    assert json.loads(trace("--document", lost.doc_id, "--json"))["steps"] == []


def test_a_document_that_no_step_took(root: Path, trace: Trace) -> None:
    """Of a source without a weight, or not reached by a short run: either is said of a training document."""
    documents = rows(root, "tokenize/documents", TokenizedDocument)
    noted = next(d for d in documents if (d.split, d.source) == ("train", "notes"))
    shutil.rmtree(root / "train")
    trained(tables_of(root), root / "train", weights={"papers": 1.0}, num_steps=1, batch_sequences=1)
    words = trace("--document", noted.doc_id, root=root)
    assert "never seen, up to step 1: its source, notes, is not in the mixture" in words
    seen = {d["doc_id"] for d in json.loads(trace("--step", "1", "--json", root=root))["documents"]}
    other = next(d for d in documents if (d.split, d.source) == ("train", "papers") and d.doc_id not in seen)
    assert "in the training tokens, but no step took" in trace("--document", other.doc_id, root=root)


def test_licences_add_up(trace: Trace) -> None:
    """Shares of licences and sources add up to the tokens of the run."""
    answer = json.loads(trace("--licence", "--json"))
    assert sum(s["num_tokens"] for s in answer["shares"]) + answer["num_padding"] == answer["num_tokens"] == 40 * 8 * 32
    assert sum(s["share"] for s in answer["shares"]) == pytest.approx(1)
    words = trace("--licence")
    assert {"CC-BY-4.0", "CC0-1.0", "unknown"} <= set(words.split())


def test_long_lists_are_cut_with_a_count(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not shown is counted, and `--all` shows it."""
    monkeypatch.setattr("workflows.trace.show.MAX_ROWS", 2)
    number = len(json.loads(trace("--step", "1", "--json"))["documents"])
    assert f"and {number - 2} more (--all shows them)" in trace("--step", "1")
    assert "--all shows them" not in trace("--step", "1", "--all")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--step", "0"], "--step 0: the run's ledger has the steps 1..40"),
        (["--step", "41"], "--step 41: the run's ledger has the steps 1..40"),
        (["--step", "3", "--sample", "9"], "--sample 9: a step of this run has the samples 1..8"),
        (["--sample", "1"], "--sample is one of a step: give --step N too"),
        (["--document", "no such thing"], "no document has this id, DOI or path; the nearest"),
        (["--document", ""], "more than one document fits"),
        (["--step", "one"], "invalid int value"),
        (["--step", "1", "--licence"], "not allowed with argument"),
        (["--node", "pretrain"], "not allowed with argument"),
    ],
)
def test_wrong_words_end_with_2(trace: Trace, words: list[str], said: str) -> None:
    """A step outside the run, an unknown document, flags that do not go together: exit 2, and what is right."""
    assert said in " ".join(trace(*words, expect=2).split())


def test_a_ledger_that_does_not_fit_ends_with_3(root: Path, trace: Trace) -> None:
    """A step whose samples are not those recorded is refused loudly; other steps are traced."""
    ledger = rows(root, "train/ledger", BatchLedger)
    ledger[4] = ledger[4].model_copy(update={"samples_sha": "0" * 32})
    pq.write_table(BatchLedger.table(ledger), next((root / "train" / "ledger").glob("*.parquet")))
    assert "step 5: the ledger says 000" in trace("--step", "5", root=root, expect=3)
    assert "step 5: the ledger says 000" in trace("--licence", root=root, expect=3)
    assert "as the ledger has it" in trace("--step", "6", root=root)


def test_a_run_without_a_ledger(root: Path, trace: Trace) -> None:
    """The output of a stage that keeps no ledger, an unfinished one and sample rows are refused with a cure."""
    manifest = Manifest.read(root / "train")
    manifest.model_copy(update={"outputs": {}}).write(root / "train")
    assert "pretrain wrote no ledger of batches here" in trace("--step", "1", root=root, expect=2)
    manifest.model_copy(update={"stub": True}).write(root / "train")
    assert "sample rows only" in trace("--step", "1", root=root, expect=2)
    (root / "train" / NAME).unlink()
    assert "has not finished" in trace("--step", "1", root=root, expect=2)


def test_a_moved_root_is_traced(root: Path, trace: Trace) -> None:
    """A storage root that was moved as a whole gives the same answers."""
    before = trace("--step", "9", root=root)
    root.rename(root.parent / "elsewhere")
    assert trace("--step", "9", root=root.parent / "elsewhere") == before


def test_inputs_that_are_gone_or_changed(root: Path, trace: Trace) -> None:
    """A missing input, another one in its place, a cut token file, other token files: exit 2, and which it is."""
    shards = rows(root, "tokenize/shards", TokenShard)
    (root / "tokenize").rename(root / "away")
    assert "its input tokens is not at" in trace("--step", "1", root=root, expect=2)
    (root / "away").rename(root / "tokenize")
    manifest = Manifest.read(root / "tokenize")
    manifest.model_copy(update={"fingerprint": "f" * 16}).write(root / "tokenize")
    assert "is now ffffffffffffffff" in trace("--step", "1", root=root, expect=2)
    manifest.write(root / "tokenize")
    file = root / "tokenize" / next(s.bin.path for s in shards if s.split == "train")
    file.write_bytes(file.read_bytes()[:-2])
    assert file.name in trace("--step", "1", root=root, expect=2)


def test_documents_that_are_gone_leave_titles_and_pages_out(root: Path, trace: Trace) -> None:
    """Without the documents' table a step still has its ids, sources and licences, and says that pages are unknown."""
    before = json.loads(trace("--step", "2", "--json", root=root))
    shutil.rmtree(root / "filter")
    after = json.loads(trace("--step", "2", "--json", root=root))
    assert [d["doc_id"] for d in after["documents"]] == [d["doc_id"] for d in before["documents"]]
    assert all(d["pages"] == [] and d["title"] is None for d in after["documents"])
    assert "pages are unknown" in trace("--step", "2", root=root)


def test_fill_in_the_middle_is_said(root: Path, trace: Trace) -> None:
    """Where the trainer turned documents round, the trace says which share of which sources."""
    file = next((root / "train-index" / "order").glob("*.parquet"))
    (order,) = rows(root, "train-index/order", TokenOrder)
    turned = order.model_copy(update={"middle_fraction": 0.25, "middle_sources": ["notes", "papers", "theses"]})
    pq.write_table(TokenOrder.table([turned]), file)
    for words in (("--step", "2"), ("--licence",)):
        assert re.search("25 % of the documents of [a-z, ]+ were turned round", trace(*words, root=root))


def test_a_recipe_finds_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without `--run` the recipe's training is meant; if it is not done, finished runs of the stage are named."""
    monkeypatch.setenv("BOREALIS_ROOT", str(tmp_path / "runs"))
    (tmp_path / "papers").mkdir()
    recipe = tmp_path / "recipe.py"
    recipe.write_text(RECIPE)
    flags = [str(recipe), "--set", f"ingest.paths={tmp_path / 'papers'}", "--step", "1"]
    for more, said in (
        ([], "pretrain is not done at"),
        (["--node", "pretrian"], "did you mean pretrain?"),
        (["--site", "laptap"], "did you mean laptop?"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["trace", *flags, *more])
        assert ended.value.code == 2
        assert said in capsys.readouterr().err
    other = tmp_path / "runs" / "pretrain" / ("a" * 16)
    other.mkdir(parents=True)
    (other / NAME).write_text("{}")
    with pytest.raises(SystemExit):
        main(["trace", *flags])
    assert f"--run {other}" in capsys.readouterr().err


def test_a_pipe_that_closes_early_is_no_error(base: Path) -> None:
    """`parsl trace ... | head -1` ends well and says nothing more."""
    command = [sys.executable, "-m", "workflows", "trace", "--run", str(base / "train"), "--licence", "--json"]
    with subprocess.Popen(command, cwd=PACKAGE_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=120) == 0
