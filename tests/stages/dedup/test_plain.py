"""`verify=False` is LSHBloom as published: what a dictionary in the place of the filters would drop, it drops."""

import pyarrow as pa
from datasketch import MinHash as PeerMinHash
from datasketch import MinHashLSH

from stages.sketch import Sketch
from stages.sketch.kernel import signature
from stages.sketch.minhash import MinHash
from tests.stages.dedup.corpora import Maker, doc_id, lost, rows, shingles, text

SETTINGS = {"num_bands": 42, "rows_per_band": 6}


def dropped(make: Maker, texts: list[str]) -> set[int]:
    """Numbers of the texts that are dropped."""
    found = lost(make(texts, **SETTINGS).dedup(verify=False))
    return {i for i in range(len(texts)) if doc_id(i) in found}


def test_same_decisions_as_exact_buckets(make: Maker, texts: list[str]) -> None:
    """Given our signatures, datasketch's MinHashLSH (dictionaries in place of filters) takes the same for duplicates."""
    texts = list(dict.fromkeys(texts))
    family = MinHash(42, 6, Sketch().seed, 5)
    sets = family.sets(pa.array(texts))
    index, expected = MinHashLSH(num_perm=252, params=(42, 6)), set()
    for i in range(len(texts)):
        minima = signature(sets.hashes[sets.offsets[i] : sets.offsets[i + 1]], 252, family.seed)
        peer = PeerMinHash(num_perm=252, hashvalues=minima, scheme="affine64")
        if index.query(peer):
            expected.add(i)
        else:
            index.insert(i, peer)
    assert dropped(make, texts) == expected


def test_same_duplicates_as_peer_with_its_own_hashes(make: Maker, texts: list[str]) -> None:
    """With datasketch's own hash functions the two agree on 95 % of the documents, and on all that are alike or not."""
    index, expected, kept, likeness = MinHashLSH(num_perm=252, params=(42, 6)), set(), [], {}
    for i, words in enumerate(texts):
        grams, peer = shingles(words), PeerMinHash(num_perm=252)
        peer.update_batch([" ".join(gram).encode() for gram in grams])
        likeness[i] = max((len(grams & k) / len(grams | k) for k in kept), default=0.0)
        if index.query(peer):
            expected.add(i)
        else:
            index.insert(i, peer)
            kept.append(grams)
    found = dropped(make, texts)
    assert len(found ^ expected) <= 0.05 * len(texts)
    assert {i for i, share in likeness.items() if share > 0.75} <= found
    assert not {i for i, share in likeness.items() if share < 0.1} & found


def test_rows_out(make: Maker) -> None:
    """The first in order stays; a near copy has no name to name, only bands; an exact one names the first."""
    words = text(1)
    out = make([words, text(2), words + " tail", words]).dedup(verify=False)
    assert [r["path"] for r in rows(out / "documents")] == ["00000.txt", "00001.txt"]
    found = lost(out)
    assert found[doc_id(2)]["of"] is None
    assert found[doc_id(2)]["cluster"] is None
    assert found[doc_id(2)]["num_bands"] > 50
    assert found[doc_id(3)]["of"] == doc_id(0)
    assert "bands seen before" in next(r["detail"] for r in rows(out / "dropped") if r["reason"] == "near duplicate")


def test_against_an_earlier_corpus(make: Maker) -> None:
    """What an earlier corpus' filter has seen is dropped; its key file is not needed, and verification asks for it."""
    words = text(1)
    old = make([words, text(2)]).dedup(verify=False)
    new = make([words + " tail", text(3), text(2)])
    out = new.dedup(verify=False, against=[str(old)])
    assert [r["path"] for r in rows(out / "documents")] == ["00001.txt"]
    assert new.code("other", against=[str(old)]) == 3
