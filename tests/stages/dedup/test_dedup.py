"""The stage: the best copy of a document stays, the others say of which they are copies and how that is known."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from schemas.corpus import Document
from schemas.manifest import Manifest
from stages.command import main
from stages.dedup import Dedup
from tests.stages.dedup.corpora import Maker, changed, doc_id, document, jaccard, lost, rows, text


def kept(output: Any) -> list[str]:
    """Paths of the documents that stay, in order."""
    return [row["path"] for row in rows(output / "documents")]


def clusters(texts: Sequence[str], threshold: float) -> set[frozenset[int]]:
    """Connected components of the texts' exact Jaccard similarity, by brute force."""
    parent = list(range(len(texts)))

    def find(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i in range(len(texts)):
        for j in range(i):
            if jaccard(texts[i], texts[j]) >= threshold:
                parent[find(i)] = find(j)
    return {frozenset(j for j in range(len(texts)) if find(j) == find(i)) for i in range(len(texts))}


# ---- what stays


def test_rows_out(make: Maker) -> None:
    """The longest stays, each copy names it with method and score, and no row is lost."""
    first, other = text(1), text(2)
    corpus = make(
        [first, first.upper() + "\n", other, first + " one more sentence", "short text", "Short  text", "±", "→ ←"]
    )
    out = corpus.dedup()
    assert kept(out) == ["00002.txt", "00003.txt", "00004.txt", "00006.txt", "00007.txt"]
    found = [(r["doc_id"], r["of"], r["method"]) for r in rows(out / "duplicates")]
    assert found == [
        (doc_id(0), doc_id(3), "near"),
        (doc_id(1), doc_id(3), "near"),
        (doc_id(5), doc_id(4), "exact"),
    ]
    near, _, exact = rows(out / "duplicates")
    assert near["score"] == pytest.approx(jaccard(first, first + " one more sentence"))
    assert near["num_bands"] > 60
    assert near["cluster"] == min(doc_id(0), doc_id(1), doc_id(3))
    assert (exact["score"], exact["num_bands"]) == (1.0, 64)
    reasons = {(d["path"], d["reason"]) for d in rows(out / "dropped")}
    assert reasons == {
        ("00000.txt", "near duplicate"),
        ("00001.txt", "near duplicate"),
        ("00005.txt", "exact duplicate"),
    }
    assert Manifest.read(out).dropped == {"exact duplicate": 1, "near duplicate": 2}


def test_clusters_are_those_of_the_exact_similarity(make: Maker, texts: list[str]) -> None:
    """At a similarity that the bands do not miss, the clusters are the connected components of brute force."""
    out = make(texts).dedup(threshold=0.55, min_length_fraction=1)
    groups: dict[int, set[int]] = {i: {i} for i in range(len(texts))}
    number = {doc_id(i): i for i in range(len(texts))}
    for row in rows(out / "duplicates"):
        groups[number[row["of"]]] |= groups.pop(number[row["doc_id"]])
    assert {frozenset(g) for g in groups.values()} == clusters(texts, 0.55)


def test_scores_are_exact(make: Maker, texts: list[str]) -> None:
    """A near-duplicate's score is the Jaccard similarity of the two texts' 5-grams."""
    number = {doc_id(i): i for i in range(len(texts))}
    found = [r for r in rows(make(texts).dedup() / "duplicates") if r["method"] == "near"]
    assert len(found) > 30
    for row in found:
        assert row["score"] == pytest.approx(jaccard(texts[number[row["doc_id"]]], texts[number[row["of"]]]))


def test_order_of_rows_does_not_matter(make: Maker, texts: list[str]) -> None:
    """The same documents in another order leave the same ones, whatever the order."""
    documents = [document(i, words) for i, words in enumerate(texts)]
    shuffled = random.Random(0).sample(documents, len(documents))
    first, second = (make(d).dedup() for d in (documents, shuffled))
    assert sorted(kept(first)) == sorted(kept(second))
    assert lost(first) == lost(second)


def test_rows_keep_their_order(make: Maker, texts: list[str]) -> None:
    """The documents that stay are in the order of the input, unchanged."""
    corpus = make(texts)
    out = corpus.dedup()
    expected = [d.model_dump() for d in corpus.documents if d.doc_id not in lost(out)]
    assert rows(out / "documents") == expected


# ---- works


def test_one_work_under_several_names(make: Maker) -> None:
    """A preprint and its article, linked by a third that names both, are one work; the published version stays."""
    article = document(0, text(1), doi="10.1000/x", title="On the conduct of heat in basalt")
    preprint = document(1, text(2), doi="10.48550/arXiv.2101.00001")
    stamped = document(2, "arXiv:2101.00001v2 [cond-mat] 4 Jan 2021 " + text(3), doi="10.1000/x")
    out = make([preprint, stamped, article]).dedup()
    assert [r["of"] for r in rows(out / "duplicates")] == [doc_id(2)] * 2 or kept(out) == ["00000.txt"]
    assert {r["method"] for r in rows(out / "duplicates")} == {"work"}


def test_a_title_alone_proves_nothing(make: Maker) -> None:
    """Two different texts of one title stay both; two that share a fifth of their text are one work."""
    title = "Book reviews and announcements of the society"
    first, second = document(0, text(1), title=title), document(1, text(2), title=title)
    common = text(3, 100)
    third, fourth = (
        document(2, f"{common} {text(4, 200)}", title=title),
        document(3, f"{common} {text(5, 200)}", title=title),
    )
    out = make([first, second, third, fourth]).dedup()
    assert [(r["doc_id"], r["of"], r["method"]) for r in rows(out / "duplicates")] == [(doc_id(3), doc_id(2), "work")]


def test_a_name_of_too_many_proves_nothing(make: Maker) -> None:
    """An identifier that 17 different documents carry does not make them one; that of 16 does."""
    many = [document(i, text(i), doi="10.1000/issue") for i in range(17)]
    assert len(kept(make(many).dedup())) == 17
    assert len(kept(make(many[:16]).dedup())) == 1


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"licence": "CC-BY-4.0"}, {"licence": "CC-BY-NC-4.0"}),
        ({"licence": "publisher"}, {"licence": None}),
        ({"doi": "10.1000/a"}, {"doi": "10.1101/2020.01.01.000001"}),
        ({"path": "a.txt"}, {"path": "b.txt"}),
    ],
)
def test_the_best_copy_stays(make: Maker, better: dict[str, Any], worse: dict[str, Any]) -> None:
    """The survivor is the best copy, whichever comes first."""
    words = text(1)
    for order in ((better, worse), (worse, better)):
        out = make([document(i, words, **fields) for i, fields in enumerate(order)]).dedup()
        (row,) = rows(out / "documents")
        assert {k: row[k] for k in better} == better


# ---- near


def test_a_cut_copy_is_a_copy_and_an_abstract_is_not(make: Maker) -> None:
    """A text's first 60 % are a copy of it, and so are 45 %, by what they contain; its first tenth is not."""
    words = text(1, 1000).split()
    parts = [" ".join(words[: int(share * 1000)]) for share in (1, 0.6, 0.45, 0.1)]
    out = make(parts).dedup()
    assert kept(out) == ["00000.txt", "00003.txt"]
    assert [r["score"] for r in rows(out / "duplicates")] == pytest.approx([jaccard(parts[0], p) for p in parts[1:3]])
    assert kept(make(parts).dedup(min_length_fraction=1)) == ["00000.txt", "00003.txt"]  # 45 % are near to 60 %
    assert len(kept(make(parts[::2]).dedup(min_length_fraction=1))) == 2


def test_short_documents_are_not_all_alike(make: Maker) -> None:
    """Documents shorter than an n-gram, and those without a word, are duplicates of their like alone."""
    out = make(["a b", "a c", "b a", "a b!", "…", "§", "a b c d e", "b c d e f"]).dedup()
    assert kept(out) == ["00000.txt", "00001.txt", "00002.txt", "00004.txt", "00005.txt", "00006.txt", "00007.txt"]


def test_chains_are_one_cluster(make: Maker) -> None:
    """Copies of copies are of one cluster, and say so where they are not like the survivor themselves."""
    words = text(1, 1000)
    chain = [words]
    for seed in range(4):
        chain.append(changed(chain[-1], 0.04, seed))
    assert jaccard(chain[0], chain[-1]) < 0.4
    out = make(chain).dedup(min_length_fraction=1)
    assert len(kept(out)) == 1
    assert {r["cluster"] for r in rows(out / "duplicates")} == {min(doc_id(i) for i in range(5))}


def test_many_copies_make_few_pairs(make: Maker) -> None:
    """Two hundred variants of one text, in buckets far larger than the window, are one cluster."""
    words = text(1, 300)
    out = make([changed(words, 0.02, i) for i in range(200)]).dedup()
    assert len(kept(out)) == 1


# ---- refusals


def test_a_part_of_the_rows_is_refused(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    """A shard that cannot see the other rows' duplicates does not run, and says why."""
    corpus = make([text(1), text(2)])
    with pytest.raises(SystemExit) as exit_:
        main(Dedup, [*corpus.flags(), "--out", str(corpus.folder / "out"), "--shard", "0/2"])
    assert exit_.value.code == 2
    assert "one shard" in capsys.readouterr().err


def test_sketches_of_other_documents_are_refused(make: Maker, capsys: pytest.CaptureFixture[str]) -> None:
    """Sketches that were made of other documents end the stage with exit code 3 and the cure."""
    one, other = make([text(1), text(2)]), make([text(1)])
    flags = [*one.flags()[:2], *other.flags()[2:]]
    with pytest.raises(SystemExit) as exit_:
        main(Dedup, [*flags, "--out", str(one.folder / "out")])
    assert exit_.value.code == 3
    words = capsys.readouterr().err
    assert "1 sketches for 2 documents" in words
    assert "sketch these documents" in words


@pytest.mark.parametrize("settings", [{"threshold": 2}, {"false_positive_rate": 0}, {"num_decoys": -1}, {"seed": -1}])
def test_settings_have_limits(make: Maker, settings: dict[str, Any]) -> None:
    """A setting that cannot be ends the stage with exit code 2."""
    assert make(["a"]).code(**settings) == 2


@pytest.mark.parametrize("texts", [[], ["a"], ["…"]])
def test_next_to_nothing(make: Maker, texts: list[str]) -> None:
    """No document, one of one word and one of none pass through, the certificate included."""
    out = make(texts).dedup(num_decoys=20)
    assert len(kept(out)) == len(texts)
    assert len(rows(out / "index")) == 5


def test_no_documents_lost(make: Maker, texts: list[str]) -> None:
    """Documents in are documents out and duplicates."""
    corpus: list[Document] = make(texts).documents
    out = make(texts).dedup()
    assert len(kept(out)) + len(rows(out / "duplicates")) == len(corpus)
