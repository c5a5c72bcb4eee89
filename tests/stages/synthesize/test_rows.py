"""The stage as a whole."""

import gzip
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from schemas.corpus import Document
from schemas.manifest import Manifest
from stages.synthesize.quantities import canonical_unit, find_quantities, value
from stages.synthesize.rows import _new_only, hold_out, mixed, spread
from stages.synthesize.statements import Reading, Source, read
from tests.stages.synthesize.conftest import Runner, article, doc_id, document, prose, write_inputs

ROOT = Path(__file__).parents[3]
PAPERS = ROOT.parent / "shared" / "data" / "corpora" / "pmc-ccby-260.jsonl.gz"


def test_every_row_leads_back_to_a_training_document(run: Runner, articles: list[Document]) -> None:
    """Rows are made of training documents only, with their licences; validation documents give nothing."""
    tables = run(articles, validation=(0, 1, 2))
    licences = {d.doc_id: d.licence for d in articles[3:]}
    for rows in tables.values():
        assert rows
        assert all(licences[row["doc_id"]] == row["licence"] for row in rows)


def test_documents_that_were_not_tokenized_are_left_out(run: Runner, articles: list[Document], tmp_path: Path) -> None:
    """The join is by doc_id, whatever the order of the tables."""
    rows = run([*articles[:5], document(99, article(99))], validation=(5,))
    assert {row["doc_id"] for row in rows["conversations"]} == {d.doc_id for d in articles[:5]}


def test_limits_are_kept_and_rows_spread_over_documents(run: Runner, articles: list[Document]) -> None:
    """At most the set number of rows, and no document has a second one before each has one."""
    tables = run(articles, max_conversations=30, max_preferences=11, max_questions=9)
    assert [len(tables[n]) for n in ("conversations", "preferences", "questions")] == [30, 11, 9]
    assert sorted(Counter(r["doc_id"] for r in tables["conversations"]).values()) == [1] * 10 + [2] * 10
    assert max(Counter(r["doc_id"] for r in tables["preferences"]).values()) == 1


def test_validation_rows_are_of_documents_of_their_own(run: Runner, articles: list[Document]) -> None:
    """No document has rows in both splits, conversations and preferences agree, and the share is as set."""
    tables = run(articles, validation_fraction=0.3)
    splits: dict[str, set[str]] = {}
    for name in ("conversations", "preferences"):
        for row in tables[name]:
            splits.setdefault(row["doc_id"], set()).add(row["split"])
    assert all(len(split) == 1 for split in splits.values())
    assert Counter(next(iter(s)) for s in splits.values()) == {"train": 14, "validation": 6}


def test_what_is_asked_is_not_told(run: Runner, articles: list[Document]) -> None:
    """A quantity that a question asks for is in no conversation's or preference's statement."""
    tables = run(articles, max_questions=1000)

    def quantities(text: str) -> set[tuple[str, float]]:
        return {(canonical_unit(q.unit), value(q.number)) for q in find_quantities(text)}

    asked = {q for row in tables["questions"] for q in quantities(f"x {row['choices'][row['answer']]}")}
    told = {q for row in tables["conversations"] for q in quantities(row["messages"][1]["content"])}
    told |= {q for row in tables["preferences"] for q in quantities(row["chosen"][0]["content"])}
    assert asked
    assert told
    assert not asked & told


def test_what_has_a_name_is_asked_first() -> None:
    """Of a document's statements, properties of named things go before other values, and those before conditions."""
    text = (
        "The wire was annealed in argon for 3 h. A sample of 7 g was taken from it at the end. "
        "The density of Ormel-2 is 3.2 g/cm3."
    )
    ranked = _new_only(read(Source("id", None, None), text), set()).statements
    assert [s.sentence[:8] for s in ranked] == ["The dens", "A sample", "The wire"]


def test_a_statement_made_twice_is_used_once(run: Runner) -> None:
    """Copies of a sentence in other documents, and prompts that were asked before, give no second row."""
    copies = [document(i, article(1)) for i in range(4)]
    tables = run(copies)
    prompts = [row["messages"][0]["content"] for row in tables["conversations"]]
    assert len(set(prompts)) == len(prompts)
    chosen = [row["chosen"][0]["content"] for row in tables["preferences"]]
    assert len(set(chosen)) == len(chosen)


def test_text_without_quantities_still_gives_rows(run: Runner) -> None:
    """Passages to go on from stand in for statements, in all three tables."""
    tables = run([document(i, prose(i)) for i in range(6)])
    assert all(tables.values())
    assert {row["split"] for row in tables["preferences"]} == {"train", "validation"}
    assert all(row["question"].endswith("____") for row in tables["questions"])


def test_one_document_is_enough(run: Runner) -> None:
    """A corpus of one document gives rows, with wrong values made up and nothing held out."""
    tables = run([document(0, article(0))])
    assert all(tables.values())
    assert {row["split"] for row in tables["conversations"]} == {"train"}


@pytest.mark.parametrize("text", ["1 2 3", "Too short.", "| a | b |\n| 1 | 2 |"])
def test_a_corpus_with_nothing_to_say_is_an_error_that_says_what_to_do(
    run: Runner, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """Exit 3, with the tables that would be empty and the cure."""
    with pytest.raises(SystemExit) as end:
        run([document(0, text), document(1, text + " ")])
    assert end.value.code == 3
    words = capsys.readouterr().err
    assert "no conversations, preferences, questions could be made of 2 training document(s)" in words
    assert "add documents" in words


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_questions": 0}, "synthesize.max_questions"),
        ({"validation_fraction": 0.9}, "synthesize.validation_fraction"),
        ({"max_question": 3}, "did you mean synthesize.max_questions?"),
    ],
)
def test_settings_out_of_range_are_refused(
    run: Runner, articles: list[Document], capsys: pytest.CaptureFixture[str], settings: dict[str, float], words: str
) -> None:
    """Exit 2, naming the setting."""
    with pytest.raises(SystemExit) as end:
        run(articles, **settings)
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_runs_are_the_same_to_the_byte(tmp_path: Path, articles: list[Document]) -> None:
    """Two processes with other hash seeds write the same files, and the manifest counts their rows."""
    files = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        command = [sys.executable, "-m", "stages.synthesize", *write_inputs(tmp_path / f"in{seed}", articles)]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([*command, "--out", str(out)], cwd=ROOT, env=environment, check=True)
        files.append({p.relative_to(out): p.read_bytes() for p in sorted(out.glob("*/*.parquet"))})
    assert len(files[0]) == 3
    assert files[0] == files[1]
    assert Manifest.read(tmp_path / "1").outputs["questions"].num_rows > 10


def test_more_than_one_shard_is_refused(
    tmp_path: Path, articles: list[Document], capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong values come from the whole corpus, so a part of it is not enough: exit 2."""
    from stages.command import main
    from stages.synthesize import Synthesize

    arguments = [*write_inputs(tmp_path / "in", articles), "--out", str(tmp_path / "out"), "--shard", "0/2"]
    with pytest.raises(SystemExit) as end:
        main(Synthesize, arguments)
    assert end.value.code == 2
    assert "one shard" in capsys.readouterr().err


def readings(count: int) -> list[Reading]:
    """Articles, read; every fifth is prose."""
    return [read(Source(doc_id(i), None, None), prose(i) if i % 5 == 0 else article(i)) for i in range(count)]


def test_both_sorts_of_documents_are_held_out() -> None:
    """Documents with quantities and without each give their share to validation, one at least."""
    splits = hold_out(readings(20), 0.01, seed=0)
    held = [i for i in range(20) if splits[doc_id(i)] == "validation"]
    assert sorted(i % 5 == 0 for i in held) == [False, True]
    assert hold_out(readings(1), 0.5, seed=0) == {doc_id(0): "train"}
    assert set(hold_out(readings(20), 0.0, seed=0).values()) == {"train"}


def test_held_out_documents_stand_evenly_among_the_others() -> None:
    """Any first part of the order has about its share of validation documents."""
    found = readings(40)
    splits = hold_out(found, 0.25, seed=0)
    order = [splits[r.source.doc_id] for r in mixed(found, splits, seed=0)]
    shares = [order[:n].count("validation") / n for n in (8, 16, 24, 40)]
    assert all(abs(share - 0.25) < 0.13 for share in shares)
    assert sorted(r.source.doc_id for r in mixed(found, splits, 0)) == sorted(r.source.doc_id for r in found)


def test_spread_goes_round() -> None:
    """The first of each group, then the second of each; rounds beyond the limit are not computed."""
    assert spread([[1, 2, 3], [4], [5, 6]], 5) == [1, 4, 5, 2, 6]
    assert spread([[1], [2]], 9) == [1, 2]
    assert spread([iter("abc"), (1 // x for x in [1, 1, 0])], 3) == ["a", 1, "b"]


@pytest.mark.slow
def test_real_papers_give_sound_rows(run: Runner) -> None:
    """On real papers: full tables, answers evenly placed, four values a question, none told by its question."""
    if not PAPERS.is_file():
        pytest.skip("no folder of real papers beside the repository")
    with gzip.open(PAPERS, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for _, line in zip(range(60), lines, strict=False)]
    tables = run([document(i, r["text"], r["title"]) for i, r in enumerate(records)])
    assert [len(tables[n]) for n in ("conversations", "preferences", "questions")] == [400, 200, 100]
    places = Counter(row["answer"] for row in tables["questions"])
    assert min(places.values()) >= 12  # 25 expected, standard deviation 4.3
    assert len({row["doc_id"] for row in tables["questions"]}) >= 55
    for row in tables["questions"]:
        assert len(set(row["choices"])) == 4
        assert row["choices"][row["answer"]] not in row["question"]
