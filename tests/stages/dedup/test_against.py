"""New documents against earlier outputs: two halves one after the other are the whole, and old choices stand."""

import json
from pathlib import Path

import pytest

from schemas.manifest import Manifest
from schemas.table import ContractError
from stages.base import SettingsError
from stages.dedup import Dedup
from tests.stages.dedup.corpora import Corpus, Maker, changed, doc_id, document, jaccard, lost, rows, text


def kept(output: Path) -> set[str]:
    """Documents that stay."""
    return {row["doc_id"] for row in rows(output / "documents")}


def parts(make: Maker, texts: list[str], num_parts: int) -> tuple[list[Path], Path]:
    """The documents in parts, each against those before, and the whole at once."""
    documents = [document(i, words) for i, words in enumerate(texts)]
    outputs: list[Path] = []
    for n in range(num_parts):
        corpus = make(documents[n * len(documents) // num_parts : (n + 1) * len(documents) // num_parts])
        outputs.append(corpus.dedup(against=[str(o) for o in outputs[-1:]]))
    return outputs, make(documents).dedup()


@pytest.mark.parametrize("num_parts", [2, 3])
def test_parts_are_the_whole(make: Maker, texts: list[str], num_parts: int) -> None:
    """Parts keep what the whole keeps, but where a later copy is better, and there the row says so."""
    outputs, whole = parts(make, texts, num_parts)
    together = set().union(*(kept(o) for o in outputs))
    duplicates = {k: v for o in outputs for k, v in lost(o).items()}
    assert len(together) == len(kept(whole))
    assert together | duplicates.keys() == kept(whole) | lost(whole).keys()
    for doc in kept(whole) - together:
        assert "better than the copy that an earlier run kept" in duplicates[doc]["note"]
        assert lost(whole)[duplicates[doc]["of"]]["of"] == doc


def test_an_index_names_all_files_of_all_parts(make: Maker, texts: list[str]) -> None:
    """The last part's index covers the documents of all, by paths that lead to the files."""
    outputs, _ = parts(make, texts, 3)
    index = rows(outputs[-1] / "index")
    assert sorted(r["kind"] for r in index) == sorted(["filters", "bands", "contents", "works", "documents"] * 3)
    assert all((outputs[-1] / r["blob"]["path"]).stat().st_size == r["blob"]["size_bytes"] for r in index)
    assert sum(r["num_entries"] for r in index if r["kind"] == "documents") == len(texts)


def test_copies_name_who_was_kept(make: Maker) -> None:
    """A copy of an old copy names the old one that stayed, and joins its cluster."""
    words = text(1)
    old = make([document(5, words + " and a tail of words"), document(3, words), document(9, text(2))]).dedup()
    assert kept(old) == {doc_id(5), doc_id(9)}
    new = make([document(20, words), document(21, changed(words, 0.01, 1)), document(22, text(3))]).dedup(
        against=[str(old)]
    )
    assert kept(new) == {doc_id(22)}
    found = lost(new)
    assert {r["of"] for r in found.values()} == {doc_id(5)}
    assert {r["cluster"] for r in found.values()} == {lost(old)[doc_id(3)]["cluster"]}
    assert found[doc_id(20)]["score"] == pytest.approx(jaccard(words, words + " and a tail of words"))


def test_names_reach_back(make: Maker) -> None:
    """A DOI that an old document had makes a new one a copy of it, whatever its text; a title alone does not."""
    title = "A title of more words than four"
    old = make([document(1, text(1), doi="10.1000/x"), document(2, text(2), title=title)]).dedup()
    new = make([document(3, text(3), doi="10.1000/x"), document(4, text(4), title=title)]).dedup(against=[str(old)])
    assert kept(new) == {doc_id(4)}
    assert lost(new)[doc_id(3)]["of"] == doc_id(1)
    assert lost(new)[doc_id(3)]["method"] == "work"


def test_a_bridge_is_noted(make: Maker) -> None:
    """A document that is a copy of two that were kept apart is left out, and says what it joins."""
    old = make([document(1, text(1), doi="10.1000/x"), document(2, text(2))]).dedup()
    new = make([document(3, text(2), doi="10.1000/x")]).dedup(against=[str(old)])
    assert kept(new) == set()
    assert "joins 2 documents" in lost(new)[doc_id(3)]["note"]


def test_the_same_file_again(make: Maker) -> None:
    """A document that comes again is a copy of itself."""
    corpus = make([text(1), text(2)])
    old = corpus.dedup()
    assert kept(corpus.dedup("again", against=[str(old)])) == set()


def test_outputs_may_move(make: Maker, texts: list[str]) -> None:
    """A root that was moved as a whole is read at its new place, and has the same address."""
    outputs, _ = parts(make, texts[:30], 2)
    before = Dedup(against=(str(outputs[1]),)).external()
    root = outputs[0].parents[1]
    moved = root.rename(root.with_name("moved"))
    last = moved / outputs[1].relative_to(root)
    make.folder = moved.parent
    assert Dedup(against=(str(last),)).external() == before
    assert Dedup(against=(str(last),)).settings() == Dedup().settings()
    new = Corpus(moved / "new", [document(0, texts[0])]).sketch()
    assert kept(new.dedup(against=[str(last)])) == set()


@pytest.mark.parametrize(("num_old", "num_new"), [(17, 1), (1, 17), (9, 9), (17, 17)])
def test_an_identifier_of_too_many_proves_nothing_in_parts_either(make: Maker, num_old: int, num_new: int) -> None:
    """A data set's DOI on more pages than one work has copies makes them no copies, though each corpus has few of them."""
    documents = [document(i, text(i, 60), doi="10.5061/dryad.x") for i in range(num_old + num_new)]
    old = make(documents[:num_old]).dedup()
    new = make(documents[num_old:]).dedup(against=[str(old)])
    assert kept(new) == {d.doc_id for d in documents[num_old:]}
    again = document(99, changed(documents[0].text, 0.05, 1), doi="10.5061/dryad.x")
    assert kept(make([again]).dedup(against=[str(new)])) == set()


def test_an_index_by_a_link(make: Maker) -> None:
    """Outputs under a linked folder (as `/eagle` is) are found again, from the third run on too, by link and without."""
    texts = [text(i) for i in range(3)]
    (make.folder / "a" / "b" / "disk").mkdir(parents=True)
    (make.folder / "link").symlink_to(make.folder / "a" / "b" / "disk")
    make.folder = make.folder / "link"
    first = make([document(0, texts[0])]).dedup()
    second = make([document(1, texts[1])]).dedup(against=[str(first)])
    for given in (second, second.resolve()):
        assert kept(make([document(i, t) for i, t in enumerate(texts)]).dedup(against=[str(given)])) == {doc_id(2)}


@pytest.mark.parametrize("code", [0, 3])
def test_scratch_goes_also_when_a_run_fails(make: Maker, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """What was only needed for the work does not stay to fill the disk, however the run ends."""

    def refuse(_: object) -> None:
        raise ContractError("the certificate of this run", ["of a test"])

    monkeypatch.setattr("stages.dedup.certificate.check", refuse if code else len)
    corpus = make([text(i) for i in range(3)])
    assert corpus.code(num_decoys=1) == code
    assert not (corpus.folder / "out" / "scratch").exists()


# ---- refusals


def test_another_family_is_refused(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    """An index of keys that were made with other settings means nothing, and is refused with the cure."""
    old = make([text(1)]).dedup()
    assert make([text(1)], ngram_words=4).code(against=[str(old)]) == 3
    words = capsys.readouterr().err
    assert "keys of the family" in words
    assert "sketch and dedup that corpus again" in words


def test_a_file_cut_short_is_refused(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    """A filter and a key file that are not whole are both named."""
    old = make([text(1)]).dedup()
    for file in (old / "filters.bloom", old / "keys" / "bands.npy"):
        file.write_bytes(file.read_bytes()[:-8])
    assert make([text(2)]).code(against=[str(old)]) == 3
    words = capsys.readouterr().err
    assert "filters.bloom: expected" in words
    assert "bands.npy: expected" in words


def test_a_folder_of_something_else_is_refused(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without a manifest has no address, and neither it nor another stage's is read."""
    corpus = make([text(1)])
    assert corpus.code(against=[str(corpus.folder / "nothing")]) == 3
    with pytest.raises(SettingsError, match="name the output folders"):
        Dedup(against=(str(corpus.folder / "nothing"),)).external()
    assert corpus.code(against=[str(corpus.folder / "sketch")]) == 3
    assert "not one of dedup" in capsys.readouterr().err


def test_what_it_was_against_is_part_of_the_address(make: Maker) -> None:
    """The fingerprint changes with the fingerprints of the earlier outputs."""
    corpus = make([text(1)])
    first, second = corpus.dedup("first"), corpus.dedup("second", threshold=0.7)
    prints = [Dedup(against=(str(o),)).fingerprint({}) for o in (first, second)]
    assert len({*prints, Dedup().fingerprint({})}) == 3
    record = Manifest.read(first)
    assert json.loads(record.model_dump_json())["external"] == ""
